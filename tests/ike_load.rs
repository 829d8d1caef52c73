//! What many clients cost a relay. Measurements, not tests: run with `--release -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/ike_pair.rs"]
mod ike_pair;

use std::time::Duration;

use ike_pair::*;
use ippriv::entropy::Seeded;
use ippriv::ike::{Endpoint, Event, Output, OwnAuth, Path, SocketId};
use ippriv::time::Instant;

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[ignore = "measures, and takes seconds"]
fn a_relay_with_many_clients() {
    const CLIENTS: u32 = 10_000;
    let mut limits = settings();
    limits.half_open.per_prefix = 1_000_000;
    let mut relay = Endpoint::new(limits, Seeded::new([1; 32]));
    let answer = Pair::new(1).hosts[RELAY].answer.clone();
    let now = Instant::from_epoch(Duration::from_secs(1));
    let path = |local: &str, remote: String| Path {
        socket: SocketId(0),
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
    };
    let pair = Pair::new(1);
    let mut spent = Duration::ZERO;
    let before = resident();
    let mut datagrams = Vec::new();
    for nth in 0..CLIENTS {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&nth.to_be_bytes());
        let mut client = Endpoint::new(settings(), Seeded::new(seed));
        client.connect(now, pair.wish(OwnAuth::Null));
        let source = format!("10.{}.{}.{}:500", nth >> 16, (nth >> 8) & 255, nth & 255);
        for _ in 0..2 {
            while let Some(output) = client.poll_output() {
                if let Output::Transmit { datagram, .. } = output {
                    datagrams.push(datagram);
                }
            }
            #[expect(clippy::disallowed_methods, reason = "this is a measurement")]
            let start = std::time::Instant::now();
            let mut answers = Vec::new();
            for datagram in datagrams.drain(..) {
                relay.handle_datagram(now, path("198.51.100.1:500", source.clone()), &datagram);
                while let Some(output) = relay.poll_output() {
                    match output {
                        Output::Transmit { datagram, .. } => answers.push(datagram),
                        Output::Event(handle, Event::ChildWanted(_)) => {
                            relay.answer_child(now, handle, answer.clone());
                        }
                        Output::Event(handle, Event::ChildKeys(keys)) => {
                            relay.child_installed(now, handle, keys.child, Ok(()));
                        }
                        Output::Event(..) | Output::Changed(_) => {}
                    }
                }
            }
            spent += start.elapsed();
            for datagram in answers {
                client.handle_datagram(now, path("192.0.2.1:500", "198.51.100.1:500".to_owned()), &datagram);
            }
        }
    }
    assert_eq!(relay.len(), usize::try_from(CLIENTS).unwrap());
    assert_eq!(relay.half_open(), 0);
    println!("{:.0} handshakes/s", f64::from(CLIENTS) / spent.as_secs_f64());
    println!("{} octets a connection", (resident() - before) / u64::from(CLIENTS));
}
