//! What the soak found: a story in numbers, a checkpoint after each round, and verdicts on them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::census::{self, Census};
use super::client::Tally;
use super::death::{Kind, Troubles};
use super::log::Logs;
use super::{Settings, place};
use crate::scenario::Verdicts;

/// What is counted at each checkpoint, and has to be as it was in the beginning.
const COUNTED: [&str; 12] = [
    "sas",
    "policies",
    "addresses",
    "links",
    "routes",
    "rules",
    "nft",
    "circuits",
    "layers",
    "leases",
    "half-open handshakes",
    "overlays up",
];
/// How much a daemon's own memory may grow from the second checkpoint to the last, in KiB: allocators round up.
const GROWTH_KIB: u64 = 512;
/// The same for the lab's kernel, for 27 hosts together.
const KERNEL_GROWTH_KIB: u64 = 4096;
/// Octets of a journal at rest: dead records that are not worth a copy yet.
const JOURNAL: u64 = 5 << 18;
/// Differences that are shown.
const SHOWN: usize = 5;

/// All hosts at the end of a round.
#[derive(Debug, Serialize)]
pub(super) struct Checkpoint {
    at_s: u64,
    /// What the kernel takes for all hosts together.
    kernel_kib: u64,
    pub(super) hosts: BTreeMap<String, Census>,
}

impl Checkpoint {
    pub(super) fn new(at: Duration, hosts: BTreeMap<String, Census>) -> Self {
        Self { at_s: at.as_secs(), kernel_kib: census::kernel_kib(), hosts }
    }

    fn total(&self, name: &str) -> u64 {
        self.hosts.values().filter_map(|census| census.counts.get(name)).sum()
    }

    fn most(&self, of: impl Fn(&Census) -> u64) -> u64 {
        self.hosts.values().map(of).max().unwrap_or_default()
    }

    /// Where hosts differ from another checkpoint.
    fn differs<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a str, String)> {
        let pairs = self.hosts.iter().filter_map(|(host, now)| Some((host, now, before.hosts.get(host)?)));
        pairs.flat_map(|(host, now, then)| {
            now.differs(then).into_iter().map(move |difference| (host.as_str(), difference))
        })
    }

    fn figures(&self) -> Value {
        let mut figures = json!({
            "at_s": self.at_s,
            "kernel_kib": self.kernel_kib,
            "descriptors": self.hosts.values().map(|census| census.process.open()).sum::<u64>(),
            "most_anonymous_kib": self.most(|census| census.process.anonymous_kib),
            "most_resident_kib": self.most(|census| census.process.resident_kib),
            "largest_journal": self.most(|census| census.process.journal),
        });
        for name in COUNTED {
            figures[name] = self.total(name).into();
        }
        figures
    }
}

/// What happened until now.
#[derive(Debug, Serialize)]
pub(super) struct Story {
    clients: Tally,
    killed: usize,
    absent: usize,
    rebooted: usize,
    /// Logged events, by kind.
    events: BTreeMap<String, u64>,
    /// Reasons of expected warnings.
    reasons: BTreeMap<String, u64>,
    unexpected: Vec<String>,
    bad_lines: u64,
}

impl Story {
    pub(super) fn new(troubles: &Troubles, tally: &Mutex<Tally>, logs: &Logs) -> Self {
        Self {
            clients: tally.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            killed: troubles.count(Kind::Killed),
            absent: troubles.count(Kind::Absent),
            rebooted: troubles.count(Kind::Rebooted),
            events: logs.events.clone(),
            reasons: logs.reasons.clone(),
            unexpected: logs.unexpected.clone(),
            bad_lines: logs.bad,
        }
    }

    fn event(&self, name: &str) -> u64 {
        self.events.get(name).copied().unwrap_or_default()
    }

    /// New keys, as both ends of each SA log them.
    fn rekeys(&self) -> u64 {
        self.event("rekeyed") + self.event("relay_rekeyed")
    }

    fn deaths(&self) -> usize {
        self.killed + self.absent + self.rebooted
    }
}

/// A line on how it goes.
pub(super) fn line(round: u32, story: &Story, checkpoints: &[Checkpoint]) -> String {
    let (Some(first), Some(last)) = (checkpoints.first(), checkpoints.last()) else { return String::new() };
    let different = last.differs(first).count();
    let Tally { opened, answered, lost, complained, .. } = story.clients;
    format!(
        "round {round}: {opened} circuits, {} rekeys, {} deaths, {answered} datagrams and {lost} lost to deaths; \
         {different} differences, {complained} complaints, {} bad log lines; {} KiB in a daemon, {} MiB in the kernel",
        story.rekeys(),
        story.deaths(),
        story.bad_lines,
        last.most(|census| census.process.anonymous_kib),
        last.kernel_kib >> 10,
    )
}

/// What the soak found.
#[derive(Debug)]
pub struct Report {
    settings: Settings,
    story: Story,
    checkpoints: Vec<Checkpoint>,
}

impl Report {
    pub(super) fn new(settings: &Settings, story: Story, checkpoints: Vec<Checkpoint>) -> Self {
        Self { settings: settings.clone(), story, checkpoints }
    }

    /// All figures, as one JSON object.
    #[must_use]
    pub fn figures(&self) -> Value {
        let memory: BTreeMap<String, Vec<u64>> = place::witnesses(&self.settings)
            .into_iter()
            .map(|host| {
                let series = self.of(&host).map(|census| census.process.anonymous_kib).collect();
                (host, series)
            })
            .collect();
        json!({
            "settings": self.settings,
            "virtual_hours": self.checkpoints.last().map_or(0.0, |last| last.at_s as f64 / 3600.0),
            "circuits_opened_by_command": self.story.clients.opened,
            "circuits_opened": self.story.event("circuit_open"),
            "circuits_failed": self.story.event("circuit_failed"),
            "rekeys_logged": self.story.rekeys(),
            "deaths": self.story.deaths(),
            "story": self.story,
            "checkpoints": self.checkpoints.iter().map(Checkpoint::figures).collect::<Vec<_>>(),
            "anonymous_kib_of_daemons_never_killed": memory,
        })
    }

    /// Whether all was as it has to be.
    pub fn judge(&self, verdicts: &mut Verdicts) {
        let Some((first, later)) = self.checkpoints.split_first() else {
            return verdicts.check("there are checkpoints", false, "none");
        };
        let Tally { opened, answered, lost, complaints, complained, .. } = &self.story.clients;
        let enough = u64::from(self.settings.rounds) * self.settings.clients as u64;
        verdicts.check(
            "clients open circuits",
            *opened >= enough,
            format!("{opened} by command, {} in all", self.story.event("circuit_open")),
        );
        verdicts.check(
            "keys are replaced",
            self.story.rekeys() >= enough,
            format!("{} times, as both ends log it", self.story.rekeys()),
        );
        verdicts.check(
            "hosts die",
            self.story.killed > 0 && self.story.absent > 0 && self.story.rebooted > 0,
            format!(
                "{} daemons killed, {} hosts gone for a while, {} booted",
                self.story.killed, self.story.absent, self.story.rebooted
            ),
        );
        let datagrams = format!("{answered} datagrams came back, {lost} were lost to deaths");
        verdicts.check("circuits carry packets", *answered > *lost * 10, datagrams);
        for name in COUNTED {
            let wrong: Vec<String> = later
                .iter()
                .flat_map(|checkpoint| {
                    checkpoint.differs(first).map(|(host, difference)| (checkpoint.at_s, host, difference))
                })
                .filter(|(_, _, difference)| {
                    difference.strip_prefix(name).is_some_and(|rest| rest.starts_with(": "))
                })
                .map(|(at, host, difference)| format!("{host} after {at} s: {difference}"))
                .collect();
            let evidence = format!(
                "{} on {} hosts at {} checkpoints{}",
                first.total(name),
                first.hosts.len(),
                later.len(),
                some(&wrong)
            );
            verdicts.check(
                format!("{name}: as in the beginning after each round"),
                wrong.is_empty(),
                evidence,
            );
        }
        let lines: Vec<String> = later
            .iter()
            .flat_map(|checkpoint| checkpoint.differs(first))
            .filter(|(_, difference)| difference.starts_with("more: ") || difference.starts_with("less: "))
            .map(|(host, difference)| format!("{host}: {difference}"))
            .collect();
        verdicts.check(
            "no line of any listing is another than in the beginning",
            lines.is_empty(),
            format!("{} are{}", lines.len(), some(&lines)),
        );
        self.judge_processes(verdicts);
        verdicts.check(
            "nothing goes wrong without a death behind it",
            *complained == 0,
            format!("{complained} complaints{}", some(complaints)),
        );
        let (bad, unexpected) = (self.story.bad_lines, &self.story.unexpected);
        verdicts.check(
            "daemons log no error and no warning but of deaths",
            bad == 0,
            format!("{bad} lines{}", some(unexpected)),
        );
    }

    fn judge_processes(&self, verdicts: &mut Verdicts) {
        let (Some(second), Some(last)) = (self.checkpoints.get(1), self.checkpoints.last()) else { return };
        let mut more = Vec::new();
        for checkpoint in self.checkpoints.iter().skip(1) {
            for (host, census) in &checkpoint.hosts {
                let before = second.hosts.get(host).map(|before| &before.process.descriptors);
                if before.is_some_and(|before| *before != census.process.descriptors) {
                    let (now, at) = (&census.process.descriptors, checkpoint.at_s);
                    more.push(format!("{host} after {at} s: {now:?} instead of {:?}", before.unwrap_or(now)));
                }
            }
        }
        let open: u64 = last.hosts.values().map(|census| census.process.open()).sum();
        verdicts.check(
            "every daemon has the file descriptors it had",
            more.is_empty(),
            format!("{open}{}", some(&more)),
        );
        let grown = |host: &str| {
            let [then, now] = [second, last].map(|checkpoint| {
                checkpoint.hosts.get(host).map(|census| census.process.anonymous_kib).unwrap_or_default()
            });
            (then, now)
        };
        let witnesses = place::witnesses(&self.settings);
        let memory: Vec<String> = witnesses
            .iter()
            .map(|host| (host, grown(host)))
            .map(|(host, (then, now))| format!("{host} {then}, then {now}"))
            .collect();
        let good = witnesses.iter().map(|host| grown(host)).all(|(then, now)| now <= then + GROWTH_KIB);
        let evidence = format!("KiB: {}; at most {GROWTH_KIB} more", memory.join("; "));
        verdicts.check("daemons that were never killed do not grow", good, evidence);
        let evidence = format!(
            "{} KiB, then {} KiB; at most {KERNEL_GROWTH_KIB} more",
            second.kernel_kib, last.kernel_kib
        );
        let good = last.kernel_kib <= second.kernel_kib + KERNEL_GROWTH_KIB;
        verdicts.check("the kernel does not grow", good, evidence);
        let journal =
            self.checkpoints.iter().map(|checkpoint| checkpoint.most(|census| census.process.journal)).max();
        let journal = journal.unwrap_or_default();
        verdicts.check(
            "journals stay small",
            journal <= JOURNAL,
            format!("{journal} octets at most; {JOURNAL} allowed"),
        );
    }

    /// A host at each checkpoint.
    fn of(&self, host: &str) -> impl Iterator<Item = &Census> {
        self.checkpoints.iter().filter_map(move |checkpoint| checkpoint.hosts.get(host))
    }
}

/// The first of many findings, to be put behind their number.
fn some(findings: &[String]) -> String {
    let shown: Vec<&str> = findings.iter().take(SHOWN).map(String::as_str).collect();
    if shown.is_empty() { String::new() } else { format!("; {}", shown.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The failed verdicts on two rounds of which the second ends as `change` says.
    fn failed(change: impl FnOnce(&mut Checkpoint, &mut Story)) -> Vec<String> {
        let settings = Settings { rounds: 2, ..Settings::short() };
        let tally = Tally { opened: 100, answered: 1000, ..Tally::default() };
        let mut story = Story::new(&Troubles::default(), &Mutex::new(tally), &Logs::default());
        (story.killed, story.absent, story.rebooted) = (1, 1, 1);
        story.events.insert("rekeyed".to_owned(), 100);
        let checkpoint = |at| {
            let hosts = place::witnesses(&settings).into_iter().map(|host| (host, Census::default()));
            let at = Duration::from_secs(at);
            Checkpoint { kernel_kib: 0, ..Checkpoint::new(at, hosts.collect()) }
        };
        let mut checkpoints = vec![checkpoint(0), checkpoint(1), checkpoint(2)];
        change(&mut checkpoints[2], &mut story);
        let mut verdicts = Verdicts::default();
        Report::new(&settings, story, checkpoints).judge(&mut verdicts);
        verdicts.into_list().into_iter().filter(|one| !one.pass).map(|one| one.name).collect()
    }

    fn any(checkpoint: &mut Checkpoint) -> &mut Census {
        checkpoint.hosts.values_mut().next().unwrap()
    }

    #[test]
    fn what_leaks_fails_the_soak() {
        assert!(failed(|_, _| {}).is_empty());
        let leak =
            |name: &'static str| failed(move |last, _| any(last).counts.extend([(name.to_owned(), 1)]));
        for name in COUNTED {
            assert_eq!(leak(name), [format!("{name}: as in the beginning after each round")]);
        }
        let descriptors = failed(|last, _| any(last).process.descriptors.extend([("socket".to_owned(), 9)]));
        assert_eq!(descriptors, ["every daemon has the file descriptors it had"]);
        let memory = failed(|last, _| any(last).process.anonymous_kib = GROWTH_KIB + 1);
        assert_eq!(memory, ["daemons that were never killed do not grow"]);
        let kernel = failed(|last, _| last.kernel_kib = KERNEL_GROWTH_KIB + 1);
        assert_eq!(kernel, ["the kernel does not grow"]);
        let journal = failed(|last, _| any(last).process.journal = JOURNAL + 1);
        assert_eq!(journal, ["journals stay small"]);
    }

    #[test]
    fn what_nothing_excuses_fails_the_soak() {
        let complaint = failed(|_, story| story.clients.complained = 1);
        assert_eq!(complaint, ["nothing goes wrong without a death behind it"]);
        let line = failed(|_, story| story.bad_lines = 1);
        assert_eq!(line, ["daemons log no error and no warning but of deaths"]);
        let idle = failed(|_, story| story.clients.opened = 0);
        assert_eq!(idle, ["clients open circuits"]);
    }
}
