//! Keys and relays replaced under load, new before old: nothing is lost and nothing goes in clear.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ippriv::suite::Suite;
use ippriv::telescope::{Host, TunnelKeys};

use super::watch::{Secrets, clock};
use super::{Lab, LabError, Scenario, Verdicts};
use crate::capture::{Captures, LinkCapture};
use crate::deal::{self, OVERLAY_SPIS, Wish};
use crate::net::Background;
use crate::topology::Topology;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "rekey", about: "every SA is replaced under load, nothing is lost", run: rekey },
    Scenario { name: "new-exit", about: "a circuit moves to another exit, nothing in clear", run: new_exit },
];

/// Two circuits' round trips, so that everything under way has arrived.
const SETTLE: Duration = Duration::from_millis(200);
/// Bytes of TCP, at a pace below the rate of any link, so that no queue drops any.
const BLOCK: usize = 2000;
const BLOCKS: usize = 600;
const BLOCK_PACE: Duration = Duration::from_millis(4);
/// Pings, 500 a second.
const PINGS: u32 = 1000;
const PORT: u16 = 7100;

/// One end of a tunnel: a hop of the client, a relay's part of a circuit, or its part of an overlay.
#[derive(Clone, Copy)]
enum Place {
    Hop(usize),
    Circuit,
    Neighbour(Ipv4Addr),
}

/// A tunnel, its ends and what its keys are going to be there.
struct Renewal {
    ends: [(String, Place, TunnelKeys); 2],
}

fn rekey(verdicts: &mut Verdicts) -> Outcome {
    let mut lab = Lab::chain(3)?;
    let renewals = renewals(&lab)?;
    let old: BTreeSet<u32> = spis(&lab.deal.hosts)?;
    let captures = Captures::start_all(&lab.net)?;
    let load = Load::start(&lab)?;
    thread::sleep(SETTLE);
    // What a connection repeats while it learns the MTU of the path is not about keys.
    let before = retransmissions(&lab)?;

    change(&mut lab, &renewals, |now, new| now.r#in.extend(new.r#in.iter().cloned()))?;
    thread::sleep(SETTLE);
    let switched = clock();
    change(&mut lab, &renewals, |now, new| now.out.clone_from(&new.out))?;
    thread::sleep(SETTLE);
    change(&mut lab, &renewals, |now, new| now.r#in.clone_from(&new.r#in))?;
    let replaced = clock();

    let carried = load.finish()?;
    let after = retransmissions(&lab)?;
    let captures = captures.stop()?;
    let new = spis(&lab.deal.hosts)?;

    verdicts.equal("every ping of 500 a second is answered", &carried.pings, &PINGS);
    verdicts.equal("TCP arrives at the server whole", &carried.up, &(BLOCK * BLOCKS));
    verdicts.equal("TCP arrives at the client whole", &carried.down, &(BLOCK * BLOCKS));
    verdicts.equal("TCP repeats nothing, at the client and the server", &after, &before);
    verdicts.check("all keys are new", old.is_disjoint(&new), format!("{old:x?}, then {new:x?}"));
    for name in lab.deal.hosts.keys() {
        in_kernel(verdicts, &lab, name, &new)?;
    }
    on_links(verdicts, &captures, &old, &new, (switched, replaced));
    wrong_order(verdicts, &mut lab)
}

/// Proof that a loss would have been seen: the sender's SA is replaced before the receiver's.
fn wrong_order(verdicts: &mut Verdicts, lab: &mut Lab) -> Outcome {
    let new = deal::tunnel(Suite::AesGcm128, 0x400)?;
    let client =
        Renewal { ends: [("client".into(), Place::Hop(2), new.1), ("relay3".into(), Place::Circuit, new.0)] };
    let pings = ping(lab, 500)?;
    thread::sleep(SETTLE);
    let [first, second] = &client.ends;
    for (host, place, keys) in [first, second] {
        *keys_at(&mut lab.deal.hosts, host, *place)? = keys.clone();
        lab.apply_on(host)?;
        thread::sleep(SETTLE);
    }
    let answered = answered(pings)?;
    let evidence = format!("{answered} of 500 answered");
    verdicts.check("keys replaced in the wrong order lose packets", (1..500).contains(&answered), evidence);
    Ok(())
}

/// New keys for every layer and overlay of a chain of three relays.
fn renewals(lab: &Lab) -> Outcome<Vec<Renewal>> {
    let mut renewals = Vec::new();
    for hop in 0..3_u32 {
        let (relay, client) = deal::tunnel(Suite::AesGcm128, 0x100 + 2 * hop)?;
        let place = Place::Hop(usize::try_from(hop)?);
        let relay = (format!("relay{}", hop + 1), Place::Circuit, relay);
        renewals.push(Renewal { ends: [("client".to_owned(), place, client), relay] });
    }
    for first in 1..3_u32 {
        let (left, right) = deal::tunnel(Suite::AesGcm128, OVERLAY_SPIS + 0x100 + 2 * first)?;
        let names = [first, first + 1].map(|number| format!("relay{number}"));
        let [towards_left, towards_right] =
            [&names[0], &names[1]].map(|name| lab.address4(name).map(Place::Neighbour));
        let [left_name, right_name] = names;
        renewals
            .push(Renewal { ends: [(left_name, towards_right?, left), (right_name, towards_left?, right)] });
    }
    Ok(renewals)
}

/// Changes the keys of all tunnels and applies them on all hosts.
fn change(lab: &mut Lab, renewals: &[Renewal], change: impl Fn(&mut TunnelKeys, &TunnelKeys)) -> Outcome {
    for (host, place, new) in renewals.iter().flat_map(|renewal| &renewal.ends) {
        change(keys_at(&mut lab.deal.hosts, host, *place)?, new);
    }
    Ok(lab.apply()?)
}

fn keys_at<'a>(
    hosts: &'a mut BTreeMap<String, Host>,
    name: &str,
    place: Place,
) -> Outcome<&'a mut TunnelKeys> {
    let host = hosts.get_mut(name).ok_or("no such host")?;
    let keys = match place {
        Place::Hop(hop) => {
            let circuit = host.client.as_mut().and_then(|client| client.circuits.first_mut());
            circuit.and_then(|circuit| circuit.hops.get_mut(hop)).map(|hop| &mut hop.keys)
        }
        Place::Circuit => {
            let circuit = host.relay.as_mut().and_then(|relay| relay.circuits.first_mut());
            circuit.map(|circuit| &mut circuit.keys)
        }
        Place::Neighbour(address) => {
            let relay = host.relay.as_mut();
            let neighbours = relay.map(|relay| relay.neighbours.iter_mut()).into_iter().flatten();
            neighbours.into_iter().find(|peer| peer.address == address).and_then(|peer| peer.keys.as_mut())
        }
    };
    keys.ok_or_else(|| format!("{name} has no such tunnel").into())
}

fn spis(hosts: &BTreeMap<String, Host>) -> Outcome<BTreeSet<u32>> {
    let mut spis = BTreeSet::new();
    for host in hosts.values() {
        spis.extend(host.desired()?.state.sas.keys().map(|id| id.spi.get()));
    }
    Ok(spis)
}

/// What `ip` says about a host: only SAs of the new set, and each has carried packets.
fn in_kernel(verdicts: &mut Verdicts, lab: &Lab, name: &str, new: &BTreeSet<u32>) -> Outcome {
    let listing = lab.on(name, &["ip", "-s", "xfrm", "state", "list", "nokeys"])?;
    let mut carried: BTreeMap<u32, u64> = BTreeMap::new();
    let (mut spi, mut current) = (0, false);
    for line in listing.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["proto", "esp", "spi", text, ..] = words[..] {
            let hexadecimal = text.split('(').next().and_then(|text| text.strip_prefix("0x"));
            spi = hexadecimal.and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or(0);
        }
        if let [.., packets] = words[..]
            && current
        {
            carried.insert(spi, packets.strip_suffix("(packets)").and_then(|n| n.parse().ok()).unwrap_or(0));
        }
        current = line.contains("lifetime current");
    }
    let good = !carried.is_empty() && carried.iter().all(|(spi, packets)| new.contains(spi) && *packets > 0);
    verdicts.check(
        format!("{name} has only new SAs, and all of them carry packets"),
        good,
        format!("{carried:x?}"),
    );
    Ok(())
}

/// What the links showed: old SPIs before the switch, new ones after, and only them in the end.
fn on_links(
    verdicts: &mut Verdicts,
    captures: &[LinkCapture],
    old: &BTreeSet<u32>,
    new: &BTreeSet<u32>,
    (switched, replaced): (Duration, Duration),
) {
    for name in ["router0-client", "router1-router2", "router2-router3"] {
        let Some(capture) = captures.iter().find(|capture| capture.link == name) else { continue };
        let count = |set: &BTreeSet<u32>, from: Duration, to: Duration| {
            let packets = capture.packets.iter().filter(|packet| (from..to).contains(&packet.time));
            let spis = packets.filter_map(|packet| packet.ip.as_ref()?.esp()).map(|esp| esp.spi);
            spis.filter(|spi| set.contains(spi)).count()
        };
        let end = Duration::MAX;
        let counts = [
            count(old, Duration::ZERO, switched),
            count(new, Duration::ZERO, switched),
            count(old, replaced, end),
            count(new, replaced, end),
        ];
        let [old_before, new_before, old_after, new_after] = counts;
        let good = old_before > 0 && new_before == 0 && old_after == 0 && new_after > 0;
        let evidence = format!(
            "before the switch {old_before} packets of old and {new_before} of new SAs, in the end {old_after} \
             and {new_after}; {} missed",
            capture.missed
        );
        verdicts.check(
            format!("{name} shows the old SPIs, then the new"),
            good && capture.missed == 0,
            evidence,
        );
    }
}

/// `Tcp: … RetransSegs …` of `/proc/net/snmp`, at the client and at the server.
fn retransmissions(lab: &Lab) -> Outcome<[u64; 2]> {
    let count = |name| -> Outcome<u64> {
        let text = lab.on(name, &["cat", "/proc/net/snmp"])?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = lines.next().zip(lines.next()).ok_or("no TCP counters")?;
        let mut pairs = names.split(' ').zip(values.split(' '));
        let (_, value) = pairs.find(|(name, _)| *name == "RetransSegs").ok_or("no RetransSegs")?;
        Ok(value.parse()?)
    };
    Ok([count("client")?, count("server")?])
}

/// Pings and a TCP connection that sends both ways.
struct Load {
    pings: Background,
    client: JoinHandle<usize>,
    server: JoinHandle<usize>,
}

struct Carried {
    pings: u32,
    up: usize,
    down: usize,
}

impl Load {
    fn start(lab: &Lab) -> Outcome<Self> {
        let address = lab.address4("server")?;
        let listener = lab.net.node("server")?.enter(|| TcpListener::bind((address, PORT)))??;
        let client = lab.net.node("client")?.enter(|| TcpStream::connect((address, PORT)))??;
        let (server, _) = listener.accept()?;
        Ok(Self { pings: ping(lab, PINGS)?, client: both_ways(client)?, server: both_ways(server)? })
    }

    fn finish(self) -> Outcome<Carried> {
        let panicked = |_| "a thread of the load panicked";
        let down = self.client.join().map_err(panicked)?;
        let up = self.server.join().map_err(panicked)?;
        Ok(Carried { pings: answered(self.pings)?, up, down })
    }
}

/// Sends all blocks at their pace and counts what comes the other way.
fn both_ways(mut stream: TcpStream) -> Outcome<JoinHandle<usize>> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    thread::spawn(move || {
        let block = [0x5a; BLOCK];
        for _ in 0..BLOCKS {
            if writer.write_all(&block).is_err() {
                break;
            }
            thread::sleep(BLOCK_PACE);
        }
        // The other end sees too few bytes when this fails.
        let _ = writer.shutdown(std::net::Shutdown::Write);
    });
    Ok(thread::spawn(move || {
        let (mut buffer, mut count) = (vec![0; 65536], 0);
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            count += length;
        }
        count
    }))
}

fn ping(lab: &Lab, count: u32) -> Result<Background, LabError> {
    let (to, count) = (lab.address4("server")?.to_string(), count.to_string());
    Ok(lab.net.node("client")?.spawn(&["ping", "-n", "-q", "-i", "0.002", "-W", "1", "-c", &count, &to])?)
}

fn answered(pings: Background) -> Outcome<u32> {
    let said = pings.wait(Duration::from_secs(30))?.stdout;
    let received = said.split(", ").find_map(|part| part.strip_suffix(" received"));
    Ok(received.ok_or("ping says nothing about answers")?.parse()?)
}

const TWO_EXITS: &str = "
description: Two exits to choose from.
nodes:
  - { name: router0, role: router }
  - { name: router1, role: router }
  - { name: router2, role: router }
  - { name: client, role: client }
  - { name: entry, role: relay, pool: 10.64.0.0/16, pool6: 'fd00:64::/64' }
  - { name: middle, role: relay, pool: 10.65.0.0/16, pool6: 'fd00:65::/64' }
  - { name: exit1, role: relay, pool: 10.66.0.0/16, pool6: 'fd00:66::/64', exit: true }
  - { name: exit2, role: relay, pool: 10.67.0.0/16, pool6: 'fd00:67::/64', exit: true }
  - { name: server, role: server }
links:
  - { between: [router0, router1], rate: 20mbit, delay: 5ms }
  - { between: [router1, router2], rate: 20mbit, delay: 5ms }
  - { between: [router0, client], rate: 100mbit }
  - { between: [router0, entry], rate: 100mbit }
  - { between: [router1, middle], rate: 100mbit }
  - { between: [router2, exit1], rate: 100mbit }
  - { between: [router2, exit2], rate: 100mbit }
  - { between: [router2, server], rate: 100mbit }
";

fn new_exit(verdicts: &mut Verdicts) -> Outcome {
    let topology = Topology::parse("two exits", TWO_EXITS)?;
    let mut lab = Lab::new(&topology, &[Wish::new("client", &["entry", "middle", "exit1"])])?;
    let links = ["router2-exit1", "router2-exit2", "router2-server"];
    let mut secrets = Secrets::new(&lab, &["client"], &["router0-client", "router0-entry"], &links)?;
    let captures = Captures::start_all(&lab.net)?;
    let direct = lab.ping("client", lab.address4("server")?.into(), 2)?;
    let start = clock();
    lab.apply()?;

    let pings = ping(&lab, PINGS)?;
    thread::sleep(SETTLE);
    lab.deal.add(&lab.net, &Wish::new("client", &["entry", "middle", "exit2"]))?;
    let hosts = &mut lab.deal.hosts;
    let circuits =
        hosts.get_mut("client").and_then(|host| host.client.as_mut()).map(|client| &mut client.circuits);
    let circuits = circuits.ok_or("no client")?;
    let new = circuits.pop().ok_or("no new circuit")?;
    let old = circuits.first_mut().ok_or("no old circuit")?;
    old.hops = new.hops;
    secrets.allow_first_layer(hosts.get("client"));
    for name in ["exit1", "exit2", "middle", "entry", "client"] {
        lab.apply_on(name)?;
        thread::sleep(SETTLE / 4);
    }
    thread::sleep(SETTLE);
    for host in lab.deal.hosts.values_mut() {
        if let Some(relay) = &mut host.relay {
            relay.circuits.retain(|circuit| circuit.number.get() > 3);
        }
    }
    lab.apply()?;
    let pings = answered(pings)?;
    let captures = captures.stop()?;

    let leaks = secrets.leaks(&captures);
    let (before, during): (Vec<_>, Vec<_>) = leaks.into_iter().partition(|leak| leak.time < start);
    let evidence = format!("{direct} pings answered, {} headers that had to be secret", before.len());
    verdicts.check("without a circuit the captures show client and server", !before.is_empty(), evidence);
    let evidence = during.first().map_or("nothing".to_owned(), ToString::to_string);
    verdicts.check("while the exit changes nothing goes in clear", during.is_empty(), evidence);
    for (link, exit) in [("router2-exit1", "exit1"), ("router2-exit2", "exit2")] {
        let (exit, server) = (lab.address4(exit)?, lab.address4("server")?);
        let capture = captures.iter().find(|capture| capture.link == link).ok_or("no such capture")?;
        let out = capture.count(|ip| ip.source == exit && ip.destination == server);
        verdicts.check(
            format!("packets leave over {link}"),
            out > 0 && capture.missed == 0,
            format!("{out} packets"),
        );
    }
    let evidence = format!("{pings} of {PINGS} answered");
    verdicts.check("the pings go on, but for those under way", pings > PINGS * 9 / 10, evidence);
    Ok(())
}
