//! What workloads have in common: servers and clients on nodes, the way between them, their reports.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{Arena, Outcome};
use crate::net::{Background, Net, Node};
use crate::program;
use crate::systems::{Circuit, Way};
use crate::traffic::{Direction, Window};

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(10);
/// How long a client may take for its report once it has nothing left to measure.
const REPORT: Duration = Duration::from_secs(120);

impl<'net> Arena<'net> {
    /// A circuit and how it is used, by its place in the experiment's list.
    pub(super) fn circuit(&self, at: usize) -> Outcome<(&'net Circuit, Way)> {
        let found = self.circuits.get(at).zip(self.ways.get(at).copied());
        Ok(found.ok_or_else(|| format!("found no circuit {at}, expected one of {}", self.circuits.len()))?)
    }

    /// The server that the client of a circuit talks to: circuits take servers in turn.
    pub(super) fn server(&self, circuit: usize) -> Outcome<Node<'net>> {
        let at = circuit.checked_rem(self.servers.len()).ok_or("found no server, expected one at least")?;
        Ok(self.net.node(&self.servers[at])?)
    }

    /// Starts a program that serves, on the server of these circuits each; one for each server, in their order.
    pub(super) fn serve(&self, circuits: &[usize], port: u16, argv: &[String]) -> Outcome<Vec<Background>> {
        let mut names: Vec<&str> = Vec::new();
        let mut serving = Vec::new();
        for circuit in circuits {
            let server = self.server(*circuit)?;
            if !names.contains(&server.name()) {
                names.push(server.name());
                serving.push(spawn(server, argv, &[format!("0.0.0.0:{port}")])?);
            }
        }
        for server in &mut serving {
            server.wait_for("listening", START)?;
        }
        Ok(serving)
    }

    /// Starts a program on a circuit's client that talks to the circuit's server: `argv`, the way, where the server
    /// listens, `rest`.
    pub(super) fn spawn(
        &self,
        at: usize,
        port: u16,
        argv: &[String],
        rest: &[String],
    ) -> Outcome<Background> {
        let (circuit, way) = self.circuit(at)?;
        let address = SocketAddr::new(self.server(at)?.address4().into(), port).to_string();
        let argv = [argv, &way_arguments(way)].concat();
        spawn(self.net.node(&circuit.client)?, &argv, &[&[address], rest].concat())
    }
}

/// The arguments of traffic programs that take this way.
pub(super) fn way_arguments(way: Way) -> Vec<String> {
    match way {
        Way::Plain => Vec::new(),
        Way::From(address) => vec!["--bind".to_owned(), address.to_string()],
        Way::Socks(proxy) => vec!["--socks".to_owned(), proxy.to_string()],
    }
}

/// The arguments that say when things count.
pub(super) fn window_arguments(window: Window) -> Vec<String> {
    words(&["--opens", &window.opens.to_string(), "--closes", &window.closes.to_string()])
}

pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn spawn(node: Node<'_>, argv: &[String], rest: &[String]) -> Outcome<Background> {
    let mut line = vec![program::NAME, "traffic"];
    line.extend(argv.iter().chain(rest).map(String::as_str));
    Ok(node.spawn(&line)?)
}

/// Waits for a client's end and reads its report.
pub(super) fn report<T: DeserializeOwned>(client: Background) -> Outcome<T> {
    report_within(client, REPORT)
}

/// The same, of a client that may take this long.
pub(super) fn report_within<T: DeserializeOwned>(client: Background, limit: Duration) -> Outcome<T> {
    let output = client.wait(limit)?;
    if !output.status.success() {
        return Err(format!("a client ended with {}: {}", output.status, output.stderr.trim_end()).into());
    }
    last_line(&output.stdout)
}

/// Waits for the report of a server that goes on serving.
pub(super) fn server_report<T: DeserializeOwned>(server: &mut Background) -> Outcome<T> {
    server.wait_for("{", REPORT)?;
    last_line(&server.stdout()?)
}

/// The report of whichever end received: a client that has nothing left to measure, or the first server.
pub(super) fn receivers_report<T: DeserializeOwned>(
    direction: Direction,
    client: Background,
    servers: &mut [Background],
) -> Outcome<T> {
    let here = report(client)?;
    match (direction, servers.first_mut()) {
        (Direction::Put, Some(server)) => server_report(server),
        _ => Ok(here),
    }
}

fn last_line<T: DeserializeOwned>(text: &str) -> Outcome<T> {
    let line = text.lines().last().unwrap_or_default();
    Ok(serde_json::from_str(line).map_err(|error| format!("found `{line}`, expected a report: {error}"))?)
}

/// Holds the loopback interface of a client whose proxy receives what it sends to what a network card has, so that
/// it is not the buffers of the proxy's socket that are measured: packets of 1500 octets, and a receive buffer that
/// stays as large as it is. Elsewhere both would grow to megabytes.
pub(super) fn pin_loopback(node: Node<'_>, upload: bool) -> Outcome<()> {
    node.run(&["ip", "link", "set", "lo", "mtu", "1500"])?;
    if upload {
        node.enter(|| {
            let folder = "/proc/sys/net/ipv4";
            fs::write(format!("{folder}/tcp_moderate_rcvbuf"), "0")?;
            fs::write(format!("{folder}/tcp_rmem"), "4096 65536 65536")
        })??;
    }
    Ok(())
}

/// Octets that interfaces counted since they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Received at a client's uplink.
    pub(super) received: u64,
    /// Sent there.
    pub(super) sent: u64,
    /// Received at all ends of all links.
    pub(super) everywhere: u64,
}

impl Counters {
    pub(super) fn read(net: &Net, client: &str) -> Outcome<Self> {
        let mut all = Self::default();
        for node in net.nodes() {
            let counted = node.counted()?;
            for (at, end) in node.interfaces().enumerate() {
                let found = counted
                    .get(&end.interface)
                    .ok_or_else(|| format!("{}: found no counters of {}", node.name(), end.interface))?;
                all.everywhere += found.received;
                if at == 0 && node.name() == client {
                    (all.received, all.sent) = (found.received, found.sent);
                }
            }
        }
        Ok(all)
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            received: self.received.saturating_sub(before.received),
            sent: self.sent.saturating_sub(before.sent),
            everywhere: self.everywhere.saturating_sub(before.everywhere),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_the_last_line() {
        assert_eq!(last_line::<u32>("listening on 192.0.2.1:5\n7\n").unwrap(), 7);
        let error = last_line::<u32>("oops").unwrap_err().to_string();
        assert!(error.starts_with("found `oops`, expected a report: "), "{error}");
    }

    #[test]
    fn ways_are_arguments() {
        assert!(way_arguments(Way::Plain).is_empty());
        assert_eq!(way_arguments(Way::From([192, 0, 2, 1].into())), ["--bind", "192.0.2.1"]);
        assert_eq!(way_arguments(Way::Socks(([127, 0, 0, 1], 9050).into())), ["--socks", "127.0.0.1:9050"]);
    }
}
