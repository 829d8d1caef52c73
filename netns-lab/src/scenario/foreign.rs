//! Objects of others: never touched, and never in our way unnoticed.

use std::error::Error;

use ippriv::state::State;
use ipprivd::driver::{self, PlanError};
use ipprivd::kernel::LinuxKernel;

use super::listing::Listing;
use super::{Lab, LabError, Scenario, Verdicts};
use crate::deal::Wish;
use crate::net::Node;
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "foreign",
    about: "what would take the place of somebody else's object is refused by name, and nothing is changed",
    run: in_the_way,
}];

/// First number of our range, and our table of pools.
const FIRST: u32 = ippriv::ownership::FIRST;
/// What our own policies select.
pub(super) const LIKE_OURS: &str = "10.64.0.2/32";
/// A key for AES-GCM-128 that nobody keeps secret.
const KEY: &str = "aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128";

/// Fills a kernel with objects of others, as much like ours as can be, that are in nobody's way. Policies
/// without an interface select packets to `prefix`, which then do not pass.
pub(super) fn crowd(node: &Node<'_>, prefix: &str) -> Result<(), LabError> {
    let ours = format!("{:#x}", FIRST + 5);
    let table = FIRST + 1;
    let sa = |spi: u32, marks: &str| {
        format!("xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi {spi} {marks} mode tunnel {KEY}\n")
    };
    let policy = |prefix: &str, direction: &str, if_id: &str, reqid: u32| {
        format!(
            "xfrm policy add src 0.0.0.0/0 dst {prefix} dir {direction} {if_id} \
             tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid {reqid} mode tunnel\n"
        )
    };
    let batch = [
        // SAs: nothing of ours, our reqid only, our interface only, the transport mode of others.
        sa(0xf001, "reqid 7"),
        sa(0xf002, &format!("reqid {}", FIRST + 5)),
        sa(0xf003, &format!("reqid 7 if_id {ours}")),
        sa(0xf004, &format!("reqid {} if_id 0x77", FIRST + 5)),
        format!("xfrm state add src 192.0.2.1 dst 192.0.2.3 proto esp spi 0xf005 mode transport {KEY}\n"),
        // Policies: without interface, with another's, with ours but another's reqid.
        policy(prefix, "out", "", 7),
        policy(prefix, "out", "if_id 0x77", FIRST + 5),
        policy("172.16.9.0/24", "out", &format!("if_id {ours}"), 7),
        policy("172.16.9.0/24", "fwd", &format!("if_id {ours}"), 7),
        // Interfaces: of another name, with a name like ours but another kind, with our prefix but another's number.
        "link add vpn0 type xfrm if_id 0x77\n".into(),
        "link add ippx0 type dummy\n".into(),
        "link add ippvpn type xfrm if_id 0x78\n".into(),
        "link set vpn0 up\naddr add 172.16.8.1/24 dev vpn0\n".into(),
        // Routes: our protocol in the main table, others' protocols in our tables.
        "route add unreachable 172.16.1.0/24 proto 73\n".into(),
        format!("route add unreachable 172.16.2.0/24 table {table} metric 5\n"),
        format!("route add 172.16.3.0/24 dev vpn0 table {} proto 42\n", FIRST + 0x1_0001),
        // Rules: our protocol outside our priorities, our priorities without our protocol.
        "rule add priority 100 to 172.16.1.0/24 lookup main protocol 73\n".into(),
        "rule add priority 4960 to 172.16.1.0/24 lookup 1000\n".into(),
        format!("rule add priority 5000 from 172.16.2.0/24 lookup {table} protocol 73\n"),
    ];
    node.run_with(&["ip", "-batch", "-"], &batch.concat())?;
    let ipv6 = "route add unreachable 2001:db8:f::/48 proto 73\n\
                rule add priority 4956 to 2001:db8:f::/48 lookup 1000\n";
    node.run_with(&["ip", "-6", "-batch", "-"], ipv6)?;
    let tables = "table ip ippriv { chain output { type filter hook output priority 5; ip daddr 192.0.2.9 drop; }; }
                  table inet ippriv2 { set pool { type ipv4_addr; elements = { 192.0.2.7 }; };
                      chain forward { ip saddr @pool accept; }; }
                  table inet filter { chain forward { type filter hook forward priority filter; counter; }; }";
    node.run_with(&["nft", "-f", "-"], tables)?;
    Ok(())
}

/// Something of others' that is in the way.
struct Obstacle {
    what: &'static str,
    /// The kind of object, as `ip` has it.
    kind: &'static str,
    /// What tells it apart.
    identity: String,
    /// What else it is made with.
    rest: String,
    /// How we have to name what it is in the way of.
    named: String,
}

fn in_the_way(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(&Topology::chain(3)?, &[Wish::new("client", &["relay1", "relay2", "relay3"])])?;
    let middle = lab.net.node("relay2")?;
    let desired = lab.deal.hosts.get("relay2").ok_or("no relay2")?.desired()?.state;
    crowd(&middle, LIKE_OURS)?;
    let before = Listing::of(&middle)?;

    for Obstacle { what, kind, identity, rest, named } in obstacles(&desired)? {
        let make = format!("{kind} add {identity} {rest}");
        verdicts.context(what);
        middle.run_with(&["ip", "-batch", "-"], &make)?;
        let with = Listing::of(&middle)?;
        verdicts.check("the obstacle is there", with.len() > before.len(), make);
        let file = lab.deal.write(&lab.net, "relay2")?;
        let said = middle.try_run(&["ippriv", "apply", &file])?;
        verdicts.check(
            format!("apply refuses, naming {named}, and nothing was changed"),
            said.status.code() == Some(1) && said.stderr.contains(&named) && said.stdout.is_empty(),
            said.stderr.trim(),
        );
        let error = middle.enter(|| driver::plan(&mut LinuxKernel, desired.clone()).err())?;
        let conflicts = match error {
            Some(PlanError::Conflicts(conflicts)) => conflicts.len(),
            _ => 0,
        };
        verdicts.check("the conflict is told by type", conflicts > 0, format!("{conflicts} conflicts"));
        let difference = Listing::of(&middle)?.difference(&with);
        verdicts.check("iproute2 and nft list the same as before", difference.is_empty(), difference);
        middle.run_with(&["ip", "-batch", "-"], &format!("{kind} del {identity}"))?;
    }
    verdicts.context("without obstacle");
    let file = lab.deal.write(&lab.net, "relay2")?;
    let said = middle.run(&["ippriv", "apply", &file])?.stdout;
    verdicts.check("the same file is applied", said.starts_with("applied and verified"), said.trim());
    let missing = before.beyond(&Listing::of(&middle)?).join("\n");
    verdicts.check("the crowd of others is untouched", missing.is_empty(), missing);
    Ok(())
}

fn obstacles(desired: &State) -> Result<Vec<Obstacle>, Box<dyn Error>> {
    let link = desired.links.values().next().ok_or("no link")?;
    let sa = desired.sas.values().next().ok_or("no SA")?;
    let policy = desired.policies.values().next().ok_or("no policy")?;
    let route = desired.routes.keys().next().ok_or("no route")?;
    let (selector, direction) = (policy.id.selector, policy.id.direction);
    Ok(vec![
        Obstacle {
            what: "a dummy of our name",
            kind: "link",
            identity: link.name.to_string(),
            rest: "type dummy".into(),
            named: format!("link {}", link.name),
        },
        Obstacle {
            what: "another's interface with our number",
            kind: "link",
            identity: "vpn1".into(),
            rest: format!("type xfrm if_id {}", link.if_id),
            named: format!("link {}", link.name),
        },
        Obstacle {
            what: "another's SA with our SPI",
            kind: "xfrm state",
            identity: format!("src {} dst {} proto esp spi {}", sa.source, sa.id.destination, sa.id.spi),
            rest: format!("reqid 7 mode tunnel {KEY}"),
            named: format!("sa {}", sa.id),
        },
        Obstacle {
            what: "another's policy with our selector and interface",
            kind: "xfrm policy",
            identity: format!(
                "src {} dst {} dir {direction} if_id {}",
                selector.source, selector.destination, policy.id.if_id
            ),
            rest: "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 7 mode tunnel".into(),
            named: format!("policy {}", policy.id),
        },
        Obstacle {
            what: "another's route in our table",
            kind: "route",
            identity: format!(
                "unreachable {} table {} metric {}",
                route.destination, route.table.0, route.metric
            ),
            rest: "proto 42".into(),
            named: format!("route {route}"),
        },
    ])
}
