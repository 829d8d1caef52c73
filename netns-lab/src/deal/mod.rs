//! Deals out circuits: who gets which addresses, SPIs and keys, as one file with static keys per host.
//!
//! IKEv2 would do this hop by hop; a lab that is about the kernel gives every host its part at once.

mod render;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use ippriv::id::{Mtu, Spi};
use ippriv::secret::KeyMaterial;
use ippriv::state::RouteMetrics;
use ippriv::suite::{SequenceNumbers, Suite};
use ippriv::telescope::{
    CircuitNumber, Client, ExitPolicy, Hop, HopNumber, Host, Neighbour, NeighbourNumber, Relay, RelayCircuit,
    SaKeys, Stage, Telescope, TunnelKeys,
};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::net::{Net, NetError};
use crate::topology;

/// A circuit somebody wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The client's name.
    pub client: String,
    /// The relays' names, entry first.
    pub relays: Vec<String>,
    /// The suite of every layer.
    pub suite: Suite,
    /// Destinations to reach through it.
    pub traffic: Vec<IpNet>,
    /// Whether it carries IPv6 as well.
    pub ipv6: bool,
    /// The MTU inside, or `None` for the default.
    pub mtu: Option<Mtu>,
    /// Options of its connections.
    pub options: RouteMetrics,
}

impl Wish {
    /// A circuit of AES-GCM-128 for everything; IPv6 too where three layers leave room for it.
    #[must_use]
    pub fn new(client: &str, relays: &[&str]) -> Self {
        let everywhere = |address: IpAddr| IpNet::new(address, 0).ok();
        let traffic = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        Self {
            client: client.to_owned(),
            relays: relays.iter().map(ToString::to_string).collect(),
            suite: Suite::AesGcm128,
            traffic: traffic.into_iter().filter_map(everywhere).collect(),
            ipv6: relays.len() <= 3,
            mtu: None,
            options: RouteMetrics::default(),
        }
    }
}

/// Why circuits cannot be dealt out or put into the kernels.
#[derive(Debug, thiserror::Error)]
pub enum DealError {
    /// No such node, or a program on it failed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A hop that is not a relay.
    #[error("{0} is no relay: expected the name of a node with the role relay")]
    NoRelay(String),
    /// A number ran out of its range.
    #[error("too many circuits or neighbours: {0}")]
    TooMany(#[from] ippriv::id::OutOfRange),
    /// The host has no randomness to give.
    #[error("no random octets: {0}")]
    Entropy(#[from] rustix::io::Errno),
}

/// What every host has to do.
#[derive(Debug)]
pub struct Deal {
    /// The hosts by name. Change them and [`Deal::apply`] again to change the lab.
    pub hosts: BTreeMap<String, Host>,
    ends: u32,
    overlays: u32,
}

impl Deal {
    /// Deals out `wishes` on the relays of `net`. Overlays between relays that follow one another use
    /// AES-GCM-128.
    ///
    /// # Errors
    /// [`DealError`] for unknown names or when numbers run out.
    pub fn new(net: &Net, wishes: &[Wish]) -> Result<Self, DealError> {
        let mut deal = Self { hosts: BTreeMap::new(), ends: 0, overlays: 0 };
        for wish in wishes {
            deal.add(net, wish)?;
        }
        Ok(deal)
    }

    /// Deals out one more circuit.
    ///
    /// # Errors
    /// [`DealError`] for unknown names or when numbers run out.
    pub fn add(&mut self, net: &Net, wish: &Wish) -> Result<CircuitNumber, DealError> {
        let address = IpAddr::V4(net.node(&wish.client)?.address4());
        let mut peer = address;
        let mut hops = Vec::with_capacity(wish.relays.len());
        for (position, name) in wish.relays.iter().enumerate() {
            let exit = position + 1 == wish.relays.len();
            let hop = self.end_layer(net, name, peer, wish, exit)?;
            peer = hop.address;
            hops.push(hop);
        }
        for pair in wish.relays.windows(2) {
            self.join(net, &pair[0], &pair[1])?;
        }
        let client =
            self.hosts.entry(wish.client.clone()).or_default().client.get_or_insert_with(|| Client {
                address,
                path_mtu: Mtu::ETHERNET,
                kill_switch: false,
                allow: Vec::new(),
                guarded: Vec::new(),
                circuits: Vec::new(),
            });
        let number = CircuitNumber::try_from(u32::try_from(client.circuits.len()).unwrap_or(u32::MAX) + 1)?;
        client.circuits.push(Telescope {
            number,
            hops,
            traffic: wish.traffic.clone(),
            mtu: wish.mtu,
            options: wish.options.clone(),
            stage: Stage::Static,
        });
        Ok(number)
    }

    /// The relay's part of one layer, and the client's.
    fn end_layer(
        &mut self,
        net: &Net,
        name: &str,
        peer: IpAddr,
        wish: &Wish,
        exit: bool,
    ) -> Result<Hop, DealError> {
        self.ends += 1;
        let keys = tunnel(wish.suite, self.ends * 2)?;
        let number = self.ends;
        let pool = relay_of(net, name)?.clone();
        let relay = self.relay(net, name)?;
        let index = u32::try_from(relay.circuits.len()).unwrap_or(u32::MAX) + 2;
        let address = IpAddr::V4(Ipv4Addr::from_bits(pool.pool.network().to_bits() + index));
        let address6 = pool
            .pool6
            .filter(|_| exit && wish.ipv6)
            .map(|pool| Ipv6Addr::from_bits(pool.network().to_bits() + u128::from(index)));
        relay.circuits.push(RelayCircuit {
            number: HopNumber::try_from(number)?,
            peer,
            address,
            address6,
            keys: keys.0,
            encapsulation: None,
        });
        Ok(Hop { relay: relay.address, address, address6, keys: keys.1, encapsulation: None })
    }

    fn relay(&mut self, net: &Net, name: &str) -> Result<&mut Relay, DealError> {
        let offered = relay_of(net, name)?;
        let address = IpAddr::V4(net.node(name)?.address4());
        Ok(self.hosts.entry(name.to_owned()).or_default().relay.get_or_insert_with(|| Relay {
            address,
            pool: IpNet::V4(offered.pool),
            pool6: offered.pool6.filter(|_| offered.exit).map(IpNet::V6),
            exit: offered.exit.then(ExitPolicy::default),
            neighbours: Vec::new(),
            circuits: Vec::new(),
        }))
    }

    /// An overlay between two relays, unless there is one.
    fn join(&mut self, net: &Net, left: &str, right: &str) -> Result<(), DealError> {
        let addresses =
            [left, right].map(|name| self.relay(net, name).map(|relay| (relay.address, relay.pool)));
        let [left_end, right_end] = addresses;
        let (left_end, right_end) = (left_end?, right_end?);
        if self.relay(net, left)?.neighbours.iter().any(|peer| peer.address == right_end.0) {
            return Ok(());
        }
        self.overlays += 1;
        let keys = tunnel(Suite::AesGcm128, OVERLAY_SPIS + self.overlays * 2)?;
        for (name, (address, pool), keys) in [(left, right_end, keys.0), (right, left_end, keys.1)] {
            let relay = self.relay(net, name)?;
            let number = u32::try_from(relay.neighbours.len()).unwrap_or(u32::MAX) + 1;
            let number = NeighbourNumber::try_from(number)?;
            relay.neighbours.push(Neighbour { number, address, pool, keys: Some(keys), tfc_padding: None });
        }
        Ok(())
    }

    /// A host's file: YAML, of which JSON is a part.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<String> {
        self.hosts.get(name).map(|host| render::host(host).to_string())
    }

    /// Writes every host's file and has `ippriv` apply it there, exits first, so that a circuit works as
    /// soon as its client has it.
    ///
    /// # Errors
    /// [`NetError`] with what `ippriv` said.
    pub fn apply(&self, net: &Net) -> Result<(), DealError> {
        let clients_last = |name: &&String| self.hosts.get(*name).is_some_and(|host| host.client.is_some());
        let mut names: Vec<&String> = self.hosts.keys().collect();
        names.sort_by_key(clients_last);
        names.into_iter().try_for_each(|name| self.apply_on(net, name))
    }

    /// The same for one host.
    ///
    /// # Errors
    /// [`NetError`] with what `ippriv` said.
    pub fn apply_on(&self, net: &Net, name: &str) -> Result<(), DealError> {
        let path = self.write(net, name)?;
        net.node(name)?.run(&["ippriv", "apply", &path])?;
        Ok(())
    }

    /// Writes a host's file, readable by its owner only, and gives its path.
    ///
    /// # Errors
    /// [`NetError`] when it cannot be written.
    pub fn write(&self, net: &Net, name: &str) -> Result<String, DealError> {
        let node = net.node(name)?;
        let text = self.file(name).unwrap_or_else(|| "lab: true".to_owned());
        let path = node.write_file("circuits.yaml", text.as_bytes())?;
        Ok(path.to_string_lossy().into_owned())
    }
}

/// SPIs from here on are the overlays', so that captures are easy to read: layers have lower ones.
pub const OVERLAY_SPIS: u32 = 0x0900_0000;
/// SPIs from here on are those of layers.
pub const LAYER_SPIS: u32 = 0x1000;

fn relay_of<'net>(net: &'net Net, name: &str) -> Result<&'net topology::Relay, DealError> {
    net.node(name)?.relay().ok_or_else(|| DealError::NoRelay(name.to_owned()))
}

/// Fresh keys for a tunnel with two SPIs from `spi` on, for the one end and for the other.
pub fn tunnel(suite: Suite, spi: u32) -> Result<(TunnelKeys, TunnelKeys), DealError> {
    let first = SaKeys { spi: Spi::try_from(LAYER_SPIS + spi)?, key: random(suite.key_length())? };
    let second = SaKeys { spi: Spi::try_from(LAYER_SPIS + spi + 1)?, key: random(suite.key_length())? };
    let end = |out: &SaKeys, inbound: &SaKeys| TunnelKeys {
        suite,
        sequence: SequenceNumbers::Extended,
        out: out.clone(),
        r#in: vec![inbound.clone()],
    };
    Ok((end(&first, &second), end(&second, &first)))
}

fn random(octets: usize) -> Result<KeyMaterial, DealError> {
    let mut key = vec![0; octets];
    let mut filled = 0;
    while filled < key.len() {
        filled += getrandom(&mut key[filled..], GetRandomFlags::empty())?;
    }
    Ok(KeyMaterial::new(key))
}
