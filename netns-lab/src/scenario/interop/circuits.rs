//! Our client's circuits through relays of all three kinds, and our relays beside the others.

use std::error::Error;
use std::thread;
use std::time::Duration;

use ippriv::network::ClientAuth;
use rustix::process::Signal;
use serde_json::Value;

use super::cells::What;
use super::hosts::{Hosts, Part, Which, delete, latest, rekey, replaces, wait_until_gone};
use super::mesh::{self, CIRCUITS, Hop, RELAYS, cells, foreign};
use super::overlays;
use super::wire::Route;
use crate::capture::Captures;
use crate::daemons::Plan;
use crate::net::{Background, Net};
use crate::program;
use crate::scenario::{Scenario, Verdicts};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "interop-circuit-strongswan-libreswan-ours",
        about: "our client's circuits through strongSwan, libreswan and a relay of ours: traffic, new keys, silence, deletion",
        run: |verdicts| circuits(verdicts, &CIRCUITS[0]),
    },
    Scenario {
        name: "interop-circuit-ours-strongswan-libreswan",
        about: "the same through a relay of ours, strongSwan and libreswan",
        run: |verdicts| circuits(verdicts, &CIRCUITS[1]),
    },
    Scenario {
        name: "interop-circuit-libreswan-ours-strongswan",
        about: "the same through libreswan, a relay of ours and strongSwan",
        run: |verdicts| circuits(verdicts, &CIRCUITS[2]),
    },
    Scenario {
        name: "interop-overlays",
        about: "overlays of our relays with strongSwan and libreswan, begun by either: new keys, silence, deletion",
        run: overlays::scenario,
    },
];

/// Longer than any step takes.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// How long the kernel and the daemons have between two rekeyings.
pub(super) const REST: Duration = Duration::from_millis(300);
/// How often something is looked for.
const POLL: Duration = Duration::from_millis(250);
/// More silence than our client bears without asking whether a relay is there.
const SILENCE: Duration = Duration::from_secs(65);
const PINGS: u32 = 5;
/// Pings without an answer that evidence lists.
const SHOWN: usize = 3;
const BYTES: u32 = 100_000;

fn circuits(verdicts: &mut Verdicts, hops: &[&'static str; 3]) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&mesh::topology()?)?;
    let plan = Plan { idle_clients: vec!["client".to_owned()], ..Plan::new(Vec::new()) };
    let mut hosts = Hosts::start(&net, &RELAYS, &ClientAuth::Anonymous, plan, Default::default())?;
    hosts.daemons.start("client")?;
    let mut serving = net.node("server")?.spawn(&[program::NAME, "traffic", "http-serve", "0.0.0.0:80"])?;
    serving.wait_for("listening on", LIMIT)?;
    let run = Run { net: &net, hosts: &hosts, hops, foreign: foreign(hops) };
    let done = run.all(verdicts);
    if verdicts.failures() > 0 || done.is_err() {
        eprintln!("{}", hosts.logs(&["client"])?);
    }
    done
}

/// What is done with a circuit.
struct Run<'a> {
    net: &'a Net,
    hosts: &'a Hosts<'a>,
    hops: &'a [&'static str; 3],
    foreign: Vec<Hop>,
}

impl Run<'_> {
    fn all(&self, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
        let captures = Captures::start_all(self.net)?;
        if self.open(verdicts, "first")?.is_none() {
            return Ok(());
        }
        self.carries(verdicts)?;
        let before = verdicts.failures();
        verdicts.context("on the wire");
        Route::new(self.net, self.hops)?.judge(verdicts, &captures.stop()?);
        verdicts.context("");
        let hidden = verdicts.failures() == before;
        verdicts.check_cells(
            cells(&self.foreign, &[What::Traffic]),
            "nothing is bare on any link",
            hidden,
            "",
        );
        self.rekeyings(verdicts)?;
        self.silence(verdicts)?;
        // Each of the others deletes the circuit that is there, and at last we do.
        for hop in &self.foreign {
            self.deleted(verdicts, *hop)?;
            if self.open(verdicts, &format!("after-{}", hop.name))?.is_none() {
                return Ok(());
            }
        }
        self.close(verdicts)
    }

    /// Opens a circuit; gives its number.
    fn open(&self, verdicts: &mut Verdicts, name: &str) -> Result<Option<u64>, Box<dyn Error>> {
        let (number, said) = open(self.hosts, name, self.hops)?;
        let title = format!("the {name} circuit through {} opens", self.hops.join(", "));
        verdicts.check_cells(
            cells(&self.foreign, &[What::Opens, What::Mixed]),
            title,
            number.is_some(),
            said,
        );
        Ok(number)
    }

    /// Pings and a download go through it, and the server sees the exit.
    fn carries(&self, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
        let places = cells(&self.foreign, &[What::Traffic, What::Mixed]);
        let (answered, summary) = pings(self.net)?;
        verdicts.check_cells(places.clone(), "pings are answered", answered, summary);
        let server = self.net.node("server")?.address4();
        let url = format!("http://{server}/{BYTES}");
        let get = self.net.node("client")?.try_run(&[program::NAME, "traffic", "http-get", &url])?;
        let report: Value =
            serde_json::from_str(get.stdout.lines().last().unwrap_or_default()).unwrap_or_default();
        let exit = self.net.node(self.hops[2])?.address4();
        let seen_as = report["seen_as"].as_str().unwrap_or("nobody");
        let whole = report["intact"] == true && report["bytes"] == BYTES;
        let good = whole && seen_as.starts_with(&format!("{exit}:"));
        let evidence = get.stdout.trim().to_owned() + get.stderr.trim();
        verdicts.check_cells(places, "a download is whole, and the server sees the exit", good, evidence);
        Ok(())
    }

    /// Every layer with a foreign end gets new keys, by either side. The others begin: who has only answered so far
    /// waits with requests until the answers are known to have come across.
    fn rekeyings(&self, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
        let traffic = steady_pings(self.net)?;
        for hop in &self.foreign {
            let host = self.hosts.foreign.get(hop.name)?;
            let number = self.hosts.circuit_number()?.to_string();
            let layer = hop.number.to_string();
            for part in Part::ALL {
                let by_them = || Ok(rekey(host, Which::Clients, part)?);
                let replaced = replaces(host, Which::Clients, part, by_them)?;
                judge(verdicts, hop.place(part.by_them()), replaced);
                let words = ["rekey", "circuit", &number, &layer];
                let by_us = || self.hosts.rekey("client", &words, part);
                judge(verdicts, hop.place(part.by_us()), replaces(host, Which::Clients, part, by_us)?);
            }
        }
        let (whole, summary) = ended(traffic)?;
        let whats = [What::ChildByUs, What::ChildByThem, What::IkeByUs, What::IkeByThem];
        verdicts.check_cells(cells(&self.foreign, &whats), "no ping is lost meanwhile", whole, summary);
        Ok(())
    }

    /// After a silence our client has asked the others, they have answered, and the circuit stands.
    fn silence(&self, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
        let mut before = Vec::new();
        for hop in &self.foreign {
            before.push(self.hosts.foreign.get(hop.name)?.daemon.liveness()?);
        }
        thread::sleep(SILENCE);
        for (hop, before) in self.foreign.iter().zip(before) {
            let answered = self.hosts.foreign.get(hop.name)?.daemon.liveness()?.answered - before.answered;
            let title = format!("{} answers when asked whether it is there", hop.name);
            verdicts.check_cells([hop.place(What::Liveness)], title, answered > 0, answered);
        }
        let (answered, summary) = pings(self.net)?;
        let title = format!("after {SILENCE:?} of silence pings are answered");
        verdicts.check_cells(cells(&self.foreign, &[What::Liveness]), title, answered, summary);
        Ok(())
    }

    /// A relay deletes the client's IKE SA: the client notices at once and names it.
    fn deleted(&self, verdicts: &mut Verdicts, hop: Hop) -> Result<(), Box<dyn Error>> {
        let number = self.hosts.circuit_number()?;
        delete(self.hosts.foreign.get(hop.name)?, Which::Clients)?;
        let failed = format!("\"circuit\":{number},\"hop\":{}", hop.number);
        let mut told = None;
        for _ in 0..LIMIT.as_millis() / POLL.as_millis() {
            let events = self.hosts.daemons.ippriv("client", &["events", "--json"])?;
            let ours = |line: &&str| line.contains("circuit_failed") && line.contains(&failed);
            told = events.lines().find(ours).map(str::to_owned);
            if told.is_some() {
                break;
            }
            thread::sleep(POLL);
        }
        // What can still be told the others has to be, before another circuit takes its place.
        self.hosts.wait_for_no_circuit()?;
        let title = format!("the circuit fails when {} deletes its layer", hop.name);
        let good = told.is_some();
        let evidence = told.unwrap_or_else(|| "no such event".to_owned());
        verdicts.check_cells([hop.place(What::DeleteByThem)], title, good, evidence);
        Ok(())
    }

    /// The client closes the circuit: the others forget it.
    fn close(&self, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
        let number = self.hosts.circuit_number()?.to_string();
        let mut latest_of = Vec::new();
        for hop in &self.foreign {
            latest_of.push(latest(self.hosts.foreign.get(hop.name)?, Which::Clients)?);
        }
        self.hosts.daemons.ippriv("client", &["circuit", "close", &number])?;
        for (hop, ike) in self.foreign.iter().zip(latest_of) {
            let ike = ike.ok_or_else(|| format!("{}: found no IKE SA, expected one", hop.name))?;
            let gone = wait_until_gone(self.hosts.foreign.get(hop.name)?, ike)?;
            let title = format!("{} forgets a circuit that we close", hop.name);
            verdicts.check_cells([hop.place(What::DeleteByUs)], title, gone, format!("its IKE SA {ike}"));
        }
        Ok(())
    }
}

/// Has the client open a circuit for all of IPv4; its number, and what was said of it.
pub(super) fn open(
    hosts: &Hosts<'_>,
    name: &str,
    hops: &[&str],
) -> Result<(Option<u64>, String), Box<dyn Error>> {
    open_for(hosts, name, hops, "0.0.0.0/0")
}

/// The same for other destinations.
pub(super) fn open_for(
    hosts: &Hosts<'_>,
    name: &str,
    hops: &[&str],
    traffic: &str,
) -> Result<(Option<u64>, String), Box<dyn Error>> {
    let words = ["circuit", "new", "--name", name, "--traffic", traffic, "--json", "--hops"];
    let said = hosts.daemons.try_ippriv("client", &[&words[..], &[&hops.join(",")]].concat())?;
    let circuit: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let number = circuit["number"].as_u64().filter(|_| circuit["state"] == "open");
    let evidence =
        if number.is_some() { circuit["addresses"].to_string() } else { said.stdout + &said.stderr };
    Ok((number, evidence))
}

/// Whether a few pings from the client to the server are all answered.
pub(super) fn pings(net: &Net) -> Result<(bool, String), Box<dyn Error>> {
    let (count, server) = (PINGS.to_string(), net.node("server")?.address4().to_string());
    let words = ["ping", "-n", "-c", &count, "-i", "0.2", "-W", "1", &server];
    let said = net.node("client")?.try_run(&words)?.stdout;
    Ok(summary(&said, &format!("{PINGS} received")))
}

/// Ten pings a second from the client to the server, until they are [`ended`].
pub(super) fn steady_pings(net: &Net) -> Result<Background, Box<dyn Error>> {
    let server = net.node("server")?.address4().to_string();
    Ok(net.node("client")?.spawn(&["ping", "-n", "-D", "-O", "-i", "0.1", &server])?)
}

/// Ends them; whether all were answered before the next was sent. The last may be under way.
pub(super) fn ended(pings: Background) -> Result<(bool, String), Box<dyn Error>> {
    pings.signal(Signal::INT)?;
    let said = pings.wait(LIMIT)?.stdout;
    let late: Vec<&str> = said.lines().filter(|line| line.contains("no answer yet")).collect();
    let (some, summary) = summary(&said, " received");
    let evidence = [&summary].into_iter().map(String::as_str).chain(late.iter().copied().take(SHOWN));
    Ok((some && late.is_empty() && !summary.contains(" 0 received"), evidence.collect::<Vec<_>>().join("; ")))
}

fn summary(said: &str, good: &str) -> (bool, String) {
    let summary = said.lines().find(|line| line.contains(" received")).unwrap_or("no answer");
    (summary.contains(good), summary.to_owned())
}

/// A verdict on a rekeying.
pub(super) fn judge(verdicts: &mut Verdicts, place: super::Place, result: Result<(), String>) {
    let title = format!("{:?} with {} as {}", place.what, place.daemon, place.role.name());
    let (good, evidence) = match result {
        Ok(()) => (true, "replaced".to_owned()),
        Err(error) => (false, error),
    };
    verdicts.check_cells([place], title, good, evidence);
    // What was replaced lingers a little.
    thread::sleep(REST);
}
