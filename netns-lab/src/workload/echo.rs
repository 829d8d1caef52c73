//! Streams of timestamps and a probe beside them: paper 001, Experiments 1 and 3.
//!
//! A server sends every client a continuous stream of timestamps, one in every 1024 octets: their volume is the
//! throughput, their age the latency (Experiment 1: one stream on each of eight circuits that share a link; where
//! packets are lost is the topology's matter). The probe is alone on the network for a while first: its base delay;
//! then the streams begin (Experiment 3: one stream, the probe on another circuit through the same relays).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stage::{report, window_arguments, words};
use super::stream::{pinned, probe_samples, sender_tuning};
use super::{Arena, Outcome, Sample};
use crate::traffic::{Direction, ProbeReport, Spread, StreamReport, Window, fairness, sleep_until};

const PORT: u16 = 5003;
const CONNECT: Duration = Duration::from_secs(2);

/// What can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The circuits with a stream, by their places in the experiment's list; all but the probe's if this is not said.
    pub streams: Option<Vec<usize>>,
    /// The circuit of the probe, if there is one.
    pub probe: Option<usize>,
    /// Seconds for which the probe is alone.
    pub base_s: f64,
    /// Seconds from the connections of the streams to the window.
    pub warmup_s: f64,
    /// Seconds that the window is open.
    pub seconds: f64,
    /// Congestion control of our own sockets, at client and server.
    pub host_cc: Option<String>,
    /// Octets that may wait unsent in a server's socket.
    pub notsent_lowat: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            streams: None,
            probe: None,
            base_s: 0.0,
            warmup_s: 5.0,
            seconds: 60.0,
            host_cc: None,
            notsent_lowat: 4096,
        }
    }
}

pub(super) fn run(settings: &Settings, arena: Arena<'_>) -> Outcome<Vec<Sample>> {
    let others = || (0..arena.circuits.len()).filter(|at| Some(*at) != settings.probe).collect();
    let streams: Vec<usize> = settings.streams.clone().unwrap_or_else(others);
    let all: Vec<usize> = streams.iter().copied().chain(settings.probe).collect();
    for at in &all {
        pinned(arena, *at, Direction::Get)?;
    }
    let _servers = arena.serve(&all, PORT, &words(&["stream-serve"]))?;
    let mut samples = Vec::new();

    if let Some(at) = settings.probe.filter(|_| settings.base_s > 0.0) {
        let window = Window::after(CONNECT, Duration::try_from_secs_f64(settings.base_s)?);
        let probe: ProbeReport = report(probe(arena, at, window)?)?;
        samples.extend(Sample::spread("probe", "base_round_trip", "ms", &probe.round_trip_ms));
    }

    let wait = CONNECT + Duration::try_from_secs_f64(settings.warmup_s)?;
    let window = Window::after(wait, Duration::try_from_secs_f64(settings.seconds)?);
    let tuning = sender_tuning(settings.host_cc.as_deref(), settings.notsent_lowat);
    let argv = [words(&["stream", "--raw"]), window_arguments(window), tuning].concat();
    let mut clients = Vec::new();
    for at in streams {
        clients.push(arena.spawn(at, PORT, &argv, &words(&["get"]))?);
    }
    let probing = settings.probe.map(|at| probe(arena, at, window)).transpose()?;
    sleep_until(window.closes);
    let reports = clients.into_iter().map(report).collect::<Outcome<Vec<StreamReport>>>()?;
    samples.extend(stream_samples(&reports));
    if let Some(probing) = probing {
        samples.extend(probe_samples(&report(probing)?));
    }
    Ok(samples)
}

fn probe(arena: Arena<'_>, at: usize, window: Window) -> Outcome<crate::net::Background> {
    arena.spawn(at, PORT, &[words(&["probe"]), window_arguments(window)].concat(), &[])
}

/// Of `stream`: throughput of all and of each, fairness, the age of timestamps.
fn stream_samples(reports: &[StreamReport]) -> Vec<Sample> {
    let rates: Vec<f64> = reports.iter().map(|report| report.mbit_s).collect();
    let mut samples = vec![Sample::new("stream", "goodput", "sum", "Mbit/s", rates.iter().sum())];
    samples.extend(Sample::each("stream", "goodput", "Mbit/s", &rates));
    samples.extend(fairness(&rates).map(|index| Sample::new("stream", "fairness", "mean", "1", index)));
    let ages = reports.iter().flat_map(|report| report.delays_ms.iter().copied());
    samples.extend(Sample::spread("stream", "delay", "ms", &Spread::of(ages.collect())));
    let means = reports.iter().filter_map(|report| report.delay_ms.mean);
    samples.extend(means.map(|mean| Sample::new("stream", "delay", "each", "ms", mean)));
    samples.push(Sample::count(
        "stream",
        "ended",
        reports.iter().map(|report| u64::from(report.ended)).sum(),
    ));
    samples
}
