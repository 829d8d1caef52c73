//! Reading our table back.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{HOOKS, IPV4, IPV6, comment};
use crate::state::{NftChain, NftHook, NftRule, NftSet, NftSetKind, NftTable};

/// The chain that stands for what we would never put into our table. No chain can have this name.
const ALTERED: &str = "# altered";

/// Text that is no listing of nft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON.
    #[error("nft -j list: expected JSON: {0}")]
    Json(String),
    /// It has another structure.
    #[error("nft -j list: expected {0}")]
    Structure(&'static str),
}

/// Reads the output of `nft -j list table inet ippriv` (`json`) and that of `nft -s -a list table inet
/// ippriv` (`text`).
///
/// Rules whose comment is that of a rule in `desired` come back with the text they have there, the others in
/// nft's words. Whatever we would never make (a map, a flag, a chain without a hook …) is listed in a chain
/// that equals none of ours.
///
/// # Errors
/// [`Unreadable`] when `json` is no listing.
pub fn parse(json: &str, text: &str, desired: Option<&NftTable>) -> Result<NftTable, Unreadable> {
    let listing: Value = serde_json::from_str(json).map_err(|error| Unreadable::Json(error.to_string()))?;
    let objects = listing.get("nftables").and_then(Value::as_array);
    let objects = objects.ok_or(Unreadable::Structure("an array called nftables"))?;
    let mut reading = Reading {
        texts: texts(text),
        known: desired.into_iter().flat_map(known).collect(),
        table: NftTable::default(),
        oddities: Vec::new(),
    };
    for object in objects.iter().filter_map(Value::as_object).flatten() {
        reading.object(object.0, object.1)?;
    }
    Ok(reading.finish())
}

/// The rules of `table` by comment.
fn known(table: &NftTable) -> impl Iterator<Item = (String, &str)> {
    table.chains.iter().flat_map(|chain| &chain.rules).map(|rule| (comment(&rule.0), rule.0.as_str()))
}

/// The rules of a textual listing by handle, without comments.
fn texts(listing: &str) -> BTreeMap<u64, &str> {
    listing.lines().filter_map(rule_line).collect()
}

/// A line such as `ip saddr @pool drop comment "…" # handle 4`.
fn rule_line(line: &str) -> Option<(u64, &str)> {
    let (text, handle) = line.trim().rsplit_once(" # handle ")?;
    if text.ends_with('{') {
        return None;
    }
    let text = text.rsplit_once(" comment \"").map_or(text, |(text, _)| text);
    Some((handle.parse().ok()?, text))
}

struct Reading<'a> {
    texts: BTreeMap<u64, &'a str>,
    known: BTreeMap<String, &'a str>,
    table: NftTable,
    oddities: Vec<String>,
}

impl Reading<'_> {
    fn object(&mut self, kind: &str, value: &Value) -> Result<(), Unreadable> {
        let fields = value.as_object().ok_or(Unreadable::Structure("objects in nftables"))?;
        match kind {
            "metainfo" => {}
            "table" => {
                if fields.contains_key("flags") {
                    self.oddities.push(format!("table {value}"));
                }
            }
            "set" => match set(fields) {
                Some(set) => self.table.sets.push(set),
                None => self.oddities.push(format!("set {value}")),
            },
            "chain" => match chain(fields) {
                Some(chain) => self.table.chains.push(chain),
                None => self.oddities.push(format!("chain {value}")),
            },
            "rule" => self.rule(fields),
            _ => self.oddities.push(format!("{kind} {value}")),
        }
        Ok(())
    }

    fn rule(&mut self, fields: &Map<String, Value>) {
        let known = word(fields, "comment").and_then(|comment| self.known.get(comment));
        let listed = || self.texts.get(&fields.get("handle")?.as_u64()?);
        let text = known.or_else(listed).copied();
        let chain = word(fields, "chain")
            .and_then(|name| self.table.chains.iter_mut().find(|chain| chain.name == name));
        match (chain, text) {
            (Some(chain), Some(text)) => chain.rules.push(NftRule(text.to_owned())),
            _ => self.oddities.push(format!("rule {}", Value::Object(fields.clone()))),
        }
    }

    fn finish(mut self) -> NftTable {
        if !self.oddities.is_empty() {
            let rules = self.oddities.into_iter().map(NftRule).collect();
            self.table.chains.push(NftChain { name: ALTERED.into(), hook: NftHook::Input, rules });
        }
        self.table
    }
}

fn word<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str()
}

/// Whether there are no fields but these and those that every object has.
fn only(fields: &Map<String, Value>, expected: &[&str]) -> bool {
    let common = ["family", "table", "name", "handle"];
    fields.keys().all(|key| common.contains(&key.as_str()) || expected.contains(&key.as_str()))
}

fn chain(fields: &Map<String, Value>) -> Option<NftChain> {
    let words = HOOKS.iter().find(|words| {
        word(fields, "type") == Some(words.kind)
            && word(fields, "hook") == Some(words.place)
            && fields.get("prio").and_then(Value::as_i64) == Some(words.number)
    })?;
    let usual = only(fields, &["type", "hook", "prio", "policy"]) && word(fields, "policy") == Some("accept");
    let name = word(fields, "name")?.to_owned();
    usual.then_some(NftChain { name, hook: words.hook, rules: Vec::new() })
}

fn set(fields: &Map<String, Value>) -> Option<NftSet> {
    let name = word(fields, "name")?.to_owned();
    let kind = match (word(fields, "type")?, fields.get("flags")) {
        (IPV4, None) => NftSetKind::Ipv4(addresses(fields)?),
        (IPV6, None) => NftSetKind::Ipv6(addresses(fields)?),
        // A single flag is an array of one in nft 1.0 and a word in later versions.
        (IPV4 | IPV6, Some(flags)) if flags == "interval" || *flags == Value::from(vec!["interval"]) => {
            let mut prefixes: Vec<_> = elements(fields).iter().map(prefix).collect::<Option<_>>()?;
            prefixes.sort_unstable();
            NftSetKind::Prefixes(prefixes)
        }
        _ => return None,
    };
    only(fields, &["type", "flags", "elem"]).then_some(NftSet { name, kind })
}

fn elements(fields: &Map<String, Value>) -> &[Value] {
    fields.get("elem").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
}

fn addresses<A: FromStr + Ord>(fields: &Map<String, Value>) -> Option<BTreeSet<A>> {
    elements(fields).iter().map(|element| element.as_str()?.parse().ok()).collect()
}

/// An element: a prefix, or an address alone.
fn prefix(element: &Value) -> Option<IpNet> {
    if let Some(address) = element.as_str() {
        return Some(IpNet::from(address.parse::<std::net::IpAddr>().ok()?));
    }
    let prefix = element.get("prefix")?;
    let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
    IpNet::new(prefix.get("addr")?.as_str()?.parse().ok()?, length).ok()
}
