//! What kind of file a text is.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;

use crate::form;

/// The kinds of files that people write for ippriv.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Static keys, for labs: what `config` reads.
    Static,
    /// A [`Policy`](super::Policy).
    Policy,
    /// A [`CipherPolicy`](super::CipherPolicy).
    Ciphers,
    /// A [network document](crate::network).
    Network,
}

/// Keys that only one kind has, and what a file with one of them is.
const TELLING: [(&[&str], FileKind); 4] = [
    (&["lab"], FileKind::Static),
    (&["serial", "valid_from", "valid_until", "operators", "relays", "signatures"], FileKind::Network),
    (&["esp", "ike", "key_exchange", "post_quantum"], FileKind::Ciphers),
    (
        &[
            "network",
            "trust",
            "control",
            "log",
            "runtime_directory",
            "state_directory",
            "fragment_size",
            "ciphers",
        ],
        FileKind::Policy,
    ),
];

impl FileKind {
    /// The kind that the keys at the top tell; static keys when they tell nothing or there are none, so that
    /// nothing with keys is taken for something harmless.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let keys: BTreeSet<String> = match form::read::<BTreeMap<String, IgnoredAny>>(text) {
            Ok(keys) => keys.into_keys().collect(),
            // What is wrong with it the reader of its kind says better.
            Err(_) => {
                text.lines().filter_map(|line| line.split_once(':')).map(|(key, _)| key.to_owned()).collect()
            }
        };
        let has = |names: &&(&[&str], Self)| names.0.iter().any(|name| keys.contains(*name));
        TELLING.iter().find(has).map_or(Self::Static, |(_, kind)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_at_the_top_tells_the_kind() {
        for (text, kind) in [
            ("lab: true\nclient: {}\n", FileKind::Static),
            ("client: {}\n", FileKind::Static),
            ("", FileKind::Static),
            ("a: [", FileKind::Static),
            ("network: testnet\nserial: 1\n", FileKind::Network),
            ("network: /etc/ippriv/network.yaml\nclient: {}\n", FileKind::Policy),
            ("client: {}\nlog: { level: debug }\n", FileKind::Policy),
            ("esp: [aes-gcm-128]\n", FileKind::Ciphers),
            ("network: testnet\nserial: 1\nserial: 1\n", FileKind::Network),
            ("client: {\n  esp: 1\n", FileKind::Static),
        ] {
            assert_eq!(FileKind::of(text), kind, "{text}");
        }
    }
}
