//! What the header of a packet inside a circuit does to the headers outside: nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::IpAddr;

use super::wire::{self, PORTS, Servers};
use super::{Lab, Scenario, Verdicts};
use crate::capture::{Ip, LinkCapture};
use crate::deal::Wish;
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "outer-headers",
    about: "DSCP, DF and TTL inside a circuit are not seen outside",
    run: outer_headers,
}];

const RELAYS: [&str; 3] = ["relay1", "relay2", "relay3"];
/// Expedited forwarding, as a TOS octet and as a code point.
const TOS: &str = "0xb8";
const DSCP: u8 = 0x2e;
/// Has the server mark all it sends.
const SERVER_MARKS: &str = "table inet marks {
    chain out {
        type route hook output priority mangle
        ip dscp set 46
        ip ttl set 77
        ip6 dscp set 46
        ip6 hoplimit set 77
    }
}";

/// The parts of an IP header that could be copied: DSCP, DF, TTL.
type Marks = (u8, bool, u8);

fn outer_headers(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(&Topology::chain(RELAYS.len())?, &[Wish::new("client", &RELAYS)])?;
    let _servers = Servers::start(&lab, "server", PORTS)?;
    lab.net.node("server")?.run_with(&["nft", "-f", "-"], SERVER_MARKS)?;
    let server = [lab.address4("server")?.into(), lab.address6("server")?.into()];

    verdicts.context("without a circuit");
    let (captures, ()) = wire::captured(&lab, || marked_traffic(&lab, &server))?;
    let seen = marks(wire::on_link(&captures, "router0-router1")?, |ip| !is_local(ip));
    let distinct: BTreeSet<Marks> = seen.into_values().flatten().collect();
    let varied = |values: BTreeSet<u8>| values.len() > 2;
    let ttls = distinct.iter().map(|marks| marks.2).collect();
    let both = [true, false].iter().all(|df| distinct.iter().any(|marks| marks.1 == *df && marks.0 == DSCP));
    verdicts.check(
        "the backbone shows DSCP, DF and TTL of both ends",
        varied(ttls) && both,
        format!("(DSCP, DF, TTL) {distinct:?}"),
    );

    verdicts.context("with a circuit");
    lab.apply()?;
    let (captures, ()) = wire::captured(&lab, || marked_traffic(&lab, &server))?;
    for capture in &captures {
        let outer = marks(capture, |ip| ip.esp().is_some());
        if capture.link.ends_with("-server") || capture.link == "router3-router4" {
            verdicts.equal(format!("{} carries no ESP", capture.link), &outer.len(), &0);
            continue;
        }
        let constant = outer
            .values()
            .all(|marks| marks.len() == 1 && marks.iter().all(|(dscp, df, _)| *dscp == 0 && !df));
        let evidence: Vec<String> =
            outer.iter().map(|([from, to], marks)| format!("{from} > {to} {marks:?}")).collect();
        verdicts.check(
            format!("{}: outer headers have DSCP 0, no DF and one TTL each way", capture.link),
            constant && outer.len() >= 2,
            format!("(DSCP, DF, TTL) {}", evidence.join(", ")),
        );
    }
    let access = wire::on_link(&captures, "router4-server")?;
    let to_server = marks(access, |ip| server.contains(&ip.destination));
    let dscp: BTreeSet<u8> = to_server.values().flatten().map(|marks| marks.0).collect();
    verdicts.equal("the server sees DSCP 0 only", &dscp, &BTreeSet::from([0]));
    let back = access.count(|ip| server.contains(&ip.source) && ip.dscp == DSCP);
    verdicts.check(
        "the server's answers do carry its mark up to the exit",
        back > 0,
        format!("{back} packets with DSCP 46"),
    );

    let ttl: BTreeSet<u8> = to_server.values().flatten().map(|marks| marks.2).collect();
    verdicts.check(
        "still visible to the server: the client's TTL, less the hops from the exit on",
        true,
        format!("{ttl:?}"),
    );
    let outside = wire::on_link(&captures, "router0-client")?;
    let ecn: BTreeSet<u8> = outside.ip().filter(|ip| ip.esp().is_some()).map(|ip| ip.ecn).collect();
    verdicts.check("still visible to whoever sees the client's link: ECN", true, format!("{ecn:?}"));
    let sizes = outside.sizes();
    verdicts.check("still visible there: sizes of packets", true, format!("bytes and how often {sizes:?}"));
    Ok(())
}

/// Pings with every kind of header, a download, an upload, questions.
fn marked_traffic(lab: &Lab, server: &[IpAddr]) -> Result<(), Box<dyn Error>> {
    for address in server {
        let to = address.to_string();
        for (df, tos, ttl, size) in [
            ("do", TOS, "64", "56"),
            ("dont", TOS, "255", "200"),
            ("do", "0xb9", "33", "600"),
            ("dont", "0x03", "128", "1000"),
        ] {
            lab.on("client", &["ping", "-n", "-c1", "-W2", "-M", df, "-Q", tos, "-t", ttl, "-s", size, &to])?;
        }
        let host = wire::host(*address);
        wire::tool(lab, "client", &format!("http-get http://{host}:{}/20000", PORTS.http))?;
        wire::tool(lab, "client", &format!("tcp-load --seconds 0.1 {host}:{} put", PORTS.load))?;
        wire::tool(lab, "client", &format!("udp-ask {host}:{} 5", PORTS.dns))?;
    }
    Ok(())
}

/// Which marks there are from whom to whom.
fn marks(capture: &LinkCapture, like: impl Fn(&Ip) -> bool) -> BTreeMap<[IpAddr; 2], BTreeSet<Marks>> {
    let mut found: BTreeMap<[IpAddr; 2], BTreeSet<Marks>> = BTreeMap::new();
    for ip in capture.ip().filter(|ip| like(ip)) {
        let marks = (ip.dscp, ip.dont_fragment, ip.hop_limit);
        found.entry([ip.source, ip.destination]).or_default().insert(marks);
    }
    found
}

/// Whether a packet is of the link itself.
fn is_local(ip: &Ip) -> bool {
    match ip.destination {
        IpAddr::V4(_) => false,
        IpAddr::V6(to) => {
            to.is_multicast()
                || to.is_unicast_link_local()
                || ip.hop_limit == 255 && ip.protocol == 58 && ip.dscp != DSCP
        }
    }
}
