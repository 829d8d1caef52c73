//! Systems under test: each carries traffic on the path that was asked for, as much as its headers leave, and leaves
//! nothing behind.

mod queues;

use std::collections::BTreeSet;
use std::error::Error;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use ippriv::suite::Suite;
use ippriv::telescope::mtu::{Layer, wire_size};
use serde_json::{Value, json};

use super::{Scenario, Verdicts};
use crate::capture::{Captures, Ip, LinkCapture, Transport};
use crate::net::{Background, Net};
use crate::program;
use crate::systems::{Circuit, Place, Settings, Way};
use crate::topology::Topology;
use crate::traffic::{TCP_HEADERS, tcp_limit};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "lab-systems-ippriv",
        about: "circuits by IKEv2 as a system under test, with every suite",
        run: ippriv,
    },
    Scenario {
        name: "lab-systems-queues",
        about: "one queue per circuit at relays shares the link and keeps delays short",
        run: queues::run,
    },
    Scenario {
        name: "lab-systems-wireguard",
        about: "nested WireGuard as a system under test",
        run: wireguard,
    },
    Scenario {
        name: "lab-systems-tcp-tunnel",
        about: "TCP over TCP as a system under test",
        run: tcp_tunnel,
    },
    Scenario { name: "lab-systems-openvpn", about: "OpenVPN over TCP as a system under test", run: openvpn },
];

/// The link of the first two relays is the narrow one, as in the experiments about loss.
pub(super) const BOTTLENECK: &str = include_str!("../../topologies/bottleneck.yaml");
/// Mbit/s of the narrow link.
pub(super) const LINK: f64 = 10.0;
const HOPS: [&str; 3] = ["entry", "middle", "exit"];
const PORT: u16 = 5001;
/// What of the limit has to arrive.
const SHARE: f64 = 0.98;

fn ippriv(verdicts: &mut Verdicts) -> Outcome {
    let limit = |suite, mtu: u32| {
        // Two layers and an overlay, of one suite.
        let layers = [Layer { suite, outer_header: 20 }; 3];
        limit(mtu, wire_size(mtu, &layers))
    };
    let settings = json!({ "driver": "ippriv" });
    tried(verdicts, &settings, Some(limit(Suite::AesGcm128, 1280)))?;
    let settings =
        json!({ "driver": "ippriv", "keying": "static", "mtu": 1334, "route_cc": "bbr", "host_cc": "cubic" });
    tried(verdicts, &settings, None)?;
    verdicts.context("other suites");
    for suite in Suite::ALL.into_iter().filter(|suite| ![Suite::AesGcm128, Suite::DangerNull].contains(suite))
    {
        let settings = json!({ "driver": "ippriv", "suite": suite.name(), "post_quantum": false });
        let lab = Testbed::new()?;
        let running = lab.start(&settings)?;
        let (found, limit) = (lab.goodput(running.ways()[0], "put")?, limit(suite, 1280));
        full(verdicts, suite.name(), found, limit);
    }
    verdicts.context("");
    let lab = Testbed::new()?;
    let refused = lab.start(&json!({ "driver": "ippriv", "suite": "danger-null" }));
    let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
    verdicts.check("no encryption is refused by daemons", said.contains("danger-null"), said);
    Ok(())
}

fn wireguard(verdicts: &mut Verdicts) -> Outcome {
    // Of three tunnels in 1500 octets, two are around a packet on the narrow link.
    tried(verdicts, &json!({ "driver": "wireguard" }), Some(limit(1320, 1440)))
}

fn tcp_tunnel(verdicts: &mut Verdicts) -> Outcome {
    tried(verdicts, &json!({ "driver": "tcp-tunnel" }), None)?;
    for cc in ["cubic", "bbr"] {
        let settings = json!({ "driver": "tcp-tunnel", "between": ["entry", "middle"], "tunnel_cc": cc });
        shared(verdicts, &settings)?;
    }
    verdicts.context("");
    let lab = Testbed::new()?;
    let refused = lab.start(&json!({ "driver": "tcp-tunnel", "between": ["middle", "entry"] }));
    let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
    verdicts.check("a tunnel that nothing goes through is refused", said.contains("expected"), said);
    Ok(())
}

fn openvpn(verdicts: &mut Verdicts) -> Outcome {
    tried(verdicts, &json!({ "driver": "openvpn" }), None)?;
    shared(verdicts, &json!({ "driver": "openvpn", "between": ["entry", "middle"] }))
}

/// Mbit/s of payload that fill the narrow link with packets of `mtu` octets that are `wire` octets long there.
fn limit(mtu: u32, wire: u32) -> f64 {
    tcp_limit(LINK, mtu, wire)
}

/// Mbit/s of payload that fill the narrow link with a stream of whole packets, each after two octets of length.
fn stream_limit() -> f64 {
    let segment = 1500 - TCP_HEADERS;
    limit(1500, 1500) * f64::from(segment) / f64::from(1500 + 2)
}

/// Two circuits of one client: each goes its way, hidden from links between relays.
fn tried(verdicts: &mut Verdicts, settings: &Value, limit: Option<f64>) -> Outcome {
    verdicts.context(settings.to_string());
    let lab = Testbed::new()?;
    let empty = lab.kernels()?;
    let running = lab.start(settings)?;
    let ways = running.ways();
    let distinct: BTreeSet<String> = ways.iter().map(|way| format!("{way:?}")).collect();
    verdicts.check("two circuits are two ways", distinct.len() == 2, format!("{ways:?}"));
    verdicts.check(
        "it can tell how long they took, or says nothing",
        true,
        format!("{:?}", running.set_up()),
    );
    let links = ["client-entry", "entry-middle", "middle-exit", "exit-server"];
    let captures = Captures::start(&lab.net, &links)?;
    for way in &ways {
        lab.goodput_of(*way, "get", ["0.2", "0.2"])?;
    }
    for capture in captures.stop()? {
        let clear = capture.count(|ip| lab.is_payload(ip));
        let flows = flows(&capture);
        let evidence = format!("{clear} packets in clear, {flows:?}");
        if capture.link == "exit-server" {
            verdicts.check("the exit and the server talk in clear", clear > 0, evidence);
        } else {
            let expected = if capture.link == "client-entry" { 4 } else { 2 };
            let hidden = clear == 0 && flows.len() >= expected && capture.missed == 0;
            verdicts.check(format!("{} shows tunnels only", capture.link), hidden, evidence);
        }
    }
    for direction in ["get", "put"] {
        let found = lab.goodput(ways[0], direction)?;
        match limit {
            Some(limit) => full(verdicts, direction, found, limit),
            None => verdicts.check(
                format!("{direction} carries something"),
                found > 8.0,
                format!("{found} Mbit/s"),
            ),
        }
    }
    drop(running);
    let left = lab.kernels()?;
    let more: Vec<&String> = left.difference(&empty).collect();
    let less: Vec<&String> = empty.difference(&left).collect();
    verdicts.check("nothing is left", left == empty, format!("more {more:?}, less {less:?}"));
    Ok(())
}

/// One tunnel on the narrow link for all circuits.
fn shared(verdicts: &mut Verdicts, settings: &Value) -> Outcome {
    verdicts.context(settings.to_string());
    let lab = Testbed::new()?;
    let empty = lab.kernels()?;
    let running = lab.start(settings)?;
    let captures = Captures::start(&lab.net, &["entry-middle", "middle-exit"])?;
    lab.goodput_of(Way::Plain, "get", ["0.2", "0.2"])?;
    for capture in captures.stop()? {
        let clear = capture.count(|ip| lab.is_payload(ip));
        let tunnelled = (clear == 0) == (capture.link == "entry-middle");
        verdicts.check(
            format!("{} is as it should be", capture.link),
            tunnelled,
            format!("{clear} in clear"),
        );
    }
    for direction in ["get", "put"] {
        full_at_least(verdicts, direction, lab.goodput(Way::Plain, direction)?, stream_limit(), 0.9);
    }
    drop(running);
    let left = lab.kernels()?;
    let other: Vec<&String> = left.symmetric_difference(&empty).collect();
    verdicts.check("nothing is left", left == empty, format!("{other:?}"));
    Ok(())
}

fn full(verdicts: &mut Verdicts, what: &str, found: f64, limit: f64) {
    full_at_least(verdicts, what, found, limit, SHARE);
}

fn full_at_least(verdicts: &mut Verdicts, what: &str, found: f64, limit: f64, share: f64) {
    let evidence = format!("{found:.3} of {limit:.3} Mbit/s, {:.4}", found / limit);
    verdicts.check(format!("{what}: {share} of what headers leave"), found >= share * limit, evidence);
}

/// Who sends what to whom, as far as an observer can tell streams apart.
fn flows(capture: &LinkCapture) -> BTreeSet<String> {
    let stream = |ip: &Ip| {
        let id = match &ip.transport {
            Transport::Esp(esp) => format!("esp {:#x}", esp.spi),
            Transport::Udp { source, destination, .. } => format!("udp {source} {destination}"),
            Transport::Tcp { source, destination, .. } => format!("tcp {source} {destination}"),
            _ => return None,
        };
        Some(format!("{} > {} {id}", ip.source, ip.destination))
    };
    capture.ip().filter_map(stream).collect()
}

/// The network, with circuits that nothing provides yet.
struct Testbed {
    net: Net,
    circuits: Vec<Circuit>,
    servers: Vec<String>,
    server: IpAddr,
    _serving: Background,
}

impl Testbed {
    fn new() -> Outcome<Self> {
        Self::with(2)
    }

    fn with(circuits: usize) -> Outcome<Self> {
        let net = Net::build(&Topology::parse("bottleneck", BOTTLENECK)?)?;
        let circuit = Circuit { client: "client".to_owned(), hops: HOPS.map(str::to_owned).to_vec() };
        let server = net.node("server")?;
        let listen = format!("0.0.0.0:{PORT}");
        let mut serving = server.spawn(&[program::NAME, "traffic", "tcp-serve", &listen])?;
        serving.wait_for("listening", Duration::from_secs(10))?;
        let address = IpAddr::V4(server.address4());
        let servers = vec!["server".to_owned()];
        Ok(Self { net, circuits: vec![circuit; circuits], servers, server: address, _serving: serving })
    }

    fn start(&self, settings: &Value) -> Outcome<Box<dyn crate::systems::Running + '_>> {
        let settings: Settings = serde_json::from_value(settings.clone())?;
        let place = Place { net: &self.net, circuits: &self.circuits, servers: &self.servers };
        settings.start(place).map_err(|error| -> Box<dyn Error> { error })
    }

    /// A load's command line.
    fn load(&self, way: Way, flows: &str, direction: &str, [warmup, seconds]: [&str; 2]) -> Vec<String> {
        let to = format!("{}:{PORT}", self.server);
        let mut argv = vec![program::NAME, "traffic", "tcp-load", "--warmup", warmup, "--seconds", seconds];
        argv.extend(["--flows", flows, &to, direction]);
        let mut argv: Vec<String> = argv.into_iter().map(str::to_owned).collect();
        if let Way::From(address) = way {
            argv.extend(["--bind".to_owned(), address.to_string()]);
        }
        argv
    }

    /// Mbit/s of a flow that has the link for itself.
    fn goodput(&self, way: Way, direction: &str) -> Outcome<f64> {
        self.goodput_of(way, direction, ["5", "15"])
    }

    fn goodput_of(&self, way: Way, direction: &str, spans: [&str; 2]) -> Outcome<f64> {
        let argv = self.load(way, "1", direction, spans);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        mbit_s(&self.net.node("client")?.run(&argv)?.stdout)
    }

    /// Whether a packet shows what a client does.
    fn is_payload(&self, ip: &Ip) -> bool {
        matches!(ip.transport, Transport::Tcp { source: PORT, .. } | Transport::Tcp { destination: PORT, .. })
    }

    /// All that could be left in the kernels.
    fn kernels(&self) -> Outcome<BTreeSet<String>> {
        // What is being deleted may take a moment.
        thread::sleep(Duration::from_secs(1));
        let lists = "ip xfrm state list nokeys; ip xfrm policy; ip -br link; ip -br addr; ip rule; \
                     ip route show table all; nft list ruleset; tc qdisc show; cat /proc/sys/net/ipv4/tcp_congestion_control";
        let mut all = BTreeSet::new();
        for node in self.net.nodes() {
            let said = node.run(&["sh", "-c", lists])?.stdout;
            all.extend(said.lines().map(|line| format!("{}: {line}", node.name())));
        }
        Ok(all)
    }
}

/// What a load's report says.
fn mbit_s(report: &str) -> Outcome<f64> {
    let value: Value = serde_json::from_str(report)?;
    value["mbit_s"].as_f64().ok_or_else(|| format!("found {report}, expected a report with mbit_s").into())
}
