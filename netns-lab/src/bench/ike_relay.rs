//! One relay without sockets and kernel, and clients that nobody knows: what benchmarks of IKEv2 are made of.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ippriv::entropy::Seeded;
use ippriv::ike::crypto::SigningKey;
use ippriv::ike::proposal::IkeOffer;
use ippriv::ike::wire::{Id, TrafficSelector};
use ippriv::ike::{
    AddressRequest, Addresses, Anonymous, ChildAnswer, Connect, Credentials, Encapsulate, Endpoint, Event,
    Family, HalfOpen, Output, OwnAuth, Path, PeerTable, Proposals, Settings, SocketId,
};
use ippriv::network::{Network, PrivateKey, Trust, edit};
use ippriv::node::{self, Files, Input, Node};
use ippriv::plan::Outcome;
use ippriv::policy::Policy;
use ippriv::time::Instant;
use nix::time::{ClockId, clock_gettime};

/// The relay's address and the seed of its identity key.
const RELAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)), 500);
const NAME: &str = "relay-a";
const SEED: [u8; 32] = [7; 32];
/// Where clients are: each in a /24 of its own, so that no limit per prefix is in the way.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);

/// CPU time of this thread: what others on the machine do is not in it.
pub(super) fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Which key exchanges a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchanges {
    /// X25519.
    Classical,
    /// X25519, and ML-KEM-768 in IKE_INTERMEDIATE.
    WithMlKem,
}

/// Who answers clients.
pub(super) trait Responder {
    /// Takes a datagram and gives what is sent, each with where it goes.
    fn answer(&mut self, now: Instant, remote: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)>;

    /// Does what is due; what is sent is given the same way.
    fn time(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)>;

    /// When something is due.
    fn due(&self) -> Option<Instant>;
}

/// The engine alone: its owner says yes at once.
pub(super) struct Engine(Endpoint);

impl Engine {
    /// Bounds on half-open connections are those of a relay.
    pub(super) fn new() -> Result<Self, Box<dyn Error>> {
        let credentials = Credentials { identity: Id::fqdn(NAME), key: SigningKey::from_seed(&SEED)? };
        let settings = Settings {
            half_open: HalfOpen { cookies_from: 512, total: 1024, per_prefix: 32, ..HalfOpen::default() },
            credentials: Some(Arc::new(credentials)),
            peers: PeerTable {
                anonymous: Anonymous { null: true, ..Anonymous::default() },
                ..PeerTable::default()
            },
            ..Settings::default()
        };
        Ok(Self(Endpoint::new(settings, Seeded::new([1; 32]))))
    }

    fn drain(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(output) = self.0.poll_output() {
            match output {
                Output::Transmit { path, datagram } => sent.push((path.remote, datagram)),
                Output::Event(sa, Event::ChildWanted(_)) => {
                    let given = IpAddr::V4(Ipv4Addr::new(10, 64, 0, 7));
                    let answer = ChildAnswer {
                        given: Addresses { addresses: vec![given], dns: Vec::new() },
                        remote: vec![TrafficSelector::host(given)],
                        local: vec![TrafficSelector::any_v4()],
                    };
                    self.0.answer_child(now, sa, Ok(answer));
                }
                Output::Event(sa, Event::ChildKeys(keys)) => {
                    self.0.child_installed(now, sa, keys.child, Ok(()));
                }
                Output::Event(..) | Output::Changed(_) => {}
            }
        }
        sent
    }
}

impl Responder for Engine {
    fn answer(&mut self, now: Instant, remote: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        self.0.handle_datagram(now, Path { socket: SocketId(0), local: RELAY, remote }, datagram);
        self.drain(now)
    }

    fn time(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        self.0.handle_timeout(now);
        self.drain(now)
    }

    fn due(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}

/// All of the daemon but its IO: the kernel does everything at once, and the journal writes nowhere.
pub(super) struct Daemon {
    node: Node,
    socket: SocketId,
}

impl Daemon {
    /// A relay with the limits that a policy has by itself.
    pub(super) fn new(now: Instant) -> Result<Self, Box<dyn Error>> {
        let key = PrivateKey::from_seed(SEED.into())?;
        let operator = PrivateKey::from_seed([9; 32].into())?;
        let text = format!(
            "network: bench\nserial: 1\nvalid_from: 2026-01-01T00:00:00Z\nvalid_until: 2099-01-01T00:00:00Z\n\
             operators:\n  op: {}\nthreshold: 1\nrelays:\n  - name: {NAME}\n    address: {}\n    identity: {}\n    \
             pool: 10.64.0.0/16\n    roles: [entry, middle, exit]\n    exit: {{}}\n",
            operator.public(),
            RELAY.ip(),
            key.public(),
        );
        let signature = operator.sign(Network::parse(&text)?.document(), "op".parse()?);
        let trust = Trust::new([("op".parse()?, operator.public())].into(), 1)?;
        let signed = Network::parse(&edit::add_signature(&text, &signature)?)?;
        let network = signed.verify(&trust, "2026-06-01T00:00:00Z".parse()?, None)?;
        let policy = Policy::parse(&format!(
            "network: net.yaml\ntrust:\n  operators: {{ op: {} }}\n  threshold: 1\n\
             relay:\n  name: {NAME}\n  identity: id\n  exit: {{}}\n",
            operator.public()
        ))?;
        let files = Files { identity: Some(key.into_signing_key()), ..Files::default() };
        let mut node = Node::new(&policy, files, network, [1; 32], &[], now)?;
        node.started(now);
        let mut socket = None;
        while let Some(output) = node.poll_output() {
            match output {
                node::Output::Open(id, binding) if binding.port == RELAY.port() => socket = Some(id),
                _ => {}
            }
        }
        Ok(Self { node, socket: socket.ok_or("found no socket at port 500, expected one")? })
    }

    fn drain(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some(output) = self.node.poll_output() {
            match output {
                node::Output::Transmit { remote, octets, .. } => sent.push((remote, octets)),
                node::Output::Kernel { id, ops } => {
                    let outcomes = vec![Outcome::Done; ops.len()];
                    self.node.handle_input(now, Input::Kernel { id, outcomes });
                }
                node::Output::Journal(_)
                | node::Output::Event(_)
                | node::Output::Reply(..)
                | node::Output::Open(..)
                | node::Output::Close(_)
                | node::Output::KeyLog(_)
                | node::Output::Lend { .. }
                | node::Output::Count(_)
                | node::Output::Watch(_) => {}
            }
        }
        sent
    }
}

impl Responder for Daemon {
    fn answer(&mut self, now: Instant, remote: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        self.node.handle_input(now, Input::Datagram { socket: self.socket, remote, octets: datagram });
        self.drain(now)
    }

    fn time(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        self.node.handle_timeout(now);
        self.drain(now)
    }

    fn due(&self) -> Option<Instant> {
        self.node.poll_timeout()
    }
}

/// A client with one connection.
pub(super) struct Client {
    endpoint: Endpoint,
    path: Path,
    connected: bool,
    closed: bool,
}

impl Client {
    /// Client `nth`, which connects now.
    pub(super) fn new(nth: u32, exchanges: Exchanges, now: Instant) -> Result<Self, Box<dyn Error>> {
        let mut seed = [2; 32];
        seed[..4].copy_from_slice(&nth.to_be_bytes());
        let ike = match exchanges {
            Exchanges::Classical => IkeOffer::default().without_additional(),
            Exchanges::WithMlKem => IkeOffer::default(),
        };
        let proposals = Proposals { ike, ..Proposals::default() };
        let settings = Settings { proposals, ..Settings::default() };
        let mut endpoint = Endpoint::new(settings, Seeded::new(seed));
        let address = Ipv4Addr::from_bits(CLIENTS.to_bits() + (nth << 8 & 0x003f_ff00));
        let path = Path { socket: SocketId(0), local: SocketAddr::new(address.into(), 500), remote: RELAY };
        let connect = Connect {
            path,
            float: None,
            encapsulate: Encapsulate::BehindNat,
            peer: Id::fqdn(NAME),
            peer_key: SigningKey::from_seed(&SEED)?.public(),
            own: OwnAuth::Null,
            request: Some(AddressRequest { family: Some(Family::V4) }),
            local: vec![TrafficSelector::any_v4()],
            remote: vec![TrafficSelector::any_v4()],
            datagram: None,
        };
        endpoint.connect(now, connect);
        Ok(Self { endpoint, path, connected: false, closed: false })
    }

    /// Where it is.
    pub(super) const fn address(&self) -> SocketAddr {
        self.path.local
    }

    /// Whether the relay has given it a child SA.
    pub(super) const fn connected(&self) -> bool {
        self.connected
    }

    /// Whether it has given up.
    pub(super) const fn closed(&self) -> bool {
        self.closed
    }

    /// Takes a datagram of the relay.
    pub(super) fn hear(&mut self, now: Instant, datagram: &[u8]) {
        self.endpoint.handle_datagram(now, self.path, datagram);
    }

    /// Does what is due.
    pub(super) fn time(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }

    /// What it sends.
    pub(super) fn sends(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { datagram, .. } => sent.push(datagram),
                Output::Event(_, Event::ChildKeys(_)) => self.connected = true,
                Output::Event(_, Event::Closed(_)) => self.closed = true,
                Output::Event(..) | Output::Changed(_) => {}
            }
        }
        sent
    }
}
