//! Calls by UDP: 50 datagrams of 172 octets a second both ways, as with G.711.
//!
//! Loss, one-way delay and jitter of each direction, and the share of datagrams that were of no use: lost, or later
//! than a listener waits for (150 ms, ITU-T G.114). A system that carries TCP only gives `supported` 0 and nothing
//! else. Downloads may go on meanwhile, on a circuit of their own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stage::{report, window_arguments, words};
use super::stream::{bulk_samples, pinned, sender_tuning};
use super::{Arena, Outcome, Sample};
use crate::systems::Way;
use crate::traffic::{CallReport, Direction, Window, sleep_until};

const PORT: u16 = 5005;
const BULK_PORT: u16 = 5002;
const CONNECT: Duration = Duration::from_secs(2);

/// What can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The circuit of the call, by its place in the experiment's list.
    pub circuit: usize,
    /// Seconds of it that count.
    pub seconds: f64,
    /// Seconds before those, in which downloads find their rate.
    pub warmup_s: f64,
    /// Datagrams a second.
    pub pps: f64,
    /// Octets of payload in each.
    pub bytes: u16,
    /// Milliseconds after which a datagram is of no use any more.
    pub late_ms: f64,
    /// Downloads meanwhile.
    pub flows: u16,
    /// The circuit of the downloads.
    pub bulk: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            circuit: 0,
            seconds: 30.0,
            warmup_s: 5.0,
            pps: 50.0,
            bytes: 172,
            late_ms: 150.0,
            flows: 0,
            bulk: 1,
        }
    }
}

pub(super) fn run(settings: &Settings, arena: Arena<'_>) -> Outcome<Vec<Sample>> {
    let at = settings.circuit;
    let supported = |value| Sample::new("call", "supported", "mean", "1", value);
    if let (_, Way::Socks(_)) = arena.circuit(at)? {
        return Ok(vec![supported(0.0)]);
    }
    let wait = CONNECT + Duration::try_from_secs_f64(settings.warmup_s)?;
    let window = Window::after(wait, Duration::try_from_secs_f64(settings.seconds)?);
    let mut talk = window_arguments(window);
    talk.extend(words(&["--pps", &settings.pps.to_string(), "--size", &settings.bytes.to_string()]));
    talk.extend(words(&["--late-ms", &settings.late_ms.to_string()]));
    let mut servers = arena.serve(&[at], PORT, &[words(&["call-serve"]), talk.clone()].concat())?;
    let caller = arena.spawn(at, PORT, &[words(&["call"]), talk].concat(), &[])?;

    let mut loading = None;
    let mut _bulk_servers = Vec::new();
    if settings.flows > 0 {
        pinned(arena, settings.bulk, Direction::Get)?;
        _bulk_servers = arena.serve(&[settings.bulk], BULK_PORT, &words(&["stream-serve"]))?;
        let mut argv = [words(&["stream"]), window_arguments(window), sender_tuning(None, 4096)].concat();
        argv.extend(words(&["--flows", &settings.flows.to_string()]));
        loading = Some(arena.spawn(settings.bulk, BULK_PORT, &argv, &words(&["get"]))?);
    }

    sleep_until(window.closes);
    let mut samples = vec![supported(1.0)];
    samples.extend(call_samples("call-down", &report(caller)?));
    let server = servers.pop().ok_or("found no server, expected one")?;
    samples.extend(call_samples("call-up", &report(server)?));
    if let Some(loading) = loading {
        samples.extend(bulk_samples(settings.flows, &report(loading)?));
    }
    Ok(samples)
}

/// Of one direction, as its listener heard it.
fn call_samples(of: &str, heard: &CallReport) -> Vec<Sample> {
    let share = |count: u64| if heard.expected == 0 { 0.0 } else { count as f64 / heard.expected as f64 };
    let lost = heard.expected.saturating_sub(heard.received);
    let mut samples = vec![
        Sample::count(of, "sent", heard.expected),
        Sample::new(of, "loss", "mean", "1", share(lost)),
        Sample::new(of, "late_loss", "mean", "1", share(lost + heard.late)),
        Sample::new(of, "jitter", "mean", "ms", heard.jitter_ms),
    ];
    samples.extend(Sample::spread(of, "delay", "ms", &heard.delay_ms));
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_is_as_bad_as_lost() {
        let heard = CallReport { expected: 100, received: 95, late: 5, ..CallReport::default() };
        let samples = call_samples("call-up", &heard);
        let value = |what: &str| samples.iter().find(|sample| sample.what == what).map(|sample| sample.value);
        assert_eq!((value("loss"), value("late_loss"), value("sent")), (Some(0.05), Some(0.1), Some(100.0)));
    }
}
