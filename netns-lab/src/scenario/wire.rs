//! What an observer of a link may see of a circuit, and traffic to look at.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::{Lab, Verdicts};
use crate::capture::{Captures, Ip, LinkCapture, Packet, Transport};
use crate::net::Background;
use crate::program;

/// Long enough for a server to start, and for the last packets to arrive.
const LIMIT: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_millis(500);
/// ICMPv6 types of neighbour discovery (RFC 4861), which every IPv6 link has.
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;
/// MLDv2 reports (RFC 3810), likewise.
const LISTENER_REPORT: u8 = 143;
/// Strangers that evidence lists.
const SHOWN: usize = 3;

/// The way of the circuits through some relays: who talks to whom, seen from outside.
#[derive(Debug)]
pub(super) struct Route {
    stretches: Vec<Stretch>,
    pools: Vec<IpNet>,
    /// The client's own addresses.
    pub(super) client: Vec<IpAddr>,
    /// The server's addresses.
    pub(super) server: Vec<IpAddr>,
    /// The exit's addresses.
    pub(super) exit: Vec<IpAddr>,
}

/// Between two that follow one another on the route.
#[derive(Debug)]
struct Stretch {
    ends: [Vec<IpAddr>; 2],
    /// The SPIs of ESP there and back, or `None` where packets are in clear.
    spis: Option<[BTreeSet<u32>; 2]>,
}

/// What an observer saw on one link.
#[derive(Debug)]
pub(super) struct Sight {
    /// How many packets there were of each stretch, counted from the client's.
    pub(super) stretches: BTreeMap<usize, usize>,
    /// Packets of no stretch.
    pub(super) strangers: Vec<String>,
}

impl Route {
    /// The circuits of `client` through `relays`, to `server`.
    pub(super) fn new(
        lab: &Lab,
        client: &str,
        relays: &[String],
        server: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let both = |name: &str| -> Result<Vec<IpAddr>, Box<dyn Error>> {
            Ok(vec![lab.address4(name)?.into(), lab.address6(name)?.into()])
        };
        let names: Vec<&str> =
            std::iter::once(client).chain(relays.iter().map(String::as_str)).chain([server]).collect();
        let mut stretches = Vec::new();
        for (position, pair) in names.windows(2).enumerate() {
            let ends = [both(pair[0])?, both(pair[1])?];
            let spis = match position {
                0 => Some(layer_spis(lab, client, 0)),
                last if last == relays.len() => None,
                _ => Some(overlay_spis(lab, pair[0], &ends[1])),
            };
            stretches.push(Stretch { ends, spis });
        }
        let relay_pools = lab.net.relays().flat_map(|relay| {
            [relay.pool().map(IpNet::V4), relay.pool6().map(IpNet::V6)].into_iter().flatten()
        });
        let exit = relays.last().ok_or("a route has at least one relay")?;
        Ok(Self {
            stretches,
            pools: relay_pools.collect(),
            client: both(client)?,
            server: both(server)?,
            exit: both(exit)?,
        })
    }

    /// Sorts the packets of a link by stretch.
    pub(super) fn look(&self, capture: &LinkCapture) -> Sight {
        let mut sight = Sight { stretches: BTreeMap::new(), strangers: Vec::new() };
        for packet in capture.packets.iter().filter(|packet| !belongs_to_link(packet)) {
            match self.stretch_of(packet) {
                Some(stretch) => *sight.stretches.entry(stretch).or_default() += 1,
                None => {
                    let found = packet.ip.as_ref();
                    sight.strangers.push(found.map_or("not IP".to_owned(), ToString::to_string));
                }
            }
        }
        sight
    }

    /// The stretch a packet is of: itself, or, as an error of a router, what it quotes to its sender.
    fn stretch_of(&self, packet: &Packet) -> Option<usize> {
        let ip = packet.ip.as_ref()?;
        self.stretches.iter().position(|stretch| match ip.quoted() {
            Some(quoted) => ip.destination == quoted.source && stretch.shows(quoted),
            None => stretch.shows(ip),
        })
    }

    /// The address of a pool in a capture, if one is there.
    fn pool_address(&self, capture: &LinkCapture) -> Option<IpAddr> {
        capture.addresses().into_iter().find(|address| self.pools.iter().any(|pool| pool.contains(address)))
    }
}

impl Stretch {
    fn shows(&self, ip: &Ip) -> bool {
        let [near, far] = &self.ends;
        let forward = near.contains(&ip.source) && far.contains(&ip.destination);
        let backward = far.contains(&ip.source) && near.contains(&ip.destination);
        match (&self.spis, ip.esp()) {
            (Some([there, back]), Some(esp)) => {
                forward && there.contains(&esp.spi) || backward && back.contains(&esp.spi)
            }
            // the later pieces of a packet have no ESP header
            (Some(_), None) => (forward || backward) && ip.transport == Transport::LaterFragment,
            (None, esp) => (forward || backward) && esp.is_none(),
        }
    }
}

/// SPIs of layer `layer` (0 is the outermost) of all circuits of a client, from and to it.
pub(super) fn layer_spis(lab: &Lab, client: &str, layer: usize) -> [BTreeSet<u32>; 2] {
    let role = lab.deal.hosts.get(client).and_then(|host| host.client.as_ref());
    let circuits = role.into_iter().flat_map(|role| &role.circuits);
    let keys: Vec<_> = circuits.filter_map(|circuit| circuit.hops.get(layer)).map(|hop| &hop.keys).collect();
    let inbound = keys.iter().flat_map(|keys| &keys.r#in);
    [keys.iter().map(|keys| keys.out.spi.get()).collect(), inbound.map(|sa| sa.spi.get()).collect()]
}

/// SPIs of the overlay from a relay to the neighbour with one of `addresses`, and back.
fn overlay_spis(lab: &Lab, relay: &str, addresses: &[IpAddr]) -> [BTreeSet<u32>; 2] {
    let role = lab.deal.hosts.get(relay).and_then(|host| host.relay.as_ref());
    let peer =
        role.and_then(|role| role.neighbours.iter().find(|neighbour| addresses.contains(&neighbour.address)));
    peer.and_then(|peer| peer.keys.as_ref()).map_or_else(Default::default, |keys| {
        [BTreeSet::from([keys.out.spi.get()]), keys.r#in.iter().map(|sa| sa.spi.get()).collect()]
    })
}

/// Packets that a link has by itself: ARP, neighbour discovery, multicast listeners.
pub(super) fn belongs_to_link(packet: &Packet) -> bool {
    match packet.ip.as_ref().map(|ip| (&ip.transport, ip.source.is_ipv6())) {
        None => true,
        Some((Transport::Icmp { kind, .. }, true)) => {
            NEIGHBOUR_DISCOVERY.contains(kind) || *kind == LISTENER_REPORT
        }
        Some(_) => false,
    }
}

/// The stretches that a link of [`Topology::chain`](crate::topology::Topology::chain) is part of.
pub(super) fn stretches_on(link: &str) -> BTreeSet<usize> {
    let (router, other) = link.split_once('-').unwrap_or((link, ""));
    let k: usize = router.trim_start_matches("router").parse().unwrap_or(0);
    match other.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "relay" => [k - 1, k].into(),
        "server" => [k - 1].into(),
        _ => [k].into(),
    }
}

/// Runs `work` with captures on every link, and waits for its last packets.
pub(super) fn captured<T>(
    lab: &Lab,
    work: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<(Vec<LinkCapture>, T), Box<dyn Error>> {
    let links: Vec<&str> = lab.net.links().iter().map(|link| link.name.as_str()).collect();
    captured_on(lab, &links, work)
}

/// The same with captures on some links.
pub(super) fn captured_on<T>(
    lab: &Lab,
    links: &[&str],
    work: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<(Vec<LinkCapture>, T), Box<dyn Error>> {
    let captures = Captures::start(&lab.net, links)?;
    let result = work()?;
    thread::sleep(SETTLE);
    Ok((captures.stop()?, result))
}

/// The capture of one link.
pub(super) fn on_link<'a>(
    captures: &'a [LinkCapture],
    link: &str,
) -> Result<&'a LinkCapture, Box<dyn Error>> {
    let found = captures.iter().find(|capture| capture.link == link);
    Ok(found.ok_or_else(|| format!("no capture of {link}"))?)
}

/// Checks captured links of a chain: each shows the stretches it is part of, and nothing else.
pub(super) fn judge(verdicts: &mut Verdicts, route: &Route, captures: &[LinkCapture]) {
    for capture in captures {
        let link = &capture.link;
        let Sight { stretches, strangers } = route.look(capture);
        let seen: BTreeSet<usize> = stretches.keys().copied().collect();
        let expected = stretches_on(link);
        verdicts.check(
            format!("{link} shows packets of its own stretches of the route and no others"),
            seen == expected && strangers.is_empty() && capture.missed == 0,
            format!(
                "packets by stretch {stretches:?}, expected stretches {expected:?}, {} missed, {} others {:?}",
                capture.missed,
                strangers.len(),
                &strangers[..strangers.len().min(SHOWN)]
            ),
        );
    }
    let last = route.stretches.len() - 1;
    let holders = |whose: &[IpAddr]| -> BTreeSet<&str> {
        let holds =
            |capture: &&LinkCapture| capture.addresses().iter().any(|address| whose.contains(address));
        captures.iter().filter(holds).map(|capture| capture.link.as_str()).collect()
    };
    let links_of = |stretch: usize| -> BTreeSet<&str> {
        let links = captures.iter().map(|capture| capture.link.as_str());
        links.filter(|link| stretches_on(link).contains(&stretch)).collect()
    };
    let name = "the client's address is readable up to the entry only";
    verdicts.equal(name, &holders(&route.client), &links_of(0));
    let name = "the server's address is readable from the exit on only";
    verdicts.equal(name, &holders(&route.server), &links_of(last));
    let pools: Vec<_> = captures.iter().filter_map(|capture| route.pool_address(capture)).collect();
    verdicts.check("no link shows an address of a pool", pools.is_empty(), format!("{pools:?}"));
}

/// Servers for every kind of traffic, killed when dropped.
#[derive(Debug)]
pub(super) struct Servers {
    _running: Vec<Background>,
}

/// The ports of one set of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// Of the web server.
    pub(super) http: u16,
    /// Of the server of small answers.
    pub(super) dns: u16,
    /// Of the server of TCP flows.
    pub(super) load: u16,
}

/// Where servers usually listen.
pub(super) const PORTS: Ports = Ports { http: 80, dns: 53, load: 5001 };

impl Servers {
    /// Starts all of them on a node, for both families.
    pub(super) fn start(lab: &Lab, node: &str, ports: Ports) -> Result<Self, Box<dyn Error>> {
        let programs = [("http-serve", ports.http), ("udp-echo", ports.dns), ("tcp-serve", ports.load)];
        let mut running = Vec::new();
        for (name, port) in programs {
            let address = format!("[::]:{port}");
            let mut server = lab.net.node(node)?.spawn(&[program::NAME, "traffic", name, &address])?;
            server.wait_for("listening on", LIMIT)?;
            running.push(server);
        }
        Ok(Self { _running: running })
    }
}

/// Runs a traffic program on a node; its report, or what it said instead.
pub(super) fn tool(lab: &Lab, node: &str, line: &str) -> Result<Value, Box<dyn Error>> {
    let argv: Vec<&str> = [program::NAME, "traffic"].into_iter().chain(line.split(' ')).collect();
    let output = lab.try_on(node, &argv)?;
    Ok(report(&output.stdout, &output.stderr))
}

/// The report of a traffic program, or what it said instead.
pub(super) fn report(stdout: &str, stderr: &str) -> Value {
    serde_json::from_str(stdout).unwrap_or_else(|_| stderr.trim().into())
}

/// An address as part of a URL or before a port.
pub(super) fn host(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

/// A number in a report; 0 if it is not there.
pub(super) fn number(report: &Value, field: &str) -> f64 {
    report[field].as_f64().unwrap_or(0.0)
}

/// Checks that TCP both ways, UDP and ICMP get from `client` to `server` and back.
pub(super) fn everything_passes(
    verdicts: &mut Verdicts,
    lab: &Lab,
    server: IpAddr,
    bytes: u64,
    seconds: f64,
) -> Result<(), Box<dyn Error>> {
    let family = if server.is_ipv4() { "IPv4" } else { "IPv6" };
    let to = host(server);
    let get = tool(lab, "client", &format!("http-get http://{to}:{}/{bytes}", PORTS.http))?;
    let whole = get["intact"] == true && get["bytes"] == bytes;
    verdicts.check(format!("{family}: a download of {bytes} bytes arrives whole"), whole, &get);
    let put = tool(lab, "client", &format!("tcp-load --seconds {seconds} {to}:{} put", PORTS.load))?;
    let sent = number(&put, "bytes") >= bytes as f64 / 2.0;
    verdicts.check(format!("{family}: an upload carries at least half of that in {seconds} s"), sent, &put);
    let asks = tool(lab, "client", &format!("udp-ask {to}:{} 20", PORTS.dns))?;
    verdicts.check(format!("{family}: 20 UDP questions are answered"), asks["answered"] == 20, &asks);
    verdicts.equal(format!("{family}: 3 pings are answered"), &lab.ping("client", server, 3)?, &3);
    Ok(())
}
