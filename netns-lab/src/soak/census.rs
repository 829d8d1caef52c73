//! Counting what there is on every host: in the kernel, in the daemon, on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Serialize;

use super::control::Control;
use crate::daemons::Daemons;
use crate::scenario::{Lab, LabError};

/// The lists of the kernel, each after its name. Keys are not among them.
const LISTS: &str = "echo '== sas'; ip xfrm state list nokeys | grep ^src; echo '== policies'; ip xfrm policy | grep ^src; \
     echo '== addresses'; ip -br addr; echo '== links'; ip -br link; \
     echo '== routes'; ip route show table all; ip -6 route show table all; \
     echo '== rules'; ip rule; ip -6 rule; echo '== nft'; nft -s list ruleset";
/// Lists whose lines say who is there at the moment: they are counted, not compared.
const COUNTED: [&str; 2] = ["sas", "policies"];

/// What there is on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Census {
    /// How many there are of each kind.
    pub(super) counts: BTreeMap<String, u64>,
    /// The lines that have to be the same whenever no circuit is there.
    #[serde(skip)]
    lines: BTreeSet<String>,
    /// What the daemon's process takes.
    pub(super) process: Process,
}

/// What a process takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Process {
    /// Open file descriptors, by what they are.
    pub(super) descriptors: BTreeMap<String, u64>,
    /// Memory of its own (`RssAnon`), in KiB.
    pub(super) anonymous_kib: u64,
    /// Resident memory with shared pages (`VmRSS`), in KiB.
    pub(super) resident_kib: u64,
    /// The journal's length in octets.
    pub(super) journal: u64,
}

impl Census {
    /// Counts everything on a host.
    ///
    /// # Errors
    /// [`LabError`] when a list cannot be made.
    pub(super) fn of(lab: &Lab, daemons: &Daemons<'_>, host: &str) -> Result<Self, LabError> {
        let mut census = Self::default();
        census.read(&lab.on(host, &["sh", "-c", LISTS])?);
        let control = Control::at(&Daemons::socket(&lab.net, host)?);
        // A daemon that does not answer is missed in the next line.
        if let Ok(status) = control.status() {
            if let Some(relay) = status.relay {
                census.count("layers", relay.layers);
                census.count("half-open handshakes", relay.half_open);
                census.count("leases", relay.leases);
                census.count("overlays up", relay.overlays_up);
            }
            census.count("daemons", 1);
        }
        if let Ok(circuits) = control.circuits() {
            census.count("circuits", circuits.len() as u64);
        }
        let id = daemons.id(host).ok_or_else(|| LabError::Files(format!("no daemon runs on {host}")))?;
        census.process = Process::of(id);
        let journal = fs::metadata(lab.net.node(host)?.folder().join("journal"));
        census.process.journal = journal.map(|journal| journal.len()).unwrap_or_default();
        Ok(census)
    }

    fn read(&mut self, lists: &str) {
        let mut name = "";
        for line in lists.lines() {
            if let Some(next) = line.strip_prefix("== ") {
                name = next;
                self.count(name, 0);
                continue;
            }
            *self.counts.entry(name.to_owned()).or_default() += 1;
            if !COUNTED.contains(&name) {
                self.lines.insert(line.trim().to_owned());
            }
        }
    }

    fn count(&mut self, name: &str, count: u64) {
        self.counts.insert(name.to_owned(), count);
    }

    /// In which ways this is another state of the kernel and the daemon than before, in words.
    pub(super) fn differs(&self, before: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.counts.keys().chain(before.counts.keys()).collect();
        let mut found = Vec::new();
        for name in names {
            let [now, then] = [self, before].map(|census| census.counts.get(name).copied());
            if now != then {
                let shown =
                    |count: Option<u64>| count.map_or("no count".to_owned(), |count| count.to_string());
                found.push(format!("{name}: {} instead of {}", shown(now), shown(then)));
            }
        }
        found.extend(self.lines.difference(&before.lines).map(|line| format!("more: {line}")));
        found.extend(before.lines.difference(&self.lines).map(|line| format!("less: {line}")));
        found
    }
}

impl Process {
    fn of(id: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or_default()
        };
        let mut descriptors = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let target = target.to_string_lossy();
            let kind = target.split_once(":[").map_or(target.as_ref(), |(kind, _)| kind);
            // Logs are numbered.
            let kind = if kind.ends_with(".err") || kind.ends_with(".out") { "log" } else { kind };
            *descriptors.entry(kind.to_owned()).or_default() += 1;
        }
        Self { descriptors, anonymous_kib: field("RssAnon:"), resident_kib: field("VmRSS:"), journal: 0 }
    }

    /// How many descriptors are open.
    pub(super) fn open(&self) -> u64 {
        self.descriptors.values().sum()
    }
}

/// What the kernel of the lab takes for itself and cannot give back, in KiB.
pub(super) fn kernel_kib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("SUnreclaim:"));
    value.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_or_less_is_named() {
        let (mut before, mut after) = (Census::default(), Census::default());
        before.read("== sas\nsrc a\n== rules\n0: from all\n");
        after.read("== sas\nsrc b\nsrc c\n== rules\n1: from all\n");
        assert_eq!(after.differs(&before), ["sas: 2 instead of 1", "more: 1: from all", "less: 0: from all"]);
        assert!(before.differs(&before).is_empty());
    }

    #[test]
    fn our_own_process_has_memory_and_descriptors() {
        let process = Process::of(std::process::id());
        assert!(
            process.anonymous_kib > 0 && process.resident_kib > process.anonymous_kib && process.open() > 0
        );
    }
}
