//! No relays: what the network itself can do.

use serde::{Deserialize, Serialize};

use super::{Outcome, Place, Running, Way};

/// Nothing can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

struct Direct(usize);

#[expect(clippy::unnecessary_wraps, reason = "as all drivers")]
pub(super) fn start<'net>(_: &Settings, place: Place<'net>) -> Outcome<Box<dyn Running + 'net>> {
    Ok(Box::new(Direct(place.circuits.len())))
}

impl Running for Direct {
    fn ways(&self) -> Vec<Way> {
        vec![Way::Plain; self.0]
    }
}
