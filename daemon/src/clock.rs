//! The only place that reads a clock.
//!
//! What the core calls time is `CLOCK_BOOTTIME`: it never jumps, it goes on while the machine sleeps (a peer's
//! SAs age then too), and it is the same before and after a restart of the daemon, so that the journal's
//! moments keep their meaning. The time of day is only shown, and says which documents are valid.

use std::io;
use std::time::Duration;

use ippriv::time::Instant;
use nix::time::{ClockId, clock_gettime};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// Now, as the core sees it: the time since the machine started.
#[must_use]
pub fn now() -> Instant {
    Instant::from_epoch(read(ClockId::CLOCK_BOOTTIME))
}

/// The service manager's clock, which stands still while the machine sleeps.
pub(crate) fn monotonic() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The time of day, in seconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_now() -> i64 {
    i64::try_from(read(ClockId::CLOCK_REALTIME).as_secs()).unwrap_or(i64::MAX)
}

/// The time of day for people and programs: RFC 3339 with milliseconds, UTC.
#[must_use]
pub fn time_of_day() -> String {
    let milliseconds = i64::try_from(read(ClockId::CLOCK_REALTIME).as_millis()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(milliseconds) {
        Ok(timestamp) => format!("{timestamp:.3}"),
        Err(_) => format!("{milliseconds} ms"),
    }
}

/// Through the C library: rustix insists on a vDSO, which User-Mode Linux does not have.
fn read(clock: ClockId) -> Duration {
    // Linux has all three clocks.
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// Wakes the event loop at a moment of [`now`]'s clock; tokio's own timers stand still while the machine
/// sleeps.
pub struct Alarm {
    /// A timer is read like a pipe: octets come when it has rung.
    timer: Receiver,
    set: Option<Instant>,
}

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    /// When the system has no timer to give.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self { timer: Receiver::from_owned_fd_unchecked(timer)?, set: None })
    }

    /// Sets it to `at`, or switches it off.
    ///
    /// # Errors
    /// When the system refuses, which it has no reason for.
    pub fn set(&mut self, at: Option<Instant>) -> io::Result<()> {
        if self.set != at {
            let value = at.map_or(Timespec { tv_sec: 0, tv_nsec: 0 }, timespec);
            let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            let times = Itimerspec { it_interval: interval, it_value: value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &times)?;
            self.set = at;
        }
        Ok(())
    }

    /// Waits until it rings, then switches it off.
    ///
    /// # Errors
    /// When the system refuses to wait.
    pub async fn rings(&mut self) -> io::Result<()> {
        loop {
            self.timer.readable().await?;
            match self.timer.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                // It is off by itself now.
                Ok(_) => {
                    self.set = None;
                    return Ok(());
                }
            }
        }
    }
}

/// As the timer wants it, where zero means "off".
fn timespec(at: Instant) -> Timespec {
    let since = at.since_epoch().max(Duration::from_nanos(1));
    Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(since.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn an_alarm_for_the_past_rings_at_once_and_only_once() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(Instant::ZERO)).unwrap();
        alarm.rings().await.unwrap();
        assert_eq!(alarm.set, None);
        alarm.set(Some(now())).unwrap();
        alarm.rings().await.unwrap();
    }

    #[test]
    fn the_time_of_day_is_rfc_3339_with_milliseconds() {
        let text = time_of_day();
        assert_eq!(text.len(), "2026-11-21T12:00:00.000Z".len(), "{text}");
        assert!(text.ends_with('Z'), "{text}");
    }

    #[test]
    fn time_does_not_run_backwards() {
        assert!(now() <= now());
        assert!(unix_now() > 1_700_000_000);
    }
}
