//! Circuits grow hop by hop, and are taken down from the exit inwards.

use std::net::{IpAddr, SocketAddr};

use super::super::kernel::{KernelRefused, Part};
use super::super::overlay::relay_id;
use super::super::sockets::{IKE, NAT_TRAVERSAL};
use super::super::start::public_key;
use super::super::tunnel::Tunnel;
use super::super::{Node, Purpose, Then};
use super::circuit::Afterwards;
use super::{CLOSING, Circuit, FIRST_REST, HopState, LONGEST_REST, Stage, Stop, select};
use crate::control::{Event, RefusalCode, Rekey, RekeyTarget, RekeyWhat, Reply};
use crate::ike::wire::TrafficSelector;
use crate::ike::{
    AddressRequest, ChildKeys, ChildRefusal, CloseReason, Connect, Encapsulate, Family, OwnAuth, Path,
    SaHandle,
};
use crate::network::ClientAuth;
use crate::secret::KeyMaterial;
use crate::telescope::CircuitNumber;

/// A hop as people count: the first is 1.
fn counted(hop: usize) -> u8 {
    u8::try_from(hop + 1).unwrap_or(u8::MAX)
}

impl Node {
    /// Begins all circuits that wait for a beginning.
    pub(in crate::node) fn start_circuits(&mut self) {
        let now = self.now;
        let Some(role) = self.client.as_mut().filter(|role| role.address.is_some()) else { return };
        for circuit in role.circuits.values_mut().filter(|circuit| circuit.stage == Stage::Idle(None)) {
            if circuit.reason.is_none() {
                circuit.stage = Stage::Idle(Some(now));
            }
        }
    }

    /// Does what is due.
    pub(in crate::node) fn circuit_timers(&mut self) {
        let now = self.now;
        let due = |circuit: &&Circuit| circuit.next_timeout().is_some_and(|due| due <= now);
        let due: Vec<CircuitNumber> = self
            .client
            .iter()
            .flat_map(|role| role.circuits.values().filter(due))
            .map(|due| due.number)
            .collect();
        for number in due {
            let Some(circuit) = self.circuit_mut(number) else { continue };
            match circuit.stage {
                Stage::Idle(_) => self.begin_circuit(number),
                Stage::Building { circuit: whole, .. } => {
                    let hop = circuit.hops.len().saturating_sub(1);
                    let relay = circuit.relay_name(hop);
                    let what = if whole <= now {
                        "the circuit was not complete in time"
                    } else {
                        "no answer in time"
                    };
                    self.fail_circuit(number, Some(hop), format!("{relay}: {what}"));
                }
                Stage::Open => self.judge(number),
                Stage::Closing { .. } => self.drop_layers(number),
            }
        }
    }

    /// Chooses the relays and begins.
    pub(super) fn begin_circuit(&mut self, number: CircuitNumber) {
        let now = self.now;
        let Some(role) = self.client.as_mut() else { return };
        let timeouts = role.timeouts;
        let online = role.address.is_some();
        let Some(circuit) = role.circuits.get_mut(&number) else { return };
        if !online {
            circuit.enter(Stage::Idle(None), now);
            return;
        }
        let path = match select::path(&self.network, &circuit.spec.hops, &mut self.entropy) {
            Ok(path) => path,
            Err(error) => return self.circuit_impossible(number, error.to_string()),
        };
        circuit.path = path
            .into_iter()
            .map(|relay| Stop { name: relay.name.clone(), address: relay.address.into() })
            .collect();
        let deadline = now + timeouts.circuit;
        circuit.enter(Stage::Building { hop: None, circuit: deadline }, now);
        circuit.began = now;
        let hops = circuit.path.iter().map(|stop| stop.name.to_string()).collect();
        let name = Some(circuit.spec.name.to_string());
        self.event(Event::CircuitBuilding { circuit: number, name, hops });
        self.kernel.push(Part::Base, Then::Reach(number));
    }

    /// There are no relays for it.
    fn circuit_impossible(&mut self, number: CircuitNumber, reason: String) {
        let now = self.now;
        let Some(circuit) = self.circuit_mut(number) else { return };
        let waiting = std::mem::take(&mut circuit.waiting);
        circuit.reason = Some(reason.clone());
        circuit.failures += 1;
        let rest = rest(circuit.failures);
        let retry = circuit.afterwards == Afterwards::Rebuild;
        circuit.enter(Stage::Idle(retry.then(|| now + rest)), now);
        for id in waiting {
            self.reply(id, Reply::refused(RefusalCode::NoPath, reason.clone()));
        }
        self.event(Event::CircuitFailed { circuit: number, hop: None, reason });
        self.forget_if_unwanted(number);
    }

    /// The layers so far are there, and the way to the next relay.
    pub(in crate::node) fn circuit_ready_to_reach(
        &mut self,
        number: CircuitNumber,
        refused: Option<&KernelRefused>,
    ) {
        if let Some(refused) = refused {
            return self.fail_circuit(number, None, kernel_reason(refused));
        }
        let building =
            self.circuit_mut(number).is_some_and(|circuit| matches!(circuit.stage, Stage::Building { .. }));
        if building && self.reach(number).is_none() {
            self.fail_circuit(number, None, "the relay is no longer in the network".to_owned());
        }
    }

    /// Begins IKE with the next relay, from the address that the relay before it gave.
    fn reach(&mut self, number: CircuitNumber) -> Option<()> {
        let role = self.client.as_ref()?;
        let hop_timeout = role.timeouts.hop;
        let own = role.address?;
        let circuit = role.circuits.get(&number)?;
        let place = circuit.hops.len();
        let last = place + 1 == circuit.path.len();
        let stop = circuit.path.get(place)?;
        let relay = self.network.relay(stop.name.as_str())?;
        let peer_key = public_key(&relay.identity)?;
        let peer = relay_id(&relay.name);
        let auth = match &relay.clients {
            ClientAuth::Anonymous => OwnAuth::Null,
            ClientAuth::Psk(psk) => {
                OwnAuth::PublishedSecret(KeyMaterial::new(psk.as_str().as_bytes().to_vec()))
            }
        };
        let ipv6 = last && relay.pool6.is_some() && role.has_room_for_ipv6(circuit);
        let family = if ipv6 { None } else { Some(Family::V4) };
        let address = stop.address;
        let (path, float) = match place.checked_sub(1) {
            None => self.first_paths(own, address)?,
            Some(before) => {
                let from = circuit.hops.get(before)?.address?;
                let socket = self.sockets.open(from, IKE, Some(number.link()), &mut self.queue);
                (self.sockets.path(socket, SocketAddr::new(address, IKE))?, None)
            }
        };
        let any = |v4: bool| if v4 { TrafficSelector::any_v4() } else { TrafficSelector::any_v6() };
        let selectors: Vec<_> =
            [Some(true), family.is_none().then_some(false)].into_iter().flatten().map(any).collect();
        let sa = self.ike.connect(
            self.now,
            Connect {
                path,
                float,
                encapsulate: Encapsulate::BehindNat,
                peer,
                peer_key,
                own: auth,
                request: Some(AddressRequest { family }),
                local: selectors.clone(),
                remote: selectors,
                datagram: None,
            },
        );
        self.purposes.insert(sa, Purpose::Hop(number, place));
        let deadline = self.now + hop_timeout;
        let circuit = self.circuit_mut(number)?;
        circuit.hops.push(HopState {
            sa,
            socket: path.socket,
            relay: address,
            address: None,
            address6: None,
            dns: Vec::new(),
            encapsulation: None,
            tunnel: Tunnel::default(),
            done: false,
        });
        if let Stage::Building { hop, .. } = &mut circuit.stage {
            *hop = Some(deadline);
        }
        Some(())
    }

    /// The ways to an entry: plain, and in UDP.
    fn first_paths(&mut self, own: IpAddr, entry: IpAddr) -> Option<(Path, Option<Path>)> {
        let plain = self.sockets.open(own, IKE, None, &mut self.queue);
        let in_udp = self.sockets.open(own, NAT_TRAVERSAL, None, &mut self.queue);
        let path = self.sockets.path(plain, SocketAddr::new(entry, IKE))?;
        Some((path, self.sockets.path(in_udp, SocketAddr::new(entry, NAT_TRAVERSAL))))
    }

    /// Keys for a layer: its first or new ones.
    pub(in crate::node) fn hop_keys(
        &mut self,
        number: CircuitNumber,
        hop: usize,
        sa: SaHandle,
        keys: &ChildKeys,
    ) {
        let now = self.now;
        let last = self.circuit_mut(number).is_some_and(|circuit| hop + 1 == circuit.path.len());
        let mine = |state: &&mut HopState| state.sa == sa && state.tunnel.accepts(keys);
        let Some(state) = self.hop_mut(number, hop).filter(mine) else {
            return self.ike.child_installed(now, sa, keys.child, Err(ChildRefusal::Temporary));
        };
        if !state.done {
            let given = || keys.given.addresses.iter().copied();
            state.address = given().find(IpAddr::is_ipv4);
            state.address6 = given().filter(|_| last).find_map(|address| match address {
                IpAddr::V6(address) => Some(address),
                IpAddr::V4(_) => None,
            });
            state.dns = if last { keys.given.dns.clone() } else { Vec::new() };
            if state.address.is_none() {
                return self.ike.child_installed(now, sa, keys.child, Err(ChildRefusal::NoAddress));
            }
        }
        state.encapsulation = keys.encapsulation.filter(|_| hop == 0);
        let known = state.tunnel.has(sa, keys.child);
        state.tunnel.add(sa, keys);
        let again = state.done && !known;
        self.kernel.push(Part::Base, Then::Installed(sa, keys.child));
        if again {
            let target = RekeyTarget::Circuit { circuit: number, hop: counted(hop) };
            self.event(Event::Rekeyed(Rekey { target, what: RekeyWhat::Child }));
        }
    }

    /// The kernel has a layer: on to the next relay, or the circuit is complete.
    pub(in crate::node) fn hop_installed(&mut self, number: CircuitNumber, hop: usize, sa: SaHandle) {
        let now = self.now;
        let Some(circuit) = self.circuit_mut(number) else { return };
        let Some(state) = circuit.hops.get_mut(hop).filter(|state| state.sa == sa && !state.done) else {
            return;
        };
        state.done = true;
        let Stage::Building { hop: deadline, .. } = &mut circuit.stage else { return };
        *deadline = None;
        let relay = circuit.relay_name(hop);
        let then = if circuit.hops.len() == circuit.path.len() {
            circuit.enter(Stage::Open, now);
            Then::Opened(number)
        } else {
            Then::Reach(number)
        };
        self.event(Event::HopDone { circuit: number, hop: counted(hop), relay });
        self.kernel.push(Part::Base, then);
    }

    /// The kernel lets traffic into a circuit.
    pub(in crate::node) fn circuit_opened(&mut self, number: CircuitNumber, refused: Option<&KernelRefused>) {
        if let Some(refused) = refused {
            return self.fail_circuit(number, None, kernel_reason(refused));
        }
        let now = self.now;
        let Some(circuit) = self.circuit_mut(number) else { return };
        if circuit.stage != Stage::Open {
            return;
        }
        circuit.failures = 0;
        circuit.reason = None;
        let waiting = std::mem::take(&mut circuit.waiting);
        let took_ms = u64::try_from((now - circuit.began).as_millis()).unwrap_or(u64::MAX);
        self.event(Event::CircuitOpen { circuit: number, took_ms });
        let view = self.circuit_view(number);
        for id in waiting {
            if let Some(view) = view.clone() {
                self.reply(id, Reply::Circuit(Box::new(view)));
            }
        }
        self.journal_circuit(number);
    }

    /// A circuit cannot go on: says which hop is at fault, and takes it down.
    pub(in crate::node) fn fail_circuit(
        &mut self,
        number: CircuitNumber,
        hop: Option<usize>,
        reason: String,
    ) {
        let Some(circuit) = self.circuit_mut(number) else { return };
        if !matches!(circuit.stage, Stage::Building { .. } | Stage::Open) {
            return;
        }
        circuit.failures += 1;
        circuit.reason = Some(reason.clone());
        let waiting = std::mem::take(&mut circuit.waiting);
        for id in waiting {
            let place = hop.map(|hop| format!("hop {}: ", counted(hop))).unwrap_or_default();
            self.reply(id, Reply::refused(RefusalCode::Failed, format!("{place}{reason}")));
        }
        self.event(Event::CircuitFailed { circuit: number, hop: hop.map(counted), reason });
        self.close_circuit(number);
    }

    /// Stops the traffic of a circuit and tells its relays, the exit first.
    pub(in crate::node) fn close_circuit(&mut self, number: CircuitNumber) {
        let now = self.now;
        let Some(circuit) = self.circuit_mut(number) else { return };
        match circuit.stage {
            Stage::Closing { .. } => return,
            Stage::Idle(_) => {
                circuit.enter(Stage::Idle(None), now);
                return self.circuit_removed(number);
            }
            Stage::Building { .. } | Stage::Open => {}
        }
        circuit.enter(Stage::Closing { until: now + CLOSING }, now);
        let reason = circuit.reason.clone().unwrap_or_else(|| "the circuit was closed".to_owned());
        self.end_lending(number, &reason);
        self.kernel.push(Part::Base, Then::Nothing);
        self.forget_circuit(number);
        self.close_last_layer(number);
    }

    /// Closes a circuit that is not wanted any more.
    pub(in crate::node) fn close_for_good(&mut self, number: CircuitNumber) {
        if let Some(circuit) = self.circuit_mut(number) {
            circuit.afterwards = Afterwards::Forget;
            self.close_circuit(number);
        }
    }

    /// Closes the outermost layer that is left.
    fn close_last_layer(&mut self, number: CircuitNumber) {
        let Some(circuit) = self.circuit_mut(number) else { return };
        match circuit.hops.last().map(|hop| hop.sa) {
            Some(sa) => self.ike.close(self.now, sa),
            None => {
                circuit.stage = Stage::Idle(None);
                self.kernel.push(Part::Base, Then::Removed(number));
            }
        }
    }

    /// Gives up telling the relays.
    fn drop_layers(&mut self, number: CircuitNumber) {
        let Some(circuit) = self.circuit_mut(number) else { return };
        let hops = std::mem::take(&mut circuit.hops);
        circuit.stage = Stage::Idle(None);
        self.drop_hops(&hops);
        self.kernel.push(Part::Base, Then::Removed(number));
    }

    /// A layer's connection is over.
    pub(in crate::node) fn hop_closed(
        &mut self,
        number: CircuitNumber,
        hop: usize,
        sa: SaHandle,
        reason: &CloseReason,
    ) {
        let Some(circuit) = self.circuit_mut(number) else { return };
        if circuit.hops.get(hop).is_none_or(|state| state.sa != sa) {
            return;
        }
        let relay = circuit.relay_name(hop);
        let closing = matches!(circuit.stage, Stage::Closing { .. });
        let open = circuit.stage == Stage::Open;
        // what came through it cannot be told any more
        let gone = circuit.hops.split_off(hop);
        self.drop_hops(&gone);
        if closing {
            self.kernel.push(Part::Base, Then::Nothing);
            return self.close_last_layer(number);
        }
        if open && matches!(reason, CloseReason::Unresponsive(_)) {
            return self.suspect(number, hop, reason.to_string());
        }
        self.fail_circuit(number, Some(hop), format!("{relay}: {reason}"));
    }

    /// Drops layers without telling their relays, the outermost first.
    fn drop_hops(&mut self, hops: &[HopState]) {
        for hop in hops.iter().rev() {
            self.purposes.remove(&hop.sa);
            self.ike.forget(hop.sa);
            let bound = self.sockets.link(hop.socket).is_some();
            if bound {
                self.sockets.close(hop.socket, &mut self.queue);
            }
        }
    }

    /// Nothing of a circuit is left in the kernel.
    pub(in crate::node) fn circuit_removed(&mut self, number: CircuitNumber) {
        let now = self.now;
        let Some(circuit) = self.circuit_mut(number) else { return };
        let rebuild = circuit.afterwards == Afterwards::Rebuild;
        let retry = (rebuild && !self.stopping).then(|| now + rest_of(self.circuit_mut(number)));
        let Some(circuit) = self.circuit_mut(number) else { return };
        circuit.path.clear();
        circuit.enter(Stage::Idle(retry), now);
        // why it failed is told already
        let reason = if circuit.reason.is_some() { "it failed" } else { "closed here" }.to_owned();
        let closing = std::mem::take(&mut circuit.closing);
        for id in closing {
            self.reply(id, Reply::Done);
        }
        self.event(Event::CircuitClosed { circuit: number, reason });
        self.forget_if_unwanted(number);
    }

    fn forget_if_unwanted(&mut self, number: CircuitNumber) {
        let Some(role) = self.client.as_mut() else { return };
        if role.circuits.get(&number).is_some_and(|circuit| circuit.afterwards == Afterwards::Forget) {
            role.circuits.remove(&number);
            // what it was to carry is no longer guarded
            self.kernel.push(Part::Base, Then::Nothing);
        }
    }

    /// The client's own address is another: the circuits from the old one are dead, for nobody can be told.
    pub(in crate::node) fn address_changed(&mut self, address: Option<IpAddr>) {
        let now = self.now;
        let Some(role) = self.client.as_mut().filter(|role| role.follows && role.address != address) else {
            return;
        };
        let old = std::mem::replace(&mut role.address, address);
        let idle = |circuit: &Circuit| matches!(circuit.stage, Stage::Idle(_));
        let begun: Vec<CircuitNumber> =
            role.circuits.values().filter(|circuit| !idle(circuit)).map(|circuit| circuit.number).collect();
        for circuit in role.circuits.values_mut().filter(|circuit| idle(circuit)) {
            if circuit.afterwards == Afterwards::Rebuild {
                circuit.enter(Stage::Idle(Some(now)), now);
            }
            circuit.failures = 0;
        }
        self.event(Event::AddressChanged { online: address.is_some() });
        for number in begun {
            self.fail_circuit(number, None, "this host's address is another now".to_owned());
            if let Some(circuit) = self.circuit_mut(number) {
                circuit.failures = 0;
            }
            self.drop_layers(number);
        }
        let relay = self.relay.as_ref().map(|role| role.model().address);
        for old in old.into_iter().filter(|old| Some(*old) != relay) {
            for socket in self.sockets.on(old) {
                self.sockets.close(socket, &mut self.queue);
            }
        }
        // those that are not built again after a failure have not been begun yet
        self.start_circuits();
    }
}

fn rest(failures: u32) -> std::time::Duration {
    LONGEST_REST.min(FIRST_REST * 2_u32.saturating_pow(failures.saturating_sub(1).min(16)))
}

fn rest_of(circuit: Option<&mut Circuit>) -> std::time::Duration {
    rest(circuit.map_or(0, |circuit| circuit.failures))
}

fn kernel_reason(refused: &KernelRefused) -> String {
    format!("the kernel refused to {}: {}", refused.operation, refused.error)
}
