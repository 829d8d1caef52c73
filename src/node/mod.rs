//! The brain of `ipprivd`: relay and client roles over one IKEv2 endpoint, without IO.
//!
//! ```text
//!   datagrams, answers of the kernel, commands, time
//!        │                                   ┌─ relay: layers that end here, address pools
//!  ┌─────▼─────┐  events   ┌──────────────┐  ├─ overlay: tunnels with neighbours
//!  │ ike       ├──────────►│ node         ├──┤
//!  │ Endpoint  │◄──────────┤              │  └─ client: circuits, hop by hop
//!  └───────────┘  commands └──────┬───────┘
//!                                 ▼ Output::{Open, Transmit, Kernel, Journal, Event, Reply}
//! ```
//!
//! The contract is that of the engine: mutate, then drain [`Node::poll_output`] until it is `None`, carrying
//! out every output before asking for the next; then ask [`Node::poll_timeout`] when to come back. Changes of
//! the kernel's state go one at a time: nothing that depends on one happens before the kernel has said yes.

mod client;
mod io;
mod journal;
mod kernel;
mod key_log;
mod liveness;
mod moved;
mod overlay;
mod pool;
mod relay;
mod reload;
mod rivals;
mod sockets;
mod start;
mod tunnel;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use crate::ike::SocketId;
pub use io::{Binding, CommandId, Input, OpId, Output, Record};
pub use key_log::{KeyLine, KeyTable};
pub use start::{Files, NodeRefused};

use crate::control::{Command, Event, Private, RefusalCode, Reply};
use crate::entropy::Seeded;
use crate::ike::{self, ChildId, ChildRefusal, ChildWanted, Endpoint, How, SaHandle};
use crate::network::Network;
use crate::plan::OpError;
use crate::telescope::{CircuitNumber, Desired, HopNumber, Host, NeighbourNumber, Refused};
use crate::time::Instant;
use client::ClientRole;
use kernel::{Done, KernelQueue, KernelRefused, Next, Part};
use key_log::KeyLog;
use liveness::Liveness;
use overlay::Overlays;
use relay::RelayRole;
use sockets::Sockets;

/// Time before what the system refused is tried again; it doubles up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest time between two attempts.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What an IKE SA is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A layer of somebody's circuit, which ends here.
    Layer(HopNumber),
    /// An overlay to a neighbour.
    Overlay(NeighbourNumber),
    /// A layer of our own circuit, counted from 0.
    Hop(CircuitNumber, usize),
}

/// What goes on when the kernel has changed.
#[derive(Debug)]
enum Then {
    /// Nothing.
    Nothing,
    /// The engine is told that a child SA is installed.
    Installed(SaHandle, ChildId),
    /// A circuit reaches for its next relay.
    Reach(CircuitNumber),
    /// A circuit carries traffic.
    Opened(CircuitNumber),
    /// A circuit is gone.
    Removed(CircuitNumber),
    /// A circuit is lent, once it has an interface for that.
    Lend(CircuitNumber, CommandId),
    /// A command is answered.
    Reply(CommandId),
}

/// Everything ippriv does on a host. See the module's description for how it is driven.
#[derive(Debug)]
pub struct Node {
    ike: Endpoint,
    entropy: Seeded,
    now: Instant,
    started: Instant,
    network: Network,
    kernel: KernelQueue<Then>,
    queue: VecDeque<Output>,
    sockets: Sockets,
    purposes: BTreeMap<SaHandle, Purpose>,
    relay: Option<RelayRole>,
    overlays: Overlays,
    client: Option<ClientRole>,
    liveness: Liveness,
    /// What the engine said while connections were taken over.
    replayed: VecDeque<ike::Output>,
    /// When what the system refused is tried again, and how long it rests after that.
    retry: Option<Instant>,
    rest: Duration,
    stopping: bool,
    adopted: u64,
    key_log: Option<KeyLog>,
}

impl Node {
    /// What the kernel has to hold now.
    ///
    /// # Errors
    /// [`Refused`] when what the peers gave contradicts itself; not reachable but by a bug.
    pub fn desired(&self) -> Result<Desired, Refused> {
        self.host(true).desired()
    }

    /// Everything as a model; with or without the layers that end on this relay.
    fn host(&self, layers: bool) -> Host {
        let relay = self.relay.as_ref().map(|role| {
            let mut relay = role.model();
            relay.neighbours = self.overlays.neighbours();
            if layers {
                relay.circuits = role.layers();
            }
            relay
        });
        Host { client: self.client.as_ref().map(ClientRole::model), relay }
    }

    /// The kernel holds what [`Self::desired`] said: opens the sockets and goes to work.
    pub fn started(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.started = self.now;
        self.set_books();
        self.open_sockets();
        self.rebind();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.event(Event::Started { version, adopted: self.adopted });
        self.watch_processes();
        self.overlays.start(self.now);
        self.start_circuits();
    }

    /// Takes what happened outside.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        self.now = self.now.max(now);
        match input {
            Input::Datagram { socket, remote, octets } => self.datagram(socket, remote, octets),
            Input::Kernel { id, outcomes } => {
                let next = self.kernel.answered(id, &outcomes);
                self.go_on(next);
            }
            Input::NotOpened { socket, errno } => self.not_opened(socket, errno),
            Input::Mapping { sa, remote } => self.ike.packet_from(self.now, sa.spi, remote),
            Input::Acquire { peer } => self.overlays.wanted(peer, self.now),
            Input::AddressChanged(address) => self.address_changed(address),
            Input::Lent { id, circuit, result } => self.circuit_lent(circuit, id, result),
            Input::ProcessEnded(process) => self.process_ended(process),
            Input::Counted(counts) => self.counted(&counts),
            Input::Command(id, command) => self.command(id, command),
        }
        self.watch_silent();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.look_for_traffic();
        self.ike.handle_timeout(self.now);
        self.retry();
        self.connect_overlays();
        self.settle_overlays();
        self.circuit_timers();
        self.watch_silent();
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let circuits = self.client.as_ref().and_then(ClientRole::next_timeout);
        let looks = self.liveness.next_timeout();
        [self.ike.poll_timeout(), self.overlays.next_timeout(), circuits, self.retry, looks]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to do outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.queue.pop_front() {
                return Some(output);
            }
            if self.kernel.is_pending() {
                return None;
            }
            if self.next_change() {
                continue;
            }
            match self.replayed.pop_front().or_else(|| self.ike.poll_output())? {
                ike::Output::Transmit { path, datagram } => {
                    return Some(Output::Transmit {
                        socket: path.socket,
                        remote: path.remote,
                        octets: datagram,
                    });
                }
                ike::Output::Event(sa, event) => self.ike_event(sa, event),
                ike::Output::Changed(sa) => {
                    self.log_ike_keys(sa);
                    self.journal(sa);
                }
            }
        }
    }

    /// Begins the next change of the kernel's state; `false` when there is none.
    fn next_change(&mut self) -> bool {
        let Some(part) = self.kernel.next() else { return false };
        let wanted = match part {
            Part::Base => self.host(false).desired().map(|desired| desired.state),
            Part::Layer(number) => self.layer_state(number),
        };
        let contradiction = |refused: Refused| KernelRefused {
            operation: "hold what contradicts itself".to_owned(),
            error: OpError::Tool(refused.to_string()),
        };
        let next = self.kernel.begin(wanted.map_err(contradiction));
        self.go_on(next);
        true
    }

    fn go_on(&mut self, next: Next<Then>) {
        match next {
            Next::Nothing => {}
            Next::Execute(id, ops) => self.queue.push_back(Output::Kernel { id, ops }),
            Next::Done(done) => self.kernel_done(&done),
        }
    }

    /// Says to the queue what the kernel holds after a start.
    fn set_books(&mut self) {
        let base = self.host(false).desired().map(|desired| desired.state).unwrap_or_default();
        self.kernel.set(Part::Base, base);
        let layers: Vec<_> = self.relay.iter().flat_map(RelayRole::numbers).collect();
        for number in layers {
            let state = self.layer_state(number).unwrap_or_default();
            self.kernel.set(Part::Layer(number), state);
        }
    }

    /// Tries again what the system refused.
    fn retry(&mut self) {
        if self.retry.take_if(|due| *due <= self.now).is_none() {
            return;
        }
        for part in self.kernel.take_behind() {
            self.kernel.push(part, Then::Nothing);
        }
        self.open_sockets();
    }

    /// The system refused something: it is tried again, later and later.
    fn put_off(&mut self) {
        self.retry.get_or_insert(self.now + self.rest);
        self.rest = LONGEST_REST.min(self.rest * 2);
    }

    /// Goes on with what waited for the kernel.
    fn kernel_done(&mut self, done: &Done<Then>) {
        for refused in done.refused.iter().chain(&done.left) {
            self.event(Event::KernelRefused {
                operation: refused.operation.clone(),
                error: refused.error.to_string(),
            });
        }
        if self.kernel.is_behind() {
            self.put_off();
        } else {
            self.rest = FIRST_REST;
        }
        let result = if done.refused.is_none() { Ok(()) } else { Err(ChildRefusal::Kernel) };
        match done.then {
            Then::Nothing => {}
            Then::Installed(sa, child) => {
                if result.is_err() {
                    self.uninstall(sa, child);
                }
                self.ike.child_installed(self.now, sa, child, result);
                if let (Ok(()), Some(Purpose::Hop(circuit, hop))) = (result, self.purposes.get(&sa).copied())
                {
                    self.hop_installed(circuit, hop, sa);
                }
            }
            Then::Reach(circuit) => self.circuit_ready_to_reach(circuit, done.refused.as_ref()),
            Then::Opened(circuit) => self.circuit_opened(circuit, done.refused.as_ref()),
            Then::Removed(circuit) => self.circuit_removed(circuit),
            Then::Lend(circuit, id) => self.circuit_to_lend(circuit, id, done.refused.as_ref()),
            Then::Reply(id) => self.reply(id, Reply::Done),
        }
    }

    fn ike_event(&mut self, sa: SaHandle, event: ike::Event) {
        match event {
            ike::Event::ChildWanted(wanted) => {
                let answer = self.child_wanted(sa, &wanted);
                if let Err(refusal) = &answer {
                    self.handshake_refused(wanted.path, refusal.to_string());
                }
                self.ike.answer_child(self.now, sa, answer);
            }
            ike::Event::ChildKeys(keys) => {
                self.log_child_keys(&keys);
                match self.purposes.get(&sa).copied() {
                    Some(Purpose::Layer(number)) => self.layer_keys(number, sa, &keys),
                    Some(Purpose::Overlay(number)) => self.overlay_keys(number, sa, &keys),
                    Some(Purpose::Hop(circuit, hop)) => self.hop_keys(circuit, hop, sa, &keys),
                    None => self.ike.child_installed(self.now, sa, keys.child, Err(ChildRefusal::Temporary)),
                }
            }
            ike::Event::ChildUse(child) => self.with_tunnel(sa, |tunnel| tunnel.ready(sa, child)),
            ike::Event::ChildGone(child) => self.with_tunnel(sa, |tunnel| tunnel.remove(sa, child)),
            ike::Event::ChildFailed(..) => {}
            ike::Event::Established(_) => match self.purposes.get(&sa).copied() {
                Some(Purpose::Overlay(number)) => self.overlay_established(number, sa),
                Some(Purpose::Hop(..) | Purpose::Layer(_)) | None => {}
            },
            ike::Event::PathChanged(path) => self.peer_moved(sa, path),
            ike::Event::Refused(path, reason) => self.handshake_refused(path, reason.nameless()),
            ike::Event::Closed(reason) => {
                self.forget(sa);
                match self.purposes.remove(&sa) {
                    Some(Purpose::Layer(number)) => self.layer_closed(number, &reason),
                    Some(Purpose::Overlay(number)) => self.overlay_closed(number, sa, &reason),
                    Some(Purpose::Hop(circuit, hop)) => self.hop_closed(circuit, hop, sa, &reason),
                    None => {}
                }
            }
        }
    }

    /// Who may have a child SA here, and with which addresses.
    fn child_wanted(&mut self, sa: SaHandle, wanted: &ChildWanted) -> Result<ike::ChildAnswer, ChildRefusal> {
        if self.stopping {
            return Err(ChildRefusal::Temporary);
        }
        if self.purposes.contains_key(&sa) {
            return Err(ChildRefusal::NoMore);
        }
        match wanted.peer.how {
            How::Null | How::PublishedSecret => self.layer_wanted(sa, wanted),
            How::Signature | How::SharedSecret => self.overlay_wanted(sa, wanted),
        }
    }

    /// Changes the tunnel that an IKE SA belongs to, and then the kernel.
    fn with_tunnel(&mut self, sa: SaHandle, change: impl FnOnce(&mut tunnel::Tunnel)) {
        match self.purposes.get(&sa).copied() {
            Some(Purpose::Layer(number)) => {
                self.change_layer(number, Then::Nothing, |layer| change(&mut layer.tunnel));
            }
            Some(Purpose::Overlay(number)) => {
                if let Some(overlay) = self.overlays.get_mut(number) {
                    change(&mut overlay.tunnel);
                    self.kernel.push(Part::Base, Then::Nothing);
                }
            }
            Some(Purpose::Hop(circuit, hop)) => {
                if let Some(hop) = self.hop_mut(circuit, hop) {
                    change(&mut hop.tunnel);
                    self.kernel.push(Part::Base, Then::Nothing);
                }
            }
            None => {}
        }
    }

    /// The kernel did not take a child SA.
    fn uninstall(&mut self, sa: SaHandle, child: ChildId) {
        match self.purposes.get(&sa).copied() {
            Some(Purpose::Layer(number)) => self.layer_not_installed(number, sa, child),
            _ => self.with_tunnel(sa, |tunnel| tunnel.remove(sa, child)),
        }
    }

    fn handshake_refused(&mut self, path: ike::Path, reason: String) {
        self.event(Event::HandshakeRefused { peer: Private::new(path.remote), reason });
    }

    fn event(&mut self, event: Event) {
        self.queue.push_back(Output::Event(event));
    }

    fn reply(&mut self, id: CommandId, reply: Reply) {
        self.queue.push_back(Output::Reply(id, reply));
    }

    fn command(&mut self, id: CommandId, command: Command) {
        let reply = match command {
            Command::CircuitNew(new) => return self.circuit_new(id, new),
            Command::CircuitClose(number) => return self.circuit_close(id, number),
            Command::CircuitLend(lend) => return self.circuit_lend(id, lend),
            Command::CircuitReturn { circuit, process } => return self.circuit_return(id, circuit, process),
            Command::Rekey(rekey) => self.rekey(&rekey),
            Command::Status => Reply::Status(Box::new(self.status())),
            Command::CircuitList => Reply::Circuits(self.circuit_views()),
            Command::CircuitShow(number) => self.circuit_view(number).map_or_else(
                || Reply::refused(RefusalCode::NotFound, format!("no circuit {number}")),
                |view| Reply::Circuit(Box::new(view)),
            ),
            Command::RelayList => Reply::Relays(self.relay_views()),
            Command::RelayShow(name) => self.relay_view(&name).map_or_else(
                || Reply::refused(RefusalCode::NotFound, format!("no relay {name:?} in the network")),
                |view| Reply::Relay(Box::new(view)),
            ),
            Command::OverlayList => Reply::Overlays(self.overlay_views()),
        };
        self.reply(id, reply);
    }
}
