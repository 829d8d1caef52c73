//! Other people's daemons: among themselves, and with ours.

mod baseline;
mod matrix;
mod telescope;
mod wire;

use std::collections::BTreeMap;

pub use matrix::{Beside, Cell, Matrix, Place, Position, State};

use super::Scenario;

pub(super) const ALL: &[Scenario] = baseline::ALL;

/// What each scenario shows when all is right in it.
const COVERS: &[(&str, &[Place])] = baseline::COVERS;

/// The matrix that these results make: scenarios by name, and whether all was right in them.
#[must_use]
pub fn matrix(passed: &BTreeMap<&str, bool>) -> Matrix {
    Matrix::new(COVERS, passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_in_the_matrix() {
        let scenarios: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        let covering: Vec<&str> = COVERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(scenarios, covering);
    }
}
