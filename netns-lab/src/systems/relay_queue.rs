//! Queues of relays towards their links, one for each circuit.
//!
//! A link's netem queue gives every packet its time when it comes, so that a queue within sees no waiting packet at
//! all. Here the delay comes first, the rate last, and the discipline under test is what the rate waits at:
//! TBF (rate) > netem (delay, loss) > `fq_codel` or `cake`. Packets of a circuit are known by the address that the relay
//! lent to it, which is in the packet while it is forwarded and not yet, or no longer, within other relays' layers;
//! its number goes along as the packet's mark through all encryption to the queue.

use std::fmt::Write as _;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::host::{self, Undo};
use super::{Outcome, Place};
use crate::topology::{Delay, End, Share};

/// What waits for a relay's link, and in which order it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discipline {
    /// The queue of the topology: first come, first served.
    #[default]
    Fifo,
    /// A queue for each circuit, all served in turn; packets that waited long are dropped (RFC 8290).
    FqCodel,
    /// The same by CAKE.
    Cake,
}

/// Where the rules are that number packets.
const TABLE: &str = "lab_queues";
/// Circuits that have a queue of their own; CAKE has no more queues. What is of no circuit has queue 0.
const CIRCUITS: u32 = 1023;
/// Packets that may be under way; more than any link here holds.
const UNDER_WAY: u32 = 1_000_000;
/// Octets of a link's header, which count like those of the packet.
const LINK_HEADER: u32 = 14;

/// Gives all links of the circuits' relays the discipline, on their way out of the relay.
pub(super) fn set<'net>(place: Place<'net>, discipline: Discipline) -> Outcome<Undo<'net>> {
    let mut undo = Undo::default();
    let words = match discipline {
        Discipline::Fifo => return Ok(undo),
        Discipline::FqCodel => "fq_codel",
        Discipline::Cake => "cake unlimited flows",
    };
    for relay in host::relays(place)? {
        let pool =
            relay.pool().ok_or_else(|| format!("{}: found no pool, expected a relay", relay.name()))?;
        host::nft(relay, &marks(pool))?;
        undo.later(relay, &["nft", "delete", "table", "ip", TABLE]);
        for end in relay.interfaces() {
            let queue =
                queue(end, words).map_err(|what| format!("{}: {}: {what}", relay.name(), end.interface))?;
            relay.run_with(&["tc", "-batch", "-"], &queue)?;
            let old = crate::net::queue(&end.interface, &end.egress);
            undo.later(relay, &[&["tc"][..], &old.split_whitespace().collect::<Vec<_>>()].concat());
        }
    }
    Ok(undo)
}

/// `nft -f`: addresses lent to circuits are numbered as they come, and an address's number becomes the mark of its
/// packets, in both directions.
fn marks(pool: Ipv4Net) -> String {
    let mut rules = String::new();
    for end in ["saddr", "daddr"] {
        let _ = writeln!(
            rules,
            "ip {end} {pool} ip {end} != @numbers add @numbers {{ ip {end} : numgen inc mod {CIRCUITS} offset 1 }}\n\
             ip {end} {pool} meta mark set ip {end} map @numbers"
        );
    }
    format!(
        "table ip {TABLE} {{\nmap numbers {{\ntype ipv4_addr : mark\nflags dynamic\nsize 65535\n}}\n\
         chain forward {{\ntype filter hook forward priority mangle\n{rules}}}\n}}\n"
    )
}

/// `tc -batch`.
fn queue(end: &End, discipline: &str) -> Result<String, String> {
    let (device, egress) = (&end.interface, &end.egress);
    let Some(rate) = egress.rate else { return Err("found no rate, expected one to queue for".to_owned()) };
    if egress.jitter != Delay::ZERO || egress.reorder != Share::NONE {
        return Err(
            "found jitter or reordering, expected none, for packets would queue out of order".to_owned()
        );
    }
    // A burst of one packet: the link sends nothing faster than its rate.
    let burst = u32::from(egress.mtu) + LINK_HEADER;
    let mut batch =
        format!("qdisc replace dev {device} root handle 1: tbf rate {rate} burst {burst}b limit 100000000\n");
    let _ = write!(batch, "qdisc add dev {device} parent 1:1 handle 10: netem limit {UNDER_WAY}");
    if egress.delay != Delay::ZERO {
        let _ = write!(batch, " delay {}", egress.delay);
    }
    if egress.loss != Share::NONE {
        let _ = write!(batch, " loss {}", egress.loss);
    }
    let _ = writeln!(batch, "\nqdisc add dev {device} parent 10:1 handle 20: {discipline}");
    let _ = writeln!(
        batch,
        "filter add dev {device} parent 20: protocol all pref 1 handle 1 flow map key mark divisor 1024"
    );
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    fn end(link: &str) -> End {
        let text = format!(
            "nodes: [{{ name: a, role: router }}, {{ name: b, role: host }}]\n\
             links: [{{ between: [a, b], rate: 10mbit, {link} }}]"
        );
        Topology::parse("pair.yaml", &text).unwrap().links[0].ends[0].clone()
    }

    #[test]
    fn the_rate_waits_last_and_the_delay_comes_first() {
        let batch = queue(&end("delay: 10ms, loss: 1%, mtu: 1400"), "fq_codel").unwrap();
        let lines: Vec<&str> = batch.lines().collect();
        assert_eq!(
            lines,
            [
                "qdisc replace dev b root handle 1: tbf rate 10000000bit burst 1414b limit 100000000",
                "qdisc add dev b parent 1:1 handle 10: netem limit 1000000 delay 10000us loss 1.0000%",
                "qdisc add dev b parent 10:1 handle 20: fq_codel",
                "filter add dev b parent 20: protocol all pref 1 handle 1 flow map key mark divisor 1024",
            ]
        );
    }

    #[test]
    fn links_that_mix_packets_up_are_refused() {
        let refused = queue(&end("delay: 10ms, jitter: 1ms"), "cake").unwrap_err();
        assert!(refused.starts_with("found jitter"), "{refused}");
    }
}
