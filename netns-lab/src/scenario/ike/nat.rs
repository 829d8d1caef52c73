//! A client behind a box that masquerades, and that forgets.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::flow::{Carried, Flow, PACE, spis};
use super::{Daemons, Lab, OPEN, Outcome, PORT, Plan, Topology, Verdicts, circuit, clear, hosts, show};
use crate::capture::{Captures, LinkCapture, Transport};
use crate::scenario::wire;

const TOPOLOGY: &str = "
description: A client behind a NAT box, three relays and a server along a line of routers.
nodes:
  - { name: router0, role: router }
  - { name: router1, role: router }
  - { name: router2, role: router }
  - { name: router3, role: router }
  - { name: router4, role: router }
  - { name: box, role: nat, outside: router0 }
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
  - { between: [router0, box], rate: 100mbit }
  - { between: [box, client], rate: 100mbit }
  - { between: [router1, relay1], rate: 100mbit }
  - { between: [router2, relay2], rate: 100mbit }
  - { between: [router3, relay3], rate: 100mbit }
  - { between: [router4, server], rate: 100mbit }
";
/// Where the first layer is the outermost.
const ACCESS: [&str; 4] = ["box-client", "router0-box", "router0-router1", "router1-relay1"];
/// Where the client's first layer is over.
const BEYOND: [&str; 4] = ["router1-router2", "router2-relay2", "router2-router3", "router3-relay3"];
/// How long nobody uses the circuit.
const IDLE: Duration = Duration::from_secs(70);
/// The longest the client is silent: the kernel sends a keepalive after 20 s, and looks once in a while.
const SILENCE: Duration = Duration::from_secs(25);
/// How long nobody runs a host.
const ABSENCE: Duration = Duration::from_secs(5);
/// Time around what happens, with packets under way.
const AROUND: Duration = Duration::from_secs(2);
/// What the box forgets the connections of an address by: taking the address away. Without it, packets are
/// dropped; the routes go with it, and come back.
const FORGETS: &str = "set -e
nft flush chain inet lab leaving
nft add rule inet lab leaving oifname router0 meta l4proto udp masquerade to :$3
routes=$(ip -4 route show dev router0 | grep via)
ip address del $1 dev router0
ip address add $2 dev router0
echo \"$routes\" | while read route; do ip route replace $route dev router0; done";
/// Datagrams that may be lost each way, at 500 a second: those under way for one round trip to the entry, and
/// some more for other things this machine has to do.
const MOVED: u64 = 20;
/// With another address there is one more round trip, for new keys.
const MOVED_FAR: u64 = 40;

fn lab() -> Outcome<Lab> {
    Ok(Lab::new(&Topology::parse("nat", TOPOLOGY)?, &[])?)
}

/// What is in UDP and what is not, keepalives, and a box that forgets.
pub(super) fn followed(verdicts: &mut Verdicts) -> Outcome {
    // probes of the daemon would keep the box awake instead of the kernel
    let client_lines = "  timeouts: { silence: 10m }\n".to_owned();
    let plan = Plan { client_lines, ..Plan::new(vec![circuit(3)]) };
    let lab = lab()?;
    let captures = Captures::start_all(&lab.net)?;
    let daemons = Daemons::start_all(&lab.net, &plan)?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    show(&lab, &daemons, &hosts(3), ready)?;
    for host in hosts(3) {
        let listing = lab.on(&host, &["ip", "xfrm", "state", "list", "nokeys"])?;
        let expected = if host == "client" || host == "relay1" { 2 } else { 0 };
        let found = listing.matches("encap type espinudp").count();
        verdicts.equal(format!("{host}: SAs with UDP encapsulation"), &found, &expected);
    }
    let flow = Flow::start(&lab, "client", PORT, PACE)?;
    thread::sleep(AROUND);
    let carried = flow.finish()?;
    verdicts.check("nothing is lost of 500 datagrams a second each way", carried.whole(), &carried);
    thread::sleep(IDLE);
    let captures = captures.stop()?;
    on_the_wire(verdicts, &lab, &captures)?;

    let outside = lab.net.node("box")?;
    let own = outside.interfaces().find(|end| end.interface == "router0").ok_or("no outside link")?.address4;
    let other = std::net::Ipv4Addr::from_bits(own.network().to_bits() + 77);
    let other = format!("{other}/{}", own.prefix_len());
    let own = own.to_string();
    let captures = Captures::start_all(&lab.net)?;
    let mut old = spis(&lab, "relay1")?;
    for (what, [from, to], ports, same, most) in [
        ("another port", [&own, &own], "40000-40999", true, MOVED),
        ("another address", [&own, &other], "41000-41999", false, MOVED_FAR),
        ("the address of before", [&other, &own], "42000-42999", false, MOVED_FAR),
    ] {
        verdicts.context(what);
        let carried = moved(&lab, &[from, to, ports])?;
        let lost = carried.sent - carried.down.min(carried.sent);
        verdicts.check(format!("at most {most} datagrams are lost"), lost <= most, &carried);
        // The SAs of before linger for packets that were overtaken.
        thread::sleep(Duration::from_secs(30));
        let now = spis(&lab, "relay1")?;
        let as_expected = if same { now == old } else { now != old };
        let keys = if same { "the entry keeps its SAs" } else { "the entry has new SAs" };
        verdicts.check(keys, as_expected, format!("{old:?}, then {now:?}"));
        old = now;
        let carried = moved(&lab, &[])?;
        verdicts.check("after that nothing is lost", carried.whole(), &carried);
        let listing = lab.on("relay1", &["ip", "xfrm", "state", "list", "nokeys"])?;
        let first = ports.split('-').next().and_then(|port| port.get(..2)).unwrap_or_default();
        let follows = listing.matches(&format!("dport {first}")).count() == 1;
        verdicts.check("the kernel of the entry sends to the new port", follows, &listing);
        show(&lab, &daemons, &hosts(3), carried.whole() && lost <= most && follows)?;
    }
    verdicts.context("");
    let opened = daemons.log("client")?.matches("circuit_open").count();
    verdicts.equal("the circuit was opened once", &opened, &1);
    let shown = clear(&lab, &captures.stop()?)?;
    verdicts.check("nothing went in clear", shown.is_empty(), format!("{shown:?}"));
    Ok(())
}

/// Packets under way while the box forgets, if it does.
fn moved(lab: &Lab, forgets: &[&str]) -> Outcome<Carried> {
    let flow = Flow::start(lab, "client", PORT, PACE)?;
    thread::sleep(AROUND);
    if !forgets.is_empty() {
        lab.on("box", &[&["sh", "-c", FORGETS, "sh"], forgets].concat())?;
    }
    thread::sleep(AROUND);
    flow.finish()
}

/// UDP around the first layer and around nothing else; something once in a while when there is nothing to send.
fn on_the_wire(verdicts: &mut Verdicts, lab: &Lab, captures: &[LinkCapture]) -> Outcome {
    let kinds = |capture: &LinkCapture| -> BTreeSet<&str> {
        let kind = |transport: &Transport| match transport {
            Transport::Udp { esp: Some(_), .. } => "ESP in UDP",
            Transport::Udp { source: 4500, .. } | Transport::Udp { destination: 4500, .. } => "IKE at 4500",
            Transport::Udp { source: 500, .. } | Transport::Udp { destination: 500, .. } => "IKE",
            Transport::Esp(_) => "ESP",
            _ => "other",
        };
        let packets = capture.packets.iter().filter(|packet| !wire::belongs_to_link(packet));
        packets.filter_map(|packet| Some(kind(&packet.ip.as_ref()?.transport))).collect()
    };
    for link in ACCESS {
        let found = kinds(wire::on_link(captures, link)?);
        let mut expected = BTreeSet::from(["ESP in UDP", "IKE at 4500", "IKE"]);
        if link == "router1-relay1" {
            // and the overlay with the next relay
            expected.insert("ESP");
        }
        verdicts.equal(format!("{link} shows"), &found, &expected);
    }
    for link in BEYOND {
        let found = kinds(wire::on_link(captures, link)?);
        let bad = ["ESP in UDP", "IKE at 4500"].iter().any(|kind| found.contains(kind));
        verdicts.check(format!("{link} shows no UDP around ESP"), !bad, format!("{found:?}"));
    }
    let client = lab.address4("client")?;
    let access = wire::on_link(captures, "box-client")?;
    // An octet (RFC 3948 §2.3) behind the headers of IPv4 and UDP.
    let count = access.count(|ip| ip.source == client && ip.total_length == 29);
    let sent =
        access.packets.iter().filter(|packet| packet.ip.as_ref().is_some_and(|ip| ip.source == client));
    let times: Vec<Duration> = sent.map(|packet| packet.time).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    let evidence = format!("{count} keepalives, silent for {longest:?} at most");
    verdicts.check("the client keeps the box awake", count > 0 && longest <= SILENCE, evidence);
    let from_entry = |ip: &crate::capture::Ip| ip.destination == client && ip.total_length == 29;
    let back = access.count(from_entry);
    verdicts.equal("the entry sends no keepalives", &back, &0);
    Ok(())
}

/// Kills the daemons at both ends of the UDP encapsulation, which have a service manager.
pub(super) fn killed(verdicts: &mut Verdicts) -> Outcome {
    let managed = ["client", "relay1"].map(str::to_owned).into();
    let plan = Plan { managed, ..Plan::new(vec![circuit(3)]) };
    let lab = lab()?;
    let mut daemons = Daemons::start_all(&lab.net, &plan)?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    let before = [spis(&lab, "client")?, spis(&lab, "relay1")?];
    for victim in ["client", "relay1"] {
        verdicts.context(victim);
        let flow = Flow::start(&lab, "client", PORT, PACE)?;
        thread::sleep(AROUND);
        daemons.kill(victim)?;
        thread::sleep(ABSENCE);
        daemons.start(victim)?;
        thread::sleep(AROUND);
        let carried = flow.finish()?;
        verdicts.check("nothing is lost of 500 datagrams a second each way", carried.whole(), &carried);
        let after = [spis(&lab, "client")?, spis(&lab, "relay1")?];
        verdicts.equal("both ends have the SAs they had", &after, &before);
        show(&lab, &daemons, &hosts(3), carried.whole() && before == after)?;
    }
    // What was taken over from the daemon before can be taken over once more.
    verdicts.context("client again, then relay1 while the box forgets");
    let flow = Flow::start(&lab, "client", PORT, PACE)?;
    daemons.kill("client")?;
    thread::sleep(AROUND);
    daemons.start("client")?;
    let carried = flow.finish()?;
    verdicts.check("nothing is lost of 500 datagrams a second each way", carried.whole(), &carried);
    daemons.kill("relay1")?;
    let own = lab.net.node("box")?;
    let own = own.interfaces().find(|end| end.interface == "router0").ok_or("no outside link")?.address4;
    let own = own.to_string();
    lab.on("box", &["sh", "-c", FORGETS, "sh", &own, &own, "40000-40999"])?;
    daemons.start("relay1")?;
    thread::sleep(AROUND);
    // The first packet tells the entry where the client is now.
    let answers = lab.ping("client", lab.address4("server")?.into(), 3)?;
    verdicts.check("the circuit goes on", answers >= 2, answers);
    let carried = moved(&lab, &[])?;
    verdicts.check("after that nothing is lost", carried.whole(), &carried);
    show(&lab, &daemons, &hosts(3), carried.whole())
}
