//! Checks the lab itself: that built networks are what their files say. Runs in the lab kernel.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{Net, NetError, Node};
use crate::capture::{CaptureError, Captures, LinkCapture};
use crate::topology::{Clock, NodeId, Topology, TopologyError};

const EUROPE: &str = include_str!("../../topologies/europe.yaml");
const NARROW: &str = include_str!("../../topologies/narrow.yaml");
const NAT: &str = include_str!("../../topologies/nat.yaml");
const LOSSY: &str = include_str!("../../topologies/lossy.yaml");

/// Ethernet header.
const ETHERNET: usize = 14;
/// A ping with ping's 56 bytes, as an IPv4 packet.
const PING4: usize = 84;
/// The same as an IPv6 packet.
const PING6: usize = 104;
/// How far a round trip may be off in virtual time, where each look at the clock takes a moment.
const TOLERANCE_MS: f64 = 0.05;
/// How long a server may take to start, a client to end.
const LIMIT: Duration = Duration::from_secs(120);

/// What the self-test found wrong.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// A built-in topology is bad.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A network could not be built or used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A capture failed.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Something is not as it should be.
    #[error("{what}: found {found}, expected {expected}")]
    Wrong {
        /// What was looked at.
        what: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
}

/// Builds the shipped networks one after the other and checks delays, losses, sizes and traffic programs.
///
/// `program` is the binary that has the traffic programs as subcommands, `clock` the one that runs. Returns what was
/// checked, a line each.
///
/// # Errors
///
/// The first thing that is not as it should be.
pub fn selftest(program: &str, clock: Clock) -> Result<Vec<String>, SelftestError> {
    let mut passed = Vec::new();
    europe(program, clock, &mut passed)?;
    narrow(&mut passed)?;
    nat(program, &mut passed)?;
    lossy(program, &mut passed)?;
    Ok(passed)
}

fn europe(program: &str, clock: Clock, passed: &mut Vec<String>) -> Result<(), SelftestError> {
    let net = Net::build(&Topology::parse("europe.yaml", EUROPE)?)?;
    let captures = Captures::start_all(&net)?;
    thread::sleep(Duration::from_secs(2));
    for capture in captures.stop()? {
        expect("packets on an idle link", &capture.link, capture.packets.len(), 0)?;
    }
    passed.push("an idle network is silent".to_owned());

    let mut pings = 0;
    for from in net.topology().node_ids() {
        for to in net.topology().node_ids().filter(|to| *to != from) {
            ping(&net, clock, from, to)?;
            pings += 2;
        }
    }
    passed.push(format!("{pings} pings between all pairs took the time of their path"));

    let (client, server) = (net.node("client")?, net.node("server")?);
    let captures = Captures::start(&net, &["munich-frankfurt", "munich-entry"])?;
    downloads(program, client, server, &server.address4().to_string())?;
    downloads(program, client, server, &format!("[{}]", server.address6()))?;
    observe(client, server, &captures.stop()?)?;
    passed.push("downloads arrive whole, and are seen on their path only".to_owned());
    exchanges(program, client, server)?;
    passed.push("questions are answered".to_owned());
    loads(program, client, server)?;
    passed.push("TCP fills the line both ways".to_owned());
    // What TCP left in the queues is gone by then.
    thread::sleep(Duration::from_secs(1));
    let sink = blast(program, client, server, 500)?;
    expect("datagrams lost", "europe", number(&sink, "lost")?, 0.0)?;
    passed.push("datagrams are counted".to_owned());
    Ok(())
}

fn narrow(passed: &mut Vec<String>) -> Result<(), SelftestError> {
    let net = Net::build(&Topology::parse("narrow.yaml", NARROW)?)?;
    let (client, server) = (net.node("client")?, net.node("server")?);
    let to = server.address4().to_string();
    // 28 bytes of headers: 1400 fit, 1401 do not.
    let ping = |size| client.try_run(&["ping", "-n", "-M", "do", "-c", "1", "-W", "1", "-s", size, &to]);
    let (fits, too_big) = (ping("1372")?, ping("1373")?);
    expect("success of a ping of 1400 bytes", "narrow", fits.status.success(), true)?;
    let told = too_big.stdout.contains("Frag needed and DF set (mtu = 1400)");
    expect("word of the MTU", &too_big.stdout, told, true)?;
    passed.push("a narrow link tells its MTU".to_owned());
    Ok(())
}

fn nat(program: &str, passed: &mut Vec<String>) -> Result<(), SelftestError> {
    let net = Net::build(&Topology::parse("nat.yaml", NAT)?)?;
    let (client, server, nat) = (net.node("client")?, net.node("server")?, net.node("box")?);
    for (url, seen_as) in [
        (server.address4().to_string(), nat.address4().to_string()),
        (format!("[{}]", server.address6()), format!("[{}]", nat.address6())),
    ] {
        let report = download(program, client, server, &url)?;
        let seen = report["seen_as"].as_str().unwrap_or_default();
        expect("the NAT box's address", seen, seen.starts_with(&format!("{seen_as}:")), true)?;
    }
    let knock = server.try_run(&["ping", "-n", "-c", "1", "-W", "1", &client.address4().to_string()])?;
    expect("success of a ping from outside", "nat", knock.status.success(), false)?;
    passed.push("a NAT box hides its client in both families".to_owned());
    Ok(())
}

fn lossy(program: &str, passed: &mut Vec<String>) -> Result<(), SelftestError> {
    let net = Net::build(&Topology::parse("lossy.yaml", LOSSY)?)?;
    let sink = blast(program, net.node("client")?, net.node("server")?, 2000)?;
    let lost = number(&sink, "lost")?;
    // Four links of 1 % each: 79 lost on average, with a standard deviation below 9.
    expect("between 30 and 130 datagrams lost", &lost.to_string(), (30.0..130.0).contains(&lost), true)?;
    expect("datagrams out of order", "lossy", number(&sink, "reordered")?, 0.0)?;
    passed.push(format!("{lost} of 2000 datagrams are lost on four bad links, none is late"));
    Ok(())
}

fn ping(net: &Net, clock: Clock, from: NodeId, to: NodeId) -> Result<(), SelftestError> {
    let (from, to) = (net.node(&net.data(from).name)?, net.node(&net.data(to).name)?);
    for (address, size) in [(to.address4().to_string(), PING4), (to.address6().to_string(), PING6)] {
        let output = from.run(&["ping", "-n", "-c", "1", "-W", "2", &address])?.stdout;
        let found = between(&output, "time=", " ms").and_then(|time| time.parse::<f64>().ok());
        let there = transit(net, from, to.address4(), size);
        // The answer goes to the address that the question was sent from, that of the first interface on its way.
        let source = net.topology().path(from.id, to.address4()).first().map(|(_, end)| end.address4.addr());
        let back = transit(net, to, source.unwrap_or(Ipv4Addr::LOCALHOST), size);
        let expected = (there + back).as_secs_f64() * 1e3;
        let right = found.is_some_and(|found| match clock {
            Clock::Virtual => (found - expected).abs() < TOLERANCE_MS,
            Clock::Real => found > expected - TOLERANCE_MS,
        });
        if !right {
            return Err(SelftestError::Wrong {
                what: format!("round trip from {} to {address}", from.name()),
                found: found.map_or(output, |found| format!("{found} ms")),
                expected: format!("{expected:.3} ms"),
            });
        }
    }
    Ok(())
}

/// The time a packet takes one way: for each link its delay and the time on the line.
fn transit(net: &Net, from: Node<'_>, to: Ipv4Addr, size: usize) -> Duration {
    let path = net.topology().path(from.id, to);
    path.iter()
        .map(|(_, end)| {
            let line = end.egress.rate.map_or(Duration::ZERO, |rate| rate.time_for(size + ETHERNET));
            end.egress.delay.duration() + line
        })
        .sum()
}

fn downloads(program: &str, client: Node<'_>, server: Node<'_>, host: &str) -> Result<(), SelftestError> {
    let report = download(program, client, server, host)?;
    expect("an intact download", &report.to_string(), report["intact"].as_bool(), Some(true))?;
    expect("its bytes", &report.to_string(), number(&report, "bytes")?, 300_000.0)
}

fn download(program: &str, client: Node<'_>, server: Node<'_>, host: &str) -> Result<Value, SelftestError> {
    let mut serving = server.spawn(&[program, "http-serve", &format!("{host}:80")])?;
    serving.wait_for("listening", LIMIT)?;
    report(&client.run(&[program, "http-get", &format!("http://{host}/300000")])?.stdout)
}

fn observe(client: Node<'_>, server: Node<'_>, captures: &[LinkCapture]) -> Result<(), SelftestError> {
    let [on, off] = captures else { return Ok(()) };
    let ends = [
        client.address4().into(),
        server.address4().into(),
        client.address6().into(),
        server.address6().into(),
    ];
    expect("addresses on the path", &on.link, on.addresses(), ends.into())?;
    expect("packets missed", &on.link, on.missed, 0)?;
    let longest = on.sizes().into_keys().next_back();
    expect("longest packet", &on.link, longest, Some(1500))?;
    expect("packets off the path", &off.link, off.packets.len(), 0)
}

fn exchanges(program: &str, client: Node<'_>, server: Node<'_>) -> Result<(), SelftestError> {
    let address = format!("{}:53", server.address4());
    let mut serving = server.spawn(&[program, "udp-echo", &address])?;
    serving.wait_for("listening", LIMIT)?;
    let report = report(&client.run(&[program, "udp-ask", &address, "20"])?.stdout)?;
    expect("answers", &report.to_string(), number(&report, "answered")?, 20.0)
}

fn loads(program: &str, client: Node<'_>, server: Node<'_>) -> Result<(), SelftestError> {
    let address = format!("{}:5001", server.address4());
    let mut serving = server.spawn(&[program, "tcp-serve", &address])?;
    serving.wait_for("listening", LIMIT)?;
    for direction in ["get", "put"] {
        let options = ["--flows", "2", "--seconds", "4", "--warmup", "2"];
        let line = [&[program, "tcp-load", &address, direction][..], &options].concat();
        let report = report(&client.run(&line)?.stdout)?;
        // 20 Mbit/s less headers are 19.1; what waited behind a loss when the window opened comes on top.
        let rate = number(&report, "mbit_s")?;
        expect("between 15 and 20 Mbit/s", &report.to_string(), (15.0..20.0).contains(&rate), true)?;
    }
    Ok(())
}

fn blast(program: &str, client: Node<'_>, server: Node<'_>, count: u32) -> Result<Value, SelftestError> {
    let address = format!("{}:9", server.address4());
    let mut sink = server.spawn(&[program, "udp-sink", &address])?;
    sink.wait_for("listening", LIMIT)?;
    client.run(&[program, "udp-blast", &address, "--count", &count.to_string(), "--pps", "500"])?;
    report(&sink.wait(LIMIT)?.stdout)
}

/// The JSON in the last line of a program's output.
fn report(stdout: &str) -> Result<Value, SelftestError> {
    let line = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|error| SelftestError::Wrong {
        what: "report of a traffic program".to_owned(),
        found: format!("`{line}` ({error})"),
        expected: "a line of JSON".to_owned(),
    })
}

fn number(report: &Value, field: &str) -> Result<f64, SelftestError> {
    report[field].as_f64().ok_or_else(|| SelftestError::Wrong {
        what: "report of a traffic program".to_owned(),
        found: report.to_string(),
        expected: format!("a number in `{field}`"),
    })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(inside, _)| inside)
}

#[expect(clippy::needless_pass_by_value, reason = "the calls read better")]
fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    of: &str,
    found: T,
    expected: T,
) -> Result<(), SelftestError> {
    if found == expected {
        return Ok(());
    }
    Err(SelftestError::Wrong {
        what: format!("{what} ({of})"),
        found: format!("{found:?}"),
        expected: format!("{expected:?}"),
    })
}
