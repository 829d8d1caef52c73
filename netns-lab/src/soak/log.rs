//! What daemons log: counted, and searched for what must not be there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Lines that are kept of what must not be there.
const KEPT: usize = 50;
/// Lines of a log that are shown beside a complaint.
const TAIL: usize = 60;
/// Warnings that deaths bring with them.
const EXPECTED: [&str; 2] = ["circuit_failed", "overlay_down"];

/// The logs of all daemons so far.
#[derive(Debug, Default)]
pub(super) struct Logs {
    read: BTreeMap<PathBuf, u64>,
    /// How often each event was logged.
    pub(super) events: BTreeMap<String, u64>,
    /// Expected warnings: how often each event came with which reason, names and numbers left out.
    pub(super) reasons: BTreeMap<String, u64>,
    /// Lines that must not be there.
    pub(super) unexpected: Vec<String>,
    /// How many of those there are.
    pub(super) bad: u64,
}

impl Logs {
    /// Reads what daemons whose logs are in `folder` have logged since the last time.
    pub(super) fn read(&mut self, host: &str, folder: &Path) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|ending| ending == "err"));
        files.sort();
        for path in files {
            let text = self.new_text(&path);
            for line in text.lines() {
                self.line(host, line);
            }
        }
    }

    fn new_text(&mut self, path: &Path) -> String {
        let start = self.read.entry(path.to_owned()).or_default();
        let mut octets = Vec::new();
        let read = File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(*start))?;
            file.read_to_end(&mut octets)
        });
        if read.is_err() {
            return String::new();
        }
        // A line that is being written is read the next time.
        let end = octets.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1);
        *start += end as u64;
        String::from_utf8_lossy(&octets[..end]).into_owned()
    }

    fn line(&mut self, host: &str, line: &str) {
        let event = line.find("{\"event\":").and_then(|start| {
            serde_json::Deserializer::from_str(&line[start..]).into_iter::<Value>().next()?.ok()
        });
        let name = event.as_ref().and_then(|event| event["event"].as_str()).unwrap_or_default();
        if !name.is_empty() {
            *self.events.entry(name.to_owned()).or_default() += 1;
        }
        let mut words = line.split_whitespace().skip(1);
        let level = words.next().unwrap_or_default();
        if level == "WARN" && EXPECTED.contains(&name) {
            let reason = event.as_ref().and_then(|event| event["reason"].as_str()).unwrap_or_default();
            *self.reasons.entry(format!("{name}: {}", general(reason))).or_default() += 1;
        } else if ["WARN", "ERROR"].contains(&level) || line.contains("panicked") {
            self.bad += 1;
            if self.unexpected.len() < KEPT {
                self.unexpected.push(format!("{host}: {line}"));
            }
        }
    }
}

/// The end of what daemons on a host have logged.
pub(super) fn tail(host: &str) -> String {
    let folder = Path::new(crate::net::RUN_FOLDER).join(host);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "err"));
    let newest = files.into_iter().max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
    let text = newest.and_then(|path| fs::read(path).ok()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// A reason without what differs from one time to the other.
fn general(reason: &str) -> String {
    let reason = reason
        .split_once(": ")
        .filter(|(relay, _)| relay.starts_with("relay"))
        .map_or(reason, |(_, rest)| rest);
    reason.chars().map(|letter| if letter.is_ascii_digit() { 'N' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_judged() {
        let mut logs = Logs::default();
        logs.line(
            "client1",
            "2023-11-14T22:13:20Z  INFO ipprivd::event: {\"event\":\"circuit_open\",\"circuit\":1}",
        );
        logs.line(
            "client1",
            "2023-11-14T22:13:20Z  WARN ipprivd::event: {\"event\":\"circuit_failed\",\"reason\":\"relay3: no answer in 10 s\"} peer=1.2.3.4",
        );
        logs.line("relay1", "2023-11-14T22:13:20Z  WARN ipprivd::event: {\"event\":\"kernel_refused\"}");
        logs.line("relay1", "thread 'main' panicked at x.rs");
        logs.line("relay1", "2023-11-14T22:13:20Z ERROR stopped");
        assert_eq!((logs.events["circuit_open"], logs.events["circuit_failed"]), (1, 1));
        assert_eq!(logs.reasons.keys().collect::<Vec<_>>(), ["circuit_failed: no answer in NN s"]);
        assert_eq!((logs.bad, logs.unexpected.len()), (3, 3));
    }
}
