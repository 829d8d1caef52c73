//! The part of the demo that runs inside the lab.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use ippriv::suite::Suite;
use ippriv::telescope::mtu;
use serde_json::Value;

use super::wire::{self, Knower, Owner};
use super::{Compared, Demo, HopView, HostView};
use crate::capture::{Captures, LinkCapture};
use crate::daemons::{CircuitPlan, Daemons, Plan};
use crate::net::Background;
use crate::program;
use crate::scenario::{Lab, Verdicts};
use crate::topology::Topology;
use crate::traffic::tcp_limit;

const EUROPE: &str = include_str!("../../topologies/europe.yaml");
const RELAYS: [&str; 3] = ["entry", "middle", "exit"];
/// Routers along the way; captures on the links between them show what observers of the network see.
const ROUTERS: [&str; 5] = ["trento", "munich", "frankfurt", "amsterdam", "london"];
/// The rate of the links between routers in `europe.yaml`, in Mbit/s.
const RATE: f64 = 20.0;
/// How long overlays and the circuit may take to be there.
const BUILD: Duration = Duration::from_secs(30);
/// How long a load's last packets may take to leave the network.
const SETTLE: Duration = Duration::from_secs(3);

type Failure = Box<dyn Error>;

/// Runs the demo; the result is for standard output.
///
/// # Errors
/// When the lab cannot be built or a program in it fails.
pub fn run() -> Result<Demo, Failure> {
    let topology = Topology::parse("europe.yaml", EUROPE)?;
    let lab = Lab::new(&topology, &[])?;
    let servers = Servers::start(&lab)?;
    let mut verdicts = Verdicts::default();
    let (direct, direct_captures) = captured(&lab)?;
    let direct_mbit = throughput(&lab)?;
    let (mut daemons, hops, built) = build(&lab, &mut verdicts)?;
    let (circuit, captures) = captured(&lab)?;
    let circuit_mbit = throughput(&lab)?;
    drop(servers);

    verdicts.context("traffic");
    traffic_verdicts(&lab, &circuit, &mut verdicts)?;
    verdicts.context("secrecy while building");
    knowledge_verdicts(&knowers(&lab, &built)?, &mut verdicts);
    verdicts.context("secrecy");
    let knowers = knowers(&lab, &captures)?;
    let overlays = overlay_spis(&daemons)?;
    secrecy_verdicts(&lab, &captures, &direct_captures, &overlays, &mut verdicts)?;
    knowledge_verdicts(&knowers, &mut verdicts);
    verdicts.context("cost");
    let limit = header_limit();
    let traffic = vec![
        compared("HTTP download", "Mbit/s", circuit_mbit, direct_mbit, Some(limit)),
        compared("ping round trip", "ms", circuit.ping_ms, direct.ping_ms, None),
        compared("DNS-like exchange", "ms", circuit.ask_ms, direct.ask_ms, None),
        compared("HTTP first octet", "ms", circuit.ttfb_ms, direct.ttfb_ms, None),
    ];
    cost_verdicts(&traffic, limit, &mut verdicts);
    verdicts.context("daemons");
    daemon_verdicts(&lab, &mut daemons, &mut verdicts)?;
    Ok(Demo {
        hosts: hosts(&lab)?,
        routers: ROUTERS.map(str::to_owned).to_vec(),
        circuit: hops,
        links: captures.iter().map(|capture| wire::view(capture, &overlays)).collect(),
        knowers,
        traffic,
        traceroute: circuit.traceroute,
        verdicts: verdicts.into_list(),
    })
}

/// Starts the daemons and waits until IKEv2 has built everything, while every link is captured.
fn build<'lab>(
    lab: &'lab Lab,
    verdicts: &mut Verdicts,
) -> Result<(Daemons<'lab>, Vec<HopView>, Vec<LinkCapture>), Failure> {
    let captures = Captures::start_all(&lab.net)?;
    let plan = Plan::new(vec![CircuitPlan::new("client", &RELAYS)]);
    let mut daemons = Daemons::prepare(&lab.net, &plan)?;
    for relay in RELAYS {
        daemons.start(relay)?;
    }
    verdicts.context("building");
    let joined = daemons.wait_overlays(BUILD)?;
    verdicts.check(
        "the relays join by overlay tunnels",
        joined,
        if joined { "all up" } else { "not all up" },
    );
    daemons.start("client")?;
    let open = daemons.wait_open("client", BUILD)?;
    let hops: Vec<HopView> = daemons.circuits("client")?.first().map(hop_views).unwrap_or_default();
    let told = if open {
        hops.iter().map(|hop| format!("{} gave {}", hop.relay, hop.assigned)).collect::<Vec<_>>().join(", ")
    } else {
        daemons.log("client")?
    };
    verdicts.check("IKEv2 builds the circuit hop by hop, without any static key", open, told);
    Ok((daemons, hops, captures.stop()?))
}

/// The hops of a circuit that `ippriv circuit list --json` told.
fn hop_views(circuit: &Value) -> Vec<HopView> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let hops = circuit["hops"].as_array().map_or(&[][..], Vec::as_slice);
    let view = |hop: &Value| HopView {
        relay: text(&hop["relay"]),
        address: text(&hop["address"]),
        assigned: text(&hop["assigned"]),
        ike_suite: text(&hop["sa"]["ike_suite"]),
        esp_suite: text(&hop["sa"]["esp_suite"]),
    };
    hops.iter().map(view).collect()
}

/// The SPIs of the overlay tunnels, which only their relays can tell from others.
fn overlay_spis(daemons: &Daemons<'_>) -> Result<BTreeSet<u32>, Failure> {
    let mut spis = BTreeSet::new();
    for relay in RELAYS {
        for overlay in daemons.list(relay, "overlay")? {
            let ends = ["esp_in", "esp_out"].map(|end| overlay["sa"][end].as_str().map(str::to_owned));
            spis.extend(ends.into_iter().flatten().filter_map(|spi| u32::from_str_radix(&spi, 16).ok()));
        }
    }
    Ok(spis)
}

fn compared(what: &str, unit: &str, circuit: f64, direct: f64, limit: Option<f64>) -> Compared {
    Compared { what: what.to_owned(), unit: unit.to_owned(), circuit, direct, limit }
}

/// The programs on the server.
struct Servers(#[expect(dead_code, reason = "kept until they are dropped")] Vec<Background>);

impl Servers {
    fn start(lab: &Lab) -> Result<Self, Failure> {
        let server = lab.net.node("server")?;
        let mut running = Vec::new();
        for (tool, at) in [
            ("http-serve", "0.0.0.0:80"),
            ("http-serve", "[::]:81"),
            ("udp-echo", "0.0.0.0:53"),
            ("tcp-serve", "0.0.0.0:9000"),
        ] {
            let mut program = server.spawn(&[&tool_path()?, "traffic", tool, at])?;
            program.wait_for("listening", Duration::from_secs(10))?;
            running.push(program);
        }
        Ok(Self(running))
    }
}

fn tool_path() -> Result<String, Failure> {
    Ok(program::path()?.to_string_lossy().into_owned())
}

/// What the client's programs saw.
struct Seen {
    http4: Value,
    http6: Value,
    asked: Value,
    ping4: u32,
    ping6: u32,
    ping_ms: f64,
    ask_ms: f64,
    ttfb_ms: f64,
    traceroute: Vec<String>,
}

const PINGS: u32 = 5;
const QUESTIONS: u32 = 10;

/// Runs the client's programs once while every link is captured.
fn captured(lab: &Lab) -> Result<(Seen, Vec<LinkCapture>), Failure> {
    let captures = Captures::start_all(&lab.net)?;
    let server4 = lab.address4("server")?;
    let server6 = lab.address6("server")?;
    let tool = |arguments: &[&str]| -> Result<Value, Failure> {
        let path = tool_path()?;
        let argv: Vec<&str> =
            [path.as_str(), "traffic"].into_iter().chain(arguments.iter().copied()).collect();
        Ok(serde_json::from_str(&lab.on("client", &argv)?)?)
    };
    let pings = PINGS.to_string();
    let ping =
        lab.try_on("client", &["ping", "-n", "-c", &pings, "-i", "0.2", "-W", "1", &server4.to_string()])?;
    let http4 = tool(&["http-get", &format!("http://{server4}/400000")])?;
    let http6 = tool(&["http-get", &format!("http://[{server6}]:81/400000")])?;
    let asked = tool(&["udp-ask", &format!("{server4}:53"), &QUESTIONS.to_string()])?;
    let trace = lab.try_on("client", &["traceroute", "-n", "-q", "1", "-w", "1", &server4.to_string()])?;
    let seen = Seen {
        ping4: received(&ping.stdout),
        ping6: lab.ping("client", server6.into(), PINGS)?,
        ping_ms: average(&ping.stdout).unwrap_or(f64::NAN),
        ask_ms: asked["rtt_ms_median"].as_f64().unwrap_or(f64::NAN),
        ttfb_ms: http4["ttfb_ms"].as_f64().unwrap_or(f64::NAN),
        http4,
        http6,
        asked,
        traceroute: hops(&trace.stdout),
    };
    Ok((seen, captures.stop()?))
}

fn received(ping: &str) -> u32 {
    let number = ping.split(", ").find_map(|part| part.strip_suffix(" received"));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The average of `rtt min/avg/max/mdev = 34.1/34.2/…`.
fn average(ping: &str) -> Option<f64> {
    ping.split_once("rtt min/avg/max/mdev = ")?.1.split('/').nth(1)?.parse().ok()
}

/// The addresses of ` 1  198.18.8.2  34.1 ms`, one for each hop.
fn hops(traceroute: &str) -> Vec<String> {
    let lines = traceroute.lines().skip(1);
    lines.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

/// Goodput of one download, in Mbit/s.
fn throughput(lab: &Lab) -> Result<f64, Failure> {
    let address = format!("{}:9000", lab.address4("server")?);
    let path = tool_path()?;
    let argv = [&path, "traffic", "tcp-load", &address, "get", "--seconds", "5", "--warmup", "2"];
    let report: Value = serde_json::from_str(&lab.on("client", &argv)?)?;
    // What still fills the queues would be in the way of what comes next.
    thread::sleep(SETTLE);
    Ok(report["mbit_s"].as_f64().unwrap_or(f64::NAN))
}

fn traffic_verdicts(lab: &Lab, seen: &Seen, verdicts: &mut Verdicts) -> Result<(), Failure> {
    for (name, report) in [("HTTP over IPv4", &seen.http4), ("HTTP over IPv6", &seen.http6)] {
        let pass = report["intact"] == true && report["bytes"] == 400_000;
        verdicts.check(format!("{name} arrives intact"), pass, format!("{} octets", report["bytes"]));
    }
    let answered = seen.asked["answered"].as_u64().unwrap_or(0);
    verdicts.equal("DNS-like questions answered", &answered, &u64::from(QUESTIONS));
    verdicts.equal("pings answered over IPv4", &seen.ping4, &PINGS);
    verdicts.equal("pings answered over IPv6", &seen.ping6, &PINGS);
    let exit = lab.address4("exit")?.to_string();
    let exit6 = lab.address6("exit")?.to_string();
    for (name, report, exit) in [("IPv4", &seen.http4, &exit), ("IPv6", &seen.http6, &exit6)] {
        let seen_as = report["seen_as"].as_str().unwrap_or("nobody");
        let pass = seen_as.contains(exit.as_str());
        verdicts.check(format!("the server sees the exit over {name}"), pass, seen_as);
    }
    let first = seen.traceroute.first();
    verdicts.check("traceroute starts at the exit", first == Some(&exit), seen.traceroute.join(" "));
    let server = lab.address4("server")?.to_string();
    let last = seen.traceroute.last();
    verdicts.check("traceroute ends at the server", last == Some(&server), seen.traceroute.join(" "));
    Ok(())
}

/// Every address a host has on its links.
fn addresses(lab: &Lab, name: &str) -> Result<BTreeSet<IpAddr>, Failure> {
    let node = lab.net.node(name)?;
    let ends = node.interfaces();
    Ok(ends.flat_map(|end| [IpAddr::from(end.address4.addr()), end.address6.addr().into()]).collect())
}

/// Who could see which end: relays on their own link, observers on the links between routers.
fn knowers(lab: &Lab, captures: &[LinkCapture]) -> Result<Vec<Knower>, Failure> {
    let client = addresses(lab, "client")?;
    let server = addresses(lab, "server")?;
    let mut knowers = Vec::new();
    for capture in captures {
        let who = capture.link.split_once('-').map_or(capture.link.as_str(), |(router, host)| {
            if ROUTERS.contains(&host) || ROUTERS.contains(&router) && host.is_empty() {
                &capture.link
            } else {
                host
            }
        });
        knowers.push(wire::knower(who, capture, &client, &server));
    }
    Ok(knowers)
}

/// Who may see the client's address, and who the server's.
fn may(who: &str) -> (bool, bool) {
    match who {
        "client" | "entry" | "trento-munich" => (true, false),
        "exit" | "server" | "amsterdam-london" => (false, true),
        _ => (false, false),
    }
}

fn secrecy_verdicts(
    lab: &Lab,
    captures: &[LinkCapture],
    direct: &[LinkCapture],
    overlays: &BTreeSet<u32>,
    verdicts: &mut Verdicts,
) -> Result<(), Failure> {
    let missed: u64 = captures.iter().map(|capture| capture.missed).sum();
    let empty: Vec<&str> = captures
        .iter()
        .filter(|capture| capture.packets.is_empty())
        .map(|capture| capture.link.as_str())
        .collect();
    let packets: usize = captures.iter().map(|capture| capture.packets.len()).sum();
    verdicts.check(
        "every link was captured without a gap",
        missed == 0 && empty.is_empty(),
        format!("{packets} packets on {} links, {missed} missed, nothing on: {empty:?}", captures.len()),
    );
    let pools: Vec<_> = lab.net.relays().filter_map(|relay| relay.pool()).collect();
    let pooled: Vec<String> = captures
        .iter()
        .flat_map(LinkCapture::addresses)
        .filter(|address| matches!(address, IpAddr::V4(v4) if pools.iter().any(|pool| pool.contains(v4))))
        .map(|address| address.to_string())
        .collect();
    verdicts.check(
        "no address of a pool is on any link",
        pooled.is_empty(),
        format!("{} seen", pooled.len()),
    );
    let between = ["munich-frankfurt", "frankfurt-amsterdam", "frankfurt-middle"];
    let mut strangers = Vec::new();
    for capture in captures.iter().filter(|capture| between.contains(&capture.link.as_str())) {
        let streams = wire::view(capture, overlays).streams;
        strangers.extend(streams.into_iter().filter(|stream| stream.belongs_to != Owner::Overlay));
    }
    verdicts.check(
        "between relays there are overlay packets only, no SPI of a circuit",
        strangers.is_empty(),
        format!("{} other streams", strangers.len()),
    );
    let clear = direct.iter().find(|capture| capture.link == "munich-frankfurt");
    let client = IpAddr::from(lab.address4("client")?);
    let bare = clear.map_or(0, |capture| capture.count(|ip| ip.source == client));
    verdicts.check(
        "without the circuit the same captures show the client everywhere",
        bare > 0,
        format!("{bare} packets from {client} between Munich and Frankfurt"),
    );
    Ok(())
}

fn knowledge_verdicts(knowers: &[Knower], verdicts: &mut Verdicts) {
    for Knower { who, client, server } in knowers {
        let (may_client, may_server) = may(who);
        let pass = (!client || may_client) && (!server || may_server);
        let evidence = format!("client's address {}, server's address {}", seen(*client), seen(*server));
        verdicts.check(format!("{who} learns no more than they may"), pass, evidence);
    }
}

const fn seen(yes: bool) -> &'static str {
    if yes { "seen" } else { "not seen" }
}

/// The most TCP payload that the headers of all layers leave of the links between routers, in Mbit/s.
fn header_limit() -> f64 {
    let layer = mtu::Layer::to(std::net::Ipv4Addr::UNSPECIFIED.into(), Suite::AesGcm128, false);
    let layers = [layer; RELAYS.len()];
    let inner = mtu::DEFAULT.get();
    tcp_limit(RATE, inner, mtu::wire_size(inner, &layers))
}

fn cost_verdicts(traffic: &[Compared], limit: f64, verdicts: &mut Verdicts) {
    for Compared { what, unit, circuit, direct, .. } in traffic {
        if unit == "Mbit/s" {
            let share = circuit / limit;
            let evidence = format!("{circuit:.2} of {limit:.2} Mbit/s: {share:.3}");
            verdicts.check("the download reaches 0.98 of what headers leave", share >= 0.98, evidence);
        } else {
            // The way through the relays is the direct way and back and forth on their access links.
            let evidence = format!("{circuit:.2} {unit}, directly {direct:.2}");
            verdicts.check(
                format!("{what}: at most 5 ms more than directly"),
                *circuit <= direct + 5.0,
                evidence,
            );
        }
    }
}

fn daemon_verdicts(lab: &Lab, daemons: &mut Daemons<'_>, verdicts: &mut Verdicts) -> Result<(), Failure> {
    let spis = |daemons: &Daemons<'_>| -> Result<Vec<String>, Failure> {
        let circuits = daemons.circuits("client")?;
        let hops =
            circuits.iter().flat_map(|circuit| circuit["hops"].as_array().cloned().unwrap_or_default());
        Ok(hops
            .map(|hop| {
                let spi = |end: &str| hop["sa"][end].as_str().unwrap_or("none").to_owned();
                format!("{}/{}", spi("esp_in"), spi("esp_out"))
            })
            .collect())
    };
    let before = spis(daemons)?;
    for name in ["client"].into_iter().chain(RELAYS) {
        daemons.kill(name)?;
        daemons.start(name)?;
    }
    let after = spis(daemons)?;
    verdicts.check(
        "after kill -9 and a new start of every daemon, the same SAs serve",
        after == before && !before.is_empty(),
        format!("SPIs {}, before {}", after.join(", "), before.join(", ")),
    );
    let answers = lab.ping("client", lab.address4("server")?.into(), PINGS)?;
    verdicts.equal("and pings are answered", &answers, &PINGS);
    for name in ["client"].into_iter().chain(RELAYS) {
        daemons.ippriv(name, &["stop", "--flush"])?;
        let left = lab.on(
            name,
            &["sh", "-c", "ip xfrm state; ip xfrm policy; nft list tables; ip -o link show type xfrm"],
        )?;
        let left = left.trim();
        let told = if left.is_empty() { "no SA, policy, table or interface" } else { left };
        verdicts.check(format!("{name}: stop --flush leaves nothing"), left.is_empty(), told);
    }
    Ok(())
}

fn hosts(lab: &Lab) -> Result<Vec<HostView>, Failure> {
    let names = ["client"].into_iter().chain(RELAYS).chain(["server"]);
    names
        .zip(ROUTERS)
        .map(|(name, router)| {
            let node = lab.net.node(name)?;
            Ok(HostView {
                name: name.to_owned(),
                address: node.address4().to_string(),
                router: router.to_owned(),
                pool: node.pool().map(|pool| pool.to_string()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ping_and_traceroute_are_read() {
        let ping = "5 packets transmitted, 5 received, 0% packet loss, time 4ms\nrtt min/avg/max/mdev = 34.1/34.2/34.3/0.0 ms\n";
        assert_eq!(received(ping), 5);
        assert_eq!(average(ping), Some(34.2));
        assert_eq!(hops("traceroute to x\n 1  198.18.8.2  34.1 ms\n 2  *\n"), ["198.18.8.2", "*"]);
    }
}
