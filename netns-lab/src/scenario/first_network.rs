//! `docs/first-network.md`, typed as it stands: a document that lies fails here.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::{Lab, Scenario, Verdicts};
use crate::net::{Background, Node};
use crate::topology::Topology;

const PAGE: &str = include_str!("../../../docs/first-network.md");
const EUROPE: &str = include_str!("../../topologies/europe.yaml");

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "first-network",
    about: "the commands of docs/first-network.md make a network and a circuit",
    run,
}];

/// The operator has no host in the topology; the server's does nothing else.
const OPERATOR: (&str, &str) = ("operator", "server");
const START: Duration = Duration::from_secs(5);
/// What each host has for itself; everything else it shares with the others.
const OWN: &str = "mkdir -p /etc/ippriv; keep=$(mktemp -d); mount --rbind /run/lab $keep; \
    for own in /etc/ippriv /run /var/lib; do mount -t tmpfs -o mode=0755 own $own; done; \
    mkdir /run/lab; mount --rbind $keep /run/lab; \
     echo has its own; exec sleep 100000";

fn run(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(&Topology::parse("europe.yaml", EUROPE)?, &[])?;
    let desk = std::env::temp_dir().join("first-network");
    fs::create_dir_all(&desk)?;
    let mut hosts = Vec::new();
    for name in ["client", "entry", "middle", "exit", OPERATOR.1] {
        hosts.push(Host::new(lab.net.node(name)?, desk.clone())?);
    }
    let mut said = String::new();
    for (number, (name, commands)) in blocks(PAGE).into_iter().enumerate() {
        let name = if name == OPERATOR.0 { OPERATOR.1 } else { name };
        let host = hosts.iter().find(|host| host.node.name() == name).ok_or("a host that is not there")?;
        let (good, text) = host.types(number, commands)?;
        verdicts.check(format!("{name}: {}", first_line(commands)), good, text.trim());
        said.push_str(&text);
    }
    for (what, expected) in
        [("the relays joined", "  up  "), ("the circuit is open", "  open  "), ("pings pass", "3 received")]
    {
        verdicts.check(what, said.contains(expected), format!("expected {expected:?}"));
    }
    let seen = lab.try_on("client", &["ping", "-n", "-c", "1", "-W", "1", "198.18.9.2"])?;
    verdicts.check("the end lets packets leave again", seen.stdout.contains("1 received"), seen.stdout);
    Ok(())
}

/// Fenced blocks of a page that begin ```` ```sh HOST ````: the host, the commands.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let begun = page.split("\n```sh ").skip(1);
    begun.filter_map(|block| block.split("\n```").next()?.split_once('\n')).collect()
}

fn first_line(commands: &str) -> &str {
    commands.lines().next().unwrap_or_default()
}

/// A host with folders of its own where ippriv keeps files.
struct Host<'net> {
    node: Node<'net>,
    desk: PathBuf,
    keeper: Background,
}

impl<'net> Host<'net> {
    fn new(node: Node<'net>, desk: PathBuf) -> Result<Self, Box<dyn Error>> {
        let mut keeper = node.spawn(&["unshare", "--mount", "--propagation", "private", "sh", "-c", OWN])?;
        keeper.wait_for("has its own", START)?;
        Ok(Self { node, desk, keeper })
    }

    /// Types commands at this host; whether all succeeded, and what they said.
    fn types(&self, number: usize, commands: &str) -> Result<(bool, String), Box<dyn Error>> {
        // What stays in the background would keep a pipe open.
        let heard = self.desk.join(format!("{number}.heard"));
        let keeper = self.keeper.id().to_string();
        let mut script = String::new();
        write!(script, "cd {}; exec >{} 2>&1; {commands}", self.desk.display(), heard.display())?;
        let output = self.node.try_run(&["nsenter", "-m", "-t", &keeper, "sh", "-eu", "-c", &script])?;
        Ok((output.status.success(), fs::read_to_string(heard)? + &output.stderr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_host() {
        let hosts = ["operator", "entry", "middle", "exit", "client"];
        let found = blocks(PAGE);
        assert!(found.len() > 10, "{found:?}");
        assert!(found.iter().all(|(host, commands)| hosts.contains(host) && !commands.is_empty()));
    }
}
