//! Circuits that IKEv2 builds: `ipprivd` on every relay and on the client, and no key dealt out beforehand.

mod address;
mod death;
mod flow;
mod inside;
mod kill;
mod nat;
mod paths;
mod rekey;
mod reload;
mod run;
mod wire;

use std::error::Error;
use std::time::Duration;

use super::wire::belongs_to_link;
use super::{Lab, LabError, Scenario, Verdicts};
use crate::capture::{Ip, LinkCapture, Transport};
use crate::daemons::{CircuitPlan, Daemons, Plan};
use crate::topology::Topology;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "ike-hops-1", about: "IKEv2 builds a circuit of one relay", run: |v| hops(1, v) },
    Scenario { name: "ike-hops-2", about: "the same with two relays", run: |v| hops(2, v) },
    Scenario { name: "ike-hops-3", about: "the same with three relays", run: |v| hops(3, v) },
    Scenario { name: "ike-hops-4", about: "the same with four relays", run: |v| hops(4, v) },
    Scenario { name: "ike-hops-5", about: "the same with five relays", run: |v| hops(5, v) },
    Scenario {
        name: "ike-rekey",
        about: "new keys for all layers and overlays lose nothing",
        run: rekey::asked,
    },
    Scenario { name: "ike-lifetimes", about: "nor do new keys that are due", run: rekey::due },
    Scenario {
        name: "ike-kill-client",
        about: "a client's circuit outlives its daemon",
        run: |v| kill::under_load("client", v),
    },
    Scenario {
        name: "ike-kill-entry",
        about: "the same with the entry's daemon",
        run: |v| kill::under_load("relay1", v),
    },
    Scenario {
        name: "ike-kill-middle",
        about: "the same with the middle's daemon",
        run: |v| kill::under_load("relay2", v),
    },
    Scenario {
        name: "ike-kill-exit",
        about: "the same with the exit's daemon",
        run: |v| kill::under_load("relay3", v),
    },
    Scenario {
        name: "ike-kill-build",
        about: "daemons die at 50 moments of builds",
        run: kill::while_building,
    },
    Scenario {
        name: "ike-nat",
        about: "a client behind a NAT, which forgets it again and again",
        run: nat::followed,
    },
    Scenario {
        name: "ike-nat-kill",
        about: "neither end of UDP encapsulation loses a packet when its daemon dies",
        run: nat::killed,
    },
    Scenario {
        name: "ike-address",
        about: "a client's address changes, and its circuit is built again",
        run: address::run,
    },
    Scenario { name: "ike-reload", about: "files are read again under load", run: reload::run },
    Scenario { name: "ike-ipv6", about: "a destination is reached over both families", run: inside::ipv6 },
    Scenario { name: "ike-narrow", about: "narrow links let everything through", run: inside::narrow },
    Scenario { name: "ike-flush", about: "daemons leave nothing behind when told so", run: kill::flushed },
    Scenario { name: "ike-hop-death", about: "relays die, and circuits take others", run: death::hop },
    Scenario { name: "ike-loss", about: "circuits are built over links that lose packets", run: paths::loss },
    Scenario {
        name: "ike-exits",
        about: "a relay that is an exit serves as entry and middle too",
        run: paths::exits,
    },
    Scenario { name: "ike-many", about: "twenty circuits at once", run: paths::many },
    Scenario {
        name: "ike-run",
        about: "a command on a circuit has that and nothing else",
        run: run::commands,
    },
    Scenario { name: "ike-run-ends", about: "nor has it when the circuit or a daemon goes", run: run::ends },
    Scenario { name: "ike-run-dns", about: "and names are looked up through the exit", run: run::names },
    Scenario { name: "ike-wire", about: "what each link shows of a circuit built by IKEv2", run: wire::run },
];

/// Time for a circuit to be there, overlays included.
const OPEN: Duration = Duration::from_secs(30);
/// Where the server of a [`flow`] listens.
const PORT: u16 = 7200;

fn hops(count: usize, verdicts: &mut Verdicts) -> Outcome {
    let lab = Lab::new(&Topology::chain(count)?, &[])?;
    let daemons = Daemons::start_all(&lab.net, &Plan::new(vec![circuit(count)]))?;
    let open = daemons.wait_open("client", OPEN)?;
    let log = daemons.log("client")?;
    verdicts.check(format!("{count} hops: the circuit opens"), open, log.lines().last().unwrap_or_default());
    let answers = lab.ping("client", lab.address4("server")?.into(), 5)?;
    verdicts.equal(format!("{count} hops: answers over IPv4"), &answers, &5);
    show(&lab, &daemons, &hosts(count), open && answers == 5)
}

/// A circuit of a chain's client through all of its relays.
fn circuit(count: usize) -> CircuitPlan {
    let hops: Vec<String> = (1..=count).map(|k| format!("relay{k}")).collect();
    CircuitPlan { hops, ..CircuitPlan::new("client", &[]) }
}

/// The hosts of a chain that run daemons, the client last.
fn hosts(relays: usize) -> Vec<String> {
    (1..=relays).map(|k| format!("relay{k}")).chain(["client".to_owned()]).collect()
}

/// What hosts say of themselves, unless all is well.
fn show(lab: &Lab, daemons: &Daemons<'_>, hosts: &[impl AsRef<str>], well: bool) -> Outcome {
    for host in hosts.iter().map(AsRef::as_ref).filter(|_| !well) {
        eprintln!("== {host}\n{}\n{}", daemons.log(host)?, kernel(lab, host)?);
        eprintln!("{}", lab.on(host, &["cat", "/proc/net/xfrm_stat"])?);
    }
    Ok(())
}

/// Everything in a host's kernel that could be ours.
fn kernel(lab: &Lab, host: &str) -> Result<String, LabError> {
    let lists = "ip xfrm state list nokeys; ip xfrm policy; ip -br link; ip -br addr; ip rule; ip -6 rule; \
                 ip route show table all; ip -6 route show table all; nft list ruleset";
    lab.on(host, &["sh", "-c", lists])
}

/// What links of a chain show besides IKE and ESP, but for what the exit and the server say to each other.
fn clear(lab: &Lab, captures: &[LinkCapture]) -> Outcome<Vec<String>> {
    let exit = lab.net.relays().last().ok_or("no relay")?;
    let ends = [exit.address4().into(), lab.address4("server")?.into()];
    let left = |ip: &Ip| ends.contains(&ip.source) && ends.contains(&ip.destination);
    let mut shown = Vec::new();
    for capture in captures {
        let packets = capture.packets.iter().filter(|packet| !belongs_to_link(packet));
        let found = packets.filter_map(|packet| packet.ip.as_ref()).filter(|ip| !left(ip) && !secured(ip));
        shown.extend(found.map(|ip| format!("{}: {ip}", capture.link)));
        if capture.missed > 0 {
            shown.push(format!("{}: {} packets missed", capture.link, capture.missed));
        }
    }
    shown.truncate(5);
    Ok(shown)
}

/// Whether it is IKE or ESP, a later piece, or an error about such.
fn secured(ip: &Ip) -> bool {
    const PORTS: [u16; 2] = [500, 4500];
    match (ip.quoted(), &ip.transport) {
        (Some(quoted), _) => secured(quoted),
        (None, Transport::Esp(_) | Transport::LaterFragment) => true,
        (None, Transport::Udp { source, destination, .. }) => {
            PORTS.contains(source) || PORTS.contains(destination)
        }
        _ => false,
    }
}
