//! What people and programs get to see.

use std::net::IpAddr;

use super::Node;
use super::client::{Circuit, HopState, Stage};
use super::overlay::{Overlay, Phase};
use super::start::public_key;
use super::tunnel::Tunnel;
use crate::control::{
    CircuitState, CircuitView, CircuitsSummary, HopView, NetworkSummary, OverlayState, OverlayView,
    RelaySummary, RelayView, Role, SaView, Status,
};
use crate::dns::{self, Sifted};
use crate::ike::SaHandle;
use crate::network::{self, Relay};
use crate::telescope::CircuitNumber;
use crate::time::Instant;

impl Node {
    pub(super) fn status(&self) -> Status {
        let mut roles = Vec::new();
        roles.extend(self.client.is_some().then_some(Role::Client));
        roles.extend(self.relay.is_some().then_some(Role::Relay));
        let relay = self.relay.as_ref();
        roles.extend(relay.filter(|role| role.model().exit.is_some()).map(|_| Role::Exit));
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: (self.now - self.started).as_secs(),
            roles,
            network: NetworkSummary {
                name: self.network.name().to_string(),
                serial: self.network.serial(),
                valid_until: self.network.valid_until().to_string(),
                relays: count(self.network.relays().len()),
            },
            circuits: self.client.as_ref().map(|role| {
                let of = |wanted: fn(&Circuit) -> bool| {
                    count(role.circuits().values().filter(|circuit| wanted(circuit)).count())
                };
                CircuitsSummary {
                    open: of(Circuit::is_open),
                    building: of(|circuit| matches!(circuit.stage, Stage::Building { .. })),
                    kill_switch: role.kill_switch(),
                }
            }),
            relay: self.relay.as_ref().map(|role| RelaySummary {
                name: self.own_name().unwrap_or_default(),
                layers: count(role.count()),
                leases: count(role.leases()),
                half_open: count(self.ike.half_open()),
                overlays_up: count(
                    self.overlays.iter().filter(|one| matches!(one.phase, Phase::Up(_))).count(),
                ),
                overlays: count(self.overlays.iter().count()),
            }),
            warnings: self.warnings(),
            key_log: self.key_log.as_ref().map(|log| log.place().to_owned()),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let failed = self.client.iter().flat_map(|role| role.circuits().values()).filter_map(|circuit| {
            let reason = circuit.reason.as_ref().filter(|_| circuit.stage != Stage::Open)?;
            Some(format!("circuit {} ({}): {reason}", circuit.number, circuit.spec.name))
        });
        let down = self.overlays.iter().filter_map(|overlay| {
            let reason = overlay.reason.as_ref()?;
            Some(format!("overlay to {}: {reason}", overlay.name))
        });
        let keys = self.key_log.as_ref();
        let keys = keys.map(|log| format!("every key is written to {}: for the lab only", log.place()));
        let names = self.client.iter().flat_map(|role| role.circuits().values()).filter_map(|circuit| {
            let ignored = name_servers(circuit).ignored;
            let list: Vec<_> = ignored.iter().map(ToString::to_string).collect();
            let warning = || {
                let (number, name, list) = (circuit.number, &circuit.spec.name, list.join(", "));
                format!("circuit {number} ({name}): its exit told of name servers that are not used: {list}")
            };
            (!list.is_empty()).then(warning)
        });
        keys.into_iter().chain(failed).chain(down).chain(names).collect()
    }

    /// This relay's own name.
    fn own_name(&self) -> Option<String> {
        let own = self.relay.as_ref()?.model().address;
        let relay = self.network.relays().iter().find(|relay| IpAddr::V4(relay.address) == own)?;
        Some(relay.name.to_string())
    }

    pub(super) fn circuit_views(&self) -> Vec<CircuitView> {
        let circuits = self.client.iter().flat_map(|role| role.circuits().values());
        circuits.map(|circuit| self.view_of(circuit)).collect()
    }

    pub(super) fn circuit_view(&self, number: CircuitNumber) -> Option<CircuitView> {
        self.client.as_ref()?.circuits().get(&number).map(|circuit| self.view_of(circuit))
    }

    fn view_of(&self, circuit: &Circuit) -> CircuitView {
        let state = match circuit.stage {
            Stage::Idle(_) if circuit.reason.is_some() => CircuitState::Failed,
            Stage::Idle(_) | Stage::Building { .. } => CircuitState::Building,
            Stage::Open if circuit.is_open() => CircuitState::Open,
            Stage::Open | Stage::Closing { .. } => CircuitState::Closing,
        };
        let open = circuit.is_open();
        let exit = circuit.hops.last().filter(|_| open);
        let addresses = exit.into_iter().flat_map(|hop| [hop.address, hop.address6.map(IpAddr::V6)]);
        let hop = |(place, stop): (usize, &super::client::Stop)| {
            let state = circuit.hops.get(place);
            HopView {
                relay: stop.name.to_string(),
                address: stop.address,
                assigned: state.and_then(|hop| hop.address),
                sa: state.and_then(|hop: &HopState| {
                    self.sa_view(hop.sa, &hop.tunnel, hop.encapsulation.is_some())
                }),
            }
        };
        CircuitView {
            number: circuit.number,
            name: Some(circuit.spec.name.to_string()),
            state,
            link: (!matches!(circuit.stage, Stage::Idle(_))).then(|| circuit.number.link().to_string()),
            addresses: addresses.flatten().collect(),
            dns: name_servers(circuit).usable,
            mtu: self.mtu(circuit),
            traffic: circuit.spec.traffic.clone(),
            age_s: self.age(circuit.since),
            lent_to: circuit.lent.map(|lent| lent.to),
            hops: circuit.path.iter().enumerate().map(hop).collect(),
            reason: circuit.reason.clone(),
        }
    }

    fn mtu(&self, circuit: &Circuit) -> Option<u32> {
        let telescope = circuit.telescope().filter(|_| circuit.stage == Stage::Open)?;
        let path = self.client.as_ref()?.model().path_mtu;
        let ipv6 = telescope.hops.last().is_some_and(|hop| hop.address6.is_some());
        let mtu = crate::telescope::mtu::of_circuit(telescope.mtu, path, &telescope.layers(), ipv6);
        mtu.ok().map(crate::id::Mtu::get)
    }

    fn sa_view(&self, sa: SaHandle, tunnel: &Tunnel, in_udp: bool) -> Option<SaView> {
        let ike = self.ike.summary(sa)?;
        let keys = tunnel.keys()?;
        let newest = keys.r#in.last()?;
        Some(SaView {
            ike_initiator: ike.initiator_spi.to_string(),
            ike_responder: ike.responder_spi.to_string(),
            ike_suite: ike.suite.to_string(),
            esp_suite: keys.suite.to_string(),
            esp_in: format!("{:08x}", newest.spi.get()),
            esp_out: format!("{:08x}", keys.out.spi.get()),
            in_udp,
            rekeyed: tunnel.rekeyed(),
        })
    }

    fn age(&self, since: Instant) -> u64 {
        (self.now - since).as_secs()
    }

    pub(super) fn relay_views(&self) -> Vec<RelayView> {
        self.network.relays().iter().map(|relay| self.relay_view_of(relay)).collect()
    }

    pub(super) fn relay_view(&self, name: &str) -> Option<RelayView> {
        self.network.relay(name).map(|relay| self.relay_view_of(relay))
    }

    fn relay_view_of(&self, relay: &Relay) -> RelayView {
        let own = self.relay.as_ref().map(|role| role.model().address);
        let key = public_key(&relay.identity).map(|key| key.to_base64()).unwrap_or_default();
        RelayView {
            name: relay.name.to_string(),
            addresses: std::iter::once(relay.address.into()).chain(relay.address6.map(IpAddr::V6)).collect(),
            key,
            exit: relay.may_be(network::Role::Exit),
            entry: relay.may_be(network::Role::Entry),
            country: None,
            family: relay.operator.as_ref().map(ToString::to_string),
            neighbours: self.network.neighbours(relay).map(|other| other.name.to_string()).collect(),
            this: own == Some(relay.address.into()),
            avoided: None,
        }
    }

    pub(super) fn overlay_views(&self) -> Vec<OverlayView> {
        let mut views: Vec<_> = self.overlays.iter().map(|overlay| self.overlay_view(overlay)).collect();
        views.sort_by(|left, right| left.relay.cmp(&right.relay));
        views
    }

    fn overlay_view(&self, overlay: &Overlay) -> OverlayView {
        let state = overlay.state();
        let sa = match overlay.phase {
            Phase::Up(sa) => self.sa_view(sa, &overlay.tunnel, false),
            Phase::Down(_) | Phase::Connecting(_) => None,
        };
        OverlayView {
            relay: overlay.name.to_string(),
            address: overlay.address,
            state,
            link: Some(overlay.number.link().to_string()),
            age_s: self.age(overlay.since),
            sa,
            reason: overlay.reason.clone().filter(|_| state != OverlayState::Up),
        }
    }
}

/// What an open circuit's exit told of that can be asked through it: no server of a family without an address.
fn name_servers(circuit: &Circuit) -> Sifted {
    let Some(exit) = circuit.hops.last().filter(|_| circuit.stage == Stage::Open) else {
        return Sifted::default();
    };
    let (reached, unreached): (Vec<IpAddr>, Vec<IpAddr>) =
        exit.dns.iter().copied().partition(|server| server.is_ipv4() || exit.address6.is_some());
    let mut sifted = dns::sift(&reached);
    sifted.ignored.extend(unreached);
    sifted
}
