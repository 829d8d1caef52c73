//! What a byte costs each node: CPU time of its kernel and of its system's processes while one flow goes as fast as the
//! processor lets it (paper 003, Fig. 10).
//!
//! For the machine that counts instructions, whose CPU time is a count of them: a nanosecond is an instruction. Links
//! have no rate meanwhile, and interfaces receive several packets as one, as network cards do (GRO); senders segment
//! by themselves (no TSO), for else a relay that ends connections would hand packets of 64 KiB to the next.
//! The workload's own client and server are in no account.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::accounts::{Account, Used, left_over, like_cards};
use super::stage::{receivers_report, window_arguments, words};
use super::stream::direction_word;
use super::{Arena, Outcome, Sample};
use crate::traffic::{Direction, StreamReport, Window, sleep_until};

const PORT: u16 = 5006;
/// Until the connection is there.
const CONNECT: Duration = Duration::from_secs(1);
/// Octets of a write.
const CHUNK: u32 = 65536;

/// What can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which way the payload goes: `put` to the server, `get` to the client.
    pub direction: Direction,
    /// The circuit, by its place in the experiment's list.
    pub circuit: usize,
    /// Seconds from the connection to the window.
    pub warmup_s: f64,
    /// Seconds that the window is open.
    pub seconds: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { direction: Direction::Get, circuit: 0, warmup_s: 0.5, seconds: 2.0 }
    }
}

pub(super) fn run(settings: &Settings, arena: Arena<'_>) -> Outcome<Vec<Sample>> {
    let at = settings.circuit;
    let (circuit, _) = arena.circuit(at)?;
    like_cards(arena.net)?;
    let names = std::iter::once(&circuit.client).chain(&circuit.hops);
    let mut accounts = Vec::new();
    for name in names {
        accounts.push(Account::open(arena.net.node(name)?)?);
    }
    let window = Window::after(
        CONNECT + Duration::try_from_secs_f64(settings.warmup_s)?,
        Duration::try_from_secs_f64(settings.seconds)?,
    );
    let mut servers =
        arena.serve(&[at], PORT, &[words(&["stream-serve"]), window_arguments(window)].concat())?;
    let mut argv = [words(&["stream"]), window_arguments(window)].concat();
    argv.extend(words(&["--flows", "1", "--chunk", &CHUNK.to_string(), "--answer-every", "0"]));
    let client = arena.spawn(at, PORT, &argv, &words(&[direction_word(settings.direction)]))?;
    sleep_until(window.opens);
    let before = read(&accounts)?;
    sleep_until(window.closes);
    let after = read(&accounts)?;
    let carried: StreamReport = receivers_report(settings.direction, client, &mut servers)?;
    if carried.bytes == 0 {
        return Err("found no payload, expected some in the window".into());
    }
    Ok(samples(&accounts, &before, &after, &carried))
}

/// All accounts at one moment, and what is in none.
#[derive(Debug)]
struct Reading {
    nodes: Vec<Used>,
    left_over: f64,
}

fn read(accounts: &[Account]) -> Outcome<Reading> {
    let nodes = accounts.iter().map(Account::used).collect::<Outcome<_>>()?;
    Ok(Reading { nodes, left_over: left_over(accounts)? })
}

/// Of each node: what it used for a byte of payload; of `bulk`: how much there was; of `nobody`: what is in no
/// account, which is little when accounts are right.
fn samples(accounts: &[Account], before: &Reading, after: &Reading, carried: &StreamReport) -> Vec<Sample> {
    let bytes = carried.bytes as f64;
    let mut samples = vec![
        Sample::new("bulk", "goodput", "sum", "Mbit/s", carried.mbit_s),
        Sample::new("bulk", "payload", "sum", "B", bytes),
    ];
    for ((account, after), before) in accounts.iter().zip(&after.nodes).zip(&before.nodes) {
        let used = after.since(*before);
        let parts = [("cpu", used.kernel + used.user), ("cpu_kernel", used.kernel), ("cpu_user", used.user)];
        let of = |(what, ns): (&str, f64)| Sample::new(&account.node, what, "sum", "instr/B", ns / bytes);
        samples.extend(parts.map(of));
    }
    let left_over = (after.left_over - before.left_over) / bytes;
    samples.push(Sample::new("nobody", "cpu_unaccounted", "sum", "instr/B", left_over));
    samples
}
