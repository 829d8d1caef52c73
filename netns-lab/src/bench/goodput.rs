//! What of a 10 Mbit/s link reaches the users of TCP through three relays, for every suite and direction: as a
//! share of what headers leave of the link.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use ippriv::id::Mtu;
use ippriv::suite::Suite;
use ippriv::telescope::mtu::{DEFAULT, Layer, wire_size};
use serde_json::{Map, Value, json};

use super::Bench;
use crate::deal::Wish;
use crate::program;
use crate::runner::Clock;
use crate::scenario::Lab;
use crate::topology::Topology;
use crate::traffic::tcp_limit;

pub(super) const ALL: &[Bench] = &[Bench {
    name: "goodput",
    about: "TCP payload through three relays on a 10 Mbit/s link, as a share of what headers leave",
    clock: Clock::Virtual { seed: 1 },
    in_lab: goodput,
    cpu: None,
}];

/// The client's link is the narrow one.
const NETWORK: &str = "
description: A client at a link of 10 Mbit/s, three relays and a server around a router.
nodes:
  - { name: hub, role: router }
  - { name: client, role: client }
  - { name: entry, role: relay, pool: 10.64.0.0/16 }
  - { name: middle, role: relay, pool: 10.65.0.0/16 }
  - { name: exit, role: relay, pool: 10.66.0.0/16, pool6: 'fd00:66::/64', exit: true }
  - { name: server, role: server }
links:
  - { between: [hub, client], rate: 10mbit, delay: 2ms, queue: 100 }
  - { between: [hub, entry], rate: 100mbit, delay: 2ms }
  - { between: [hub, middle], rate: 100mbit, delay: 2ms }
  - { between: [hub, exit], rate: 100mbit, delay: 2ms }
  - { between: [hub, server], rate: 100mbit, delay: 2ms }
";
const RELAYS: [&str; 3] = ["entry", "middle", "exit"];
/// Mbit/s of the client's link.
const LINK: f64 = 10.0;
/// The most that AES-GCM leaves of an Ethernet path.
const LARGE_MTU: u32 = 1334;
const PORT: u16 = 5001;
/// Seconds until the flows share the link.
const WARM_UP: &str = "5";
/// Numbers of flows, and the seconds that count for each. What waits at the receiver for a lost segment counts only
/// when that arrives: this moves a result by as much as the queue holds, 0.15 s worth of the link, down at the end of
/// the seconds that count and, by what waited before them, up.
const ONE: Flows = Flows { number: "1", seconds: "15" };
const FIVE: Flows = Flows { number: "5", seconds: "30" };

#[derive(Clone, Copy)]
struct Flows {
    number: &'static str,
    seconds: &'static str,
}

fn goodput() -> Result<Value, Box<dyn Error>> {
    let wish = |suite, mtu| Wish { suite, mtu, traffic: Vec::new(), ..Wish::new("client", &RELAYS) };
    let mut wishes: Vec<Wish> = Suite::ALL.into_iter().map(|suite| wish(suite, None)).collect();
    wishes.push(wish(Suite::AesGcm128, Some(Mtu::try_from(LARGE_MTU)?)));
    let lab = Lab::new(&Topology::parse("goodput", NETWORK)?, &wishes)?;
    lab.apply()?;
    let server = lab.net.node("server")?;
    let listen = format!("0.0.0.0:{PORT}");
    let mut serving = server.spawn(&[program::NAME, "traffic", "tcp-serve", &listen])?;
    serving.wait_for("listening", Duration::from_secs(10))?;

    let mut figures = Map::new();
    let direct = shares(&lab, None, Mtu::ETHERNET.get(), &[])?;
    figures.insert("direct".into(), direct.figures);
    let circuits = lab.deal.hosts["client"].client.as_ref().map_or(&[][..], |client| &client.circuits);
    let (mut one, mut five) = (f64::INFINITY, f64::INFINITY);
    for (circuit, wish) in circuits.iter().zip(&wishes) {
        let Some(exit) = circuit.hops.last() else { continue };
        let layers: Vec<Layer> =
            circuit.hops.iter().map(|hop| Layer::to(hop.relay, hop.keys.suite, false)).collect();
        let mtu = circuit.mtu.unwrap_or(DEFAULT).get();
        let shares = shares(&lab, Some(exit.address), mtu, &layers)?;
        (one, five) = (one.min(shares.one), five.min(shares.five));
        figures.insert(format!("{}_mtu_{mtu}", wish.suite.name()), shares.figures);
    }
    figures.insert("min_share_1_flow".into(), one.into());
    figures.insert("min_share_5_flows".into(), five.into());
    Ok(Value::Object(figures))
}

/// What of the limit was reached: the worse direction for each number of flows, and all figures.
struct Shares {
    one: f64,
    five: f64,
    figures: Value,
}

/// Measures from the client's address `from`, with packets of `mtu` octets within `layers`.
fn shares(lab: &Lab, from: Option<IpAddr>, mtu: u32, layers: &[Layer]) -> Result<Shares, Box<dyn Error>> {
    let limit = limit(mtu, layers);
    let mut figures = json!({ "limit_mbit_s": round(limit) });
    let mut share = |flows: Flows| -> Result<f64, Box<dyn Error>> {
        let mut least = f64::INFINITY;
        for direction in ["get", "put"] {
            let share = round(load(lab, from, flows, direction)? / limit);
            figures[format!("{direction}_{}", flows.number)] = share.into();
            least = least.min(share);
        }
        Ok(least)
    };
    let (one, five) = (share(ONE)?, share(FIVE)?);
    Ok(Shares { one, five, figures })
}

/// Mbit/s of payload that fill the link, every packet as large as it may be.
fn limit(mtu: u32, layers: &[Layer]) -> f64 {
    tcp_limit(LINK, mtu, wire_size(mtu, layers))
}

/// Mbit/s of payload that arrive.
fn load(lab: &Lab, from: Option<IpAddr>, flows: Flows, direction: &str) -> Result<f64, Box<dyn Error>> {
    let server = format!("{}:{PORT}", lab.address4("server")?);
    let from = from.map(|address| address.to_string());
    let mut argv = vec![program::NAME, "traffic", "tcp-load", "--flows", flows.number];
    argv.extend(["--warmup", WARM_UP, "--seconds", flows.seconds]);
    argv.extend(from.as_deref().map(|from| ["--bind", from]).into_iter().flatten());
    argv.extend([&server, direction]);
    let said = lab.on("client", &argv)?;
    let report: Value = serde_json::from_str(&said)?;
    report["mbit_s"].as_f64().ok_or_else(|| format!("found {said}, expected a report with mbit_s").into())
}

/// To four digits: what a repetition could change is beyond them.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three(suite: Suite) -> Vec<Layer> {
        vec![Layer { suite, outer_header: 20 }; 3]
    }

    /// Figures of the research: 9.564 Mbit/s directly, 8.468 Mbit/s through GCM with the largest MTU.
    #[test]
    fn limits_are_those_of_the_headers() {
        assert_eq!(round(limit(1500, &[])), 9.5641);
        assert_eq!(round(limit(1334, &three(Suite::AesGcm128))), 8.4676);
        assert_eq!(round(limit(1280, &three(Suite::AesGcm128))), 8.3995);
    }

    #[test]
    fn the_network_is_one() {
        Topology::parse("goodput", NETWORK).unwrap();
    }
}
