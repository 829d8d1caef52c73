//! Counters that the kernel keeps of what systems made in it, for [`Running::counters`](super::Running::counters).

use std::collections::BTreeMap;
use std::fs;

use super::Outcome;
use crate::net::Net;

/// The interface that every namespace has.
const LOOPBACK: &str = "lo";

/// Of all nodes together, since they were made: octets that came out of the system's own devices
/// (`device_octets`), packets that those dropped (`device_dropped`).
pub(super) fn of_devices(net: &Net) -> Outcome<BTreeMap<String, f64>> {
    let (mut octets, mut dropped) = (0.0, 0.0);
    for node in net.nodes() {
        let table = node.enter(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let links: Vec<&str> = node.interfaces().map(|end| end.interface.as_str()).collect();
        for (name, counted) in devices(&table) {
            if name != LOOPBACK && !links.contains(&name) {
                octets += counted.octets;
                dropped += counted.dropped;
            }
        }
    }
    Ok([("device_octets".to_owned(), octets), ("device_dropped".to_owned(), dropped)].into())
}

/// Of all nodes together: packets that IPsec refused (`esp_refused`), whatever the reason.
pub(super) fn of_ipsec(net: &Net) -> Outcome<BTreeMap<String, f64>> {
    let mut refused = 0.0;
    for node in net.nodes() {
        refused +=
            node.enter(|| fs::read_to_string("/proc/thread-self/net/xfrm_stat"))?.map(|text| sum(&text))?;
    }
    Ok([("esp_refused".to_owned(), refused)].into())
}

/// What one device counted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counted {
    octets: f64,
    dropped: f64,
}

/// The devices of the kernel's table, which has eight columns of what came and eight of what went.
fn devices(table: &str) -> impl Iterator<Item = (&str, Counted)> {
    table.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<f64> = numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [octets, _, _, came_dropped, _, _, _, _, _, _, _, went_dropped, ..] = numbers[..] else {
            return None;
        };
        Some((name.trim(), Counted { octets, dropped: came_dropped + went_dropped }))
    })
}

/// All numbers of a table of names and numbers.
fn sum(text: &str) -> f64 {
    text.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_their_drops_are_read() {
        let table = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
   wg0: 100 3 0 2 0 0 0 0 70 1 0 5 0 0 0 0
";
        let found: Vec<_> = devices(table).collect();
        assert_eq!(found, [("wg0", Counted { octets: 100.0, dropped: 7.0 })]);
    }

    #[test]
    fn refusals_are_summed() {
        assert_eq!(
            sum("XfrmInError             \t0\nXfrmInNoStates          \t3\nXfrmOutNoQueueSpace \t2\n"),
            5.0
        );
    }
}
