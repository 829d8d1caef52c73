//! Other people's daemons: among themselves, and with ours.

mod baseline;
mod hosts;
mod matrix;
mod ours;
mod telescope;
mod wire;

use std::collections::BTreeMap;

pub use matrix::{Beside, Cell, Matrix, Place, Position, State};

use super::Scenario;

/// All of them.
pub(super) const ALL: &[&[Scenario]] = &[baseline::ALL, ours::ALL];

/// What each scenario shows when all is right in it.
const COVERS: &[&[(&str, &[Place])]] = &[baseline::COVERS, ours::COVERS];

/// The matrix that these results make: scenarios by name, and whether all was right in them.
#[must_use]
pub fn matrix(passed: &BTreeMap<&str, bool>) -> Matrix {
    Matrix::new(&COVERS.concat(), passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_in_the_matrix() {
        let scenarios: Vec<&str> = ALL.iter().copied().flatten().map(|scenario| scenario.name).collect();
        let covering: Vec<&str> = COVERS.iter().copied().flatten().map(|(name, _)| *name).collect();
        assert_eq!(scenarios, covering);
    }
}
