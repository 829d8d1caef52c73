//! What the kernel counts of the interfaces in a namespace.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::NetError;

/// The table of the namespace that a thread is in.
const TABLE: &str = "/proc/thread-self/net/dev";

/// What one interface counted since it was made, both directions apart where they are of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Octets received.
    pub received: u64,
    /// Octets sent.
    pub sent: u64,
    /// Packets dropped, received and sent.
    pub dropped: u64,
}

/// Those of this thread's namespace, by interface.
pub(super) fn read() -> Result<BTreeMap<String, Counted>, NetError> {
    let table =
        fs::read_to_string(TABLE).map_err(|source| NetError::File { path: PathBuf::from(TABLE), source })?;
    Ok(parse(&table))
}

/// Reads the kernel's table (`net/core/net-procfs.c`): eight columns of what came, then eight of what went.
fn parse(table: &str) -> BTreeMap<String, Counted> {
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [received, _, _, came_dropped, _, _, _, _, sent, _, _, went_dropped, ..] = numbers[..] else {
            return None;
        };
        Some((name.trim().to_owned(), Counted { received, sent, dropped: came_dropped + went_dropped }))
    };
    table.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  hub: 4711 40 0 2 0 0 0 0 815 9 0 5 0 0 0 0
";
        let found = parse(table);
        assert_eq!(found.len(), 2);
        assert_eq!(found["hub"], Counted { received: 4711, sent: 815, dropped: 7 });
    }
}
