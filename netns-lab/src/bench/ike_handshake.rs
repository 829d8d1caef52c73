//! Clients that connect to a relay, as fast as one core of it can take them.
//!
//! Only the responder's CPU time counts. Its share in the time of the two curve operations and the signature
//! that every handshake takes at least is measured in turns with it, so that it says the same on any machine.

use std::error::Error;
use std::fs;
use std::time::Duration;

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::Ed25519KeyPair;
use ippriv::time::Instant;
use serde_json::{Value, json};

use super::Bench;
use super::ike_relay::{Client, Daemon, Engine, Exchanges, Responder, cpu_time};
use crate::runner::Clock;

pub(super) const ALL: &[Bench] = &[Bench {
    name: "ike-handshake",
    about: "IKEv2 handshakes that a relay answers in a second of one core, and memory for each",
    clock: Clock::Real,
    in_lab: handshakes,
    cpu: None,
}];

/// How often each has its turn.
const ROUNDS: usize = 9;
/// Handshakes of a turn.
const TURN: u32 = 1000;
/// Handshakes under way at once: fewer than a relay asks for cookies at.
const BATCH: u32 = 200;
/// Connections for which memory is measured, and those before that fill what is there once.
const MANY: u32 = 20_000;
const BEFORE: u32 = 2_000;
/// Of the memory of a process.
const PAGE: u64 = 4096;
/// Where Debian's strongSwan would have the program to compare with.
const LOAD_TESTER: &str = "/usr/lib/ipsec/plugins/libstrongswan-load-tester.so";

fn handshakes() -> Result<Value, Box<dyn Error>> {
    let now = Instant::from_epoch(Duration::from_secs(1000));
    let octets = octets(now)?;
    let (mut engine, mut daemon) = (Engine::new()?, Daemon::new(now)?);
    let (mut classical, mut with_ml_kem) =
        (Turns::new(Exchanges::Classical), Turns::new(Exchanges::WithMlKem));
    let mut shares = Vec::new();
    let (mut rates, mut primitives) = ([const { Vec::new() }; 4], Vec::new());
    for _ in 0..ROUNDS {
        let alone = primitive_seconds()?;
        let engine_classical = classical.turn(now, &mut engine)?;
        let turns = [
            engine_classical,
            with_ml_kem.turn(now, &mut engine)?,
            classical.turn(now, &mut daemon)?,
            with_ml_kem.turn(now, &mut daemon)?,
        ];
        for (rates, seconds) in rates.iter_mut().zip(turns) {
            rates.push(1.0 / seconds);
        }
        primitives.push(1.0 / alone);
        shares.push(alone / engine_classical);
    }
    let [engine, engine_ml_kem, daemon, daemon_ml_kem] = rates.map(median);
    Ok(json!({
        "engine_per_s": engine.round(),
        "engine_ml_kem_per_s": engine_ml_kem.round(),
        "daemon_per_s": daemon.round(),
        "daemon_ml_kem_per_s": daemon_ml_kem.round(),
        "primitives_per_s": median(primitives).round(),
        "share_of_primitives": (median(shares) * 1e3).round() / 1e3,
        "daemon_bytes_per_sa": octets,
        "charon": if fs::exists(LOAD_TESTER)? { "not compared" } else { "not compared: no load-tester here" },
    }))
}

/// Clients that come in turns.
struct Turns {
    exchanges: Exchanges,
    last: u32,
}

impl Turns {
    const fn new(exchanges: Exchanges) -> Self {
        Self { exchanges, last: 0 }
    }

    /// Seconds that the responder takes for one handshake.
    fn turn(&mut self, now: Instant, responder: &mut dyn Responder) -> Result<f64, Box<dyn Error>> {
        let mut spent = Duration::ZERO;
        for _ in 0..TURN / BATCH {
            spent += self.batch(now, responder)?;
        }
        Ok(spent.as_secs_f64() / f64::from(TURN))
    }

    /// Handshakes side by side, and what they take of the responder.
    fn batch(&mut self, now: Instant, responder: &mut dyn Responder) -> Result<Duration, Box<dyn Error>> {
        let numbers = self.last..self.last + BATCH;
        self.last += BATCH;
        let mut clients =
            numbers.map(|nth| Client::new(nth, self.exchanges, now)).collect::<Result<Vec<_>, _>>()?;
        let mut spent = Duration::ZERO;
        loop {
            let sent: Vec<_> = clients.iter_mut().map(|client| (client.address(), client.sends())).collect();
            if sent.iter().all(|(_, sent)| sent.is_empty()) {
                break;
            }
            let start = cpu_time();
            let answers: Vec<_> = sent
                .iter()
                .map(|(from, sent)| {
                    sent.iter()
                        .flat_map(|datagram| responder.answer(now, *from, datagram))
                        .collect::<Vec<_>>()
                })
                .collect();
            spent += cpu_time().saturating_sub(start);
            for (client, answers) in clients.iter_mut().zip(answers) {
                for (_, datagram) in answers {
                    client.hear(now, &datagram);
                }
            }
        }
        match clients.iter().filter(|client| !client.connected()).count() {
            0 => Ok(spent),
            others => Err(format!("found {others} of {BATCH} clients not connected, expected none").into()),
        }
    }
}

/// Seconds of two X25519 operations and an Ed25519 signature, from the library that the engine takes.
fn primitive_seconds() -> Result<f64, Box<dyn Error>> {
    let peer = PrivateKey::generate(&X25519)?.compute_public_key()?;
    let identity = Ed25519KeyPair::from_seed_unchecked(&[7; 32])?;
    let start = cpu_time();
    for nth in 0..TURN {
        let own = PrivateKey::generate(&X25519)?;
        std::hint::black_box(own.compute_public_key()?);
        let peer = UnparsedPublicKey::new(&X25519, peer.as_ref());
        agreement::agree(&own, peer, Unspecified, |secret| Ok(std::hint::black_box(secret)[0]))?;
        std::hint::black_box(identity.sign(&nth.to_be_bytes()));
    }
    Ok(cpu_time().saturating_sub(start).as_secs_f64() / f64::from(TURN))
}

/// Octets of memory that the daemon takes for each of many connections.
fn octets(now: Instant) -> Result<u64, Box<dyn Error>> {
    let mut daemon = Daemon::new(now)?;
    let mut clients = Turns::new(Exchanges::Classical);
    while clients.last < BEFORE {
        clients.batch(now, &mut daemon)?;
    }
    let before = resident()?;
    while clients.last < BEFORE + MANY {
        clients.batch(now, &mut daemon)?;
    }
    Ok(resident()?.saturating_sub(before) / u64::from(MANY))
}

/// Octets of memory that this process has.
fn resident() -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).ok_or("found no second field in statm, expected one")?;
    Ok(pages.parse::<u64>()? * PAGE)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clients_of_a_batch_connect() {
        let now = Instant::from_epoch(Duration::from_secs(1000));
        for exchanges in [Exchanges::Classical, Exchanges::WithMlKem] {
            Turns::new(exchanges).batch(now, &mut Engine::new().unwrap()).unwrap();
            Turns::new(exchanges).batch(now, &mut Daemon::new(now).unwrap()).unwrap();
        }
    }

    #[test]
    fn our_memory_is_known() {
        assert!(resident().unwrap() > 1 << 20);
    }
}
