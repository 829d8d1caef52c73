//! Overlay tunnels: what hides the telescopes between relays.
//!
//! Of two neighbours, the one whose name comes first opens the connection, so that there is one; with other
//! people's daemons it is the one whose address is lower. The other opens it only when a packet waits for it;
//! if that happens at both at once, there are two for a while ([`super::rivals`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::kernel::Part;
use super::rivals::Rival;
use super::sockets::{IKE, NAT_TRAVERSAL};
use super::tunnel::Tunnel;
use super::{Node, Purpose, Then};
use crate::control::{Event, OverlayState, Rekey, RekeyTarget, RekeyWhat};
use crate::ike::crypto::PublicKey;
use crate::ike::wire::{Id, TrafficSelector};
use crate::ike::{
    ChildAnswer, ChildKeys, ChildRefusal, ChildWanted, CloseReason, Connect, Credentials, Encapsulate,
    OwnAuth, SaHandle,
};
use crate::network::Name;
use crate::policy::TunnelTime;
use crate::secret::KeyMaterial;
use crate::telescope::{Neighbour, NeighbourNumber};
use crate::time::Instant;

/// Time before the second attempt to reach a neighbour; it doubles up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest time between two attempts.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Where the connection to a neighbour stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none; it is tried at this time, if we are the one to try.
    Down(Option<Instant>),
    /// It is being opened by us.
    Connecting(SaHandle),
    /// It stands.
    Up(SaHandle),
}

/// The tunnel with one neighbour.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) name: Name,
    pub(super) number: NeighbourNumber,
    pub(super) address: IpAddr,
    pool: IpNet,
    key: PublicKey,
    pub(super) opens: bool,
    rest: Duration,
    pub(super) phase: Phase,
    /// The connection that we opened last.
    pub(super) opened: Option<SaHandle>,
    pub(super) rival: Option<Rival>,
    pub(super) since: Instant,
    pub(super) reason: Option<String>,
    pub(super) tunnel: Tunnel,
}

/// The tunnels with all neighbours.
#[derive(Debug, Default)]
pub(super) struct Overlays {
    all: BTreeMap<NeighbourNumber, Overlay>,
    keeping: Option<Keeping>,
    time: TunnelTime,
}

/// How the tunnels are kept.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) credentials: Arc<Credentials>,
    /// For neighbours that cannot check our key.
    pub(super) secrets: BTreeMap<Name, KeyMaterial>,
    pub(super) tfc_padding: Option<u32>,
}

/// A neighbour, as the network document describes it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) name: Name,
    pub(super) address: IpAddr,
    pub(super) pool: IpNet,
    pub(super) key: PublicKey,
    /// Whether we are the one to open the connection.
    pub(super) opens: bool,
}

impl Overlay {
    /// The neighbour's key.
    pub(super) const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether it works, in the words of reports.
    pub(super) const fn state(&self) -> OverlayState {
        match self.phase {
            Phase::Down(_) => OverlayState::Down,
            Phase::Connecting(_) => OverlayState::Connecting,
            Phase::Up(_) => OverlayState::Up,
        }
    }
}

impl Overlays {
    /// How overlays are kept from now on.
    pub(super) fn configure(&mut self, keeping: Keeping, time: TunnelTime) {
        self.keeping = Some(keeping);
        self.time = time;
    }

    /// Adds a neighbour under `number`, or the lowest number that is free.
    pub(super) fn add(
        &mut self,
        number: Option<NeighbourNumber>,
        known: Known,
        now: Instant,
    ) -> Option<NeighbourNumber> {
        let mut all = (1..=NeighbourNumber::LAST).filter_map(|n| NeighbourNumber::try_from(n).ok());
        let number = number.or_else(|| all.find(|number| !self.all.contains_key(number)))?;
        let Known { name, address, pool, key, opens } = known;
        self.all.insert(
            number,
            Overlay {
                name,
                number,
                address,
                pool,
                key,
                opens,
                rest: FIRST_REST,
                phase: Phase::Down(None),
                opened: None,
                rival: None,
                since: now,
                reason: None,
                tunnel: Tunnel::default(),
            },
        );
        Some(number)
    }

    /// Removes a neighbour.
    pub(super) fn remove(&mut self, number: NeighbourNumber) {
        self.all.remove(&number);
    }

    /// The connection to a neighbour, or the attempt at one.
    pub(super) fn connection_of(&self, number: NeighbourNumber) -> Option<SaHandle> {
        match self.all.get(&number)?.phase {
            Phase::Connecting(sa) | Phase::Up(sa) => Some(sa),
            Phase::Down(_) => None,
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Overlay> {
        self.all.values()
    }

    /// One of them.
    pub(super) fn get(&self, number: NeighbourNumber) -> Option<&Overlay> {
        self.all.get(&number)
    }

    /// One of them, to change.
    pub(super) fn get_mut(&mut self, number: NeighbourNumber) -> Option<&mut Overlay> {
        self.all.get_mut(&number)
    }

    /// The connection to a neighbour of that name, and its child SA in use.
    pub(super) fn connection(&self, name: &str) -> Option<(SaHandle, Option<crate::ike::ChildId>)> {
        let overlay = self.all.values().find(|overlay| overlay.name == *name)?;
        match overlay.phase {
            Phase::Up(sa) => Some((sa, overlay.tunnel.in_use())),
            Phase::Down(_) | Phase::Connecting(_) => None,
        }
    }

    /// Takes over a connection that stood before a restart.
    pub(super) fn adopt(&mut self, number: NeighbourNumber, sa: SaHandle, tunnel: Tunnel) {
        if let Some(overlay) = self.all.get_mut(&number) {
            overlay.tunnel = tunnel;
            overlay.phase = Phase::Up(sa);
        }
    }

    /// The model of all of them.
    pub(super) fn neighbours(&self) -> Vec<Neighbour> {
        let neighbour = |overlay: &Overlay| Neighbour {
            number: overlay.number,
            address: overlay.address,
            pool: overlay.pool,
            keys: overlay.tunnel.keys(),
            tfc_padding: self.keeping.as_ref().and_then(|keeping| keeping.tfc_padding),
        };
        self.all.values().map(neighbour).collect()
    }

    /// The pools of the neighbours.
    pub(super) fn pools(&self) -> Vec<IpNet> {
        self.all.values().map(|overlay| overlay.pool).collect()
    }

    /// Begins to open the connections that are ours to open.
    pub(super) fn start(&mut self, now: Instant) {
        let always = self.time == TunnelTime::Always;
        for overlay in self.all.values_mut().filter(|overlay| overlay.opens && always) {
            if matches!(overlay.phase, Phase::Down(_)) {
                overlay.phase = Phase::Down(Some(now));
            }
        }
    }

    /// A packet waits for the overlay to `peer`.
    pub(super) fn wanted(&mut self, peer: IpAddr, now: Instant) {
        let waiting = |overlay: &&mut Overlay| overlay.address == peer && overlay.phase == Phase::Down(None);
        if let Some(overlay) = self.all.values_mut().find(waiting) {
            overlay.phase = Phase::Down(Some(now));
        }
    }

    /// When the next attempt is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let due = self.all.values().filter_map(|overlay| match overlay.phase {
            Phase::Down(due) => due,
            Phase::Connecting(_) | Phase::Up(_) => overlay.rival.and_then(Rival::next_timeout),
        });
        due.min()
    }
}

/// The identity of a relay in IKE_AUTH: its name.
pub(super) fn relay_id(name: &Name) -> Id {
    Id::fqdn(name.as_str())
}

impl Node {
    /// Opens the connections that are due.
    pub(super) fn connect_overlays(&mut self) {
        let now = self.now;
        let due = |overlay: &&Overlay| matches!(overlay.phase, Phase::Down(Some(due)) if due <= now);
        let due: Vec<_> = self.overlays.all.values().filter(due).map(|overlay| overlay.number).collect();
        for number in due {
            self.connect_overlay(number);
        }
    }

    fn connect_overlay(&mut self, number: NeighbourNumber) {
        let Some(own) = self.relay.as_ref().map(|role| role.model().address) else { return };
        let (Some(keeping), Some(overlay)) = (self.overlays.keeping.as_ref(), self.overlays.all.get(&number))
        else {
            return;
        };
        let credentials = keeping.credentials.clone();
        let own_auth = match keeping.secrets.get(&overlay.name) {
            Some(secret) => {
                OwnAuth::SharedSecret { identity: credentials.identity.clone(), secret: secret.clone() }
            }
            None => OwnAuth::Signature(credentials),
        };
        let address = overlay.address;
        let peer = (relay_id(&overlay.name), overlay.key.clone());
        let plain = self.sockets.open(own, IKE, None, &mut self.queue);
        let in_udp = self.sockets.open(own, NAT_TRAVERSAL, None, &mut self.queue);
        let path = self.sockets.path(plain, SocketAddr::new(address, IKE));
        let float = self.sockets.path(in_udp, SocketAddr::new(address, NAT_TRAVERSAL));
        let Some(path) = path else { return };
        let any = if own.is_ipv4() { TrafficSelector::any_v4() } else { TrafficSelector::any_v6() };
        let sa = self.ike.connect(
            self.now,
            Connect {
                path,
                float,
                encapsulate: Encapsulate::BehindNat,
                peer: peer.0,
                peer_key: peer.1,
                own: own_auth,
                request: None,
                local: vec![any],
                remote: vec![any],
                datagram: None,
            },
        );
        self.purposes.insert(sa, Purpose::Overlay(number));
        if let Some(overlay) = self.overlays.all.get_mut(&number) {
            overlay.phase = Phase::Connecting(sa);
            overlay.opened = Some(sa);
            overlay.since = self.now;
        }
    }

    /// A relay wants an overlay with us.
    pub(super) fn overlay_wanted(
        &mut self,
        sa: SaHandle,
        wanted: &ChildWanted,
    ) -> Result<ChildAnswer, ChildRefusal> {
        let theirs = wanted.path.remote.ip();
        let known =
            self.overlays.all.values().find(|overlay| relay_id(&overlay.name) == wanted.peer.identity);
        let overlay = known.filter(|overlay| overlay.address == theirs).ok_or(ChildRefusal::Selectors)?;
        let number = overlay.number;
        self.purposes.insert(sa, Purpose::Overlay(number));
        let any = if theirs.is_ipv4() { TrafficSelector::any_v4() } else { TrafficSelector::any_v6() };
        Ok(ChildAnswer { remote: vec![any], local: vec![any], ..ChildAnswer::default() })
    }

    /// Keys for an overlay: its first or new ones.
    pub(super) fn overlay_keys(&mut self, number: NeighbourNumber, sa: SaHandle, keys: &ChildKeys) {
        let Some(overlay) = self.overlays.all.get_mut(&number) else {
            return self.ike.child_installed(self.now, sa, keys.child, Err(ChildRefusal::Temporary));
        };
        if keys.replaces.is_none() && !overlay.tunnel.accepts(keys) {
            // a neighbour that started anew, with other ciphers than before
            overlay.tunnel.keep_only(sa);
        }
        if !overlay.tunnel.accepts(keys) {
            return self.ike.child_installed(self.now, sa, keys.child, Err(ChildRefusal::Temporary));
        }
        if keys.replaces.is_none() && overlay.tunnel.in_use().is_some() && overlay.is_rival(sa, self.now) {
            overlay.tunnel.add_behind(sa, keys);
        } else {
            overlay.tunnel.add(sa, keys);
        }
        let relay = overlay.name.to_string();
        self.kernel.push(Part::Base, Then::Installed(sa, keys.child));
        if keys.replaces.is_some() {
            let target = RekeyTarget::Overlay { relay };
            self.event(Event::Rekeyed(Rekey { target, what: RekeyWhat::Child }));
        }
    }

    /// An overlay's connection stands. One that stood for long before is of a neighbour that has forgotten it.
    pub(super) fn overlay_established(&mut self, number: NeighbourNumber, sa: SaHandle) {
        let now = self.now;
        let Some(overlay) = self.overlays.all.get_mut(&number) else { return };
        let was_up = matches!(overlay.phase, Phase::Up(_));
        if overlay.is_rival(sa, now) {
            overlay.rival_established(sa, now);
            if was_up {
                self.settle_overlay(number);
                return self.journal(sa);
            }
        }
        let Some(overlay) = self.overlays.all.get_mut(&number) else { return };
        let old = match std::mem::replace(&mut overlay.phase, Phase::Up(sa)) {
            Phase::Connecting(old) | Phase::Up(old) if old != sa => Some(old),
            Phase::Connecting(_) | Phase::Up(_) | Phase::Down(_) => None,
        };
        overlay.rest = FIRST_REST;
        overlay.since = self.now;
        overlay.reason = None;
        let relay = overlay.name.to_string();
        if let Some(old) = old {
            self.ike.close(self.now, old);
        }
        self.journal(sa);
        self.event(Event::OverlayUp { relay });
    }

    /// An overlay's connection is over.
    pub(super) fn overlay_closed(&mut self, number: NeighbourNumber, sa: SaHandle, reason: &CloseReason) {
        let Some(overlay) = self.overlays.all.get_mut(&number) else { return };
        overlay.tunnel.remove_all(sa);
        self.kernel.push(Part::Base, Then::Nothing);
        if overlay.outlived(sa) {
            return;
        }
        let was_up = overlay.phase == Phase::Up(sa);
        if !was_up && overlay.phase != Phase::Connecting(sa) {
            return;
        }
        let again = overlay.opens && self.overlays.time == TunnelTime::Always && !self.stopping;
        overlay.phase = Phase::Down(again.then_some(self.now + overlay.rest));
        overlay.rest = LONGEST_REST.min(overlay.rest * 2);
        overlay.since = self.now;
        let reason = reason.to_string();
        let other = overlay.reason.replace(reason.clone()).is_none_or(|before| before != reason);
        if was_up || other {
            let relay = overlay.name.to_string();
            self.event(Event::OverlayDown { relay, reason });
        }
    }
}
