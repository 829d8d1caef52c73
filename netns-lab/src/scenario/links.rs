//! Narrow links on the way of a circuit, and errors of routers beyond its exit.

use std::error::Error;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use super::wire::{self, PORTS, Route, Servers};
use super::{Lab, Scenario, Verdicts};
use crate::capture::Transport;
use crate::deal::Wish;
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "narrow-backbone",
        about: "a link of 1400-byte packets between two relays slows nothing down and shows nothing",
        run: |verdicts| narrow("router1-router2", verdicts),
    },
    Scenario {
        name: "narrow-relay",
        about: "the same where the narrow link is a relay's own",
        run: |verdicts| narrow("router2-relay2", verdicts),
    },
    Scenario {
        name: "traceroute",
        about: "traceroute shows the exit and what is beyond, and errors from there reach the client",
        run: traceroute,
    },
];

const RELAYS: [&str; 3] = ["relay1", "relay2", "relay3"];
const BYTES: u64 = 2_000_000;
/// Of the 20 Mbit/s of the backbone's links, packets of 1280 octets in 1448 leave 16.7 to TCP.
const NEAR_MBIT_S: f64 = 14.5;
/// The least of a whole download, in which TCP has to find that rate first.
const WHOLE_MBIT_S: f64 = 9.5;
/// All that the packets between relays pass, where an observer could read what is in clear.
const BETWEEN_RELAYS: [&str; 4] = ["router1-relay1", "router1-router2", "router2-relay2", "router2-router3"];
/// Below the largest circuit's packets, above the least of IPv6.
const NARROW_BEYOND: u16 = 1300;

/// A chain of three relays where one link carries no larger packets than `mtu`.
fn chain_with(link: &str, mtu: u16) -> Result<Topology, Box<dyn Error>> {
    let mut topology = Topology::chain(RELAYS.len())?;
    let link = topology.links.iter_mut().find(|candidate| candidate.name == link).ok_or("no such link")?;
    link.ends.iter_mut().for_each(|end| end.egress.mtu = mtu);
    Ok(topology)
}

fn narrow(link: &str, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(&chain_with(link, 1400)?, &[Wish::new("client", &RELAYS)])?;
    let route = Route::new(&lab, "client", &RELAYS.map(str::to_owned), "server")?;
    let _servers = Servers::start(&lab, "server", PORTS)?;
    verdicts.context(format!("{link} of 1400"));
    let relay = lab.address4("relay2")?.to_string();
    let said = lab.try_on("relay1", &["ping", "-n", "-c1", "-W1", "-Mdo", "-s1400", &relay])?.stdout;
    let refusal = said.lines().nth(1).unwrap_or_default();
    verdicts.check("the link is too narrow for 1428 octets", refusal.contains("mtu = 1400"), refusal);
    lab.apply()?;
    let (captures, ()) = wire::captured_on(&lab, &BETWEEN_RELAYS, || {
        route.server.iter().try_for_each(|server| both_ways(verdicts, &lab, *server))
    })?;
    wire::judge(verdicts, &route, &captures);
    let narrow = wire::on_link(&captures, link)?;
    let largest = narrow.sizes().into_keys().next_back();
    verdicts.check(
        "no packet there was larger",
        largest.is_some_and(|size| size <= 1400),
        format!("{largest:?}"),
    );
    let quotes = captures.iter().map(|capture| capture.count(|ip| ip.quoted().is_some())).sum::<usize>();
    let pieces = narrow.count(|ip| ip.fragment.is_some());
    verdicts.check(
        "how it is done: errors that quote packets, and fragments on the narrow link",
        true,
        format!("{quotes} quotes on all links, {pieces} fragments"),
    );
    Ok(())
}

/// Two megabytes each way, each as fast as the link allows.
fn both_ways(verdicts: &mut Verdicts, lab: &Lab, server: IpAddr) -> Result<(), Box<dyn Error>> {
    let (family, to) = (if server.is_ipv4() { "IPv4" } else { "IPv6" }, wire::host(server));
    let get = wire::tool(lab, "client", &format!("http-get http://{to}:{}/{BYTES}", PORTS.http))?;
    let whole = get["intact"] == true && wire::number(&get, "mbit_s") >= WHOLE_MBIT_S;
    verdicts.check(format!("{family}: a download of 2 MB is whole and near the link's rate"), whole, &get);
    let put =
        wire::tool(lab, "client", &format!("tcp-load --warmup 0.4 --seconds 1.1 {to}:{} put", PORTS.load))?;
    let fast = wire::number(&put, "mbit_s") >= NEAR_MBIT_S && wire::number(&put, "bytes") >= BYTES as f64;
    verdicts.check(format!("{family}: an upload carries 2 MB near the link's rate"), fast, &put);
    // What is left of the upload drains before anything else is measured.
    thread::sleep(Duration::from_secs(2));
    Ok(())
}

fn traceroute(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let wish = Wish { mtu: Some(1330.try_into()?), ..Wish::new("client", &RELAYS) };
    let lab = Lab::new(&chain_with("router3-router4", NARROW_BEYOND)?, &[wish])?;
    for (family, v4) in [("IPv4", true), ("IPv6", false)] {
        let address = |node: &str| address_of(&lab, node, v4);
        let server = address("server")?;
        verdicts.context(format!("{family} without a circuit"));
        let way = hops(&lab, server)?;
        let routers = ["router0", "router1", "router2", "router3", "router4"];
        let shows_all = way.len() == routers.len() + 1 && way.last() == Some(&server.to_string());
        verdicts.check("traceroute shows every router of the way", shows_all, format!("{way:?}"));
    }
    lab.apply()?;
    for (family, v4) in [("IPv4", true), ("IPv6", false)] {
        let address = |node: &str| address_of(&lab, node, v4);
        let server = address("server")?;
        verdicts.context(family);
        let beyond = facing_exit(&lab, v4)?;
        let expected: Vec<String> =
            [address("relay3")?, beyond[0], beyond[1], server].map(|hop| hop.to_string()).into();
        verdicts.equal(
            "traceroute shows the exit, the routers beyond and the server",
            &hops(&lab, server)?,
            &expected,
        );
        errors(verdicts, &lab, v4, beyond)?;
    }
    Ok(())
}

/// Errors of the routers and the server, each from where it has to come from.
fn errors(verdicts: &mut Verdicts, lab: &Lab, v4: bool, beyond: [IpAddr; 2]) -> Result<(), Box<dyn Error>> {
    let server = address_of(lab, "server", v4)?;
    let nobody = match server {
        IpAddr::V4(server) => IpAddr::from(std::net::Ipv4Addr::from_bits(server.to_bits() + 100)),
        IpAddr::V6(server) => IpAddr::from(std::net::Ipv6Addr::from_bits(server.to_bits() + 100)),
    };
    let (server, nobody) = (server.to_string(), nobody.to_string());
    let size = if v4 { "1290" } else { "1270" };
    let cases: [(&str, &[&str], IpAddr, &str); 3] = [
        (
            "TTL exceeded comes from the second router",
            &["-t3", &server],
            beyond[1],
            "ime to live exceeded|Hop limit",
        ),
        (
            "a host that is not there: its router says so",
            &["-W5", &nobody],
            beyond[1],
            "Host Unreachable|Address unreachable",
        ),
        (
            "a packet too large beyond the exit: the router before the narrow link says so",
            &["-Mdo", "-s", size, &server],
            beyond[0],
            "mtu = 1300|mtu=1300",
        ),
    ];
    for (name, arguments, offender, words) in cases {
        let argv: Vec<&str> = ["ping", "-n", "-c1"].iter().chain(arguments).copied().collect();
        let said = lab.try_on("client", &argv)?.stdout;
        let line = said.lines().find(|line| line.to_lowercase().starts_with("from ")).unwrap_or(&said);
        let from = line.split_whitespace().nth(1) == Some(&offender.to_string());
        let right = words.split('|').any(|word| line.contains(word));
        verdicts.check(name, from && right, line.trim());
    }
    closed_port(verdicts, lab, v4)
}

/// Asks a port of the server where nobody listens.
fn closed_port(verdicts: &mut Verdicts, lab: &Lab, v4: bool) -> Result<(), Box<dyn Error>> {
    let server = wire::host(address_of(lab, "server", v4)?);
    let (unreachable, counter) =
        if v4 { ((3, 3), "IcmpInDestUnreachs") } else { ((1, 4), "Icmp6InDestUnreachs") };
    let heard = || -> Result<u64, Box<dyn Error>> {
        let said = lab.on("client", &["nstat", "-asz", counter])?;
        let line = said.lines().find(|line| line.starts_with(counter)).ok_or("no such counter")?;
        Ok(line.split_whitespace().nth(1).unwrap_or_default().parse()?)
    };
    let before = heard()?;
    let ask = || wire::tool(lab, "client", &format!("udp-ask {server}:9 1"));
    let (captures, _) = wire::captured_on(lab, &["router4-server"], ask)?;
    let sent = wire::on_link(&captures, "router4-server")?.count(|ip| match ip.transport {
        Transport::Icmp { kind, code, .. } => (kind, code) == unreachable,
        _ => false,
    });
    verdicts.equal("a closed port: the server says so once", &sent, &1);
    verdicts.equal("the client hears it", &(heard()? - before), &1);
    Ok(())
}

fn address_of(lab: &Lab, node: &str, v4: bool) -> Result<IpAddr, Box<dyn Error>> {
    Ok(if v4 { lab.address4(node)?.into() } else { lab.address6(node)?.into() })
}

/// The addresses with which `router3` and `router4` face the exit.
fn facing_exit(lab: &Lab, v4: bool) -> Result<[IpAddr; 2], Box<dyn Error>> {
    let end = |router: &str, toward: &str| -> Result<IpAddr, Box<dyn Error>> {
        let node = lab.net.node(router)?;
        let end = node.interfaces().find(|end| end.interface == toward).ok_or("no such interface")?;
        Ok(if v4 { end.address4.addr().into() } else { end.address6.addr().into() })
    };
    Ok([end("router3", "relay3")?, end("router4", "router3")?])
}

/// What traceroute shows, one address or `*` for each hop.
fn hops(lab: &Lab, to: IpAddr) -> Result<Vec<String>, Box<dyn Error>> {
    let said = lab.on("client", &["traceroute", "-n", "-q1", "-N1", "-w2", "-m9", &to.to_string()])?;
    let second = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    Ok(said.lines().skip(1).filter_map(second).collect())
}
