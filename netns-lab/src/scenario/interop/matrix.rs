//! Which of other people's daemons were seen to do what, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ippriv::network::Software;
use serde::Serialize;

use super::cells::{Place, Role, What};
use crate::scenario::Verdict;

/// What is known of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What the verdicts say together.
    pub state: State,
    /// The scenarios that tried it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub scenarios: BTreeSet<&'static str>,
    /// Why it cannot be, or need not be tried; the verdict that says that it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether it works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has tried.
    #[default]
    Untried,
    /// All who tried say so.
    Pass,
    /// Somebody says it does not.
    Fail,
    /// It was tried, and refused for the reason that was known.
    Cannot,
    /// There is nothing to try.
    Moot,
}

/// All cells. Serialized as rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Matrix {
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    daemon: Software,
    role: Role,
    cells: BTreeMap<What, Cell>,
}

impl Matrix {
    /// The matrix of these results: scenarios by name, with their verdicts.
    #[must_use]
    pub fn new<'a>(results: impl IntoIterator<Item = (&'static str, &'a [Verdict])>) -> Self {
        let mut seen: BTreeMap<Place, Cell> = BTreeMap::new();
        for (scenario, verdicts) in results {
            for (verdict, place) in
                verdicts.iter().flat_map(|verdict| verdict.cells.iter().map(move |place| (verdict, *place)))
            {
                let cell = seen.entry(place).or_default();
                cell.scenarios.insert(scenario);
                cell.add(place, verdict);
            }
        }
        let mut rows: Vec<Row> = Vec::new();
        for place in Place::all() {
            let Place { daemon, role, what } = place;
            let cell = seen.remove(&place).unwrap_or_else(|| Cell::untried(place));
            match rows.last_mut().filter(|row| (row.daemon, row.role) == (daemon, role)) {
                Some(row) => {
                    row.cells.insert(what, cell);
                }
                None => rows.push(Row { daemon, role, cells: [(what, cell)].into() }),
            }
        }
        Self { rows }
    }

    /// Cells that ought to have been tried and were not.
    #[must_use]
    pub fn untried(&self) -> usize {
        self.cells().filter(|cell| cell.state == State::Untried).count()
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.rows.iter().flat_map(|row| row.cells.values())
    }
}

impl Cell {
    fn untried(place: Place) -> Self {
        match place.moot() {
            Some(reason) => Self { state: State::Moot, reason: Some(reason.to_owned()), ..Self::default() },
            None => Self::default(),
        }
    }

    fn add(&mut self, place: Place, verdict: &Verdict) {
        match (self.state, verdict.pass, place.impossible()) {
            (State::Fail, _, _) => {}
            (_, false, _) => {
                self.state = State::Fail;
                self.reason = Some(format!("{}: {}", verdict.name, verdict.evidence));
            }
            (_, true, Some(reason)) => {
                self.state = State::Cannot;
                self.reason = Some(format!("{reason} ({})", verdict.evidence));
            }
            (_, true, None) => self.state = State::Pass,
        }
    }
}

/// Columns of a row's name, and of a cell.
const NAME: usize = 21;
const CELL: usize = 7;

impl fmt::Display for Matrix {
    /// A table for people, with notes below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in 0..2 {
            write!(f, "{:NAME$}", "")?;
            for what in What::ALL {
                write!(f, "{:<CELL$}", what.heading()[line])?;
            }
            writeln!(f)?;
        }
        let mut notes: Vec<&str> = Vec::new();
        for row in &self.rows {
            write!(f, "{:<NAME$}", format!("{} {}", row.daemon, row.role.name()))?;
            for cell in row.cells.values() {
                let reason = cell.reason.as_deref().unwrap_or_default();
                let note = || notes.iter().position(|note| *note == reason).map_or(notes.len(), |at| at) + 1;
                let word = match cell.state {
                    State::Untried => "?".to_owned(),
                    State::Pass => "pass".to_owned(),
                    State::Moot => "-".to_owned(),
                    State::Fail => format!("FAIL {}", note()),
                    State::Cannot => format!("no {}", note()),
                };
                if matches!(cell.state, State::Fail | State::Cannot) && !notes.contains(&reason) {
                    notes.push(reason);
                }
                write!(f, "{word:<CELL$}")?;
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "us: our client or relay does it; them: the other daemon; -: nothing to try; ?: not tried"
        )?;
        for (number, note) in (1..).zip(notes) {
            writeln!(f, "{number}: {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(pass: bool, cells: &[Place]) -> Verdict {
        Verdict { name: "it".into(), pass, evidence: "seen".into(), cells: cells.to_vec() }
    }

    fn cell(matrix: &Matrix, place: Place) -> &Cell {
        let row = matrix.rows.iter().find(|row| (row.daemon, row.role) == (place.daemon, place.role));
        &row.unwrap().cells[&place.what]
    }

    #[test]
    fn one_failure_is_enough_and_untried_is_no_success() {
        let opens = Place::new(Software::Strongswan, Role::Entry, What::Opens);
        let traffic = Place::new(Software::Strongswan, Role::Entry, What::Traffic);
        let cookie = Place::new(Software::Strongswan, Role::Entry, What::CookieByUs);
        let ipv6 = Place::new(Software::Libreswan, Role::Exit, What::Ipv6);
        let first = [verdict(true, &[opens, traffic, ipv6])];
        let second = [verdict(false, &[opens]), verdict(true, &[opens])];
        let matrix = Matrix::new([("a", &first[..]), ("b", &second[..])]);
        let failed = cell(&matrix, opens);
        assert_eq!((failed.state, failed.reason.as_deref()), (State::Fail, Some("it: seen")));
        assert_eq!(failed.scenarios, ["a", "b"].into());
        assert_eq!(cell(&matrix, traffic).state, State::Pass);
        assert_eq!(cell(&matrix, cookie).state, State::Moot);
        assert_eq!(cell(&matrix, ipv6).state, State::Cannot);
        let moot = Place::all().filter(|place| place.moot().is_some()).count();
        assert_eq!(matrix.untried(), Place::all().count() - moot - 3);
        let text = matrix.to_string();
        assert!(text.contains("FAIL 1") && text.contains("1: it: seen"), "{text}");
        assert!(text.contains("no 2") && text.contains("2: libreswan gives"), "{text}");
        assert!(
            text.lines().all(|line| line.starts_with("1: ") || line.starts_with("2: ") || line.len() < 142)
        );
    }
}
