//! How a node comes to be: from a policy, a network document and what was remembered.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::client::ClientRole;
use super::kernel::KernelQueue;
use super::overlay::{Keeping, Known, Overlays, relay_id};
use super::relay::RelayRole;
use super::sockets::{IKE, NAT_TRAVERSAL, Sockets};
use super::{Node, Purpose, Record};
use crate::control::Event;
use crate::entropy::{Entropy, Seeded};
use crate::ike::crypto::{PublicKey, SigningKey};
use crate::ike::{
    Anonymous, Credentials, Endpoint, HalfOpen, Lifetimes, Path, PeerTable, Proposals, Retransmission,
    Settings, SocketId,
};
use crate::network::{self, ClientAuth, IdentityKey, Name, Network, Software, linked};
use crate::policy::{self, CipherPolicy, Policy};
use crate::secret::KeyMaterial;
use crate::telescope::Relay;
use crate::time::Instant;

/// Silence after which a relay asks whether a peer is still there: much later than clients do, so that it is
/// they who ask.
const RELAY_SILENCE: Duration = Duration::from_secs(300);
/// How long a peer of a relay has to answer before it counts as dead.
const RELAY_DEAD: Duration = Duration::from_secs(45);

/// What the files hold that a policy names.
#[derive(Debug, Default)]
pub struct Files {
    /// The relay's identity.
    pub identity: Option<SigningKey>,
    /// The cipher policies, by name.
    pub ciphers: BTreeMap<Name, CipherPolicy>,
    /// The secrets shared with one neighbour each, for neighbours that cannot check our key.
    pub secrets: BTreeMap<Name, KeyMaterial>,
}

/// Why a policy does not go with a network document or its files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeRefused {
    /// The relay is not in the network.
    #[error("relay {0} is not in the network document: expected one of its relays")]
    NotInNetwork(Name),
    /// The relay's key is another than the one that clients expect.
    #[error("relay {0}: the identity key is not the one in the network document")]
    OtherKey(Name),
    /// The relay has no key.
    #[error("relay {0}: no identity key")]
    NoKey(Name),
    /// A cipher policy that is not there.
    #[error("no cipher policy {0}: expected one of the policy's `ciphers`")]
    NoCiphers(Name),
    /// The relay is a client from another address than circuits could leave from.
    #[error("the model contradicts itself: {0}")]
    Model(#[from] crate::telescope::Refused),
}

/// A key as IKE takes it.
pub(super) fn public_key(key: &IdentityKey) -> Option<PublicKey> {
    PublicKey::from_spki_der(&key.to_spki()).ok()
}

impl Node {
    /// A node that does nothing before [`Self::started`]. `journal` is what was remembered, in any order;
    /// `seed` has to be unpredictable.
    ///
    /// # Errors
    /// [`NodeRefused`] when the policy does not go with the network or the files.
    pub fn new(
        policy: &Policy,
        files: Files,
        network: Network,
        seed: [u8; 32],
        journal: &[Record],
        now: Instant,
    ) -> Result<Self, NodeRefused> {
        let mut entropy = Seeded::new(seed);
        let mut ike_seed = [0; 32];
        entropy.secret_fill(&mut ike_seed);
        let credentials = credentials(policy, files.identity, &network)?.map(Arc::new);
        let settings = settings(policy, (&files.ciphers, &files.secrets), &network, credentials.clone())?;
        let mut node = Self {
            ike: Endpoint::new(settings, Seeded::new(ike_seed)),
            entropy,
            now,
            started: now,
            relay: policy.relay.as_ref().and_then(|role| relay_role(role, &network)),
            client: policy.client.as_ref().map(|client| ClientRole::new(client, now)),
            network,
            kernel: KernelQueue::new(),
            queue: VecDeque::new(),
            sockets: Sockets::default(),
            purposes: BTreeMap::new(),
            overlays: Overlays::default(),
            liveness: super::liveness::Liveness::default(),
            replayed: VecDeque::new(),
            retry: None,
            rest: super::FIRST_REST,
            stopping: false,
            adopted: 0,
            key_log: None,
        };
        if let (Some(relay), Some(credentials)) = (&policy.relay, credentials) {
            let overlay = &relay.overlay;
            let keeping = Keeping { credentials, secrets: files.secrets, tfc_padding: overlay.tfc_padding };
            node.overlays.configure(keeping, overlay.neighbours);
            node.add_neighbours(&relay.name, journal);
        }
        node.adopt(journal);
        node.desired()?;
        Ok(node)
    }

    /// Adds every neighbour of the network document, each under the number it had before.
    fn add_neighbours(&mut self, own: &Name, journal: &[Record]) {
        let remembered = super::journal::neighbour_numbers(journal);
        let Some(relay) = self.network.relay(own.as_str()) else { return };
        let mut known: Vec<_> = self
            .network
            .neighbours(relay)
            .filter_map(|other| Some((remembered.get(other.name.as_str()).copied(), known(relay, other)?)))
            .collect();
        known.sort_by_key(|(number, _)| number.is_none());
        for (number, known) in known {
            let name = known.name.clone();
            let given = self.overlays.add(number, known, self.now);
            if number.is_none() {
                self.journal_neighbour(&name, given);
            }
        }
    }

    /// Adds a neighbour that is new.
    pub(super) fn add_neighbour(&mut self, own: &Name, other: &network::Relay) {
        let own = self.network.relay(own.as_str());
        if let Some(known) = own.and_then(|own| known(own, other)) {
            let name = known.name.clone();
            let number = self.overlays.add(None, known, self.now);
            self.journal_neighbour(&name, number);
        }
    }

    /// Opens the sockets that are always there.
    pub(super) fn open_sockets(&mut self) {
        if let Some(address) = self.relay.as_ref().map(|role| role.model().address) {
            self.sockets.open(address, IKE, None, &mut self.queue);
            self.sockets.open(address, NAT_TRAVERSAL, None, &mut self.queue);
        }
        if let Some(address) = self.client.as_ref().and_then(ClientRole::address) {
            self.sockets.open(address, IKE, None, &mut self.queue);
            self.sockets.open(address, NAT_TRAVERSAL, None, &mut self.queue);
        }
    }

    /// Gives connections that stood before a restart sockets like those they had.
    pub(super) fn rebind(&mut self) {
        for (sa, purpose) in self.purposes.clone() {
            let Some(path) = self.ike.path(sa) else { continue };
            let link = match purpose {
                Purpose::Hop(circuit, hop) => (hop > 0).then(|| circuit.link()),
                Purpose::Layer(_) | Purpose::Overlay(_) => None,
            };
            let (address, port) = (path.local.ip(), path.local.port());
            let socket = self.sockets.open(address, port, link, &mut self.queue);
            self.ike.migrate_path(sa, Path { socket, ..path });
            if let Purpose::Hop(circuit, hop) = purpose
                && let Some(hop) = self.hop_mut(circuit, hop)
            {
                hop.socket = socket;
            }
        }
    }

    /// A datagram came in.
    pub(super) fn datagram(&mut self, socket: SocketId, remote: SocketAddr, octets: &[u8]) {
        if let Some(path) = self.sockets.path(socket, remote) {
            self.ike.handle_datagram(self.now, path, octets);
        }
    }

    /// A socket could not be opened: what needs it gets no answer and says so. It is tried again.
    pub(super) fn not_opened(&mut self, socket: SocketId, errno: i32) {
        let error = std::io::Error::from_raw_os_error(errno).to_string();
        let operation = self.sockets.describe(socket);
        self.sockets.forget(socket);
        self.put_off();
        self.event(Event::KernelRefused { operation, error });
    }
}

fn known(own: &network::Relay, other: &network::Relay) -> Option<Known> {
    let key = public_key(&other.identity)?;
    // Other people's daemons go by addresses, for their configuration knows no order of names.
    let opens = match other.software {
        Software::Ippriv => own.name < other.name,
        Software::Strongswan | Software::Libreswan => own.address < other.address,
    };
    let (name, address) = (other.name.clone(), other.address.into());
    Some(Known { name, address, pool: IpNet::V4(other.pool), key, opens })
}

pub(super) fn credentials(
    policy: &Policy,
    key: Option<SigningKey>,
    network: &Network,
) -> Result<Option<Credentials>, NodeRefused> {
    let Some(role) = &policy.relay else { return Ok(None) };
    let name = &role.name;
    let relay = network.relay(name.as_str()).ok_or_else(|| NodeRefused::NotInNetwork(name.clone()))?;
    let key = key.ok_or_else(|| NodeRefused::NoKey(name.clone()))?;
    if public_key(&relay.identity) != Some(key.public()) {
        return Err(NodeRefused::OtherKey(name.clone()));
    }
    Ok(Some(Credentials { identity: relay_id(name), key }))
}

fn relay_role(role: &policy::Relay, network: &Network) -> Option<RelayRole> {
    let relay = network.relay(role.name.as_str())?;
    let model = Relay {
        address: IpAddr::V4(relay.address),
        pool: IpNet::V4(relay.pool),
        pool6: relay.pool6.filter(|_| role.exit.is_some()).map(IpNet::V6),
        exit: role.exit.as_ref().map(|exit| exit.leaving.clone()),
        neighbours: Vec::new(),
        circuits: Vec::new(),
    };
    let mut made = RelayRole::new(model, role.limits, role.pool_quarantine);
    made.name_servers(role.exit.as_ref());
    Some(made)
}

/// The engine's settings for both roles.
pub(super) fn settings(
    policy: &Policy,
    (ciphers, secrets): (&BTreeMap<Name, CipherPolicy>, &BTreeMap<Name, KeyMaterial>),
    network: &Network,
    credentials: Option<Arc<Credentials>>,
) -> Result<Settings, NodeRefused> {
    let default = CipherPolicy::default();
    let named = |name: &Name| match ciphers.get(name) {
        Some(found) => Ok(found),
        None if name.as_str() == "default" => Ok(&default),
        None => Err(NodeRefused::NoCiphers(name.clone())),
    };
    let relay = policy.relay.as_ref();
    let name = relay.map(|role| &role.ciphers).or(policy.client.as_ref().map(|role| &role.ciphers));
    let chosen = name.map_or(Ok(&default), named)?;
    let times = relay.map(|role| role.lifetimes).or(policy.client.as_ref().map(|role| role.lifetimes));
    let times = times.unwrap_or_default();
    let own = relay.and_then(|role| network.relay(role.name.as_str()));
    let keys = network.relays().iter().filter(|other| own.is_some_and(|own| linked(own, other)));
    let published_secret = own.and_then(|own| match &own.clients {
        ClientAuth::Psk(psk) => Some(KeyMaterial::new(psk.as_str().as_bytes().to_vec())),
        ClientAuth::Anonymous => None,
    });
    let half_open = relay.map(|role| role.limits).map_or_else(HalfOpen::default, |limits| HalfOpen {
        cookies_from: usize::try_from(limits.half_open / 2).unwrap_or(usize::MAX),
        total: usize::try_from(limits.half_open).unwrap_or(usize::MAX),
        per_prefix: usize::try_from(limits.half_open_per_prefix).unwrap_or(usize::MAX),
        ..HalfOpen::default()
    });
    let soft = |hard: Duration| hard / 5 * 4;
    // on a host of both roles the client's circuits have to know soon
    let waits = policy.client.as_ref().map(|client| client.timeouts);
    Ok(Settings {
        proposals: Proposals { ike: chosen.ike_offer(), esp: chosen.esp_offer() },
        lifetimes: Lifetimes {
            ike_soft: soft(times.ike),
            ike_hard: times.ike,
            child_soft: soft(times.child),
            child_hard: times.child,
            probe: Some(waits.map_or(RELAY_SILENCE, |waits| waits.silence)),
            ..Lifetimes::default()
        },
        connecting: Retransmission::CONNECTING,
        established: Retransmission::lasting(waits.map_or(RELAY_DEAD, |waits| waits.dead)),
        half_open,
        credentials,
        peers: PeerTable {
            keys: keys
                .filter_map(|other| Some((relay_id(&other.name), public_key(&other.identity)?)))
                .collect(),
            secrets: secrets.iter().map(|(name, secret)| (relay_id(name), secret.clone())).collect(),
            anonymous: Anonymous { null: relay.is_some(), published_secret },
        },
        datagram: policy.fragment_size.octets(),
    })
}
