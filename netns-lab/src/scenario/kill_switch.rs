//! With a kill switch nothing leaves a client but what a circuit carries, whatever becomes of the circuit.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;

use super::watch::clock;
use super::{Lab, Scenario, Verdicts};
use crate::capture::{Captures, Direction, Ip, LinkCapture, Packet, Transport};
use crate::deal::Wish;
use crate::topology::Topology;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "kill-switch",
    about: "nothing leaves a client but through its circuits, broken ones included",
    run: kill_switch,
}];

/// The client's link; the client is its second end.
const LINK: &str = "router0-client";
/// Longer than any answer takes.
const SETTLE: Duration = Duration::from_millis(200);

/// Whom the client tries to reach.
struct Targets {
    entry: IpAddr,
    server: [IpAddr; 2],
    /// Not among the circuit's destinations: another host, and the router asked for names.
    others: Vec<IpAddr>,
    allowed: [IpAddr; 2],
}

/// A stretch of time, and what was tried in it.
struct Stage {
    name: &'static str,
    from: Duration,
    to: Duration,
    /// Pings of the server, and of allowed destinations, that were answered.
    server: u32,
    allowed: u32,
}

fn kill_switch(verdicts: &mut Verdicts) -> Outcome {
    let mut lab = Lab::new(&Topology::chain(3)?, &[Wish::new("client", &["relay1", "relay2", "relay3"])])?;
    let both =
        |name| -> Outcome<[IpAddr; 2]> { Ok([lab.address4(name)?.into(), lab.address6(name)?.into()]) };
    let (server, allowed) = (both("server")?, both("relay2")?);
    let others = [both("relay3")?, both("router0")?].concat();
    let targets = Targets { entry: lab.address4("relay1")?.into(), server, others, allowed };
    let client = lab.deal.hosts.get_mut("client").and_then(|host| host.client.as_mut()).ok_or("no client")?;
    client.kill_switch = true;
    client.allow = allowed.map(IpNet::from).into();
    for circuit in &mut client.circuits {
        circuit.traffic = server.map(IpNet::from).into();
    }

    let captures = Captures::start(&lab.net, &[LINK])?;
    let stages = stages(&lab, &targets)?;
    let mut captures = captures.stop()?;
    let capture = captures.pop().ok_or("no capture")?;

    verdicts.equal("the capture has all packets", &capture.missed, &0);
    for stage in &stages {
        verdicts.context(stage.name);
        let sent: Vec<_> = capture.packets.iter().filter(|packet| stage.sent(&capture, packet)).collect();
        match stage.name {
            "before" | "released" => leaves(verdicts, &sent, &targets),
            _ => stage.judge(verdicts, &sent, &targets),
        }
    }
    Ok(())
}

/// All the ways a circuit can go, each from a whole one.
fn stages(lab: &Lab, targets: &Targets) -> Outcome<Vec<Stage>> {
    let path = lab.deal.write(&lab.net, "client")?;
    let hop = lab.deal.hosts.get("client").and_then(|host| host.client.as_ref());
    let hop = hop.and_then(|client| client.circuits.first()?.hops.first()).ok_or("no hop")?;
    let (entry, spi) = (hop.relay.to_string(), hop.keys.out.spi.to_string());
    let delete_sa = ["ip", "xfrm", "state", "delete", "dst", &entry, "proto", "esp", "spi", &spi];
    let breaks: [(&str, &[&str]); 6] = [
        ("an SA deleted", &delete_sa),
        ("the interface deleted", &["ip", "link", "del", "ippc1"]),
        ("all SAs flushed", &["ip", "xfrm", "state", "flush"]),
        ("all policies flushed", &["ip", "xfrm", "policy", "flush"]),
        ("down", &["ippriv", "down", &path]),
        ("released", &["ippriv", "down", "--release", &path]),
    ];
    let mut stages = vec![Stage::run("before", lab, targets)?];
    lab.apply()?;
    stages.push(Stage::run("circuit up", lab, targets)?);
    for (name, argv) in breaks {
        lab.apply_on("client")?;
        lab.on("client", argv)?;
        stages.push(Stage::run(name, lab, targets)?);
    }
    Ok(stages)
}

impl Stage {
    /// Tries everything, with neighbours forgotten, so that they have to be asked for again.
    fn run(name: &'static str, lab: &Lab, targets: &Targets) -> Outcome<Self> {
        let client = lab.net.node("client")?;
        let from = clock();
        for family in ["-4", "-6"] {
            for neighbour in client.run(&["ip", family, "neigh", "show"])?.stdout.lines() {
                let words: Vec<_> = neighbour.split(' ').take(3).collect();
                client.run(&[&["ip", family, "neigh", "del"], &words[..]].concat())?;
            }
        }
        let all: Vec<IpAddr> =
            targets.server.iter().chain(&targets.others).chain(&targets.allowed).copied().collect();
        client.enter(|| {
            all.iter().for_each(|target| knock(*target, &[53, 443]));
            knock(targets.entry, &[500, 4500, 443]);
        })?;
        let mut answers = Vec::new();
        for targets in [&targets.server[..], &targets.allowed, &targets.others] {
            let pings = targets.iter().map(|target| lab.ping("client", *target, 2));
            answers.push(pings.sum::<Result<u32, _>>()?);
        }
        thread::sleep(SETTLE);
        Ok(Self { name, from, to: clock(), server: answers[0], allowed: answers[1] })
    }

    fn sent(&self, capture: &LinkCapture, packet: &Packet) -> bool {
        (self.from..self.to).contains(&packet.time) && capture.direction(packet) == Some(Direction::Backward)
    }

    fn judge(&self, verdicts: &mut Verdicts, sent: &[&Packet], targets: &Targets) {
        let packets = || sent.iter().filter_map(|packet| packet.ip.as_ref());
        let bad: Vec<_> = packets().filter(|ip| !targets.may_leave(ip)).collect();
        let evidence = match bad.first() {
            None => format!("{} packets left, all of them allowed ones", packets().count()),
            Some(ip) => format!("{} packets left, first: {ip}", bad.len()),
        };
        verdicts.check(
            "nothing leaves but ESP and IKE to the entry and what is allowed",
            bad.is_empty(),
            evidence,
        );
        verdicts.equal("allowed destinations answer", &self.allowed, &4);
        let asked = sent.iter().filter(|packet| packet.ip.is_none()).count();
        let solicited = packets().filter(|ip| solicits(ip)).count();
        let evidence = format!("{asked} ARP packets, {solicited} neighbour solicitations");
        verdicts.check("neighbours are found", asked > 0 && solicited > 0, evidence);
        let up = self.name == "circuit up";
        verdicts.equal("pings that the server answers", &self.server, &if up { 4 } else { 0 });
        let ike: BTreeSet<u16> = packets().filter_map(|ip| targets.ike(ip)).collect();
        if self.name != "down" {
            verdicts.equal("IKE reaches the entry", &ike.into_iter().collect::<Vec<_>>(), &vec![500, 4500]);
        }
    }
}

/// Without a kill switch everything leaves: the check can fail.
fn leaves(verdicts: &mut Verdicts, sent: &[&Packet], targets: &Targets) {
    let packets = || sent.iter().filter_map(|packet| packet.ip.as_ref());
    for target in targets.server.iter().chain(&targets.others) {
        let to = || packets().filter(|ip| ip.destination == *target);
        let tcp = to().filter(|ip| matches!(ip.transport, Transport::Tcp { .. })).count();
        let udp = to().filter(|ip| matches!(ip.transport, Transport::Udp { .. })).count();
        let icmp = to().filter(|ip| matches!(ip.transport, Transport::Icmp { .. })).count();
        let evidence = format!("{tcp} TCP, {udp} UDP, {icmp} ICMP packets");
        verdicts.check(
            format!("packets to {target} leave directly"),
            tcp > 0 && udp > 0 && icmp > 0,
            evidence,
        );
    }
}

impl Targets {
    fn may_leave(&self, ip: &Ip) -> bool {
        let esp = matches!(ip.transport, Transport::Esp(_)) && ip.destination == self.entry;
        esp || self.ike(ip).is_some() || self.allowed.contains(&ip.destination) || solicits(ip)
    }

    /// The port, if it is a packet to the entry's IKE.
    fn ike(&self, ip: &Ip) -> Option<u16> {
        match ip.transport {
            Transport::Udp { destination: port @ (500 | 4500), .. } if ip.destination == self.entry => {
                Some(port)
            }
            _ => None,
        }
    }
}

/// Neighbour and router discovery, and multicast reports for it, that stay on the link.
fn solicits(ip: &Ip) -> bool {
    ip.destination.is_ipv6() && matches!(ip.transport, Transport::Icmp { kind: 133 | 135 | 136 | 143, .. })
}

/// A datagram and a connection attempt to each port; nobody minds that none gets through.
fn knock(target: IpAddr, ports: &[u16]) {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    for port in ports {
        let to = SocketAddr::new(target, *port);
        if let Ok(socket) = UdpSocket::bind(any) {
            let _ = socket.send_to(b"is anybody there?", to);
        }
        let _ = TcpStream::connect_timeout(&to, SETTLE);
    }
}
