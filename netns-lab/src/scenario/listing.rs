//! What a node's kernel holds, as iproute2 and nft list it: the word of others against that of our own dumps.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::LabError;
use crate::net::Node;

/// Counts of equal records. Numbers that every packet or every new object changes are left out: counters, the
/// times of last use, sequence numbers, the numbers of interfaces, handles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    records: BTreeMap<String, usize>,
}

/// Lists everything with few processes, the sections apart by lines of their own. `ip -batch` would end after
/// the first list of `ip xfrm`.
const SCRIPT: &str = "set -e
ip -o xfrm state
ip -o xfrm policy
printf 'link\\naddr\\n' | ip -o -d -batch -
printf 'rule\\nroute show table all\\n' | ip -4 -o -batch -
echo '#6'
printf 'rule\\nroute show table all\\n' | ip -6 -o -batch -
echo '#nft'
exec nft -j -s list ruleset";

impl Listing {
    /// Everything that is listed now.
    pub(super) fn of(node: &Node<'_>) -> Result<Self, LabError> {
        let output = node.run(&["sh", "-c", SCRIPT])?.stdout;
        let (both, rest) = output.split_once("#6\n").unwrap_or_default();
        let (ipv6, ruleset) = rest.split_once("#nft\n").unwrap_or_default();
        let settings = node.enter(settings)?;
        let lines = both.lines().map(normal).chain(ipv6.lines().map(|line| format!("-6 {}", normal(line))));
        let mut listing = Self::default();
        for record in lines.chain(tables(ruleset)).chain(settings) {
            *listing.records.entry(record).or_default() += 1;
        }
        Ok(listing)
    }

    /// The records here that `other` has not.
    pub(super) fn beyond(&self, other: &Self) -> Vec<&str> {
        let more = |(record, count): &(&String, &usize)| {
            **count > other.records.get(*record).copied().unwrap_or_default()
        };
        self.records.iter().filter(more).map(|(record, _)| record.as_str()).collect()
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records.values().sum()
    }

    /// What is missing or too much here against `expected`; empty when they are the same.
    pub(super) fn difference(&self, expected: &Self) -> String {
        let missing = expected.beyond(self).into_iter().map(|record| format!("missing: {record}"));
        let extra = self.beyond(expected).into_iter().map(|record| format!("found besides: {record}"));
        missing.chain(extra).collect::<Vec<_>>().join("\n")
    }
}

/// A record of `ip -o` without what changes by itself.
fn normal(line: &str) -> String {
    let line = match line.split_once(": ") {
        // An interface or address begins with the interface's number; a rule has a tabulator there.
        Some((number, rest)) if number.parse::<u32>().is_ok() => rest,
        _ => line,
    };
    let bitmap = |part: &str| {
        let word = |word: &str| word.len() == 8 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
        !part.is_empty() && part.split(' ').all(word)
    };
    let changing = |part: &&str| {
        let part = part.trim();
        let starts = ["seq-hi ", "lastused ", "anti-replay context: "];
        !starts.iter().any(|start| part.starts_with(start)) && !bitmap(part)
    };
    line.split('\\').filter(changing).map(str::trim_end).collect::<Vec<_>>().join("\\")
}

/// A record per object of nftables, with its position in its table and without its handle.
fn tables(ruleset: &str) -> Vec<String> {
    let ruleset: Value = serde_json::from_str(ruleset).unwrap_or_default();
    let mut lengths: BTreeMap<String, usize> = BTreeMap::new();
    let mut records = Vec::new();
    for object in ruleset["nftables"].as_array().into_iter().flatten() {
        let Some((kind, fields)) = object.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        if kind != "metainfo" {
            let name = if kind == "table" { &fields["name"] } else { &fields["table"] };
            let table = format!("nft {} {name}", fields["family"]);
            let position = lengths.entry(table.clone()).or_default();
            *position += 1;
            let mut fields = fields.clone();
            fields["handle"].take();
            records.push(format!("{table} {position} {kind} {fields}"));
        }
    }
    records
}

/// The settings of interfaces that we ever touch, of all interfaces there are.
fn settings() -> Vec<String> {
    let folder = "/proc/sys/net/ipv4/conf";
    let links = fs::read_dir(folder).into_iter().flatten().flatten();
    links
        .flat_map(|link| {
            let link = link.file_name().to_string_lossy().into_owned();
            ["forwarding", "rp_filter", "send_redirects"].map(|setting| {
                let path = format!("{folder}/{link}/{setting}");
                let value = fs::read_to_string(&path).unwrap_or_else(|error| error.to_string());
                format!("{path} = {}", value.trim())
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_packets_change_is_left_out_and_nothing_else() {
        let sa = "src 10.0.0.1 dst 10.0.0.2\\\tproto esp spi 0x00001000 reqid 1 mode tunnel\\\tlastused 2026-01-01\
                  \\\tanti-replay esn context:\\\t seq-hi 0x0, seq 0x7\\\t replay_window 64\\\t 0000000f 00000000 \
                  \\\tif_id 0x1";
        let expected = "src 10.0.0.1 dst 10.0.0.2\\\tproto esp spi 0x00001000 reqid 1 mode tunnel\
                        \\\tanti-replay esn context:\\\t replay_window 64\\\tif_id 0x1";
        assert_eq!(normal(sa), expected);
        assert_eq!(normal("12: ippc1@NONE: <NOARP,UP>"), "ippc1@NONE: <NOARP,UP>");
        assert_eq!(normal("4950:\tfrom all lookup 254"), "4950:\tfrom all lookup 254");
    }

    #[test]
    fn tables_are_told_apart_by_all_but_handles() {
        let list = |handle: u32, chain: &str| {
            tables(&format!(
                "{{\"nftables\": [{{\"metainfo\": {{}}}}, {{\"table\": {{\"family\": \"inet\", \"name\": \"a\", \
                 \"handle\": {handle}}}}}, {{\"chain\": {{\"family\": \"inet\", \"table\": \"a\", \
                 \"name\": \"{chain}\"}}}}]}}"
            ))
        };
        assert_eq!(list(1, "in").len(), 2);
        assert_eq!(list(1, "in"), list(2, "in"));
        assert_ne!(list(1, "in"), list(1, "out"));
    }
}
