//! Commands on circuits of their own, in network namespaces with nothing else.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::{Daemons, Lab, OPEN, Outcome, Plan, Topology, Verdicts, kernel, secured, show};
use crate::capture::{Captures, LinkCapture};
use crate::net::{Background, RawOutput};
use crate::program;
use crate::scenario::wire::belongs_to_link;

/// The client's link to the rest of the world.
const LINK: &str = "router0-client";
/// Longer than anything that a command does here.
const LIMIT: Duration = Duration::from_secs(60);
/// Longer than the kernel remembers that it asked for an SA (net.core.xfrm_acq_expires, 30 s).
const ASKED: Duration = Duration::from_secs(31);
const HOPS: &str = "relay1,relay2,relay3";

fn lab(dns: &[IpAddr]) -> Outcome<(Lab, Plan)> {
    let lab = Lab::new(&Topology::chain(3)?, &[])?;
    let dns = dns.iter().map(ToString::to_string).collect();
    let plan = Plan { idle_clients: vec!["client".to_owned()], kill_switch: true, dns, ..Plan::default() };
    Ok((lab, plan))
}

/// `ippriv run` on a new circuit, to its end.
fn run(daemons: &Daemons<'_>, command: &[&str]) -> Outcome<RawOutput> {
    let arguments = [&["run", "--new-circuit", "--hops", HOPS, "--"], command].concat();
    Ok(daemons.try_ippriv("client", &arguments)?)
}

/// Whatever a host holds: kernel objects of ours, interfaces, namespaces, mounts and circuits.
fn held(lab: &Lab, host: &str) -> Outcome<BTreeSet<String>> {
    let rest = "ls -l /proc/[0-9]*/ns/net 2>/dev/null | sed 's/.*-> //' | sort -u; cat /proc/self/mounts; \
                ls -d /tmp/ippriv-[0-9]* 2>/dev/null || true";
    let text = kernel(lab, host)? + &lab.on(host, &["sh", "-c", rest])?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What the client's link shows that is neither ESP nor IKE.
fn bare(captures: &[LinkCapture]) -> Vec<String> {
    let packets = captures.iter().filter(|capture| capture.link == LINK).flat_map(|capture| &capture.packets);
    let packets = packets.filter(|packet| !belongs_to_link(packet)).filter_map(|packet| packet.ip.as_ref());
    packets.filter(|ip| !secured(ip)).map(ToString::to_string).take(5).collect()
}

fn http(lab: &Lab) -> Outcome<Vec<Background>> {
    let server = lab.net.node("server")?;
    let addresses = [IpAddr::from(server.address4()), server.address6().into()];
    let mut serving = Vec::new();
    for address in addresses.map(|address| SocketAddr::new(address, 80).to_string()) {
        serving.push(server.spawn(&[program::NAME, "traffic", "http-serve", &address])?);
    }
    thread::sleep(Duration::from_millis(200));
    Ok(serving)
}

/// Commands that come to their end.
pub(super) fn commands(verdicts: &mut Verdicts) -> Outcome {
    let (lab, plan) = lab(&[])?;
    let mut daemons = Daemons::start_all(&lab.net, &plan)?;
    verdicts.check("overlays are there", daemons.wait_overlays(OPEN)?, "");
    let _serving = http(&lab)?;
    let before = held(&lab, "client")?;
    let captures = Captures::start(&lab.net, &[LINK])?;

    let exit = lab.net.node("relay3")?;
    let server = lab.net.node("server")?;
    let pages = [
        (IpAddr::from(server.address4()), IpAddr::from(exit.address4())),
        (server.address6().into(), exit.address6().into()),
    ];
    let mut well = true;
    for (server, exit) in pages {
        let url = format!("http://{}/30000", SocketAddr::new(server, 80));
        let got = run(&daemons, &[program::NAME, "traffic", "http-get", &url])?;
        let report: Value = serde_json::from_str(&got.stdout).unwrap_or_default();
        let seen = report["seen_as"].as_str().and_then(|peer| peer.parse::<SocketAddr>().ok());
        let good = report["intact"] == true && seen.is_some_and(|peer| peer.ip() == exit);
        verdicts.check(format!("a page comes from {server} through the exit {exit}"), good, said(&got));
        well &= good;
    }
    show(&lab, &daemons, &["client", "relay3"], well)?;

    let links = run(&daemons, &["ip", "-json", "link"])?;
    let found: Value = serde_json::from_str(&links.stdout).unwrap_or_default();
    let names: Vec<&str> =
        found.as_array().into_iter().flatten().filter_map(|link| link["ifname"].as_str()).collect();
    let alone = matches!(names[..], ["lo", circuit] if circuit.starts_with("ippc"));
    verdicts.check("it has the loopback and the circuit's interface", alone, said(&links));
    let files = run(&daemons, &["ls", "/sys/class/net"])?;
    let hidden = files.stdout.split_whitespace().all(|name| name == "lo" || name.starts_with("ippc"));
    verdicts.check("nor are there others in /sys", hidden && files.status.success(), said(&files));

    // The exit may answer for these; from here they are not to be reached.
    for address in [lab.address4("router0")?, lab.address4("relay1")?] {
        run(&daemons, &["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", &address.to_string()])?;
    }
    let other = run(&daemons, &["ping", "-n", "-c", "1", "-W", "1", "-I", "eth0", "192.0.2.1"])?;
    verdicts.check("there is no other interface to send from", !other.status.success(), said(&other));

    for (command, code) in [
        (&["sh", "-c", "exit 7"][..], 7),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["/no/such/program"], 127),
        (&["/etc/passwd"], 126),
        (&["true"], 0),
    ] {
        let ended = run(&daemons, command)?;
        verdicts.equal(format!("exit code of {command:?}"), &ended.status.code(), &Some(code));
    }
    for arguments in [&["run", "--", "true"][..], &["run", "--circuit", "nobody", "--", "true"]] {
        let refused = daemons.try_ippriv("client", arguments)?;
        let told = refused.status.code() == Some(125) && refused.stderr.contains("expected");
        verdicts.check(format!("{} is refused with 125", arguments.join(" ")), told, said(&refused));
    }
    as_nobody(verdicts, &lab, &daemons)?;

    let shown = bare(&captures.stop()?);
    verdicts.check("the client's link shows ESP and IKE only", shown.is_empty(), format!("{shown:?}"));
    verdicts.equal("no circuit is left", &daemons.circuits("client")?.len(), &0);
    nothing_left(verdicts, &lab, &before)?;
    daemons.ippriv("client", &["stop", "--flush"])?;
    Ok(daemons.wait_stopped("client")?)
}

/// Somebody without privileges, but with a socket that lets them ask, runs a command as themselves.
fn as_nobody(verdicts: &mut Verdicts, lab: &Lab, daemons: &Daemons<'_>) -> Outcome {
    let folder = lab.net.node("client")?.folder();
    let folder = folder.to_string_lossy();
    lab.on(
        "client",
        &["sh", "-c", &format!("chmod 755 {folder}/.. {folder}; chmod 666 {folder}/control.sock")],
    )?;
    let server = lab.address4("server")?.to_string();
    let script = format!(
        "exec setpriv --reuid 65534 --regid 65534 --clear-groups ippriv run --new-circuit --hops {HOPS} \
         --socket {folder}/control.sock -- sh -c 'id -u; ip -brief link | wc -l; ping -n -c 2 -i 0.2 -W 1 {server}; \
         ip link set lo down || echo refused'"
    );
    let ran = lab.try_on("client", &["sh", "-c", &script])?;
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let good =
        lines.first() == Some(&"65534") && lines.get(1) == Some(&"2") && lines.last() == Some(&"refused");
    let answered = ran.stdout.contains("2 received");
    verdicts.check("nobody runs a command as nobody", good && answered, said(&ran));
    lab.on("client", &["sh", "-c", &format!("chmod 700 {folder}; chmod 600 {folder}/control.sock")])?;
    show(lab, daemons, &["client"], good && answered)
}

/// Circuits, daemons and `ippriv` itself that end before the command.
pub(super) fn ends(verdicts: &mut Verdicts) -> Outcome {
    let (lab, plan) = lab(&[])?;
    let mut daemons = Daemons::start_all(&lab.net, &plan)?;
    verdicts.check("overlays are there", daemons.wait_overlays(OPEN)?, "");
    let before = held(&lab, "client")?;
    let captures = Captures::start(&lab.net, &[LINK])?;
    let server = lab.address4("server")?.to_string();
    let ping = ["ping", "-n", "-i", "0.1", server.as_str()];

    // the daemon dies, and another takes over
    new(&daemons, "one")?;
    let command = start(&daemons, "one", &ping)?;
    let number = circuit(&daemons, "one")?["number"].to_string();
    daemons.ippriv("client", &["rekey", "circuit", &number, "3"])?;
    let rekeyed = answers(&command, Duration::from_secs(3))?;
    verdicts.check("new keys serve the command", rekeyed > 20, format!("{rekeyed} answers in 3 s"));
    daemons.kill("client")?;
    let alone = answers(&command, Duration::from_secs(3))?;
    verdicts.check("a daemon is killed: the command goes on", alone > 20, format!("{alone} answers in 3 s"));
    daemons.start("client")?;
    let again = answers(&command, Duration::from_secs(3))?;
    verdicts.check("another takes over: so it does", again > 20, format!("{again} answers in 3 s"));
    let circuit = circuit(&daemons, "one")?;
    verdicts.equal("that one knows who has the circuit", &circuit["lent_to"], &command.id().into());
    command.signal(Signal::INT)?;
    let ended = command.wait(LIMIT)?;
    verdicts.equal("ping ends by the signal as it wants to", &ended.status.code(), &Some(0));
    let back = circuit_is_back(&lab, &daemons, "one")?;
    verdicts.check("the circuit is as before", back, format!("{:?}", self::circuit(&daemons, "one")?));
    show(&lab, &daemons, &["client", "relay3"], alone > 20 && again > 20 && rekeyed > 20 && back)?;

    // `ippriv` dies: the command has no network any more, and the host its circuit
    let command = start(&daemons, "one", &[&ping[..], &["-w", "10"]].concat())?;
    let working = answers(&command, Duration::from_secs(1))?;
    command.signal(Signal::KILL)?;
    thread::sleep(Duration::from_secs(1));
    let orphan = answers(&command, Duration::from_secs(2))?;
    verdicts.check(
        "ippriv is killed: its command has no network",
        working > 5 && orphan == 0,
        format!("{working} answers in 1 s, then {orphan} in 2 s"),
    );
    let back = circuit_is_back(&lab, &daemons, "one")?;
    verdicts.check("the circuit is the host's again", back, format!("{:?}", self::circuit(&daemons, "one")?));
    command.wait(LIMIT)?;
    // until the orphan is gone, and its namespace with it
    thread::sleep(Duration::from_secs(10));

    // the circuit is closed
    let command = start(&daemons, "one", &ping)?;
    let working = answers(&command, Duration::from_secs(1))?;
    let second = daemons.try_ippriv("client", &["run", "--circuit", "one", "--", "true"])?;
    let refused =
        second.status.code() == Some(125) && second.stderr.contains("expected one that nobody uses");
    verdicts.check("a circuit is for one command at a time", refused, said(&second));
    daemons.ippriv("client", &["circuit", "close", "one"])?;
    thread::sleep(Duration::from_secs(1));
    let closed = answers(&command, Duration::from_secs(3))?;
    verdicts.check(
        "its circuit is closed: the command has no network",
        working > 5 && closed == 0,
        format!("{working} answers in 1 s, then {closed} in 3 s"),
    );
    command.signal(Signal::TERM)?;
    let ended = command.wait(LIMIT)?;
    let told = ended.stderr.contains("the command has no network now");
    verdicts.check("and is told so", told, &ended.stderr);
    verdicts.equal("and ends by the signal", &ended.status.code(), &Some(143));

    let shown = bare(&captures.stop()?);
    verdicts.check("the client's link shows ESP and IKE only", shown.is_empty(), format!("{shown:?}"));
    nothing_left(verdicts, &lab, &before)
}

/// Names that only the server behind the exit knows.
pub(super) fn names(verdicts: &mut Verdicts) -> Outcome {
    /// More than the questions of all commands here.
    const QUESTIONS: usize = 1000;
    let first = Lab::new(&Topology::chain(3)?, &[])?;
    let servers = [IpAddr::from(first.address4("server")?), first.address6("server")?.into()];
    drop(first);
    let (lab, plan) = lab(&servers)?;
    let sockets = servers.map(|server| -> Outcome<UdpSocket> {
        Ok(lab.net.node("server")?.enter(|| UdpSocket::bind((server, 53)))??)
    });
    let [v4, v6] = sockets;
    let address = lab.address4("server")?;
    let asked = [v4?, v6?].map(|socket| {
        thread::spawn(move || {
            let mut from = BTreeSet::new();
            let (mut question, mut questions) = ([0; 512], 0);
            while let (Ok((length, peer)), true) = (socket.recv_from(&mut question), questions < QUESTIONS) {
                if length == 1 {
                    break;
                }
                from.insert(peer.ip());
                questions += 1;
                if let Some(answer) = answer(&question[..length], address.octets()) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
            from
        })
    });
    let daemons = Daemons::start_all(&lab.net, &plan)?;
    verdicts.check("overlays are there", daemons.wait_overlays(OPEN)?, "");
    let before = held(&lab, "client")?;
    let host = std::fs::read("/etc/resolv.conf")?;
    let captures = Captures::start(&lab.net, &[LINK])?;

    new(&daemons, "named")?;
    let shown = &circuit(&daemons, "named")?["dns"];
    let expected: Vec<String> = servers.iter().map(ToString::to_string).collect();
    verdicts.equal("the exit names its servers", shown, &expected.into());
    let found = daemons.try_ippriv("client", &["run", "--", "getent", "ahostsv4", "www.example"])?;
    let right = found.status.success() && found.stdout.contains(&address.to_string());
    verdicts.check("a name is looked up", right, said(&found));
    let only = daemons.try_ippriv(
        "client",
        &["run", "--dns", &servers[1].to_string(), "--", "getent", "ahostsv4", "other.example"],
    )?;
    verdicts.check(
        "and at a server of one's choice",
        only.stdout.contains(&address.to_string()),
        said(&only),
    );
    show(&lab, &daemons, &["client", "relay3"], right)?;
    verdicts.check("the host's resolv.conf is untouched", std::fs::read("/etc/resolv.conf")? == host, "");

    let bare = bare(&captures.stop()?);
    verdicts.check("the client's link shows ESP and IKE only", bare.is_empty(), format!("{bare:?}"));
    for (server, thread) in servers.into_iter().zip(asked) {
        lab.net
            .node("server")?
            .enter(|| UdpSocket::bind((server, 0)).and_then(|socket| socket.send_to(&[0], (server, 53))))??;
        let from = thread.join().map_err(|_| "a name server panicked")?;
        let exit = lab.net.node("relay3")?;
        let exit = if server.is_ipv4() { exit.address4().into() } else { IpAddr::from(exit.address6()) };
        verdicts.equal(format!("{server} was asked by the exit alone"), &from, &BTreeSet::from([exit]));
    }
    daemons.ippriv("client", &["circuit", "close", "named"])?;
    nothing_left(verdicts, &lab, &before)
}

/// The answer to a question for an address (RFC 1035 §4.1): this one if it is for IPv4, else none.
fn answer(question: &[u8], address: [u8; 4]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let name = question.get(HEADER..)?.iter().position(|octet| *octet == 0)?;
    let end = HEADER + name + 5;
    let kind = question.get(end - 4..end - 2)?;
    let answers = u8::from(kind == [0, 1]);
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0]);
    answer.extend(question.get(HEADER..end)?);
    if answers == 1 {
        // the name of the question, A, IN, 60 s
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address);
    }
    Some(answer)
}

fn said(output: &RawOutput) -> String {
    format!("{}: {} {}", output.status, output.stdout.trim(), output.stderr.trim())
}

fn new(daemons: &Daemons<'_>, name: &str) -> Outcome {
    daemons.ippriv("client", &["circuit", "new", "--name", name, "--hops", HOPS])?;
    Ok(())
}

fn circuit(daemons: &Daemons<'_>, name: &str) -> Outcome<Value> {
    Ok(daemons.json("client", &["circuit", "show", name])?)
}

/// A command on a circuit, once it gets answers.
fn start(daemons: &Daemons<'_>, name: &str, command: &[&str]) -> Outcome<Background> {
    let arguments = [&["run", "--circuit", name, "--"], command].concat();
    let mut command = daemons.spawn_ippriv("client", &arguments)?;
    command.wait_for("bytes from", LIMIT)?;
    Ok(command)
}

/// How many answers a ping gets meanwhile.
fn answers(command: &Background, time: Duration) -> Outcome<usize> {
    let count = || -> Outcome<usize> { Ok(command.stdout()?.matches("bytes from").count()) };
    let before = count()?;
    thread::sleep(time);
    Ok(count()? - before)
}

/// Whether the host can use a circuit.
fn circuit_is_back(lab: &Lab, daemons: &Daemons<'_>, name: &str) -> Outcome<bool> {
    let circuit = circuit(daemons, name)?;
    let source = circuit["addresses"][0].as_str().unwrap_or_default().to_owned();
    let server = lab.address4("server")?.to_string();
    let ping =
        lab.try_on("client", &["ping", "-n", "-c", "3", "-i", "0.1", "-W", "1", "-I", &source, &server])?;
    Ok(circuit["lent_to"].is_null() && ping.stdout.contains("3 received"))
}

/// After a while, for the kernel takes a namespace apart when it has the time.
fn nothing_left(verdicts: &mut Verdicts, lab: &Lab, before: &BTreeSet<String>) -> Outcome {
    thread::sleep(ASKED);
    let after = held(lab, "client")?;
    let more: Vec<_> = after.difference(before).collect();
    let less: Vec<_> = before.difference(&after).collect();
    verdicts.check("nothing is left of it all", after == *before, format!("more {more:?}, less {less:?}"));
    Ok(())
}
