//! Replacing child SAs and IKE SAs, alone and when both ends do it at once (RFC 7296 §2.8, §2.25). Data flows
//! in both directions all the while, and none of it may be lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/ike_pair.rs"]
mod ike_pair;

use std::time::Duration;

use ike_pair::*;
use ippriv::ike::{Event, SaHandle};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn with_traffic(seed: u64) -> (Pair, SaHandle, SaHandle) {
    let mut pair = Pair::new(seed);
    let (ours, theirs) = pair.connected();
    pair.traffic = Some(1);
    pair.run(SECOND);
    (pair, ours, theirs)
}

fn assert_nothing_lost(pair: &Pair) {
    assert!(pair.delivered > 1000, "{}", pair.delivered);
    assert_eq!(pair.data_lost, 0);
}

#[test]
fn a_child_is_replaced_from_either_end() {
    for side in [CLIENT, RELAY] {
        let (mut pair, ours, theirs) = with_traffic(1);
        let handle = [ours, theirs][side];
        let old = pair.child(side, handle);
        pair.at(side, |endpoint, now| endpoint.rekey_child(now, handle, old));
        pair.run(SECOND);
        assert_eq!(pair.hosts[side].kernel.len(), 2, "the old one lingers");
        pair.run(10 * SECOND);
        pair.assert_agreement(1);
        assert_ne!(pair.child(side, handle), old);
        assert_eq!(pair.count(1 - side, |event| matches!(event, Event::ChildUse(_))), 1);
        assert_nothing_lost(&pair);
    }
}

#[test]
fn an_ike_sa_is_replaced_from_either_end_and_keeps_its_children() {
    for side in [CLIENT, RELAY] {
        let (mut pair, ours, theirs) = with_traffic(2);
        let handle = [ours, theirs][side];
        let before = pair.hosts[side].endpoint.danger_key_log(handle);
        pair.at(side, |endpoint, now| endpoint.rekey_ike(now, handle));
        pair.run(SECOND);
        pair.assert_agreement(1);
        assert_ne!(pair.hosts[side].endpoint.danger_key_log(handle), before);
        // The new IKE SA works in both directions.
        for (host, handle) in [(CLIENT, ours), (RELAY, theirs)] {
            let child = pair.child(host, handle);
            pair.at(host, |endpoint, now| endpoint.rekey_child(now, handle, child));
            pair.run(10 * SECOND);
            pair.assert_agreement(1);
        }
        assert_nothing_lost(&pair);
    }
}

#[test]
fn both_replace_the_child_at_once() {
    for seed in 0..20 {
        let (mut pair, ours, theirs) = with_traffic(seed);
        let (mine, yours) = (pair.child(CLIENT, ours), pair.child(RELAY, theirs));
        pair.hosts[CLIENT].endpoint.rekey_child(pair.now, ours, mine);
        pair.hosts[RELAY].endpoint.rekey_child(pair.now, theirs, yours);
        pair.drain();
        pair.run(MINUTE);
        pair.assert_agreement(1);
        assert_nothing_lost(&pair);
        assert!(pair.closed(CLIENT).is_empty());
    }
}

#[test]
fn both_replace_the_child_at_once_and_one_request_is_late() {
    for (late, by) in [(CLIENT, 15), (RELAY, 15), (CLIENT, 400), (RELAY, 400), (CLIENT, 35), (RELAY, 25)] {
        for seed in 0..4 {
            let (mut pair, ours, theirs) = with_traffic(seed);
            let (mine, yours) = (pair.child(CLIENT, ours), pair.child(RELAY, theirs));
            let first = [pair.hosts[CLIENT].sent + 1, pair.hosts[RELAY].sent + 1];
            pair.filter = Some(Box::new(move |from, nth, _| {
                if from == late && nth == first[from] { Verdict::Delay(by) } else { Verdict::Pass }
            }));
            pair.hosts[CLIENT].endpoint.rekey_child(pair.now, ours, mine);
            pair.hosts[RELAY].endpoint.rekey_child(pair.now, theirs, yours);
            pair.drain();
            pair.run(MINUTE);
            pair.assert_agreement(1);
            assert_nothing_lost(&pair);
        }
    }
}

#[test]
fn both_replace_the_ike_sa_at_once() {
    for seed in 0..20 {
        for late in [None, Some(CLIENT), Some(RELAY)] {
            let (mut pair, ours, theirs) = with_traffic(seed);
            let first = [pair.hosts[CLIENT].sent + 1, pair.hosts[RELAY].sent + 1];
            pair.filter = Some(Box::new(move |from, nth, _| {
                if Some(from) == late && nth == first[from] { Verdict::Delay(300) } else { Verdict::Pass }
            }));
            pair.hosts[CLIENT].endpoint.rekey_ike(pair.now, ours);
            pair.hosts[RELAY].endpoint.rekey_ike(pair.now, theirs);
            pair.drain();
            pair.run(MINUTE);
            pair.assert_agreement(1);
            let keys = |pair: &Pair, host: usize, handle| {
                let log = pair.hosts[host].endpoint.danger_key_log(handle).unwrap();
                log.split(' ').next().unwrap().to_owned()
            };
            assert_eq!(keys(&pair, CLIENT, ours), keys(&pair, RELAY, theirs));
            assert_nothing_lost(&pair);
        }
    }
}

#[test]
fn everything_crosses_everything() {
    // What each side does at the same moment: see `act`.
    for mine in 0..5 {
        for yours in 0..5 {
            for seed in 0..3 {
                let (mut pair, ours, theirs) = with_traffic(seed);
                for (host, handle, what) in [(CLIENT, ours, mine), (RELAY, theirs, yours)] {
                    act(&mut pair, host, handle, what);
                }
                pair.drain();
                pair.run(2 * MINUTE);
                let closed = mine == 4 || yours == 4;
                let deleted = mine == 2 || yours == 2;
                if closed || deleted {
                    // Whether a deletion or a rekeying wins: both ends agree.
                    let left = pair.hosts[CLIENT].kernel.len();
                    pair.assert_agreement(left);
                    assert!(!closed || left == 0);
                } else {
                    pair.assert_agreement(1);
                    assert_nothing_lost(&pair);
                }
                assert_eq!(pair.hosts[CLIENT].endpoint.len(), pair.hosts[RELAY].endpoint.len());
            }
        }
    }
}

fn act(pair: &mut Pair, host: usize, handle: SaHandle, what: u8) {
    let child = pair.child(host, handle);
    let now = pair.now;
    let endpoint = &mut pair.hosts[host].endpoint;
    match what {
        0 => endpoint.rekey_child(now, handle, child),
        1 => endpoint.rekey_ike(now, handle),
        2 => endpoint.close_child(now, handle, child),
        3 => endpoint.probe(now, handle),
        _ => endpoint.close(now, handle),
    }
}

#[test]
fn lifetimes_replace_everything_for_a_day() {
    let mut pair = Pair::new(3);
    let (ours, _) = pair.connected();
    pair.traffic = Some(1000);
    pair.run(Duration::from_secs(24 * 3600));
    pair.assert_agreement(1);
    assert_eq!(pair.data_lost, 0);
    let replaced =
        pair.count(CLIENT, |event| matches!(event, Event::ChildKeys(keys) if keys.replaces.is_some()));
    assert!((24..60).contains(&replaced), "{replaced}");
    assert!(pair.hosts[CLIENT].endpoint.snapshot(ours).is_some());
}

#[test]
fn a_slow_kernel_loses_nothing_either() {
    for seed in 0..6 {
        let (mut pair, ours, theirs) = with_traffic(seed);
        pair.hosts[CLIENT].slow = Some(70);
        pair.hosts[RELAY].slow = Some(90);
        for (host, handle) in [(CLIENT, ours), (RELAY, theirs)] {
            act(&mut pair, host, handle, 0);
        }
        pair.drain();
        pair.run(MINUTE);
        pair.assert_agreement(1);
        assert_nothing_lost(&pair);
    }
}

#[test]
fn the_peer_may_want_another_key_exchange_or_none() {
    use ippriv::ike::wire::KeMethod;
    for (wants, sent) in [(vec![KeMethod::P256], 3), (vec![KeMethod::NONE], 2), (vec![KeMethod::X25519], 2)] {
        let mut relay = settings();
        relay.proposals.esp.ke = wants;
        let mut pair = Pair::with(4, settings(), relay);
        let (ours, _) = pair.connected();
        let before = pair.hosts[CLIENT].sent;
        act(&mut pair, CLIENT, ours, 0);
        pair.drain();
        pair.run(10 * SECOND);
        pair.assert_agreement(1);
        assert_eq!(pair.count(CLIENT, |event| matches!(event, Event::ChildGone(_))), 1);
        assert_eq!(pair.hosts[CLIENT].sent - before, sent, "and a deletion");
    }
}

#[test]
fn a_child_is_replaced_with_the_key_exchange_that_the_ike_sa_came_to() {
    use ippriv::ike::wire::KeMethod;
    let mut relay = settings();
    for proposal in &mut relay.proposals.ike.0 {
        proposal.ke = vec![KeMethod::P256];
    }
    relay.proposals.esp.ke = vec![KeMethod::P256];
    let mut pair = Pair::with(4, settings(), relay);
    let (ours, _) = pair.connected();
    let before = pair.hosts[CLIENT].sent;
    act(&mut pair, CLIENT, ours, 0);
    pair.drain();
    pair.run(10 * SECOND);
    pair.assert_agreement(1);
    assert_eq!(pair.count(CLIENT, |event| matches!(event, Event::ChildGone(_))), 1);
    assert_eq!(pair.hosts[CLIENT].sent - before, 2, "no wrong guess, and a deletion");
}

#[test]
fn replacing_without_end_is_put_off() {
    let (mut pair, ours, theirs) = with_traffic(5);
    // Faster than what is left of the old IKE SAs goes away.
    for _ in 0..40 {
        act(&mut pair, CLIENT, ours, 1);
        pair.drain();
        pair.run(Duration::from_millis(100));
        act(&mut pair, RELAY, theirs, 1);
        pair.drain();
        pair.run(Duration::from_millis(100));
    }
    pair.run(5 * MINUTE);
    pair.assert_agreement(1);
    assert!(pair.closed(CLIENT).is_empty());
    let saved = serde_json::to_value(pair.hosts[RELAY].endpoint.snapshot(theirs).unwrap()).unwrap();
    assert_eq!(saved["sa"]["generations"].as_array().unwrap().len(), 1);
}
