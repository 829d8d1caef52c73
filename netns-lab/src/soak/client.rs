//! What clients do all the time: build circuits over random relays, use them, and go over to the next.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ippriv::control::{CircuitState, CircuitView, NewCircuit};

use super::control::{Control, NoAnswer};
use super::death::{Of, Troubles};
use super::{Clock, Settings, log, place};
use crate::scenario::dice::Dice;

/// Time between two datagrams of a client.
const PACE: Duration = Duration::from_secs(10);
/// Datagrams right after a circuit was opened.
const FIRST: u32 = 10;
/// Longer than any datagram and its answer are under way.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// Time before something that failed is tried again.
const REST: Duration = Duration::from_secs(15);
/// A circuit that is neither open nor gone for so long is stuck.
const STUCK: u64 = 300;
/// Bytes of a datagram, its number first.
const SIZE: usize = 200;
/// Complaints that are kept.
const KEPT: usize = 50;

/// What clients have done.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub(super) struct Tally {
    /// Circuits opened by command.
    pub(super) opened: u64,
    /// Circuits that could not be opened, because a host was dead or had been.
    pub(super) not_opened: u64,
    /// Circuits that broke for such a reason.
    pub(super) broken: u64,
    /// Datagrams that came back.
    pub(super) answered: u64,
    /// Datagrams that did not, because a host was gone or had been.
    pub(super) lost: u64,
    /// What no death excuses.
    pub(super) complaints: Vec<String>,
    /// How many of those there are.
    pub(super) complained: u64,
}

/// What all clients share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) settings: &'a Settings,
    pub(super) clock: Clock,
    pub(super) until: Duration,
    pub(super) troubles: &'a Troubles,
    pub(super) tally: &'a Mutex<Tally>,
    pub(super) server: Ipv4Addr,
}

/// A client at work.
pub(super) struct Client<'a> {
    pub(super) work: Work<'a>,
    pub(super) name: &'a str,
    pub(super) control: Control,
    pub(super) dice: Dice,
}

impl Client<'_> {
    /// Goes from circuit to circuit. Runs in the client's namespace.
    pub(super) fn rotate(mut self) {
        let pause = self.dice.below(u32::try_from(self.work.settings.rotation.as_secs()).unwrap_or(1));
        self.sleep(Duration::from_secs(u64::from(pause)));
        while !self.is_over() {
            let path = self.path();
            let begin = self.work.clock.now();
            let new = NewCircuit { hops: Some(path.clone()), wait: true, ..NewCircuit::default() };
            match self.control.open(&new) {
                Ok(circuit) => {
                    self.count(|tally| tally.opened += 1);
                    self.close_others(&circuit);
                    self.use_circuit(&circuit, &path);
                }
                Err(error) => {
                    self.suffer(Of::Work, &path, begin, &format!("is not opened: {error}"), |tally| {
                        &mut tally.not_opened
                    });
                    self.sleep(REST);
                }
            }
        }
    }

    /// Uses the circuit that its policy has and its daemon keeps. Runs in the client's namespace.
    pub(super) fn keep(self) {
        let mut path = place::relays(self.work.settings);
        while !self.is_over() {
            self.sleep(PACE);
            let begin = self.work.clock.now();
            // A circuit that was built anew has another address.
            let answered = self.exchange(Ipv4Addr::UNSPECIFIED.into(), begin.as_millis());
            let circuits = self.control.circuits().unwrap_or_default();
            self.look_for_stuck(&circuits);
            if let Some(open) = circuits.iter().find(|circuit| circuit.state == CircuitState::Open) {
                // It was lost on the old path or on the new one.
                if answered {
                    path.clear();
                }
                path.extend(relays(open));
                path.sort_unstable();
                path.dedup();
            }
            self.judge(answered, &path, begin);
        }
    }

    /// Sends datagrams through a circuit until it is time for the next.
    fn use_circuit(&mut self, circuit: &CircuitView, path: &[String]) {
        let Some(address) = circuit.addresses.iter().copied().find(IpAddr::is_ipv4) else { return };
        let rotation = u32::try_from(self.work.settings.rotation.as_secs()).unwrap_or(1);
        let length = rotation / 2 + self.dice.below(rotation);
        let end = self.work.clock.now() + Duration::from_secs(u64::from(length));
        let mut left = FIRST;
        while self.work.clock.now() < end && !self.is_over() {
            if left == 0 {
                self.sleep(PACE);
            }
            left = left.saturating_sub(1);
            let begin = self.work.clock.now();
            let answered = self.exchange(address, begin.as_micros());
            self.judge(answered, path, begin);
            if !answered && !self.is_open(circuit, path, begin) {
                return;
            }
        }
    }

    fn judge(&self, answered: bool, path: &[String], begin: Duration) {
        if answered {
            self.count(|tally| tally.answered += 1);
        } else {
            self.suffer(Of::Packets, path, begin, "loses a datagram", |tally| &mut tally.lost);
        }
    }

    /// Whether the daemon still has the circuit. One that broke needs an excuse.
    fn is_open(&self, circuit: &CircuitView, path: &[String], begin: Duration) -> bool {
        let Ok(circuits) = self.control.circuits() else { return true };
        self.look_for_stuck(&circuits);
        let same = |other: &&CircuitView| other.name == circuit.name && other.addresses == circuit.addresses;
        match circuits.iter().find(same) {
            Some(found) if found.state == CircuitState::Open => true,
            found => {
                let state = found.map(|found| (found.state, found.reason.clone()));
                self.suffer(Of::Packets, path, begin, &format!("breaks: {state:?}"), |tally| {
                    &mut tally.broken
                });
                false
            }
        }
    }

    /// Closes all circuits but one.
    fn close_others(&self, circuit: &CircuitView) {
        let circuits = self.control.circuits().unwrap_or_default();
        self.look_for_stuck(&circuits);
        for other in circuits.iter().filter(|other| other.number != circuit.number) {
            let begin = self.work.clock.now();
            match self.control.close(other) {
                // It may have broken by itself meanwhile.
                Ok(()) | Err(NoAnswer::Refused(_)) => {}
                Err(error) => {
                    let what = format!("circuit {} is not closed: {error}", other.number);
                    self.suffer(Of::Work, &relays(other), begin, &what, |tally| &mut tally.broken);
                }
            }
        }
    }

    fn look_for_stuck(&self, circuits: &[CircuitView]) {
        for circuit in circuits {
            let moving = !matches!(circuit.state, CircuitState::Open | CircuitState::Failed);
            if moving && circuit.age_s > STUCK {
                self.complain(&format!(
                    "circuit {} is {:?} for {} s",
                    circuit.number, circuit.state, circuit.age_s
                ));
            }
        }
    }

    /// Counts what a death excuses; complains of all else.
    fn suffer(
        &self,
        of: Of,
        path: &[String],
        begin: Duration,
        what: &str,
        counted: impl FnOnce(&mut Tally) -> &mut u64,
    ) {
        let hosts: Vec<&str> = path.iter().map(String::as_str).chain([self.name]).collect();
        if self.work.troubles.excuse(of, &hosts, (begin, self.work.clock.now())) {
            self.count(|tally| *counted(tally) += 1);
        } else {
            self.complain(&format!("a circuit through {} {what}", path.join(", ")));
            eprintln!("{}", self.work.troubles.told());
            for host in hosts {
                eprintln!("── what {host} logged last:\n{}", log::tail(host));
            }
        }
    }

    fn complain(&self, what: &str) {
        complain(self.work.tally, format!("{}, {} s: {what}", self.name, self.work.clock.now().as_secs()));
    }

    fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.work.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Sends a datagram from `address` and waits until it is back.
    fn exchange(&self, address: IpAddr, number: u128) -> bool {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let exchange = || -> std::io::Result<bool> {
            let socket = UdpSocket::bind((address, 0))?;
            socket.connect(SocketAddr::from((self.work.server, place::PORT)))?;
            socket.set_read_timeout(Some(UNDER_WAY))?;
            let mut datagram = [0x5a; SIZE];
            datagram[..8].copy_from_slice(&number.to_be_bytes());
            socket.send(&datagram)?;
            let mut back = [0; SIZE];
            socket.recv(&mut back)?;
            Ok(back == datagram)
        };
        exchange().unwrap_or(false)
    }

    /// One to three relays at random, an exit last.
    fn path(&mut self) -> Vec<String> {
        let relays = place::relays(self.work.settings);
        let exits = (0..relays.len()).filter(|place| place::is_exit(self.work.settings, *place));
        let mut left: Vec<usize> = (0..relays.len()).collect();
        let exits: Vec<usize> = exits.collect();
        let mut draw = |from: &[usize]| {
            from.get(self.dice.below(u32::try_from(from.len()).unwrap_or(1)) as usize).copied()
        };
        let Some(exit) = draw(&exits) else { return Vec::new() };
        left.retain(|relay| *relay != exit);
        let mut path = Vec::new();
        // Most circuits have three relays.
        let length = draw(&[0, 1, 2, 2, 2, 2]).unwrap_or_default();
        for _ in 0..length {
            let Some(relay) = draw(&left) else { break };
            left.retain(|other| *other != relay);
            path.push(relay);
        }
        path.push(exit);
        path.into_iter().filter_map(|relay| relays.get(relay).cloned()).collect()
    }

    fn is_over(&self) -> bool {
        self.work.clock.now() >= self.work.until
    }

    fn sleep(&self, time: Duration) {
        let left = self.work.until.saturating_sub(self.work.clock.now());
        thread::sleep(time.min(left));
    }
}

/// Notes what no death excuses.
pub(super) fn complain(tally: &Mutex<Tally>, what: String) {
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.complained += 1;
    if tally.complaints.len() < KEPT {
        tally.complaints.push(what);
    }
}

/// The relays of a circuit.
fn relays(circuit: &CircuitView) -> Vec<String> {
    circuit.hops.iter().map(|hop| hop.relay.clone()).collect()
}
