//! Giving up what the daemon does not need.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What the daemon needs: the kernel's tables and sockets, and ports below 1024. Programs that it runs (nft)
/// get no more either.
pub const NEEDED: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_BIND_SERVICE);

/// `CAP_LAST_CAP` is at most this for as long as the sets have 64 bits.
const NUMBERS: u32 = 64;

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// A capability that is needed is missing.
    #[error("missing {}: expected to run as root, or from the systemd unit", names(*.0))]
    Missing(CapabilitySet),
    /// The system refused.
    #[error("cannot give up {what}: {error}")]
    Refused {
        /// What.
        what: &'static str,
        /// What it says.
        error: io::Error,
    },
}

/// Gives up everything but [`NEEDED`], for good, here and in every program run from here. No key can be read
/// out of this process by others of its user, nor be in a core file.
///
/// Has to come before the first thread: each has privileges of its own.
///
/// # Errors
/// [`PrivilegeError`] when something needed is missing or cannot be given up.
pub fn give_up() -> Result<(), PrivilegeError> {
    let refused =
        |what| move |errno: rustix::io::Errno| PrivilegeError::Refused { what, error: errno.into() };
    let held = capabilities(None).map_err(refused("capabilities"))?;
    let missing = NEEDED.difference(held.permitted);
    if !missing.is_empty() {
        return Err(PrivilegeError::Missing(missing));
    }
    set_no_new_privs(true).map_err(refused("new privileges of programs"))?;
    // A program run by root gets what the bounding set has. Without this capability only who started us
    // could have made that smaller; the unit does.
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for bit in (0..NUMBERS).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
            if !NEEDED.contains(bit) && capability_is_in_bounding_set(bit).unwrap_or(false) {
                remove_capability_from_bounding_set(bit).map_err(refused("the bounding set"))?;
            }
        }
    }
    let kept = CapabilitySets { effective: NEEDED, permitted: NEEDED, inheritable: CapabilitySet::empty() };
    set_capabilities(None, kept).map_err(refused("capabilities"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused("core files"))
}

fn names(set: CapabilitySet) -> String {
    let names = set.iter_names().map(|(name, _)| format!("CAP_{name}"));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_by_name() {
        let text = PrivilegeError::Missing(NEEDED).to_string();
        assert!(text.starts_with("missing CAP_NET_BIND_SERVICE, CAP_NET_ADMIN: expected"), "{text}");
    }

    #[test]
    fn the_unit_leaves_what_is_needed_and_no_more() {
        let unit = include_str!("../dist/ipprivd.service");
        let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
        let mut left: Vec<_> = line.split(' ').collect();
        let needed = names(NEEDED);
        let mut needed: Vec<_> = needed.split(", ").collect();
        left.sort_unstable();
        needed.sort_unstable();
        assert_eq!(left, needed);
    }
}
