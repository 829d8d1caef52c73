//! A client whose address changes: nobody sees a packet of it in clear, and its circuit is built again.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use super::flow::{Carried, Flow, PACE};
use super::{Daemons, Lab, OPEN, Outcome, PORT, Plan, Topology, Verdicts, circuit, clear, hosts, show};
use crate::capture::Captures;

const TOPOLOGY: &str = "
description: A client with two ways out, three relays and a server along a line of routers.
nodes:
  - { name: router0, role: router }
  - { name: router1, role: router }
  - { name: router2, role: router }
  - { name: router3, role: router }
  - { name: router4, role: router }
  - { name: mobile, role: router }
  - { name: client, role: client }
  - { name: relay1, role: relay, pool: 10.64.0.0/16, pool6: 'fd00:64::/64' }
  - { name: relay2, role: relay, pool: 10.65.0.0/16, pool6: 'fd00:65::/64' }
  - { name: relay3, role: relay, pool: 10.66.0.0/16, pool6: 'fd00:66::/64', exit: true }
  - { name: server, role: server }
links:
  - { between: [router0, router1], rate: 20mbit, delay: 5ms }
  - { between: [router1, router2], rate: 20mbit, delay: 5ms }
  - { between: [router2, router3], rate: 20mbit, delay: 5ms }
  - { between: [router3, router4], rate: 20mbit, delay: 5ms }
  - { between: [router0, client], rate: 100mbit }
  - { between: [mobile, client], rate: 20mbit, delay: 10ms }
  - { between: [router1, mobile], rate: 20mbit }
  - { between: [router1, relay1], rate: 100mbit }
  - { between: [router2, relay2], rate: 100mbit }
  - { between: [router3, relay3], rate: 100mbit }
  - { between: [router4, server], rate: 100mbit }
";
const SECOND: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);
/// Another address on the same interface; the routes go with the old one, and come back.
const READDRESS: &str = "set -e
routes=$(ip -4 route show dev router0 | grep via)
ip address del $1 dev router0
ip address add $2 dev router0
echo \"$routes\" | while read route; do ip route replace $route dev router0; done";
/// The other way out.
const SWITCH: &str = "ip link set router0 down; ip route replace default via $1 dev mobile";

pub(super) fn run(verdicts: &mut Verdicts) -> Outcome {
    let lab = Lab::new(&Topology::parse("two ways out", TOPOLOGY)?, &[])?;
    let captures = Captures::start_all(&lab.net)?;
    let plan = Plan { roaming: true, ..Plan::new(vec![circuit(3)]) };
    let daemons = Daemons::start_all(&lab.net, &plan)?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    show(&lab, &daemons, &hosts(3), ready)?;
    let client = lab.net.node("client")?;
    let own = client.interfaces().next().ok_or("no link")?.address4;
    let new = Ipv4Addr::from_bits(own.network().to_bits() + 77);
    let mobile = client.interfaces().nth(1).ok_or("no second link")?.address4.addr();
    let mobile_router = lab.net.node("mobile")?.address4().to_string();
    let given = format!("{new}/{}", own.prefix_len());
    let (readdress, switch) = (["sh", "-c", READDRESS, "sh"], ["sh", "-c", SWITCH, "sh"]);
    for (what, argv, address) in [
        ("another address", [&readdress[..], &[&own.to_string(), &given]].concat(), new),
        ("another way out", [&switch[..], &[&mobile_router]].concat(), mobile),
    ] {
        verdicts.context(what);
        changed(verdicts, &lab, &daemons, &argv, address)?;
    }

    verdicts.context("no way out");
    let before = opened(&daemons)?;
    let flow = Flow::start(&lab, "client", PORT, PACE * 5)?;
    thread::sleep(SECOND);
    lab.on("client", &["ip", "link", "set", "mobile", "down"])?;
    thread::sleep(SECOND * 5);
    let answers = lab.ping("client", lab.address4("server")?.into(), 2)?;
    verdicts.equal("nothing is answered", &answers, &0);
    let events = daemons.ippriv("client", &["events", "--json"])?;
    let told = events.lines().any(|line| line.contains("address_changed") && line.contains("false"));
    verdicts.check("events say that the host is offline", told, "");
    lab.on("client", &["ip", "link", "set", "mobile", "up"])?;
    thread::sleep(SECOND * 2);
    lab.on("client", &["ip", "route", "replace", "default", "via", &mobile_router, "dev", "mobile"])?;
    let again = wait(&daemons, before)?;
    verdicts.check("with the way out the circuit comes back", again, "");
    torn(verdicts, &flow.finish()?);
    show(&lab, &daemons, &hosts(3), again)?;

    verdicts.context("");
    let shown = clear(&lab, &captures.stop()?)?;
    verdicts.check("nothing went in clear", shown.is_empty(), format!("{shown:?}"));
    show(&lab, &daemons, &hosts(3), shown.is_empty())
}

/// Something that gives the client another address.
fn changed(
    verdicts: &mut Verdicts,
    lab: &Lab,
    daemons: &Daemons<'_>,
    argv: &[&str],
    address: Ipv4Addr,
) -> Outcome {
    let before = opened(daemons)?;
    let flow = Flow::start(lab, "client", PORT, PACE * 5)?;
    thread::sleep(SECOND);
    lab.on("client", argv)?;
    let again = wait(daemons, before)?;
    verdicts.check("the circuit is built again", again, "");
    torn(verdicts, &flow.finish()?);
    let answers = lab.ping("client", lab.address4("server")?.into(), 3)?;
    verdicts.equal("it carries packets", &answers, &3);
    let states = lab.on("client", &["ip", "xfrm", "state", "list", "nokeys"])?;
    let from = states.lines().filter(|line| line.starts_with(&format!("src {address} "))).count();
    verdicts.check("its first layer leaves from the new address", from > 0, &states);
    show(lab, daemons, &hosts(3), again && answers == 3 && from > 0)
}

/// Packets that are sent from the address of a circuit end with it: there is no other way for them.
fn torn(verdicts: &mut Verdicts, carried: &Carried) {
    let good = carried.down > 0 && carried.down < carried.sent;
    verdicts.check("what was sent from the old circuit's address goes no other way", good, carried);
}

/// How often a circuit was opened.
fn opened(daemons: &Daemons<'_>) -> Outcome<usize> {
    Ok(daemons.ippriv("client", &["events", "--json"])?.matches("circuit_open").count())
}

/// Waits until one more is.
fn wait(daemons: &Daemons<'_>, before: usize) -> Outcome<bool> {
    for _ in 0..OPEN.as_millis() / POLL.as_millis() {
        if opened(daemons)? > before {
            return Ok(true);
        }
        thread::sleep(POLL);
    }
    Ok(false)
}
