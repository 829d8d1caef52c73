//! Whom the user believes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Ed25519Key, Name};

/// Whose signatures a network document needs: at least `threshold` of these operators.
///
/// It comes from the user's policy, never from a document: a document cannot say whom to believe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Form")]
pub struct Trust {
    operators: BTreeMap<Name, Ed25519Key>,
    threshold: usize,
}

/// Why operators and a threshold make no trust.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTrust {
    /// A threshold that nothing or everything would meet.
    #[error("threshold {threshold} of {operators} operators: expected 1 to {operators}")]
    Threshold {
        /// The threshold.
        threshold: usize,
        /// How many operators there are.
        operators: usize,
    },
    /// Nobody to believe.
    #[error("no operators: expected at least one")]
    Nobody,
    /// One key under two names, whose owner would count twice.
    #[error("operator {name}: key of another operator: expected each key once")]
    SameKey {
        /// The operator whose key another one has too.
        name: Name,
    },
}

impl Trust {
    /// Believes what `threshold` of the operators signed.
    ///
    /// # Errors
    /// [`BadTrust`] when the threshold is none or out of reach, or a key is there twice.
    pub fn new(operators: BTreeMap<Name, Ed25519Key>, threshold: usize) -> Result<Self, BadTrust> {
        let mut keys = BTreeSet::new();
        if let Some((name, _)) = operators.iter().find(|(_, key)| !keys.insert(**key)) {
            return Err(BadTrust::SameKey { name: name.clone() });
        }
        match operators.len() {
            0 => Err(BadTrust::Nobody),
            known if (1..=known).contains(&threshold) => Ok(Self { operators, threshold }),
            known => Err(BadTrust::Threshold { threshold, operators: known }),
        }
    }

    /// The operators and their keys.
    #[must_use]
    pub const fn operators(&self) -> &BTreeMap<Name, Ed25519Key> {
        &self.operators
    }

    /// How many of them have to sign.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    operators: BTreeMap<Name, Ed25519Key>,
    threshold: usize,
}

impl TryFrom<Form> for Trust {
    type Error = BadTrust;

    fn try_from(form: Form) -> Result<Self, BadTrust> {
        Self::new(form.operators, form.threshold)
    }
}
