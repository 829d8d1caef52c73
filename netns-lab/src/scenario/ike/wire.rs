//! What each link shows of a circuit: while it is built, while it carries packets, while its keys change.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;

use super::flow::{Flow, PACE};
use super::{Daemons, Lab, OPEN, Outcome, PORT, Plan, Topology, Verdicts, circuit, clear, rekey};
use crate::capture::{Captures, LinkCapture};

/// Where the client's address may be read.
const CLIENT: [&str; 3] = ["router0-client", "router0-router1", "router1-relay1"];
/// Where the server's may.
const SERVER: [&str; 3] = ["router3-relay3", "router3-router4", "router4-server"];

pub(super) fn run(verdicts: &mut Verdicts) -> Outcome {
    let lab = Lab::new(&Topology::chain(3)?, &[])?;
    let captures = Captures::start_all(&lab.net)?;
    let daemons = Daemons::start_all(&lab.net, &Plan::new(vec![circuit(3)]))?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    let flow = Flow::start(&lab, "client", PORT, PACE)?;
    thread::sleep(Duration::from_secs(1));
    rekey::every_tunnel(verdicts, &lab, &daemons)?;
    let carried = flow.finish()?;
    verdicts.check("packets went both ways", carried.down > 0, &carried);
    let captures = captures.stop()?;

    let shown = clear(&lab, &captures)?;
    verdicts.check("before the exit links show only IKE and ESP", shown.is_empty(), format!("{shown:?}"));
    for (name, links) in [("client", CLIENT), ("server", SERVER)] {
        let address = IpAddr::from(lab.address4(name)?);
        let shows = captures.iter().filter(|capture| capture.addresses().contains(&address));
        let shows: BTreeSet<&str> = shows.map(|capture| capture.link.as_str()).collect();
        verdicts.equal(format!("links that show the address of the {name}"), &shows, &links.into());
    }
    let pools: Vec<IpNet> = lab.net.relays().filter_map(|relay| relay.pool()).map(IpNet::V4).collect();
    let addresses: BTreeSet<IpAddr> = captures.iter().flat_map(LinkCapture::addresses).collect();
    let found: Vec<_> =
        addresses.iter().filter(|found| pools.iter().any(|pool| pool.contains(*found))).collect();
    verdicts.check("no link shows an address of a pool", found.is_empty(), format!("{found:?}"));
    Ok(())
}
