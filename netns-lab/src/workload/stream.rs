//! Bulk flows in the manner of thrulay, and a probe beside them: goodput and delay of papers 003 (Fig. 2, 4, 6), 002.
//!
//! Bulk payload is chunks of 1024 octets, each with the time when its sender had room for it; their receiver counts
//! payload and one-way delays while the window is open (all nodes have one clock). When the client sends, the server
//! answers every eighth chunk with 16 octets, as thrulay's does every one: through Tor each answer is a cell.
//!
//! The probe is another connection, by default on a circuit of its own: 1024 octets every 100 ms, echoed. On the
//! circuit of the bulk flows Tor's client can starve it for 10 s.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stage::{pin_loopback, receivers_report, report, window_arguments, words};
use super::{Arena, Outcome, Sample};
use crate::systems::Way;
use crate::traffic::{Direction, ProbeReport, StreamReport, Window, fairness, sleep_until};

const PORT: u16 = 5002;
/// Until all connections are there, before the warm-up begins.
const CONNECT: Duration = Duration::from_secs(2);
/// Octets of buffers of connections to a SOCKS proxy, unless said otherwise.
const PROXY_BUFFER: u32 = 65536;

/// What can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bulk flows at once; 0 for the probe alone.
    pub flows: u16,
    /// Which way the payload goes: `put` to the server, `get` to the client.
    pub direction: Direction,
    /// Seconds from the connections to the window.
    pub warmup_s: f64,
    /// Seconds that the window is open.
    pub seconds: f64,
    /// The circuit of the bulk flows, by its place in the experiment's list.
    pub bulk: usize,
    /// The circuit of the probe; no probe if this is null. With one circuit only it is that of the bulk flows.
    pub probe: Option<usize>,
    /// Congestion control of our own sockets, at client and server; the kernel's default (cubic) if not said. The
    /// sockets of a system's own programs, such as Tor's, are its driver's matter.
    pub host_cc: Option<String>,
    /// Octets of the send and the receive buffer of our sockets; if not said, 65536 towards a SOCKS proxy and what
    /// the kernel finds best elsewhere.
    pub socket_buffer: Option<u32>,
    /// Octets that may wait unsent in the sender's socket, so that delays are the network's and not its buffer's.
    pub notsent_lowat: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flows: 1,
            direction: Direction::Put,
            warmup_s: 5.0,
            seconds: 20.0,
            bulk: 0,
            probe: Some(1),
            host_cc: None,
            socket_buffer: None,
            notsent_lowat: 4096,
        }
    }
}

pub(super) fn run(settings: &Settings, arena: Arena<'_>) -> Outcome<Vec<Sample>> {
    let Settings { warmup_s, seconds, bulk, direction, .. } = *settings;
    let probe = settings.probe.map(|at| at.min(arena.circuits.len().saturating_sub(1)));
    let wait = CONNECT + Duration::try_from_secs_f64(warmup_s)?;
    let mut samples = Vec::new();

    let way = pinned(arena, bulk, direction)?;
    let window = Window::after(wait, Duration::try_from_secs_f64(seconds)?);
    let serve = [words(&["stream-serve"]), window_arguments(window)].concat();
    let circuits: Vec<usize> = [bulk].into_iter().chain(probe).collect();
    let mut servers = arena.serve(&circuits, PORT, &serve)?;

    let tuning = sender_tuning(settings.host_cc.as_deref(), settings.notsent_lowat);
    let mut argv = [words(&["stream"]), window_arguments(window), tuning].concat();
    argv.extend(words(&["--flows", &settings.flows.to_string()]));
    let buffer = settings.socket_buffer.or(matches!(way, Way::Socks(_)).then_some(PROXY_BUFFER));
    argv.extend(buffer.iter().flat_map(|octets| words(&["--buffer", &octets.to_string()])));
    let flows = arena.spawn(bulk, PORT, &argv, &words(&[direction_word(direction)]))?;
    let probing = probe.map(|at| {
        let argv = [words(&["probe"]), window_arguments(window)].concat();
        arena.spawn(at, PORT, &argv, &[])
    });
    let probing = probing.transpose()?;

    sleep_until(window.closes);
    let carried: StreamReport = receivers_report(direction, flows, &mut servers)?;
    if settings.flows > 0 {
        samples.extend(bulk_samples(settings.flows, &carried));
    }
    if let Some(probing) = probing {
        samples.extend(probe_samples(&report(probing)?));
    }
    Ok(samples)
}

/// Arguments about our own sockets.
pub(super) fn sender_tuning(host_cc: Option<&str>, notsent_lowat: u32) -> Vec<String> {
    let mut argv = words(&["--notsent-lowat", &notsent_lowat.to_string()]);
    argv.extend(host_cc.iter().flat_map(|name| words(&["--cc", name])));
    argv
}

pub(super) fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Get => "get",
        Direction::Put => "put",
    }
}

/// The way of a circuit whose loopback connections, if it has any, behave like those of a network.
pub(super) fn pinned(arena: Arena<'_>, at: usize, direction: Direction) -> Outcome<Way> {
    let (circuit, way) = arena.circuit(at)?;
    if let Way::Socks(_) = way {
        pin_loopback(arena.net.node(&circuit.client)?, direction == Direction::Put)?;
    }
    Ok(way)
}

/// Of `bulk`: goodput, fairness among flows, one-way delay, flows that did not last.
pub(super) fn bulk_samples(flows: u16, carried: &StreamReport) -> Vec<Sample> {
    let mut samples = vec![Sample::new("bulk", "goodput", "sum", "Mbit/s", carried.mbit_s)];
    samples.extend(carried.flows.iter().map(|rate| Sample::new("bulk", "goodput", "each", "Mbit/s", *rate)));
    let index = fairness(&carried.flows).filter(|_| flows > 1);
    samples.extend(index.map(|index| Sample::new("bulk", "fairness", "mean", "1", index)));
    samples.extend(Sample::spread("bulk", "delay", "ms", &carried.delay_ms));
    let lasted = (carried.flows.len() as u64).saturating_sub(carried.ended.into());
    samples.push(Sample::count("bulk", "ended", u64::from(flows).saturating_sub(lasted)));
    samples
}

/// Of `probe`: round trips, and what did not come back.
pub(super) fn probe_samples(probe: &ProbeReport) -> Vec<Sample> {
    let mut samples = Sample::spread("probe", "round_trip", "ms", &probe.round_trip_ms);
    samples.push(Sample::count("probe", "round_trip", probe.round_trip_ms.count));
    samples.push(Sample::count("probe", "lost", probe.lost));
    samples
}
