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
/// Blocks of each chain and way in a repetition.
const ROUNDS: usize = 48;
/// Packets of a block.
const PACKETS: u32 = 256;
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
    let mut states = Map::new();
    for (name, count, _) in CROWDED {
        states.insert(name.to_owned(), installed(&lab, name, 2 * count)?.into());
    }
    let paths = paths(&lab)?;
    for _ in 0..REPETITIONS * ROUNDS {
        for path in &paths {
            path.block(Way::Up)?;
            path.block(Way::Down)?;
        }
    }
    Ok(json!({ "packets_per_block": PACKETS, "repetitions": REPETITIONS, "states": states }))
}

/// Overlays without encryption: ciphers would hide what lookups cost.
fn bare_overlays(relay: &mut Relay) {
    for keys in relay.neighbours.iter_mut().filter_map(|neighbour| neighbour.keys.as_mut()) {
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

/// How many SAs a relay's kernel has according to `ip`, at least `expected`.
fn installed(lab: &Lab, name: &str, expected: u32) -> Result<u32, Box<dyn Error>> {
    let said = lab.on(name, &["ip", "xfrm", "state", "count"])?;
    let count = said.split_whitespace().next_back().and_then(|word| word.parse().ok());
    count
        .filter(|count| *count >= expected)
        .ok_or_else(|| format!("{name}: found `{}`, expected {expected} states or more", said.trim()).into())
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
        .map(|((port, (name, _, exit)), circuit)| {
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
            let expected = IpAddr::V4(lab.address4(exit)?);
            if seen.ip() != expected {
                return Err(format!("{name}: found packets from {seen}, expected {exit}, {expected}").into());
            }
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

/// On the host: µs per packet, and ratios of the same repetition; medians of the repetitions.
fn figures(said: &Value, marks: &[(String, Duration)]) -> Result<Value, String> {
    let costs = costs(marks)?;
    let mut figures = said.clone();
    for (name, ..) in &CHAINS[1..] {
        let pairs = both_ways(&costs, name).zip(both_ways(&costs, BASE));
        let ratios = pairs.map(|(crowded, base)| crowded / base).collect();
        figures[format!("{name}_vs_1")] = round(median(ratios), 1e4).into();
    }
    let medians = costs.into_iter().map(|(name, costs)| (name.replace(' ', "_"), median(costs)));
    figures["us_per_packet"] =
        medians.map(|(name, cost)| (name, round(cost, 1e2).into())).collect::<Map<_, _>>().into();
    Ok(figures)
}

/// µs per packet of each chain and way in each repetition: those of the least disturbed block. A disturbance, such as
/// another program emptying the machine's caches, can only add to what the packets cost.
fn costs(marks: &[(String, Duration)]) -> Result<BTreeMap<&str, Vec<f64>>, String> {
    let mut blocks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for pair in marks.chunks(2) {
        match pair {
            [(name, begin), (again, end)] if name == again => {
                let micros = end.saturating_sub(*begin).as_secs_f64() * 1e6;
                blocks.entry(name).or_default().push(micros / f64::from(PACKETS));
            }
            _ => {
                return Err(format!(
                    "found the CPU marks {pair:?}, expected one before and one after each block"
                ));
            }
        }
    }
    let least = |blocks: &[f64]| blocks.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(blocks.into_iter().map(|(name, blocks)| (name, blocks.chunks(ROUNDS).map(least).collect())).collect())
}

/// µs of a packet there and one back, by repetition.
fn both_ways(costs: &BTreeMap<&str, Vec<f64>>, name: &str) -> impl Iterator<Item = f64> {
    let way = |way| costs.get(format!("{name} {way}").as_str()).cloned().unwrap_or_default();
    way("up").into_iter().zip(way("down")).map(|(up, down)| up + down)
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

    /// Marks of a relay whose exit is slow with 30,000 circuits, on a machine that is disturbed every other round and
    /// all through the second repetition.
    fn marks() -> Vec<(String, Duration)> {
        let mut marks = Vec::new();
        let mut now = Duration::ZERO;
        for round in 0..REPETITIONS * ROUNDS {
            let factor = 1 + u32::from(round % 2 == 0) + u32::from(round / ROUNDS == 1);
            for (name, ..) in CHAINS {
                for (way, micros) in [("up", 20), ("down", if name == "exit_30000" { 30 } else { 20 })] {
                    let mark = format!("{name} {way}");
                    marks.push((mark.clone(), now));
                    now += Duration::from_micros(micros) * factor * PACKETS;
                    marks.push((mark, now));
                    now += Duration::from_millis(1);
                }
            }
        }
        marks
    }

    #[test]
    fn the_least_disturbed_blocks_of_a_repetition_are_compared() {
        let figures = figures(&json!({ "repetitions": REPETITIONS }), &marks()).unwrap();
        assert_eq!(figures["repetitions"], 5);
        assert_eq!(figures["exit_30000_vs_1"], 1.25);
        assert_eq!(figures["middle_30000_vs_1"], 1.0);
        assert_eq!(figures["us_per_packet"]["exit_30000_down"], 30.0);
    }

    #[test]
    fn marks_that_are_no_pairs_are_refused() {
        let error = figures(&json!({}), &marks()[1..]).unwrap_err();
        assert!(error.ends_with("expected one before and one after each block"), "{error}");
    }

    #[test]
    fn the_network_is_one() {
        Topology::parse("forwarding", NETWORK).unwrap();
    }
}
