//! Every object of every role removed behind our back: nothing goes in clear, and `apply` brings it back.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use ippriv::state::{Direction, PolicyDirection, Route, RouteKind, Rule, RuleAction, SaId, State};

use super::watch::{Heard, Leak, Secrets, Talk, clock};
use super::{Lab, LabError, Scenario, Verdicts};
use crate::capture::Captures;
use crate::deal::Wish;
use crate::net::Node;
use crate::topology::Topology;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "removal-client", about: "what a client lacks never shows its traffic", run: client },
    Scenario { name: "removal-entry", about: "what an entry lacks never shows its circuits", run: entry },
    Scenario { name: "removal-middle", about: "what a middle lacks never shows its circuits", run: middle },
    Scenario { name: "removal-exit", about: "what an exit lacks never shows its clients", run: exit },
];

fn client(verdicts: &mut Verdicts) -> Outcome {
    removals(verdicts, "client", &CLIENTS[..1])
}

fn entry(verdicts: &mut Verdicts) -> Outcome {
    removals(verdicts, "entry", &CLIENTS)
}

fn middle(verdicts: &mut Verdicts) -> Outcome {
    removals(verdicts, "middle", &CLIENTS)
}

fn exit(verdicts: &mut Verdicts) -> Outcome {
    removals(verdicts, "exit", &CLIENTS)
}

/// One with a kill switch and one without.
const CLIENTS: [&str; 2] = ["client", "bold"];

const TOPOLOGY: &str = "
description: Two clients, three relays and a server along a line of routers.
nodes:
  - { name: router0, role: router }
  - { name: router1, role: router }
  - { name: router2, role: router }
  - { name: router3, role: router }
  - { name: client, role: client }
  - { name: bold, role: client }
  - { name: entry, role: relay, pool: 10.64.0.0/16, pool6: 'fd00:64::/64' }
  - { name: middle, role: relay, pool: 10.65.0.0/16, pool6: 'fd00:65::/64' }
  - { name: exit, role: relay, pool: 10.66.0.0/16, pool6: 'fd00:66::/64', exit: true }
  - { name: server, role: server }
links:
  - { between: [router0, router1], rate: 20mbit, delay: 5ms }
  - { between: [router1, router2], rate: 20mbit, delay: 5ms }
  - { between: [router2, router3], rate: 20mbit, delay: 5ms }
  - { between: [router0, client], rate: 100mbit }
  - { between: [router0, bold], rate: 100mbit }
  - { between: [router1, entry], rate: 100mbit }
  - { between: [router2, middle], rate: 100mbit }
  - { between: [router3, exit], rate: 100mbit }
  - { between: [router3, server], rate: 100mbit }
";
/// Where a client's address may be seen.
const BEFORE_ENTRY: [&str; 4] = ["router0-client", "router0-bold", "router0-router1", "router1-entry"];
/// Where the server's address may be seen.
const AFTER_EXIT: [&str; 2] = ["router3-exit", "router3-server"];

/// An object and the arguments of the program that removes it.
struct Removal {
    object: String,
    means: Means,
    /// The SA, when it is one that sends.
    sends: Option<SaId>,
}

enum Means {
    Program(Vec<String>),
    /// A rule of an nftables chain, by its place from 0; its handle changes with every apply.
    NftRule(String, usize),
}

/// What was seen around one removal.
struct Seen {
    object: String,
    from: Duration,
    to: Duration,
    without: Vec<Heard>,
    operations: String,
    differs: String,
    again: Vec<Heard>,
}

/// Removes each object of `node` in turn, while these clients talk to the server.
fn removals(verdicts: &mut Verdicts, node: &str, clients: &[&str]) -> Outcome {
    let wishes = clients.iter().map(|client| Wish::new(client, &["entry", "middle", "exit"]));
    let topology = Topology::parse("two clients", TOPOLOGY)?;
    let mut lab = Lab::new(&topology, &wishes.collect::<Vec<_>>())?;
    let safe = lab.deal.hosts.get_mut("client").and_then(|host| host.client.as_mut());
    safe.ok_or("no client")?.kill_switch = true;
    let secrets = Secrets::new(&lab, clients, &BEFORE_ENTRY, &AFTER_EXIT)?;
    let captures = Captures::start_all(&lab.net)?;
    let direct = exchange(&lab, &mut talks(&lab, clients)?)?;
    let start = clock();
    lab.apply()?;
    let (whole, seen) = run(&lab, node, clients)?;
    let captures = captures.stop()?;

    let missed: u64 = captures.iter().map(|capture| capture.missed).sum();
    verdicts.equal("the captures have all packets", &missed, &0);
    let leaks = secrets.leaks(&captures);
    let (before, during): (Vec<_>, Vec<_>) = leaks.into_iter().partition(|leak| leak.time < start);
    verdicts.check(
        "without a circuit the captures show the clients and the server",
        direct.iter().all(|heard| heard.pings == Heard::ALL.pings) && !before.is_empty(),
        format!("{} headers that had to be secret, first: {}", before.len(), first(&before)),
    );
    verdicts.check("the circuits carry everything", complete(&whole), show(&whole));
    for seen in &seen {
        seen.judge(verdicts, &during);
    }
    verdicts.check("nothing secret was seen at any time", during.is_empty(), first(&during));
    Ok(())
}

fn run(lab: &Lab, name: &str, clients: &[&str]) -> Outcome<(Vec<Heard>, Vec<Seen>)> {
    let mut talks = talks(lab, clients)?;
    talks.iter_mut().for_each(Talk::greet);
    let whole = exchange(lab, &mut talks)?;
    let state = lab.deal.hosts.get(name).ok_or("no such host")?.desired()?.state;
    let path = lab.deal.write(&lab.net, name)?;
    let node = lab.net.node(name)?;
    let picture = picture(&node)?;
    let mut all = Vec::new();
    for removal in all_of(&state) {
        let from = clock();
        node.run(&removal.argv(&node)?.iter().map(String::as_str).collect::<Vec<_>>())?;
        let without = exchange(lab, &mut talks)?;
        let report = node.run(&["ippriv", "apply", "--json", &path])?.stdout;
        let differs = difference(&picture, &self::picture(&node)?);
        if let Some(id) = removal.sends {
            renew_receiver(lab, id)?;
        }
        talks.iter_mut().for_each(Talk::greet);
        let again = exchange(lab, &mut talks)?;
        let operations = operations(&report)?;
        all.push(Seen { object: removal.object, from, to: clock(), without, operations, differs, again });
    }
    Ok((whole, all))
}

fn talks(lab: &Lab, clients: &[&str]) -> Result<Vec<Talk>, LabError> {
    clients.iter().map(|client| Talk::new(lab, client)).collect()
}

fn exchange(lab: &Lab, talks: &mut [Talk]) -> Result<Vec<Heard>, LabError> {
    talks.iter_mut().map(|talk| talk.exchange(lab)).collect()
}

fn complete(heard: &[Heard]) -> bool {
    heard.iter().all(|heard| *heard == Heard::ALL)
}

/// What each client heard, in the order of [`CLIENTS`].
fn show(heard: &[Heard]) -> String {
    let each: Vec<_> = CLIENTS.iter().zip(heard).map(|(client, heard)| format!("{client} {heard}")).collect();
    each.join("; ")
}

impl Seen {
    fn judge(&self, verdicts: &mut Verdicts, leaks: &[Leak]) {
        let object = &self.object;
        let leaks: Vec<_> = leaks.iter().filter(|leak| (self.from..self.to).contains(&leak.time)).collect();
        let evidence = match leaks.first() {
            None => show(&self.without),
            Some(leak) => format!("{}; {} leaks, first: {leak}", show(&self.without), leaks.len()),
        };
        verdicts.check(format!("without {object}, nothing is seen"), leaks.is_empty(), evidence);
        let back = self.differs.is_empty() && !self.operations.is_empty() && complete(&self.again);
        let evidence = format!("{}; {}{}", self.operations, show(&self.again), self.differs);
        verdicts.check(format!("{object} is brought back"), back, evidence);
    }
}

fn first(leaks: &[Leak]) -> String {
    leaks.first().map_or("none".to_owned(), ToString::to_string)
}

/// What `apply --json` did, in short.
fn operations(report: &str) -> Outcome<String> {
    let report: serde_json::Value = serde_json::from_str(report)?;
    let lines = report["operations"].as_array().ok_or("apply --json without operations")?;
    let word = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap_or("?").to_owned();
    let lines: Vec<_> = lines.iter().map(|line| word(line, "verb") + " " + &word(line, "kind")).collect();
    Ok(lines.join(", "))
}

/// Everything ippriv may have made on a node, in the words of the system's own programs, a line each.
fn picture(node: &Node<'_>) -> Outcome<Vec<String>> {
    const BOTH: &str = "link show type xfrm\naddr show\nxfrm state list nokeys\nxfrm policy list\n\
        rule show\nroute show table all proto 73\n";
    let both = node.run_with(&["ip", "-o", "-batch", "-"], BOTH)?.stdout;
    let v6 =
        node.run_with(&["ip", "-6", "-batch", "-"], "rule show\nroute show table all proto 73\n")?.stdout;
    let nft = node.try_run(&["nft", "-s", "list", "table", "inet", "ippriv"])?.stdout;
    let lines = both.lines().chain(v6.lines()).chain(nft.lines());
    let ours = |line: &String| ["ipp", "proto 73", "esp"].iter().any(|mark| line.contains(mark));
    let mut lines: Vec<_> = lines.map(lasting).filter(ours).collect();
    lines.sort();
    Ok(lines)
}

/// A line without what changes by itself: the number of an interface, the times and counts of an SA.
fn lasting(line: &str) -> String {
    let count = |word: &str| word.len() == 8 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
    let passing = |part: &str| {
        ["lastused", "anti-replay", "seq-hi", "replay_window"].iter().any(|word| part.starts_with(word))
            || part.split_whitespace().all(count)
    };
    let parts: Vec<_> = line.split('\\').map(str::trim).filter(|part| !passing(part)).collect();
    let line = parts.join(" ");
    match line.split_once(": ") {
        Some((number, rest)) if number.bytes().all(|digit| digit.is_ascii_digit()) => rest.to_owned(),
        _ => line,
    }
}

fn difference(before: &[String], after: &[String]) -> String {
    let lines = |from: &[String], other: &[String], sign: &str| -> String {
        let missing = from.iter().filter(|line| !other.contains(line));
        missing.map(|line| format!("; {sign} {line}")).collect()
    };
    lines(before, after, "lacks") + &lines(after, before, "has")
}

impl Removal {
    fn new(kind: &str, object: impl fmt::Display, words: &str) -> Self {
        let argv = words.split_whitespace().map(ToOwned::to_owned).collect();
        Self { object: format!("{kind} {object}"), means: Means::Program(argv), sends: None }
    }

    fn argv(&self, node: &Node<'_>) -> Outcome<Vec<String>> {
        match &self.means {
            Means::Program(argv) => Ok(argv.clone()),
            Means::NftRule(chain, place) => {
                let listing = node.run(&["nft", "-a", "list", "chain", "inet", "ippriv", chain])?.stdout;
                let rules =
                    listing.lines().filter(|line| line.starts_with("\t\t") && line.contains("# handle "));
                let rule = rules.clone().nth(*place).ok_or("no such rule")?;
                let handle = rule.rsplit(' ').next().ok_or("no handle")?;
                let argv = ["nft", "delete", "rule", "inet", "ippriv", chain, "handle", handle];
                Ok(argv.map(ToOwned::to_owned).into())
            }
        }
    }
}

fn delete_sa(id: SaId) -> String {
    format!("ip xfrm state delete dst {} proto esp spi {}", id.destination, id.spi)
}

/// An SA that sends counts from 1 again when it is made again, which its receiver takes for replays: static
/// keys cannot be replaced, so the receiver's is made again, too.
fn renew_receiver(lab: &Lab, id: SaId) -> Outcome {
    for (name, host) in &lab.deal.hosts {
        let state = host.desired()?.state;
        if state.sas.get(&id).is_some_and(|sa| sa.direction.direction() == Direction::In) {
            lab.on(name, &delete_sa(id).split(' ').collect::<Vec<_>>())?;
            lab.apply_on(name)?;
        }
    }
    Ok(())
}

/// A removal for each object of a host.
fn all_of(state: &State) -> Vec<Removal> {
    let mut all = Vec::new();
    for name in state.links.keys() {
        all.push(Removal::new("link", name, &format!("ip link del {name}")));
    }
    for (id, sa) in &state.sas {
        let sends = (sa.direction.direction() == Direction::Out).then_some(*id);
        all.push(Removal { sends, ..Removal::new("SA", id, &delete_sa(*id)) });
    }
    for id in state.policies.keys() {
        let direction = match id.direction {
            PolicyDirection::In => "in",
            PolicyDirection::Out => "out",
            PolicyDirection::Forward => "fwd",
        };
        let (source, destination) = (id.selector.source, id.selector.destination);
        let if_id = id.if_id;
        let words =
            format!("ip xfrm policy delete src {source} dst {destination} dir {direction} if_id {if_id}");
        all.push(Removal::new("policy", id, &words));
    }
    for id in state.addresses.keys() {
        all.push(Removal::new("address", id, &format!("ip addr del {} dev {}", id.prefix, id.link)));
    }
    all.extend(state.routes.values().map(route));
    all.extend(state.rules.iter().map(rule));
    if let Some(table) = &state.nft {
        for chain in &table.chains {
            for (place, rule) in chain.rules.iter().enumerate() {
                let object = format!("nft rule {}: {}", chain.name, rule.0);
                all.push(Removal { object, means: Means::NftRule(chain.name.clone(), place), sends: None });
            }
        }
        all.push(Removal::new("nft table", "inet ippriv", "nft delete table inet ippriv"));
    }
    all
}

fn route(route: &Route) -> Removal {
    let id = route.id;
    let family = if id.destination.addr().is_ipv4() { "-4" } else { "-6" };
    let whither = match &route.kind {
        RouteKind::Link(link) => format!("{} dev {link}", id.destination),
        RouteKind::Unreachable => format!("unreachable {}", id.destination),
    };
    let words = format!("ip {family} route del {whither} table {} metric {}", id.table, id.metric);
    Removal::new("route", id, &words)
}

fn rule(rule: &Rule) -> Removal {
    let family = if rule.source.addr().is_ipv4() { "-4" } else { "-6" };
    let mut words = format!(
        "ip {family} rule del priority {} from {} to {}",
        rule.priority, rule.source, rule.destination
    );
    if let Some(link) = &rule.input_link {
        words += &format!(" iif {link}");
    }
    if let Some(protocol) = rule.protocol {
        words += &format!(" ipproto {protocol}");
    }
    if let Some(mark) = rule.mark {
        words += &format!(" fwmark {mark}");
    }
    match rule.action {
        RuleAction::Lookup(table) => words += &format!(" lookup {table}"),
        RuleAction::Unreachable => words += " unreachable",
    }
    Removal::new("rule", rule, &words)
}
