//! The lab's clock: one for all nodes, so that what a stamp took to arrive is a one-way delay.

use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Now, in nanoseconds of the kernel's monotonic clock, which all nodes of a lab share.
#[must_use]
pub fn monotonic() -> u64 {
    // Fails for clocks that do not exist only.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

/// Sleeps until the clock shows that.
pub fn sleep_until(nanos: u64) {
    thread::sleep(until(nanos));
}

/// How long it is until the clock shows that.
pub(super) fn until(nanos: u64) -> Duration {
    Duration::from_nanos(nanos.saturating_sub(monotonic()))
}

/// When things count, in nanoseconds of [`monotonic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// From when on.
    #[arg(long)]
    pub opens: u64,
    /// Until when.
    #[arg(long)]
    pub closes: u64,
}

impl Window {
    /// That opens so much later than now and stays open for so long.
    #[must_use]
    pub fn after(wait: Duration, length: Duration) -> Self {
        let opens = monotonic().saturating_add(wait.as_nanos() as u64);
        Self { opens, closes: opens.saturating_add(length.as_nanos() as u64) }
    }

    /// Whether a moment is within.
    #[must_use]
    pub fn holds(&self, nanos: u64) -> bool {
        (self.opens..self.closes).contains(&nanos)
    }

    /// How long it is open.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.closes.saturating_sub(self.opens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_from_its_first_moment_to_before_its_last() {
        let window = Window { opens: 10, closes: 12 };
        assert_eq!([9, 10, 11, 12].map(|nanos| window.holds(nanos)), [false, true, true, false]);
        assert_eq!(window.length(), Duration::from_nanos(2));
    }

    #[test]
    fn sleeping_ends_when_the_clock_shows_it() {
        let window = Window::after(Duration::from_millis(5), Duration::from_secs(1));
        sleep_until(window.opens);
        assert!(window.holds(monotonic()));
    }
}
