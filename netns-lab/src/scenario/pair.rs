//! Two circuits of one client through the same relays never mix.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use ippriv::telescope::Telescope;
use serde_json::Value;

use super::wire;
use super::{Lab, Scenario, Verdicts};
use crate::capture::{Ip, LinkCapture, Transport};
use crate::deal::Wish;
use crate::net::Background;
use crate::program;

use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "two-circuits",
    about: "two circuits of one client through the same relays, loaded at once, never mix",
    run: two_circuits,
}];

const RELAYS: [&str; 3] = ["relay1", "relay2", "relay3"];
const LIMIT: Duration = Duration::from_secs(60);
/// What three layers of AES-GCM add to a packet, whatever its length.
const OVERHEAD: std::ops::RangeInclusive<u64> = 160..=176;

/// What one circuit carries; no number is that of the other circuit.
struct Load {
    http: u16,
    bytes: u64,
    sink: u16,
    datagrams: u32,
    size: u32,
}

const LOADS: [Load; 2] = [
    Load { http: 80, bytes: 200_000, sink: 9001, datagrams: 150, size: 700 },
    Load { http: 8080, bytes: 90_000, sink: 9002, datagrams: 220, size: 300 },
];

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    packets: u64,
    bytes: u64,
}

fn two_circuits(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let first = Wish::new("client", &RELAYS);
    let second = Wish { traffic: Vec::new(), ..first.clone() };
    let lab = Lab::new(&Topology::chain(RELAYS.len())?, &[first, second])?;
    lab.apply()?;
    let role = lab.deal.hosts.get("client").and_then(|host| host.client.as_ref()).ok_or("no client")?;

    let interfaces_before = interfaces(&lab)?;
    let (captures, said) = wire::captured(&lab, || carry(&lab, &role.circuits))?;
    let interfaces_after = interfaces(&lab)?;
    let exit = wire::on_link(&captures, "router3-relay3")?;
    let client = wire::on_link(&captures, "router0-client")?;
    let mut clear = Vec::new();
    for (index, (load, reports)) in LOADS.iter().zip(&said).enumerate() {
        verdicts.context(format!("circuit {}", index + 1));
        let [get, sink] = reports;
        verdicts.check("its download is whole", get["intact"] == true && get["bytes"] == load.bytes, get);
        let all = sink["received"] == load.datagrams && sink["expected"] == load.datagrams;
        verdicts.check("its datagrams arrive, and no others", all, sink);
        let [up, down] = [true, false].map(|up| count(exit, |ip| carries(load, ip, up)));
        clear.push((up, down));

        let (before, after) = (interfaces_before[index], interfaces_after[index]);
        let sent =
            Count { packets: after[0].packets - before[0].packets, bytes: after[0].bytes - before[0].bytes };
        verdicts.equal("what its interface sent is what left the exit", &sent, &up);
        let received = after[1].packets - before[1].packets;
        let layers = RELAYS.len() as u64;
        verdicts.equal(
            "what came to the exit is what its interface received, once a layer",
            &received,
            &(down.packets * layers),
        );

        let hop = &role.circuits[index].hops[0].keys;
        let there = count(client, |ip| ip.esp().is_some_and(|esp| esp.spi == hop.out.spi.get()));
        let back =
            count(client, |ip| hop.r#in.iter().any(|sa| ip.esp().is_some_and(|esp| esp.spi == sa.spi.get())));
        for (which, outer, inner) in [("to", there, up), ("from", back, down)] {
            let added = outer.bytes.saturating_sub(inner.bytes) / inner.packets.max(1);
            verdicts.check(
                format!("its outermost SPI {which} the entry has its packets and nothing else"),
                outer.packets == inner.packets && OVERHEAD.contains(&added),
                format!("outside {outer:?}, inside {inner:?}, {added} bytes added to each"),
            );
        }
        sas(verdicts, &lab, &role.circuits[index], [up.packets, down.packets])?;
    }
    verdicts.context("both");
    verdicts.check(
        "the circuits carried different amounts, so that mixing would show",
        clear[0] != clear[1] && clear[0].0.packets != clear[1].0.packets,
        format!("(up, down) {clear:?}"),
    );
    let ports = LOADS.map(|load| source_ports(exit, &load));
    verdicts.check(
        "no source port at the exit has packets of both",
        ports[0].is_disjoint(&ports[1]) && !ports[0].is_empty() && !ports[1].is_empty(),
        format!("{ports:?}"),
    );
    let strays = exit.count(|ip| {
        ip.esp().is_none()
            && matches!(ip.transport, Transport::Tcp { .. } | Transport::Udp { .. })
            && !LOADS.iter().any(|load| carries(load, ip, true) || carries(load, ip, false))
    });
    verdicts.equal("nothing else is in clear at the exit", &strays, &0);
    Ok(())
}

/// Loads both circuits at once; the reports of the download and of the server's count for each.
fn carry(lab: &Lab, circuits: &[Telescope]) -> Result<Vec<[Value; 2]>, Box<dyn Error>> {
    let server = lab.address4("server")?;
    let (at_server, at_client) = (lab.net.node("server")?, lab.net.node("client")?);
    let mut sinks = Vec::new();
    let mut webs = Vec::new();
    for load in &LOADS {
        for (list, tool, port) in [(&mut webs, "http-serve", load.http), (&mut sinks, "udp-sink", load.sink)]
        {
            let mut started = at_server.spawn(&[program::NAME, "traffic", tool, &format!("[::]:{port}")])?;
            started.wait_for("listening on", LIMIT)?;
            list.push(started);
        }
    }
    let mut running = Vec::new();
    for (load, circuit) in LOADS.iter().zip(circuits) {
        // The first circuit takes all that is not bound elsewhere.
        let address = circuit.hops.last().map(|hop| hop.address.to_string()).unwrap_or_default();
        let bind: &[&str] = if circuit.traffic.is_empty() { &["--bind", &address] } else { &[] };
        let [count, size] = [load.datagrams, load.size].map(|number| number.to_string());
        let url = format!("http://{server}:{}/{}", load.http, load.bytes);
        let sink = format!("{server}:{}", load.sink);
        let get = [&[program::NAME, "traffic", "http-get"], bind, &[&url]].concat();
        let blast =
            [program::NAME, "traffic", "udp-blast", "--count", &count, "--size", &size, "--pps", "200"];
        let blast = [&blast, bind, &[&sink]].concat();
        running.push((at_client.spawn(&get)?, at_client.spawn(&blast)?));
    }
    let mut reports = Vec::new();
    let end = |program: Background| -> Result<Value, Box<dyn Error>> {
        let output = program.wait(LIMIT)?;
        let last = output.stdout.lines().last().unwrap_or_default();
        Ok(wire::report(last, &output.stderr))
    };
    for ((get, blast), sink) in running.into_iter().zip(sinks) {
        let get = end(get)?;
        end(blast)?;
        reports.push([get, end(sink)?]);
    }
    Ok(reports)
}

/// Each SA of a circuit, at both of its ends, has counted the circuit's packets.
fn sas(
    verdicts: &mut Verdicts,
    lab: &Lab,
    circuit: &Telescope,
    [up, down]: [u64; 2],
) -> Result<(), Box<dyn Error>> {
    for (relay, hop) in RELAYS.iter().zip(&circuit.hops) {
        let spis = [hop.keys.out.spi.get(), hop.keys.r#in.first().map_or(0, |sa| sa.spi.get())];
        for node in ["client", relay] {
            let counts = sa_packets(lab, node)?;
            let found = spis.map(|spi| counts.get(&spi).copied().unwrap_or(0));
            verdicts.equal(
                format!("the layer to {relay} has counted its packets on {node}"),
                &found,
                &[up, down],
            );
        }
    }
    Ok(())
}

/// Packets by SPI, from `ip -s xfrm state`.
fn sa_packets(lab: &Lab, node: &str) -> Result<BTreeMap<u32, u64>, Box<dyn Error>> {
    let said = lab.on(node, &["ip", "-s", "xfrm", "state"])?;
    let mut counts = BTreeMap::new();
    let (mut spi, mut current) = (0, false);
    for line in said.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("proto esp spi 0x") {
            let digits = rest.get(..8).unwrap_or_default();
            spi = u32::from_str_radix(digits, 16)?;
        }
        if current {
            let packets = line.split(", ").find_map(|part| part.strip_suffix("(packets)"));
            counts.insert(spi, packets.ok_or("no packets")?.parse()?);
        }
        current = line == "lifetime current:";
    }
    Ok(counts)
}

/// What the interfaces of both circuits sent and received.
fn interfaces(lab: &Lab) -> Result<Vec<[Count; 2]>, Box<dyn Error>> {
    let mut counts = Vec::new();
    for name in ["ippc1", "ippc2"] {
        let said: Value =
            serde_json::from_str(&lab.on("client", &["ip", "-j", "-s", "link", "show", name])?)?;
        let stats = &said[0]["stats64"];
        counts.push(["tx", "rx"].map(|way| Count {
            packets: stats[way]["packets"].as_u64().unwrap_or(0),
            bytes: stats[way]["bytes"].as_u64().unwrap_or(0),
        }));
    }
    Ok(counts)
}

fn count(capture: &LinkCapture, like: impl Fn(&Ip) -> bool) -> Count {
    let matching = capture.ip().filter(|ip| like(ip));
    matching.fold(Count::default(), |sum, ip| Count {
        packets: sum.packets + 1,
        bytes: sum.bytes + u64::from(ip.total_length),
    })
}

/// Source and destination port of a packet in clear.
fn ports(ip: &Ip) -> Option<[u16; 2]> {
    match ip.transport {
        Transport::Tcp { source, destination } | Transport::Udp { source, destination, esp: None } => {
            Some([source, destination])
        }
        _ => None,
    }
}

/// Whether a packet in clear is of that load, up or down.
fn carries(load: &Load, ip: &Ip, up: bool) -> bool {
    ports(ip).is_some_and(|[source, destination]| {
        let server = if up { destination } else { source };
        server == load.http || server == load.sink
    })
}

/// The ports that the exit used for a load.
fn source_ports(capture: &LinkCapture, load: &Load) -> BTreeSet<u16> {
    capture.ip().filter(|ip| carries(load, ip, true)).filter_map(ports).map(|[source, _]| source).collect()
}
