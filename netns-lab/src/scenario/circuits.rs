//! Circuits of every length carry what they have to, and nobody on the way sees more than they may.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::IpAddr;

use super::wire::{self, PORTS, Route, Servers};
use super::{Lab, Scenario, Verdicts};
use crate::capture::LinkCapture;
use crate::deal::Wish;
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "ping", about: "a circuit of three relays answers pings", run: ping },
    Scenario {
        name: "hops-1",
        about: "one relay: traffic passes, links show no more than they may",
        run: |v| hops(1, v),
    },
    Scenario { name: "hops-2", about: "the same with two relays", run: |v| hops(2, v) },
    Scenario { name: "hops-3", about: "the same with three relays", run: |v| hops(3, v) },
    Scenario { name: "hops-4", about: "the same with four relays", run: |v| hops(4, v) },
    Scenario { name: "hops-5", about: "the same with five relays", run: |v| hops(5, v) },
];

/// Bytes of the download without and with a circuit.
const DIRECT: u64 = 50_000;
const CARRIED: u64 = 300_000;

fn ping(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = Lab::chain(3)?;
    verdicts.equal("IPv4 answers", &lab.ping("client", lab.address4("server")?.into(), 3)?, &3);
    verdicts.equal("IPv6 answers", &lab.ping("client", lab.address6("server")?.into(), 3)?, &3);
    Ok(())
}

fn hops(count: usize, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let relays: Vec<String> = (1..=count).map(|k| format!("relay{k}")).collect();
    let names: Vec<&str> = relays.iter().map(String::as_str).collect();
    let wish = Wish::new("client", &names);
    let lab = Lab::new(&Topology::chain(count)?, std::slice::from_ref(&wish))?;
    let route = Route::new(&lab, "client", &relays, "server")?;
    let _servers = Servers::start(&lab, "server", PORTS)?;

    verdicts.context("without a circuit");
    direct(verdicts, &lab, &route)?;

    verdicts.context(format!("{count} hops"));
    lab.apply()?;
    let (captures, ()) = wire::captured(&lab, || {
        for server in &route.server {
            if wish.ipv6 || server.is_ipv4() {
                wire::everything_passes(verdicts, &lab, *server, CARRIED)?;
            } else {
                let answers = lab.ping("client", *server, 3)?;
                verdicts.equal("IPv6, which it does not carry, is refused", &answers, &0);
            }
        }
        from_inner_layers(verdicts, &lab)
    })?;
    wire::judge(verdicts, &route, &captures);
    let errors = lab.on("client", &["ip", "-s", "link", "show", "ippc1"])?;
    let refused = errors.lines().skip_while(|line| !line.contains("TX:")).nth(1).unwrap_or_default();
    let refused: Vec<&str> = refused.split_whitespace().skip(2).take(1).collect();
    verdicts.equal("no packet was too large for the circuit's interface", &refused, &vec!["0"]);

    let access = format!("router{}-server", count + 1);
    let peers = partners(&captures, &access, &route);
    let carried = |address: &&IpAddr| wish.ipv6 || address.is_ipv4();
    let exit: BTreeSet<IpAddr> = route.exit.iter().filter(carried).copied().collect();
    verdicts.equal("the server talks to the exit's addresses only", &peers, &exit);
    Ok(())
}

/// The addresses of layers below the exit's are routed as without us; packets from them must not leave like that.
fn from_inner_layers(verdicts: &mut Verdicts, lab: &Lab) -> Result<(), Box<dyn Error>> {
    let role = lab.deal.hosts.get("client").and_then(|host| host.client.as_ref());
    let Some([inner @ .., _]) = role.and_then(|role| role.circuits.first()).map(|circuit| &circuit.hops[..])
    else {
        return Ok(());
    };
    let server = lab.address4("server")?.to_string();
    for hop in inner {
        let from = hop.address.to_string();
        let said = lab.try_on("client", &["ping", "-n", "-c2", "-i0.1", "-W1", "-I", &from, &server])?;
        let name = format!("nothing leaves from the layer's address {from}");
        verdicts.check(
            name,
            !said.status.success(),
            said.stdout.lines().last().unwrap_or(&said.stderr).trim(),
        );
    }
    Ok(())
}

/// What the checks of links find when there is no circuit: everything in clear on every link of the way.
fn direct(verdicts: &mut Verdicts, lab: &Lab, route: &Route) -> Result<(), Box<dyn Error>> {
    let (captures, ()) = wire::captured(lab, || {
        for server in &route.server {
            wire::everything_passes(verdicts, lab, *server, DIRECT)?;
        }
        Ok(())
    })?;
    let on_the_way = captures.iter().filter(|capture| !capture.link.contains("-relay"));
    for capture in on_the_way {
        let strangers = route.look(capture).strangers;
        let clear =
            capture.count(|ip| route.client.contains(&ip.source) && route.server.contains(&ip.destination));
        verdicts.check(
            format!("{} shows the client's packets to the server in clear", capture.link),
            clear > 0 && strangers.len() >= clear,
            format!("{clear} packets, {} of no circuit", strangers.len()),
        );
    }
    Ok(())
}

/// Whom the server exchanges packets with, on the link called `access`.
fn partners(captures: &[LinkCapture], access: &str, route: &Route) -> BTreeSet<IpAddr> {
    let capture = captures.iter().find(|capture| capture.link == access);
    let packets = capture.into_iter().flat_map(|capture| &capture.packets);
    let ends =
        packets.filter(|packet| !wire::belongs_to_link(packet)).filter_map(|packet| packet.ip.as_ref());
    let addresses: BTreeSet<IpAddr> = ends.flat_map(|ip| [ip.source, ip.destination]).collect();
    addresses.into_iter().filter(|address| !route.server.contains(address)).collect()
}
