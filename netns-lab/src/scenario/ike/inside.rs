//! Both families inside a circuit, and narrow links under it.

use std::net::IpAddr;

use super::{Daemons, Lab, OPEN, Outcome, Plan, Topology, Verdicts, circuit, clear, hosts, show};
use crate::capture::Captures;
use crate::scenario::wire::{self, PORTS, Servers};

/// A transfer each way.
const BYTES: u64 = 500_000;
/// Seconds of an upload.
const SECONDS: f64 = 1.0;

/// The destination is reached over both families. Relays reach one another over IPv4 alone: the network document
/// has no other address for them.
pub(super) fn ipv6(verdicts: &mut Verdicts) -> Outcome {
    let lab = Lab::new(&Topology::chain(3)?, &[])?;
    let captures = Captures::start_all(&lab.net)?;
    let _servers = Servers::start(&lab, "server", PORTS)?;
    let daemons = Daemons::start_all(&lab.net, &Plan::new(vec![circuit(3)]))?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    let addresses = daemons.circuits("client")?[0]["addresses"].clone();
    let families: Vec<bool> = addresses
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| Some(one.as_str()?.contains(':')))
        .collect();
    verdicts.equal("the exit gives an address of each family", &families, &vec![false, true]);
    for server in servers(&lab)? {
        wire::everything_passes(verdicts, &lab, server, BYTES, SECONDS)?;
    }
    let captures = captures.stop()?;
    let shown = clear6(&lab, &captures)?;
    verdicts.check("before the exit links show only IKE and ESP", shown.is_empty(), format!("{shown:?}"));
    let beyond = wire::on_link(&captures, "router4-server")?.addresses();
    for (family, exit) in
        [("IPv4", IpAddr::from(lab.address4("relay3")?)), ("IPv6", lab.address6("relay3")?.into())]
    {
        verdicts.check(
            format!("{family}: the server sees the exit"),
            beyond.contains(&exit),
            format!("{beyond:?}"),
        );
    }
    show(&lab, &daemons, &hosts(3), shown.is_empty())
}

/// [`clear`], but for IPv6 between the exit and the server.
fn clear6(lab: &Lab, captures: &[crate::capture::LinkCapture]) -> Outcome<Vec<String>> {
    let ends: [IpAddr; 2] = [lab.address6("relay3")?.into(), lab.address6("server")?.into()];
    let mut captures = captures.to_vec();
    for capture in &mut captures {
        capture.packets.retain(|packet| {
            let ip = packet.ip.as_ref();
            !ip.is_some_and(|ip| ends.contains(&ip.source) && ends.contains(&ip.destination))
        });
    }
    clear(lab, &captures)
}

fn servers(lab: &Lab) -> Outcome<[IpAddr; 2]> {
    Ok([lab.address4("server")?.into(), lab.address6("server")?.into()])
}

/// Links between relays, and before a relay, that carry no larger packets than this.
pub(super) fn narrow(verdicts: &mut Verdicts) -> Outcome {
    for (link, mtu) in [("router1-router2", 1400), ("router2-relay2", 1400), ("router1-router2", 1280)] {
        verdicts.context(format!("{link} of {mtu}"));
        let mut topology = Topology::chain(3)?;
        let found = topology.links.iter_mut().find(|found| found.name == link).ok_or("no such link")?;
        found.ends.iter_mut().for_each(|end| end.egress.mtu = mtu);
        let lab = Lab::new(&topology, &[])?;
        let captures = Captures::start(&lab.net, &["router1-relay1", "router1-router2", "router2-relay2"])?;
        let _servers = Servers::start(&lab, "server", PORTS)?;
        let daemons = Daemons::start_all(&lab.net, &Plan::new(vec![circuit(3)]))?;
        let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
        verdicts.check("circuit and overlays are there", ready, "");
        for server in servers(&lab)? {
            wire::everything_passes(verdicts, &lab, server, BYTES, SECONDS)?;
        }
        let captures = captures.stop()?;
        let largest = wire::on_link(&captures, link)?.sizes().into_keys().next_back().unwrap_or_default();
        let fits = largest <= u32::from(mtu);
        verdicts.check("no packet there was larger", fits, format!("{largest} octets"));
        let shown = clear(&lab, &captures)?;
        verdicts.check("links show only IKE and ESP", shown.is_empty(), format!("{shown:?}"));
        show(&lab, &daemons, &hosts(3), ready && shown.is_empty())?;
    }
    Ok(())
}
