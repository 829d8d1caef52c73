//! Honest clients while strangers flood a relay with first messages from addresses that are not theirs.
//!
//! This is a model around the whole daemon but its IO: one core, in front of it the buffer of a socket. Time
//! is virtual, and every datagram takes as long as its processing was measured to take plus a fixed time for
//! system calls. What a network card and the kernel make of the flood is not in it.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ippriv::entropy::{Entropy, Seeded};
use ippriv::time::Instant;
use serde_json::{Value, json};

use super::Bench;
use super::ike_relay::{Client, Daemon, Exchanges, Responder, cpu_time};
use crate::runner::Clock;

pub(super) const ALL: &[Bench] = &[Bench {
    name: "ike-flood",
    about: "share of clients that connect while 10,000 spoofed IKE_SA_INIT a second arrive",
    clock: Clock::Real,
    in_lab: flood,
    cpu: None,
}];

/// Time between two spoofed messages.
const SPOOFED_EVERY: Duration = Duration::from_micros(100);
/// Time between two honest clients, and when the first and the last come. By then what the flood has made
/// half-open has run out once and begun again.
const CLIENT_EVERY: Duration = Duration::from_millis(10);
const FIRST: Duration = Duration::from_secs(1);
const CLIENTS: u32 = 4000;
/// Time from a client to the relay, and back.
const WAY: Duration = Duration::from_millis(25);
/// Datagrams that wait at the socket: as many as Linux lets in by default, 212,992 octets with 768 for each.
const BUFFER: usize = 277;
/// Time of a system call that receives or sends a datagram: more than they take on hardware of this decade.
const SYSTEM_CALL: Duration = Duration::from_micros(5);

/// What happens at a time.
enum Happening {
    /// The next spoofed message.
    Spoofed,
    /// An honest client's datagram at the relay.
    AtRelay(SocketAddr, Vec<u8>),
    /// The relay is ready for what waits.
    Ready,
    /// A client begins.
    Begins(u32),
    /// A datagram at a client.
    AtClient(u32, Vec<u8>),
    /// A client's timer.
    Timer(u32),
}

/// An honest client on its way to a circuit.
struct Trying {
    client: Client,
    since: Instant,
}

/// All of the model.
struct Model {
    now: Instant,
    to_come: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    relay: Daemon,
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Whether the relay works at a datagram.
    busy: bool,
    spent: Duration,
    lost: u32,
    arrived: u32,
    random: Seeded,
    /// A first message, which strangers repeat with other SPIs.
    first: Vec<u8>,
    trying: BTreeMap<u32, Trying>,
    numbers: BTreeMap<SocketAddr, u32>,
    begun: u32,
    connected: Vec<Duration>,
}

fn flood() -> Result<Value, Box<dyn Error>> {
    model(CLIENTS, Some(SPOOFED_EVERY))
}

/// Lets so many honest clients come while strangers send a message every so often.
fn model(clients: u32, spoofed_every: Option<Duration>) -> Result<Value, Box<dyn Error>> {
    let began = Instant::from_epoch(Duration::from_secs(1000));
    let mut first = Client::new(u32::MAX, Exchanges::WithMlKem, began)?;
    let mut model = Model {
        now: began,
        to_come: BTreeMap::new(),
        sequence: 0,
        relay: Daemon::new(began)?,
        waiting: VecDeque::new(),
        busy: false,
        spent: Duration::ZERO,
        lost: 0,
        arrived: 0,
        random: Seeded::new([3; 32]),
        first: first.sends().pop().ok_or("found no first message, expected one")?,
        trying: BTreeMap::new(),
        numbers: BTreeMap::new(),
        begun: 0,
        connected: Vec::new(),
    };
    if spoofed_every.is_some() {
        model.plan(Duration::ZERO, Happening::Spoofed);
    }
    model.plan(FIRST, Happening::Begins(0));
    while model.begun < clients || !model.trying.is_empty() {
        let Some(((at, _), what)) = model.to_come.pop_first() else { break };
        model.now = at;
        model.happen(what, clients, spoofed_every)?;
    }
    Ok(model.figures(began))
}

impl Model {
    fn plan(&mut self, after: Duration, what: Happening) {
        self.sequence += 1;
        self.to_come.insert((self.now + after, self.sequence), what);
    }

    fn happen(
        &mut self,
        what: Happening,
        clients: u32,
        spoofed_every: Option<Duration>,
    ) -> Result<(), Box<dyn Error>> {
        match what {
            Happening::Spoofed => {
                let source = Ipv4Addr::from_bits(self.random.u32());
                let mut datagram = self.first.clone();
                self.random.public_fill(datagram.first_chunk_mut::<8>().ok_or("found no SPI in a message")?);
                self.arrive(SocketAddr::new(IpAddr::V4(source), 500), datagram);
                if let Some(every) = spoofed_every {
                    self.plan(every, Happening::Spoofed);
                }
            }
            Happening::AtRelay(from, datagram) => self.arrive(from, datagram),
            Happening::Ready => {
                self.busy = false;
                self.serve();
            }
            Happening::Begins(nth) => {
                let client = Client::new(nth, Exchanges::WithMlKem, self.now)?;
                self.begun += 1;
                self.numbers.insert(client.address(), nth);
                self.trying.insert(nth, Trying { client, since: self.now });
                self.follow(nth);
                if nth + 1 < clients {
                    self.plan(CLIENT_EVERY, Happening::Begins(nth + 1));
                }
            }
            Happening::AtClient(nth, datagram) => {
                if let Some(Trying { client, .. }) = self.trying.get_mut(&nth) {
                    client.hear(self.now, &datagram);
                }
                self.follow(nth);
            }
            Happening::Timer(nth) => {
                if let Some(Trying { client, .. }) = self.trying.get_mut(&nth) {
                    client.time(self.now);
                }
                self.follow(nth);
            }
        }
        Ok(())
    }

    /// Sends what a client wants to send, and sees how far it has come.
    fn follow(&mut self, nth: u32) {
        let Some(Trying { client, since }) = self.trying.get_mut(&nth) else { return };
        let (from, since) = (client.address(), *since);
        let sent = client.sends();
        let (connected, over) = (client.connected(), client.connected() || client.closed());
        let due = client.due().map(|due| if due > self.now { due - self.now } else { Duration::ZERO });
        for datagram in sent {
            self.plan(WAY, Happening::AtRelay(from, datagram));
        }
        if connected {
            self.connected.push(self.now - since);
        }
        if over {
            self.trying.remove(&nth);
        } else if let Some(due) = due {
            self.plan(due, Happening::Timer(nth));
        }
    }

    /// A datagram reaches the relay's socket.
    fn arrive(&mut self, from: SocketAddr, datagram: Vec<u8>) {
        self.arrived += 1;
        if self.waiting.len() >= BUFFER {
            self.lost += 1;
            return;
        }
        self.waiting.push_back((from, datagram));
        if !self.busy {
            self.serve();
        }
    }

    /// The relay takes the next datagram, and is ready again after the time that this takes.
    fn serve(&mut self) {
        let Some((from, datagram)) = self.waiting.pop_front() else { return };
        let start = cpu_time();
        let mut answers = Vec::new();
        if self.relay.due().is_some_and(|due| due <= self.now) {
            answers = self.relay.time(self.now);
        }
        answers.extend(self.relay.answer(self.now, from, &datagram));
        let calls = 1 + u32::try_from(answers.len()).unwrap_or(u32::MAX);
        let took = cpu_time().saturating_sub(start) + SYSTEM_CALL * calls;
        self.spent += took;
        self.busy = true;
        self.plan(took, Happening::Ready);
        for (to, datagram) in answers {
            if let Some(nth) = self.numbers.get(&to) {
                self.plan(took + WAY, Happening::AtClient(*nth, datagram));
            }
        }
    }

    fn figures(mut self, began: Instant) -> Value {
        self.connected.sort_unstable();
        let connected = u32::try_from(self.connected.len()).unwrap_or(u32::MAX);
        let milliseconds = |nth: usize| self.connected.get(nth).copied().unwrap_or_default().as_millis();
        let count = self.connected.len();
        json!({
            "honest_completion": share(connected, self.begun),
            "honest_started": self.begun,
            "median_ms": u64::try_from(milliseconds(count / 2)).unwrap_or(u64::MAX),
            "slowest_of_100_ms": u64::try_from(milliseconds(count * 99 / 100)).unwrap_or(u64::MAX),
            "datagrams": self.arrived,
            "lost_at_socket": share(self.lost, self.arrived),
            "core_busy": round(self.spent.as_secs_f64() / (self.now - began).as_secs_f64()),
        })
    }
}

fn share(part: u32, whole: u32) -> f64 {
    round(f64::from(part) / f64::from(whole))
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_flood_everybody_connects() {
        let figures = model(20, None).unwrap();
        assert_eq!(figures["honest_completion"], 1.0, "{figures}");
        assert_eq!(figures["honest_started"], 20);
    }

    #[test]
    fn the_flood_arrives_at_the_relay() {
        let figures = model(5, Some(Duration::from_millis(1))).unwrap();
        let datagrams = figures["datagrams"].as_u64().unwrap();
        assert!(datagrams > 1000, "{figures}");
    }
}
