//! Which of other people's daemons were seen to work where.

use std::collections::BTreeMap;
use std::fmt;

use ippriv::network::Software;
use serde::Serialize;

/// Where somebody else's daemon is in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// The first relay of a telescope.
    Entry,
    /// A relay between.
    Middle,
    /// The last relay of a telescope.
    Exit,
    /// The other end of a relay's overlay tunnel.
    Neighbour,
    /// The client.
    Client,
}

/// Whose the other programs in that network are: the client's, or for a client or neighbour the relay's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Beside {
    /// Ours: `ipprivd`.
    Ours,
    /// Other people's, so that only our export is tried.
    Stock,
}

/// A cell of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Beside whose programs.
    pub beside: Beside,
    /// Where.
    pub position: Position,
    /// The daemon there.
    pub software: Software,
}

/// What is known of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What the scenarios say together.
    pub state: State,
    /// The scenarios that tried it.
    pub scenarios: Vec<&'static str>,
    /// Why it cannot work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

/// Whether it works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has tried.
    #[default]
    Untried,
    /// All who tried say so.
    Works,
    /// Somebody says it does not.
    Fails,
    /// It cannot, whoever tries.
    Impossible,
}

/// All cells. Serialized as rows, each with a cell for either daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Matrix {
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    position: Position,
    beside: Beside,
    strongswan: Cell,
    libreswan: Cell,
}

/// What need not be tried.
const IMPOSSIBLE: &[(Place, &str)] = &[(
    Place::ours(Position::Client, Software::Libreswan),
    "our relays prove themselves with Ed25519 keys, which libreswan up to 5.2 cannot check",
)];

const POSITIONS: [Position; 5] =
    [Position::Entry, Position::Middle, Position::Exit, Position::Neighbour, Position::Client];

impl Place {
    /// A daemon in networks with our own programs.
    #[must_use]
    pub const fn ours(position: Position, software: Software) -> Self {
        Self { beside: Beside::Ours, position, software }
    }

    /// A daemon in networks without them.
    #[must_use]
    pub const fn stock(position: Position, software: Software) -> Self {
        Self { beside: Beside::Stock, position, software }
    }
}

impl Matrix {
    /// The matrix of these results: scenarios by name, and whether all was right in them.
    #[must_use]
    pub fn new(covers: &[(&'static str, &[Place])], passed: &BTreeMap<&str, bool>) -> Self {
        let mut cells: BTreeMap<Place, Cell> = BTreeMap::new();
        for (place, why) in IMPOSSIBLE {
            let cell = Cell { state: State::Impossible, scenarios: Vec::new(), why: Some(why) };
            cells.insert(*place, cell);
        }
        for (scenario, places) in covers {
            let Some(pass) = passed.get(scenario) else { continue };
            for place in *places {
                let cell = cells.entry(*place).or_default();
                cell.scenarios.push(scenario);
                cell.state = if *pass && cell.state != State::Fails { State::Works } else { State::Fails };
            }
        }
        let mut rows = Vec::new();
        for beside in [Beside::Ours, Beside::Stock] {
            for position in POSITIONS {
                let cell = |software| {
                    let place = Place { beside, position, software };
                    cells.get(&place).cloned().unwrap_or_default()
                };
                let (strongswan, libreswan) = (cell(Software::Strongswan), cell(Software::Libreswan));
                rows.push(Row { position, beside, strongswan, libreswan });
            }
        }
        Self { rows }
    }
}

impl fmt::Display for Matrix {
    /// A table for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<10} {:<7} {:<10} libreswan", "position", "beside", "strongswan")?;
        for row in &self.rows {
            let words = [format!("{:?}", row.position), format!("{:?}", row.beside)];
            let [position, beside] = words.map(|word| word.to_lowercase());
            let (strongswan, libreswan) = (row.strongswan.state.word(), row.libreswan.state.word());
            writeln!(f, "{position:<10} {beside:<7} {strongswan:<10} {libreswan}")?;
        }
        Ok(())
    }
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Untried => "untried",
            Self::Works => "works",
            Self::Fails => "fails",
            Self::Impossible => "impossible",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_enough_and_untried_is_no_success() {
        let entry = Place::ours(Position::Entry, Software::Strongswan);
        let exit = Place::stock(Position::Exit, Software::Libreswan);
        let covers: [(&str, &[Place]); 3] = [("a", &[entry, exit]), ("b", &[entry]), ("c", &[exit])];
        let passed = BTreeMap::from([("a", true), ("b", false)]);
        let matrix = Matrix::new(&covers, &passed);
        let row = |beside, position| {
            matrix.rows.iter().find(|row| (row.beside, row.position) == (beside, position)).unwrap()
        };
        let failed = &row(Beside::Ours, Position::Entry).strongswan;
        assert_eq!((failed.state, failed.scenarios.as_slice()), (State::Fails, &["a", "b"][..]));
        assert_eq!(row(Beside::Stock, Position::Exit).libreswan.state, State::Works);
        assert_eq!(row(Beside::Ours, Position::Middle).libreswan.state, State::Untried);
        assert_eq!(matrix.to_string().lines().count(), 11);
    }
}
