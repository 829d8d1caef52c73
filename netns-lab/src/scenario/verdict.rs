//! Verdicts: what was expected, whether it was so, and what was seen.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::interop::Place;

/// One thing that had to be so.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Verdict {
    /// What had to be so.
    pub name: String,
    /// Whether it was.
    pub pass: bool,
    /// What was seen.
    pub evidence: String,
    /// What it says something of in the matrix of other people's daemons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<Place>,
}

/// Verdicts in the making.
#[derive(Debug, Default)]
pub struct Verdicts {
    context: String,
    list: Vec<Verdict>,
}

impl Verdicts {
    /// Puts `context` before the names of what follows.
    pub fn context(&mut self, context: impl Into<String>) {
        self.context = context.into();
    }

    /// Adds a verdict.
    pub fn check(&mut self, name: impl Display, pass: bool, evidence: impl Display) {
        let name =
            if self.context.is_empty() { name.to_string() } else { format!("{}: {name}", self.context) };
        self.list.push(Verdict { name, pass, evidence: evidence.to_string(), cells: Vec::new() });
    }

    /// Adds a verdict that says something of cells of the matrix of other people's daemons.
    pub fn check_cells(
        &mut self,
        cells: impl IntoIterator<Item = Place>,
        name: impl Display,
        pass: bool,
        evidence: impl Display,
    ) {
        self.check(name, pass, evidence);
        if let Some(verdict) = self.list.last_mut() {
            verdict.cells.extend(cells);
        }
    }

    /// Adds a verdict that two values are equal.
    pub fn equal<T: PartialEq + std::fmt::Debug>(&mut self, name: impl Display, found: &T, expected: &T) {
        let evidence = if found == expected {
            format!("{found:?}")
        } else {
            format!("found {found:?}, expected {expected:?}")
        };
        self.check(name, found == expected, evidence);
    }

    /// How many were not as they had to be, so far.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.list.iter().filter(|verdict| !verdict.pass).count()
    }

    /// The verdicts in order.
    #[must_use]
    pub fn into_list(self) -> Vec<Verdict> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_shown_beside_the_right_one() {
        let mut verdicts = Verdicts::default();
        verdicts.context("3 hops");
        verdicts.equal("answers", &2, &3);
        let list = verdicts.into_list();
        assert_eq!(list[0].name, "3 hops: answers");
        assert!(!list[0].pass);
        assert_eq!(list[0].evidence, "found 2, expected 3");
    }
}
