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
        let links: Vec<&str> = node.interfaces().map(|end| end.interface.as_str()).collect();
        for (name, counted) in node.counted()? {
            if name != LOOPBACK && !links.contains(&name.as_str()) {
                octets += counted.received as f64;
                dropped += counted.dropped as f64;
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

/// All numbers of a table of names and numbers.
fn sum(text: &str) -> f64 {
    text.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_summed() {
        assert_eq!(
            sum("XfrmInError             \t0\nXfrmInNoStates          \t3\nXfrmOutNoQueueSpace \t2\n"),
            5.0
        );
    }
}
