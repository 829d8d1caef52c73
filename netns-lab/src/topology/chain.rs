//! Networks made by code: chains of any number of relays.

use super::error::Fault;
use super::file::{File, LinkEntry, NodeEntry, RoleName};
use super::plan::{self, MAX_RELAYS};
use super::{Clock, Delay, Rate, Topology, TopologyError, check};

impl Topology {
    /// A client, `relays` relays (the last an exit) and a server, each at a router of its own, the routers in a
    /// line: 20 Mbit/s and 5 ms from router to router, 100 Mbit/s from router to host.
    ///
    /// Hosts are called `client`, `relay1`, `relay2`, … and `server`, routers `router0`, `router1`, …
    ///
    /// # Errors
    ///
    /// No relay, or more than the address plan has pools for.
    pub fn chain(relays: usize) -> Result<Self, TopologyError> {
        let name = format!("chain-{relays}");
        entries(relays)
            .and_then(|file| check::resolve(name.clone(), file))
            .map_err(|fault| fault.in_file(&name))
    }
}

fn entries(relays: usize) -> Result<File, Fault> {
    let limits = || {
        let expected = format!("1 to {MAX_RELAYS}");
        Fault::new(serde_saphyr::Location::UNKNOWN, format!("a chain of {relays} relays"), expected)
    };
    if relays == 0 || relays > MAX_RELAYS {
        return Err(limits());
    }
    let router = |n: usize| format!("router{n}");
    let relay = |n: usize| format!("relay{n}");

    let mut nodes: Vec<_> = (0..relays + 2).map(|n| NodeEntry::plain(&router(n), RoleName::Router)).collect();
    nodes.push(NodeEntry::plain("client", RoleName::Client));
    for k in 1..=relays {
        nodes.push(NodeEntry::relay(&relay(k), plan::pool(k), k == relays).ok_or_else(limits)?);
    }
    nodes.push(NodeEntry::plain("server", RoleName::Server));

    let backbone = |n| LinkEntry::plain([&router(n), &router(n + 1)], Rate::mbit(20), Delay::ms(5));
    let access = |n, host: &str| LinkEntry::plain([&router(n), host], Rate::mbit(100), Delay::ZERO);
    let mut links: Vec<_> = (0..=relays).map(backbone).collect();
    links.push(access(0, "client"));
    links.extend((1..=relays).map(|k| access(k, &relay(k))));
    links.push(access(relays + 1, "server"));

    let description = format!("A client, {relays} relays and a server along a line of routers.");
    Ok(File { description, clock: Clock::Virtual, nodes, links })
}
