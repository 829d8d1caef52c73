//! Nested kernel WireGuard: from the client a tunnel to the entry, within it one to the middle, within that one to
//! the exit, each with keys of its own, as multihop of a VPN provider would be with more than two hops.
//!
//! A relay has one interface with a peer for each circuit, and masquerades what leaves it. Nothing is sent to keep
//! tunnels alive.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::host::{self, Undo};
use super::{Outcome, Place, Running, Way, counters};
use crate::bundle::WIREGUARD;
use crate::net::{Net, Node};

/// What can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Largest packet on the path; that of the narrowest link of the network if this is not said. What is inside has
    /// as much as fits.
    pub path_mtu: Option<u16>,
}

const PROGRAM: &str = "usr/bin/wg";
/// The relays' interface and where it listens.
const DEVICE: &str = "wg0";
const PORT: u16 = 51820;
/// The relays' nftables table.
const TABLE: &str = "lab_wireguard";
/// IPv4 (20), UDP (8), the header of data (16) and its tag (16).
const OVERHEAD: u16 = 60;
/// The least that IPv4 needs.
const LEAST_MTU: u16 = 576;
/// Client's routing tables and marks of tunnels' own packets are numbered from here on.
const NUMBERS: usize = 40_000;
/// The most hops of which each gets a number of its own.
const HOPS: usize = 8;

pub(super) fn start<'net>(settings: &Settings, place: Place<'net>) -> Outcome<Box<dyn Running + 'net>> {
    let wg = WIREGUARD.root()?.join(PROGRAM).to_string_lossy().into_owned();
    let path_mtu = settings.path_mtu.unwrap_or_else(|| host::least_mtu(place.net));
    let mut running =
        WireGuard { net: place.net, wg, ways: Vec::new(), set_up: Vec::new(), changes: Undo::default() };
    let mut relays = BTreeMap::new();
    for node in host::relays(place)? {
        relays.insert(node.name(), Relay::new(node, running.key_pair(node)?)?);
    }
    for (number, circuit) in place.circuits.iter().enumerate() {
        let tunnels = tunnels(&running, place, &mut relays, number, path_mtu)?;
        let client = place.net.node(&circuit.client)?;
        for tunnel in &tunnels {
            running.dig(client, tunnel)?;
        }
        let last =
            tunnels.last().ok_or_else(|| format!("{}: found no hops, expected some", circuit.client))?;
        host::ip(client, &format!("rule add pref 100 from {} lookup {}\n", last.address, last.table))?;
        running.changes.later(
            client,
            &[
                "ip",
                "rule",
                "del",
                "pref",
                "100",
                "from",
                &last.address.to_string(),
                "lookup",
                &last.table.to_string(),
            ],
        );
        running.ways.push(Way::From(IpAddr::V4(last.address)));
    }
    for relay in relays.values() {
        running.open(relay)?;
    }
    for (circuit, way) in place.circuits.iter().zip(running.ways.clone()) {
        let Way::From(address) = way else { continue };
        if let Some(exit) = circuit.hops.last().and_then(|name| relays.get(name.as_str())) {
            let answers = host::reach(place.net, circuit, Some(address), IpAddr::V4(exit.address))?;
            // The first packet waited for all handshakes; the later one shows what the way itself takes.
            running.set_up.push(Some(answers.first.saturating_sub(answers.later)));
        }
        for server in place.servers {
            let server = IpAddr::V4(place.net.node(server)?.address4());
            host::reach(place.net, circuit, Some(address), server)?;
        }
    }
    Ok(Box::new(running))
}

/// What `wg` says of its version.
pub(super) fn version() -> Outcome<String> {
    host::version(&WIREGUARD.root()?.join(PROGRAM).to_string_lossy(), "")
}

struct WireGuard<'net> {
    net: &'net Net,
    /// The program.
    wg: String,
    ways: Vec<Way>,
    set_up: Vec<Option<Duration>>,
    changes: Undo<'net>,
}

impl Running for WireGuard<'_> {
    fn ways(&self) -> Vec<Way> {
        self.ways.clone()
    }

    fn set_up(&self) -> Vec<Option<Duration>> {
        self.set_up.clone()
    }

    fn counters(&self) -> Outcome<BTreeMap<String, f64>> {
        counters::of_devices(self.net)
    }
}

/// Keys as `wg` writes them.
struct Keys {
    private: String,
    public: String,
}

/// A relay's end of all tunnels to it.
struct Relay<'net> {
    node: Node<'net>,
    keys: Keys,
    /// Its own address within tunnels.
    address: Ipv4Addr,
    peers: Vec<Peer>,
}

/// A tunnel as its relay sees it.
struct Peer {
    key: String,
    address: Ipv4Addr,
    mtu: u16,
}

/// A tunnel as its client sees it.
struct Tunnel {
    device: String,
    keys: Keys,
    address: Ipv4Addr,
    mtu: u16,
    /// The table whose default route leads into it.
    table: usize,
    /// The tunnel that its own packets go through, by its table; none for the outermost.
    within: Option<usize>,
    peer_key: String,
    endpoint: Ipv4Addr,
}

impl<'net> Relay<'net> {
    fn new(node: Node<'net>, keys: Keys) -> Outcome<Self> {
        Ok(Self { node, keys, address: host::lease(node, 1)?, peers: Vec::new() })
    }

    /// Takes a peer on and gives it an address.
    fn take(&mut self, key: &str, mtu: u16) -> Outcome<Ipv4Addr> {
        let address = host::lease(self.node, self.peers.len() + 2)?;
        self.peers.push(Peer { key: key.to_owned(), address, mtu });
        Ok(address)
    }
}

/// The tunnels of circuit number `number`, outermost first.
fn tunnels(
    running: &WireGuard<'_>,
    place: Place<'_>,
    relays: &mut BTreeMap<&str, Relay<'_>>,
    number: usize,
    path_mtu: u16,
) -> Outcome<Vec<Tunnel>> {
    let circuit = &place.circuits[number];
    let client = place.net.node(&circuit.client)?;
    let (mut tunnels, mut room) = (Vec::new(), path_mtu);
    for (hop, name) in circuit.hops.iter().take(HOPS).enumerate() {
        let relay =
            relays.get_mut(name.as_str()).ok_or_else(|| format!("{name}: found no relay, expected one"))?;
        room = room.checked_sub(OVERHEAD).filter(|room| *room >= LEAST_MTU).ok_or_else(|| {
            format!("{}: found no room for {} tunnels in {path_mtu} octets", circuit.client, hop + 1)
        })?;
        let keys = running.key_pair(client)?;
        let table = NUMBERS + number * HOPS + hop;
        tunnels.push(Tunnel {
            device: format!("wg{number}x{hop}"),
            address: relay.take(&keys.public, room)?,
            keys,
            mtu: room,
            table,
            within: (hop > 0).then(|| table - 1),
            peer_key: relay.keys.public.clone(),
            endpoint: relay.node.address4(),
        });
    }
    Ok(tunnels)
}

impl<'net> WireGuard<'net> {
    fn key_pair(&self, node: Node<'_>) -> Outcome<Keys> {
        let private = node.run(&[&self.wg, "genkey"])?.stdout.trim().to_owned();
        let public = node.run_with(&[&self.wg, "pubkey"], &private)?.stdout.trim().to_owned();
        Ok(Keys { private, public })
    }

    /// Makes a client's end of a tunnel.
    fn dig(&mut self, client: Node<'net>, tunnel: &Tunnel) -> Outcome<()> {
        let Tunnel { device, address, mtu, table, .. } = tunnel;
        host::ip(client, &format!("link add {device} type wireguard\n"))?;
        self.changes.device(client, device);
        let mut config = format!("[Interface]\nPrivateKey = {}\n", tunnel.keys.private);
        let mut batch = format!(
            "addr add {address}/32 dev {device}\nlink set {device} mtu {mtu} up\n\
             route add default dev {device} src {address} table {table}\n"
        );
        if let Some(within) = tunnel.within {
            let _ = writeln!(config, "FwMark = {table}");
            let _ = writeln!(batch, "rule add pref 99 fwmark {table} lookup {within}");
            let (mark, within) = (table.to_string(), within.to_string());
            self.changes
                .later(client, &["ip", "rule", "del", "pref", "99", "fwmark", &mark, "lookup", &within]);
        }
        let _ = write!(
            config,
            "[Peer]\nPublicKey = {}\nAllowedIPs = 0.0.0.0/0\nEndpoint = {}:{PORT}\n",
            tunnel.peer_key, tunnel.endpoint
        );
        self.configure(client, device, &config)?;
        Ok(host::ip(client, &batch)?)
    }

    /// Makes a relay's interface with all its peers.
    fn open(&mut self, relay: &Relay<'net>) -> Outcome<()> {
        let node = relay.node;
        let pool = node.pool().ok_or_else(|| format!("{}: found no pool, expected one", node.name()))?;
        host::ip(node, &format!("link add {DEVICE} type wireguard\n"))?;
        self.changes.device(node, DEVICE);
        let mut config = format!("[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n", relay.keys.private);
        let widest = relay.peers.iter().map(|peer| peer.mtu).max().unwrap_or(LEAST_MTU);
        let mut batch =
            format!("addr add {}/32 dev {DEVICE}\nlink set {DEVICE} mtu {widest} up\n", relay.address);
        for Peer { key, address, mtu } in &relay.peers {
            let _ = write!(config, "[Peer]\nPublicKey = {key}\nAllowedIPs = {address}/32\n");
            let _ = writeln!(batch, "route add {address}/32 dev {DEVICE} mtu {mtu}");
        }
        self.configure(node, DEVICE, &config)?;
        host::ip(node, &batch)?;
        host::nft(
            node,
            &format!(
                "table ip {TABLE} {{ chain leaving {{ type nat hook postrouting priority srcnat; \
                 ip saddr {pool} oifname != \"{DEVICE}\" masquerade; }}; }}\n"
            ),
        )?;
        self.changes.later(node, &["nft", "delete", "table", "ip", TABLE]);
        Ok(())
    }

    fn configure(&self, node: Node<'_>, device: &str, config: &str) -> Outcome<()> {
        let path = node.write_file(&format!("{device}.conf"), config.as_bytes())?;
        node.run(&[&self.wg, "setconf", device, &path.to_string_lossy()])?;
        Ok(())
    }
}
