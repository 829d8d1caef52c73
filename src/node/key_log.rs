//! The log of keys, for looking at what went over a wire: only for labs, and only from the command line.

use std::collections::BTreeSet;
use std::fmt;

use zeroize::Zeroizing;

use super::{Node, Output};
use crate::ike::{ChildKeys, SaHandle};

/// A table of Wireshark's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTable {
    /// `ikev2_decryption_table`.
    Ike,
    /// `esp_sa`.
    Esp,
}

/// A line of such a table: whoever has it reads everything under its keys.
pub struct KeyLine {
    /// The table it belongs to.
    pub table: KeyTable,
    /// The line, without its end.
    pub line: Zeroizing<String>,
}

impl fmt::Debug for KeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLine").field("table", &self.table).finish_non_exhaustive()
    }
}

/// What is logged and where to.
#[derive(Debug)]
pub(super) struct KeyLog {
    /// The shell's name of the place, for people.
    place: String,
    /// The IKE SAs that are in it, by their SPIs: the first 33 characters of their lines.
    logged: BTreeSet<String>,
}

impl KeyLog {
    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

impl Node {
    /// From now on every key comes out as [`Output::KeyLog`] as well, for `place`, which [`status`] shows. There
    /// is no command for it on purpose: who may ask the daemon still may not read its traffic.
    ///
    /// [`status`]: crate::control::Command::Status
    pub fn danger_log_keys(&mut self, place: String) {
        self.key_log = Some(KeyLog { place, logged: BTreeSet::new() });
        let handles: Vec<_> = self.purposes.keys().copied().collect();
        for sa in handles {
            self.log_ike_keys(sa);
            let children: Vec<_> = self.ike.children(sa).collect();
            children.iter().for_each(|keys| self.log_child_keys(keys));
        }
    }

    /// The keys of an IKE SA that are new.
    pub(super) fn log_ike_keys(&mut self, sa: SaHandle) {
        let Some(log) = &mut self.key_log else { return };
        let Some(line) = self.ike.danger_key_log(sa) else { return };
        if log.logged.insert(line.chars().take(33).collect()) {
            self.queue.push_back(Output::KeyLog(KeyLine { table: KeyTable::Ike, line }));
        }
    }

    /// The keys of a child SA.
    pub(super) fn log_child_keys(&mut self, keys: &ChildKeys) {
        if self.key_log.is_some() {
            let lines = keys.danger_key_log().into_iter();
            self.queue.extend(lines.map(|line| Output::KeyLog(KeyLine { table: KeyTable::Esp, line })));
        }
    }
}
