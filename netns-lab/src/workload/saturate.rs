//! As much as a system carries, over time: for real time, where processors and not links are the limit.
//!
//! TCP flows of 64 KiB writes, with buffers as the kernel finds best and no links with rates; goodput is also told
//! second by second, as samples of `t=0`, `t=1`, …, so that what happens to a relay meanwhile can be seen in it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stage::{receivers_report, window_arguments, words};
use super::stream::direction_word;
use super::{Arena, Outcome, Sample};
use crate::traffic::{Direction, StreamReport, Window, sleep_until};

const PORT: u16 = 5004;
const CONNECT: Duration = Duration::from_secs(2);
const CHUNK: u32 = 65536;

/// What can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Flows at once.
    pub flows: u16,
    /// Which way the payload goes: `put` to the server, `get` to the client.
    pub direction: Direction,
    /// The circuit, by its place in the experiment's list.
    pub circuit: usize,
    /// Seconds from the connections to the window.
    pub warmup_s: f64,
    /// Seconds that the window is open.
    pub seconds: f64,
    /// Milliseconds over each of which goodput is told.
    pub bin_ms: u32,
    /// Congestion control of our own sockets, at client and server.
    pub host_cc: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flows: 4,
            direction: Direction::Get,
            circuit: 0,
            warmup_s: 2.0,
            seconds: 20.0,
            bin_ms: 1000,
            host_cc: None,
        }
    }
}

pub(super) fn run(settings: &Settings, arena: Arena<'_>) -> Outcome<Vec<Sample>> {
    let at = settings.circuit;
    let wait = CONNECT + Duration::try_from_secs_f64(settings.warmup_s)?;
    let window = Window::after(wait, Duration::try_from_secs_f64(settings.seconds)?);
    let bins = words(&["--bin-ms", &settings.bin_ms.to_string()]);
    let serve = [words(&["stream-serve"]), window_arguments(window), bins.clone()].concat();
    let mut servers = arena.serve(&[at], PORT, &serve)?;
    let mut argv = [words(&["stream"]), window_arguments(window), bins].concat();
    argv.extend(words(&["--flows", &settings.flows.to_string()]));
    argv.extend(words(&["--chunk", &CHUNK.to_string(), "--answer-every", "0"]));
    argv.extend(settings.host_cc.iter().flat_map(|name| words(&["--cc", name])));
    let client = arena.spawn(at, PORT, &argv, &words(&[direction_word(settings.direction)]))?;
    sleep_until(window.closes);
    let carried: StreamReport = receivers_report(settings.direction, client, &mut servers)?;
    Ok(samples(settings, &carried))
}

/// Of `bulk`: goodput and bytes; of each bin's beginning: goodput in it.
fn samples(settings: &Settings, carried: &StreamReport) -> Vec<Sample> {
    let mut samples = vec![
        Sample::new("bulk", "goodput", "sum", "Mbit/s", carried.mbit_s),
        Sample::new("bulk", "payload", "sum", "B", carried.bytes as f64),
        Sample::count("bulk", "ended", carried.ended.into()),
    ];
    samples.extend(carried.bins.iter().enumerate().map(|(at, rate)| {
        let begins = at as f64 * f64::from(settings.bin_ms) / 1e3;
        Sample::new(&format!("t={begins}"), "goodput_at", "sum", "Mbit/s", *rate)
    }));
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_named_after_when_they_begin() {
        let carried = StreamReport { bins: vec![1.0, 2.0, 3.0], ..StreamReport::default() };
        let settings = Settings { bin_ms: 500, ..Settings::default() };
        let samples = samples(&settings, &carried);
        let names: Vec<&str> = samples.iter().map(|sample| sample.of.as_str()).collect();
        assert_eq!(names[3..], ["t=0", "t=0.5", "t=1"]);
    }
}
