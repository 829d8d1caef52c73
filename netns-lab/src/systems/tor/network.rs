//! A running network: relays from their kept state, a client with one circuit each, and what they count.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::blueprint::Blueprint;
use super::control::Control;
use super::daemon::{Daemon, Program};
use super::settings::Settings;
use super::state::State;
use super::{TorError, clock, pinned, torrc};
use crate::net::{NetError, Node};
use crate::systems::{Outcome, Place, Running, Way};

/// The SOCKS port of a node's first client; the next ones follow.
const SOCKS_PORT: u16 = 9050;
/// Relays tell the authority what they are and try how fast they are when they start. They are ready when all of
/// them together have written less than [`QUIET_BYTES`] in that time.
const QUIET: Duration = Duration::from_secs(5);
const QUIET_BYTES: u64 = 20_000;
/// How often to look whether they are: a slow and lossy link takes its time.
const QUIET_TRIES: u32 = 60;
/// After the end of a circuit, until every word of it is acknowledged. Tor leaves Nagle's algorithm on: what came
/// next would wait for that.
const PAUSE: Duration = Duration::from_secs(1);
/// What the kernel keeps at most of what a program has written to a SOCKS port and Tor has not read, in bytes. With
/// its buffers growing as they like there are megabytes: seconds of delay that are neither Tor's nor the network's.
const SOCKS_BUFFER: u32 = 65_536;
/// The same of Tor's connections to relays: more than any link of a lab has under way.
const LINK_BUFFER: u32 = 4 << 20;

/// Tor on all relays and clients; ends when dropped.
#[derive(Debug)]
pub(super) struct Network {
    relays: Vec<Daemon>,
    clients: Vec<Client>,
    /// What relays had read and written when all was ready.
    before: [u64; 2],
}

#[derive(Debug)]
struct Client {
    daemon: Daemon,
    socks: SocketAddr,
    path: Vec<String>,
    set_up: Duration,
}

impl Network {
    /// Starts everything and builds all circuits.
    pub(super) fn start(settings: &Settings, place: Place<'_>) -> Result<Self, TorError> {
        let program = Program::find()?;
        let blueprint = Blueprint::new(settings, place.net.topology())?;
        let state = State::open(&program, &blueprint)?;
        let pins = place.circuits.iter().map(|circuit| pinned(circuit, &state, &blueprint));
        let pins = pins.collect::<Result<Vec<_>, _>>()?;
        let start = Start { settings, place, program, blueprint, state, pins };
        clock::align()?;
        let mut relays = start.relays()?;
        for relay in &mut relays {
            await_directory(relay)?;
        }
        let mut clients = start.clients()?;
        for client in &mut clients {
            await_directory(&mut client.daemon)?;
        }
        await_quiet(&relays)?;
        for client in &mut clients {
            // The first one brings up the connections below it, from relay to relay; the second one is the circuit
            // alone.
            client.build()?.close(&mut client.daemon)?;
            thread::sleep(PAUSE);
            client.set_up = client.build()?.took;
        }
        start.open(&mut clients)?;
        let mut network = Self { relays, clients, before: [0; 2] };
        network.before = traffic(&network.relays)?;
        Ok(network)
    }
}

impl Running for Network {
    fn ways(&self) -> Vec<Way> {
        self.clients.iter().map(|client| Way::Socks(client.socks)).collect()
    }

    fn set_up(&self) -> Vec<Option<Duration>> {
        self.clients.iter().map(|client| Some(client.set_up)).collect()
    }

    /// `relays_read` and `relays_written` in bytes, of all relays together and with all that Tor adds; `circuits`
    /// that are there now, `circuits_lost` of those that were built.
    fn counters(&self) -> Outcome<BTreeMap<String, f64>> {
        let [read, written] = traffic(&self.relays)?;
        let [read_before, written_before] = self.before;
        let (mut open, mut lost) = (0_u32, 0_u32);
        for client in &self.clients {
            let there = client.circuits()?;
            open += there;
            lost += u32::from(there == 0);
        }
        let counters = [
            ("relays_read", read.saturating_sub(read_before) as f64),
            ("relays_written", written.saturating_sub(written_before) as f64),
            ("circuits", f64::from(open)),
            ("circuits_lost", f64::from(lost)),
        ];
        Ok(counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// All that a start needs to know.
struct Start<'a, 'net> {
    settings: &'a Settings,
    place: Place<'net>,
    program: Program,
    blueprint: Blueprint,
    state: State,
    /// Of the circuits, in their order.
    pins: Vec<torrc::Pinned>,
}

impl Start<'_, '_> {
    fn relays(&self) -> Result<Vec<Daemon>, TorError> {
        let mut relays = Vec::new();
        for (number, relay) in self.blueprint.relays.iter().enumerate() {
            let node = self.place.net.node(&relay.name)?;
            set(node, &[("tcp_congestion_control", self.settings.relay_tcp.name())])?;
            let dir = node.folder().join("tor");
            self.state.copy_relay(&relay.name, &dir)?;
            let authority = &self.state.directory.authority;
            let torrc = torrc::relay(&self.blueprint, number, &dir, authority, self.settings.scheduler);
            relays.push(Daemon::start(&self.program, Some(node), &relay.name, &dir, &torrc)?);
        }
        Ok(relays)
    }

    fn clients(&self) -> Result<Vec<Client>, TorError> {
        let mut taken = BTreeMap::<&str, u16>::new();
        let mut clients = Vec::new();
        for (circuit, pinned) in self.place.circuits.iter().zip(&self.pins) {
            let node = self.place.net.node(&circuit.client)?;
            let number = taken.entry(&circuit.client).or_default();
            if *number == 0 {
                self.furnish(node)?;
            }
            let port = SOCKS_PORT + *number;
            *number += 1;
            let dir = node.folder().join(format!("tor-{port}"));
            self.state.copy_client(&dir)?;
            let authority = &self.state.directory.authority;
            let torrc = torrc::client(&dir, authority, self.settings.scheduler, pinned);
            let daemon = Daemon::start(&self.program, Some(node), &circuit.client, &dir, &torrc)?;
            let socks = (Ipv4Addr::LOCALHOST, port).into();
            clients.push(Client { daemon, socks, path: pinned.hops.clone(), set_up: Duration::ZERO });
        }
        Ok(clients)
    }

    /// Makes a client's node fit for Tor's connections to relays.
    fn furnish(&self, node: Node<'_>) -> Result<(), TorError> {
        // With the loopback's usual 64 KiB no write fills a packet, and TCP holds back what does not for the
        // acknowledgement of what went before.
        node.run(&["ip", "link", "set", "lo", "mtu", "1500"])?;
        set(
            node,
            &[
                ("tcp_congestion_control", self.settings.client_tcp.name()),
                ("tcp_moderate_rcvbuf", "0"),
                ("tcp_rmem", &format!("4096 {LINK_BUFFER} {LINK_BUFFER}")),
            ],
        )
    }

    /// Lets programs in, now that the connections to relays have their buffers.
    fn open(&self, clients: &mut [Client]) -> Result<(), TorError> {
        for (client, circuit) in clients.iter_mut().zip(self.place.circuits) {
            let node = self.place.net.node(&circuit.client)?;
            set(node, &[("tcp_rmem", &format!("4096 {SOCKS_BUFFER} {SOCKS_BUFFER}"))])?;
            let command = format!("SETCONF SocksPort=\"{}\"", client.socks);
            let mut control = client.daemon.control()?;
            control.ask(&command).map_err(|error| client.daemon.failed(error))?;
        }
        Ok(())
    }
}

/// A circuit that was just built.
struct Built {
    control: Control,
    id: String,
    took: Duration,
}

impl Client {
    /// Builds the circuit and says how long that took.
    fn build(&mut self) -> Result<Built, TorError> {
        let mut control = self.daemon.control()?;
        let mut build = || {
            control.ask("SETEVENTS CIRC")?;
            let begun = now();
            let said = control.ask(&format!("EXTENDCIRCUIT 0 {}", self.path.join(",")))?.concat();
            let id = said.trim_start_matches("EXTENDED ").to_owned();
            loop {
                let event = control.circuit_event()?;
                match event.state.as_str() {
                    "BUILT" if event.id == id => return Ok((id, begun.elapsed())),
                    "FAILED" | "CLOSED" if event.id == id => {
                        let said = format!("{} after {} hops", event.state, event.path.len());
                        return Err(super::ControlError::Refused {
                            command: "EXTENDCIRCUIT".to_owned(),
                            said,
                        });
                    }
                    _ => {}
                }
            }
        };
        let built = build();
        let (id, took) = built.map_err(|error| self.daemon.failed(error))?;
        Ok(Built { control, id, took })
    }

    /// How many circuits there are. All of them have to be of the pinned relays.
    fn circuits(&self) -> Result<u32, TorError> {
        let circuits = self.daemon.talk()?.circuits().map_err(|error| self.daemon.failed(error))?;
        let built = circuits.into_iter().filter(|circuit| circuit.state == "BUILT");
        let mut count = 0;
        for circuit in built.filter(|circuit| circuit.purpose == "GENERAL") {
            if circuit.path != self.path {
                let found = format!("a path of its own, {}", circuit.path.join(" "));
                let client = self.daemon.name.clone();
                return Err(TorError::Circuit { client, found, expected: "the pinned one" });
            }
            count += 1;
        }
        Ok(count)
    }
}

impl Built {
    fn close(mut self, daemon: &mut Daemon) -> Result<(), TorError> {
        let mut close = || {
            self.control.ask(&format!("CLOSECIRCUIT {}", self.id))?;
            while self.control.circuit_event()?.state != "CLOSED" {}
            Ok(())
        };
        close().map_err(|error| daemon.failed(error))
    }
}

/// Waits until a Tor knows the network, which it does from its kept state.
fn await_directory(daemon: &mut Daemon) -> Result<(), TorError> {
    let mut control = daemon.control()?;
    daemon.wait_for("it to know the network", |daemon| {
        Ok(control.word("status/enough-dir-info").map_err(|error| daemon.failed(error))? == "1")
    })
}

/// Bytes that relays have read and written.
fn traffic(relays: &[Daemon]) -> Result<[u64; 2], TorError> {
    let mut sums = [0; 2];
    for relay in relays {
        let mut control = relay.talk()?;
        for (sum, key) in sums.iter_mut().zip(["traffic/read", "traffic/written"]) {
            let word = control.word(key).map_err(|error| relay.failed(error))?;
            *sum += word.parse::<u64>().unwrap_or_default();
        }
    }
    Ok(sums)
}

/// Waits until relays have nothing to do any more.
fn await_quiet(relays: &[Daemon]) -> Result<(), TorError> {
    let mut before = traffic(relays)?[1];
    for _ in 0..QUIET_TRIES {
        thread::sleep(QUIET);
        let now = traffic(relays)?[1];
        if now.saturating_sub(before) < QUIET_BYTES {
            return Ok(());
        }
        before = now;
    }
    Err(TorError::Restless(QUIET * QUIET_TRIES))
}

/// Sets variables of a node's TCP.
fn set(node: Node<'_>, variables: &[(&str, &str)]) -> Result<(), TorError> {
    let written = node.enter(|| {
        for (name, value) in variables {
            let path = Path::new("/proc/sys/net/ipv4").join(name);
            fs::write(&path, value).map_err(|source| NetError::File { path, source })?;
        }
        Ok::<(), NetError>(())
    })?;
    Ok(written?)
}

#[expect(clippy::disallowed_methods, reason = "how long circuits take to build is measured by this clock")]
fn now() -> Instant {
    Instant::now()
}
