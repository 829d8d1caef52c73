//! The reference page has every field that the types have, and no other.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use ippriv::network::Trust;
use ippriv::policy::{
    CipherPolicy, Circuit, Client, Control, Exit, Lifetimes, Limits, Log, Overlay, Policy, Relay, Timeouts,
};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

/// A reader that has nothing to read and ends with the fields that it was asked for.
struct Asked;

#[derive(Debug)]
struct Fields(&'static [&'static str]);

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Fields {}

impl de::Error for Fields {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Asked {
    type Error = Fields;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fields> {
        Err(Fields(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fields> {
        Err(Fields(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: Deserialize<'static> + fmt::Debug>() -> BTreeSet<&'static str> {
    let Fields(fields) = T::deserialize(Asked).unwrap_err();
    assert!(!fields.is_empty());
    fields.iter().copied().collect()
}

/// The names in the first column of the table below a heading.
fn documented<'a>(page: &'a str, heading: &str) -> BTreeSet<&'a str> {
    let (_, rest) =
        page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = rest.split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('|'));
    // Several fields may share a row.
    let names = cells.flat_map(|(cell, _)| cell.split(',').map(|name| name.trim().trim_matches('`')));
    names.collect()
}

#[test]
fn the_reference_has_every_field_and_no_other() {
    let page = fs::read_to_string(super::root().join("docs/policy-reference.md")).unwrap();
    let sections = [
        ("Top", fields::<Policy>()),
        ("`trust`", fields::<Trust>()),
        ("`control`", fields::<Control>()),
        ("`log`", fields::<Log>()),
        ("`ciphers`", fields::<CipherPolicy>()),
        ("`relay`", fields::<Relay>()),
        ("`relay.exit`", fields::<Exit>()),
        ("`relay.limits`", fields::<Limits>()),
        ("`relay.overlay`", fields::<Overlay>()),
        ("`lifetimes`", fields::<Lifetimes>()),
        ("`client`", fields::<Client>()),
        ("`client.circuits`", fields::<Circuit>()),
        ("`client.circuits.options`", ["advmss", "congestion_control", "initcwnd"].into()),
        ("`client.timeouts`", fields::<Timeouts>()),
    ];
    for (heading, expected) in &sections {
        assert_eq!(documented(&page, heading), *expected, "{heading}");
    }
    let headings: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let known = sections.iter().map(|(heading, _)| *heading).collect();
    assert_eq!(headings, known);
}

/// The two sections that the types do not show: unknown fields say which are known.
#[test]
fn the_sections_without_a_type_have_these_fields() {
    let least = super::read("roles/least.yaml");
    for (text, expected) in [
        (least.replace("exit: {}", "exit: { x: 1 }"), "expected one of reject, tcp_ports, udp_ports, dns"),
        (least.clone() + "      options: { x: 1 }\n", "expected one of advmss, initcwnd, congestion_control"),
    ] {
        let error = Policy::parse(&text).unwrap_err().to_string();
        assert!(error.contains("unknown field `x`") && error.ends_with(expected), "{error}");
    }
}
