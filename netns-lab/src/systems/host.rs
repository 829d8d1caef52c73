//! What drivers do to hosts of the network: changes that are taken back, checks that traffic flows.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Circuit, Outcome, Place};
use crate::net::{Net, NetError, Node};

/// The congestion control of a namespace's new TCP connections.
const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// How often a server is asked whether packets reach it, and for how many seconds each time.
const PINGS: u32 = 12;
const PATIENCE: &str = "5";

/// What takes back changes, the last one first, when dropped.
#[derive(Debug, Default)]
pub(super) struct Undo<'net>(Vec<(Node<'net>, Vec<String>)>);

impl<'net> Undo<'net> {
    /// Has this command run on the node in the end.
    pub(super) fn later(&mut self, node: Node<'net>, argv: &[&str]) {
        self.0.push((node, argv.iter().map(ToString::to_string).collect()));
    }

    /// Has a device deleted in the end, and with it the routes over it.
    pub(super) fn device(&mut self, node: Node<'net>, name: &str) {
        self.later(node, &["ip", "link", "del", name]);
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        for (node, argv) in self.0.drain(..).rev() {
            let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
            // Best effort: what is gone already needs no undoing.
            let _ = node.try_run(&argv);
        }
    }
}

/// Runs `ip -batch` on a node.
pub(super) fn ip(node: Node<'_>, batch: &str) -> Result<(), NetError> {
    node.run_with(&["ip", "-batch", "-"], batch).map(drop)
}

/// Runs `nft -f` on a node.
pub(super) fn nft(node: Node<'_>, rules: &str) -> Result<(), NetError> {
    node.run_with(&["nft", "-f", "-"], rules).map(drop)
}

/// Gives a node's new TCP connections another congestion control.
pub(super) fn set_congestion_control<'net>(
    node: Node<'net>,
    name: &str,
    undo: &mut Undo<'net>,
) -> Outcome<()> {
    let path = Path::new(CONGESTION_CONTROL);
    let file = |source| NetError::File { path: path.to_owned(), source };
    let old = node.enter(|| {
        let old = fs::read_to_string(path).map_err(file)?;
        fs::write(path, name).map_err(file)?;
        Ok::<_, NetError>(old)
    })??;
    undo.later(node, &["sh", "-c", &format!("echo {} > {CONGESTION_CONTROL}", old.trim())]);
    Ok(())
}

/// The relays of circuits, each once, in the order in which circuits name them.
pub(super) fn relays<'net>(place: Place<'net>) -> Outcome<Vec<Node<'net>>> {
    let mut names = Vec::new();
    for name in place.circuits.iter().flat_map(|circuit| &circuit.hops) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| Ok(place.net.node(name)?)).collect()
}

/// The largest packet that every link carries.
pub(super) fn least_mtu(net: &Net) -> u16 {
    let ends = net.links().iter().flat_map(|link| &link.ends);
    ends.map(|end| end.egress.mtu).min().unwrap_or(1500)
}

/// Address number `n` of a relay's pool.
pub(super) fn lease(relay: Node<'_>, n: usize) -> Outcome<Ipv4Addr> {
    let pool = relay.pool().ok_or_else(|| format!("{}: found no pool, expected a relay", relay.name()))?;
    let address = u32::try_from(n).ok().and_then(|n| pool.network().to_bits().checked_add(n));
    let address = address.map(Ipv4Addr::from_bits).filter(|address| pool.contains(address));
    address.ok_or_else(|| format!("{}: found no address {n} in {pool}, expected one", relay.name()).into())
}

/// The version that a program says it has, after its name.
pub(super) fn version(program: &str, libraries: &str) -> Outcome<String> {
    let output = Command::new(program).arg("--version").env("LD_LIBRARY_PATH", libraries).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = said.split_whitespace().nth(1).map(|word| word.trim_start_matches('v').to_owned());
    word.ok_or_else(|| format!("`{program} --version`: found {said:?}, expected a name and a version").into())
}

/// How long the first answer through a circuit took, and how long a later one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answers {
    pub(super) first: Duration,
    pub(super) later: Duration,
}

/// Waits until `to` answers pings of the circuit's client, and once more.
pub(super) fn reach(net: &Net, circuit: &Circuit, from: Option<IpAddr>, to: IpAddr) -> Outcome<Answers> {
    let first = ping(net, circuit, from, to)?;
    let later = ping(net, circuit, from, to)?;
    Ok(Answers { first, later })
}

fn ping(net: &Net, circuit: &Circuit, from: Option<IpAddr>, to: IpAddr) -> Outcome<Duration> {
    let node = net.node(&circuit.client)?;
    let (to, from) = (to.to_string(), from.map(|address| address.to_string()));
    let mut argv = vec!["ping", "-n", "-c", "1", "-W", PATIENCE];
    argv.extend(from.iter().flat_map(|from| ["-I", from]));
    argv.push(&to);
    for _ in 0..PINGS {
        let said = node.try_run(&argv)?;
        let time = said.stdout.split_once("time=").and_then(|(_, rest)| rest.split_once(" ms"));
        if let Some(ms) = time.and_then(|(ms, _)| ms.parse::<f64>().ok()) {
            return Ok(Duration::from_secs_f64(ms / 1e3));
        }
    }
    let hops = circuit.hops.join(", ");
    Err(format!("{}: `{}`: found no answer, expected one through {hops}", circuit.client, argv.join(" "))
        .into())
}
