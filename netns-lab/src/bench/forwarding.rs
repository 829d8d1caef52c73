//! What forwarding costs a relay that holds 1, 1,000 or 30,000 circuits: CPU time of the kernel per packet through a
//! whole chain, of which one relay is varied.
//!
//! Three middles and three exits stand side by side, each with another number of circuits, all but a few of them
//! idle. Short blocks of packets alternate among the chains, so that whatever else the machine does falls on all of
//! them alike; what is compared is blocks of the same repetition.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use ippriv::plan::Ending;
use ippriv::secret::KeyMaterial;
use ippriv::suite::Suite;
use ippriv::telescope::{HopNumber, Host, Relay, RelayCircuit};
use ipprivd::driver;
use ipprivd::kernel::LinuxKernel;
use serde_json::{Map, Value, json};

use super::Bench;
use crate::deal::{self, Wish};
use crate::guest;
use crate::net::Node;
use crate::runner::Clock;
use crate::scenario::Lab;
use crate::topology::Topology;

pub(super) const ALL: &[Bench] = &[Bench {
    name: "forwarding",
    about: "kernel CPU time per packet with 1, 1,000 and 30,000 circuits on the middle and on the exit",
    clock: Clock::Real,
    in_lab: forwarding,
    cpu: Some(figures),
}];

const NETWORK: &str = "
description: Every role around a router, middles and exits three times.
clock: real
nodes:
  - { name: hub, role: router }
  - { name: client, role: client }
  - { name: entry, role: relay, pool: 10.64.0.0/16 }
  - { name: middle-1, role: relay, pool: 10.65.0.0/16 }
  - { name: middle-1000, role: relay, pool: 10.66.0.0/16 }
  - { name: middle-30000, role: relay, pool: 10.67.0.0/16 }
  - { name: exit-1, role: relay, pool: 10.68.0.0/16, pool6: 'fd00:68::/64', exit: true }
  - { name: exit-1000, role: relay, pool: 10.69.0.0/16, pool6: 'fd00:69::/64', exit: true }
  - { name: exit-30000, role: relay, pool: 10.70.0.0/16, pool6: 'fd00:70::/64', exit: true }
  - { name: server, role: server }
links:
  - { between: [hub, client] }
  - { between: [hub, entry] }
  - { between: [hub, middle-1] }
  - { between: [hub, middle-1000] }
  - { between: [hub, middle-30000] }
  - { between: [hub, exit-1] }
  - { between: [hub, exit-1000] }
  - { between: [hub, exit-30000] }
  - { between: [hub, server] }
";

/// The chains: a name, the middle and the exit. Against the first one the others are compared.
const CHAINS: [(&str, &str, &str); 5] = [
    (BASE, "middle-1", "exit-1"),
    ("middle_1000", "middle-1000", "exit-1"),
    ("middle_30000", "middle-30000", "exit-1"),
    ("exit_1000", "middle-1", "exit-1000"),
    ("exit_30000", "middle-1", "exit-30000"),
];
const BASE: &str = "base";
/// The relays with idle circuits, how many, and the first of the pool of the relay before.
const CROWDED: [(&str, u32, Ipv4Addr); 4] = [
    ("middle-1000", 999, Ipv4Addr::new(10, 64, 0, 0)),
    ("middle-30000", 29_999, Ipv4Addr::new(10, 64, 0, 0)),
    ("exit-1000", 999, Ipv4Addr::new(10, 65, 0, 0)),
    ("exit-30000", 29_999, Ipv4Addr::new(10, 65, 0, 0)),
];
/// Idle circuits have addresses from this place in the pools on, and numbers and SPIs from there on.
const IDLE_ADDRESSES: u32 = 1000;
const IDLE_NUMBERS: u32 = 100_000;

const REPETITIONS: usize = 5;
/// Packets of a block, each way.
const PACKETS: u32 = 10_000;
/// Datagrams that are under way at once: fewer than any queue on their way holds.
const BURST: u32 = 32;
const PAYLOAD: usize = 64;
const PORT: u16 = 9;
/// For how long an overdue datagram is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Inside the lab: sends the packets, with a mark before and after each block.
fn forwarding() -> Result<Value, Box<dyn Error>> {
    let wish = |middle, exit| Wish {
        suite: Suite::DangerNull,
        traffic: Vec::new(),
        ..Wish::new("client", &["entry", middle, exit])
    };
    let wishes: Vec<Wish> = CHAINS.iter().map(|(_, middle, exit)| wish(middle, exit)).collect();
    let mut lab = Lab::new(&Topology::parse("forwarding", NETWORK)?, &wishes)?;
    for relay in lab.deal.hosts.values_mut().filter_map(|host| host.relay.as_mut()) {
        bare_overlays(relay);
    }
    for (name, count, peers) in CROWDED {
        if let Some(relay) = lab.deal.hosts.get_mut(name).and_then(|host| host.relay.as_mut()) {
            crowd(relay, count, peers)?;
        }
    }
    for (name, host) in &lab.deal.hosts {
        install(lab.net.node(name)?, host)?;
    }
    let mut paths = paths(&lab)?;
    for _ in 0..REPETITIONS {
        for path in &mut paths {
            path.block(Way::Up)?;
            path.block(Way::Down)?;
        }
    }
    Ok(json!({ "packets_per_block": PACKETS, "repetitions": REPETITIONS }))
}

/// Overlays without encryption: ciphers would hide what lookups cost.
fn bare_overlays(relay: &mut Relay) {
    for keys in relay.neighbours.iter_mut().map(|neighbour| &mut neighbour.keys) {
        keys.suite = Suite::DangerNull;
        for sa in keys.r#in.iter_mut().chain([&mut keys.out]) {
            sa.key = KeyMaterial::new(Vec::new());
        }
    }
}

/// Adds idle circuits, of both families where the relay hands out both.
fn crowd(relay: &mut Relay, count: u32, peers: Ipv4Addr) -> Result<(), Box<dyn Error>> {
    let IpNet::V4(pool) = relay.pool else { return Err("expected a pool of IPv4".into()) };
    let nth = |base: Ipv4Addr, n| IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() + IDLE_ADDRESSES + n));
    let nth6 =
        |base: Ipv6Net, n| Ipv6Addr::from_bits(base.network().to_bits() + u128::from(IDLE_ADDRESSES + n));
    let pool6 = relay.pool6.and_then(|pool| if let IpNet::V6(pool) = pool { Some(pool) } else { None });
    let circuit = |n| -> Result<RelayCircuit, Box<dyn Error>> {
        Ok(RelayCircuit {
            number: HopNumber::try_from(IDLE_NUMBERS + n)?,
            peer: nth(peers, n),
            address: nth(pool.network(), n),
            address6: pool6.map(|pool| nth6(pool, n)),
            keys: deal::tunnel(Suite::DangerNull, IDLE_NUMBERS + 2 * n)?.0,
            encapsulation: None,
        })
    };
    for n in 0..count {
        relay.circuits.push(circuit(n)?);
    }
    Ok(())
}

/// Puts a host's part into its kernel, as `ippriv apply` does.
fn install(node: Node<'_>, host: &Host) -> Result<(), Box<dyn Error>> {
    let desired = host.desired()?.state;
    let applied = node.enter(|| -> Result<Ending, String> {
        let planned = driver::plan(&mut LinuxKernel, desired).map_err(|error| error.to_string())?;
        driver::apply(&mut LinuxKernel, planned).map_err(|error| error.to_string())
    })?;
    match applied? {
        Ending::Applied { .. } => Ok(()),
        Ending::Unwound(failure) => Err(format!("{}: {:?}", node.name(), failure.cause).into()),
    }
}

/// Which way packets go.
#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

/// The two ends of a chain.
struct Path {
    name: &'static str,
    client: UdpSocket,
    server: UdpSocket,
}

fn paths(lab: &Lab) -> Result<Vec<Path>, Box<dyn Error>> {
    let circuits = lab.deal.hosts["client"].client.as_ref().map_or(&[][..], |client| &client.circuits);
    let (client, server) = (lab.net.node("client")?, lab.net.node("server")?);
    let address = server.address4();
    (PORT..)
        .zip(CHAINS)
        .zip(circuits)
        .map(|((port, (name, ..)), circuit)| {
            let from = circuit.hops.last().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |exit| exit.address);
            let to = SocketAddr::new(address.into(), port);
            let server = server.enter(|| UdpSocket::bind(to))??;
            let client = client.enter(|| UdpSocket::bind((from, 0)))??;
            client.connect(to)?;
            client.set_read_timeout(Some(PATIENCE))?;
            server.set_read_timeout(Some(PATIENCE))?;
            // The first packet tells the server whom to answer.
            client.send(&[0; PAYLOAD])?;
            let (_, seen) = server.recv_from(&mut [0; PAYLOAD])?;
            server.connect(seen)?;
            Ok(Path { name, client, server })
        })
        .collect()
}

impl Path {
    /// Sends a block of packets and receives every single one.
    fn block(&self, way: Way) -> Result<(), Box<dyn Error>> {
        let (sender, receiver, direction) = match way {
            Way::Up => (&self.client, &self.server, "up"),
            Way::Down => (&self.server, &self.client, "down"),
        };
        let mark = format!("{} {direction}", self.name);
        let lost = |error: io::Error| format!("{mark}: {error}: expected {PACKETS} packets to arrive");
        guest::cpu_mark(&mark)?;
        let mut buffer = [0; PAYLOAD];
        for first in (0..PACKETS).step_by(BURST as usize) {
            let burst = BURST.min(PACKETS - first);
            for _ in 0..burst {
                sender.send(&buffer)?;
            }
            for _ in 0..burst {
                receiver.recv(&mut buffer).map_err(lost)?;
            }
        }
        Ok(guest::cpu_mark(&mark)?)
    }
}

/// On the host: µs per packet, and ratios of blocks of the same repetition; medians of all repetitions.
fn figures(said: &Value, marks: &[(String, Duration)]) -> Result<Value, String> {
    let mut blocks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for pair in marks.chunks(2) {
        let [(name, begin), (end_name, end)] = pair else { return Err(mismatch(pair)) };
        if name != end_name {
            return Err(mismatch(pair));
        }
        let micros = (*end - *begin).as_secs_f64() * 1e6 / f64::from(PACKETS);
        blocks.entry(name).or_default().push(micros);
    }
    let mut us_per_packet = Map::new();
    for (name, micros) in &blocks {
        us_per_packet.insert(name.replace(' ', "_"), round(median(micros.clone()), 1e2).into());
    }
    let mut figures = said.clone();
    for (name, ..) in &CHAINS[1..] {
        let ratios =
            both_ways(&blocks, name).zip(both_ways(&blocks, BASE)).map(|(crowded, base)| crowded / base);
        figures[format!("{name}_vs_1")] = round(median(ratios.collect()), 1e4).into();
    }
    figures["us_per_packet"] = us_per_packet.into();
    Ok(figures)
}

/// µs of a packet there and one back, by repetition.
fn both_ways(blocks: &BTreeMap<&str, Vec<f64>>, name: &str) -> impl Iterator<Item = f64> {
    let way = |way| blocks.get(format!("{name} {way}").as_str()).cloned().unwrap_or_default();
    way("up").into_iter().zip(way("down")).map(|(up, down)| up + down)
}

fn mismatch(pair: &[(String, Duration)]) -> String {
    format!("found the CPU marks {pair:?}, expected one before and one after each block")
}

/// 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn round(value: f64, digits: f64) -> f64 {
    (value * digits).round() / digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crowded_blocks_are_compared_with_those_of_the_same_repetition() {
        let mut marks = Vec::new();
        let mut now = Duration::ZERO;
        // A disturbance doubles everything in the second repetition.
        for factor in [1, 2, 1] {
            for (name, ..) in CHAINS {
                for (way, micros) in [("up", 20), ("down", if name == "exit_30000" { 30 } else { 20 })] {
                    let mark = format!("{name} {way}");
                    marks.push((mark.clone(), now));
                    now += Duration::from_micros(micros * factor) * PACKETS;
                    marks.push((mark, now));
                    now += Duration::from_millis(1);
                }
            }
        }
        let figures = figures(&json!({}), &marks).unwrap();
        assert_eq!(figures["exit_30000_vs_1"], 1.25);
        assert_eq!(figures["middle_30000_vs_1"], 1.0);
        assert_eq!(figures["us_per_packet"]["exit_30000_down"], 30.0);
        let error = super::figures(&json!({}), &marks[1..]).unwrap_err();
        assert!(error.ends_with("expected one before and one after each block"), "{error}");
    }

    #[test]
    fn the_network_is_one() {
        Topology::parse("forwarding", NETWORK).unwrap();
    }
}
