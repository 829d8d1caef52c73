//! ML-KEM-768 again whenever keys are replaced: IKE_FOLLOWUP_KE after CREATE_CHILD_SA (RFC 9370 §2.2.4).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/ike_pair.rs"]
mod ike_pair;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ike_pair::*;
use ippriv::ike::proposal::IkeOffer;
use ippriv::ike::wire::{KeMethod, TrafficSelector};
use ippriv::ike::{Endpoint, Event, SaHandle, Settings};
use ippriv::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// The exchange types of a message header.
const CREATE_CHILD_SA: u8 = 36;
const FOLLOWUP_KE: u8 = 44;

fn hybrid() -> Settings {
    let mut settings = settings();
    settings.proposals.ike = IkeOffer::default();
    settings
}

/// The exchanges that the link has seen: sender, type and whether it is an answer.
type Seen = Rc<RefCell<Vec<(usize, u8, bool)>>>;

fn watch(pair: &mut Pair) -> Seen {
    let seen = Seen::default();
    let log = Rc::clone(&seen);
    pair.filter = Some(Box::new(move |from, _, octets| {
        log.borrow_mut().push((from, octets[18], octets[19] & 0x20 != 0));
        Verdict::Pass
    }));
    seen
}

fn with_traffic(seed: u64, client: Settings, relay: Settings) -> (Pair, SaHandle, SaHandle) {
    let mut pair = Pair::with(seed, client, relay);
    let (ours, theirs) = pair.connected();
    pair.traffic = Some(2);
    pair.run(SECOND);
    (pair, ours, theirs)
}

fn assert_well(pair: &Pair) {
    pair.assert_agreement(1);
    assert!(pair.delivered > 500, "{}", pair.delivered);
    assert_eq!(pair.data_lost, 0);
    for host in [CLIENT, RELAY] {
        assert!(pair.closed(host).is_empty(), "{:?}", pair.closed(host));
    }
}

/// The SPIs and keys of the IKE SA, which both ends have to share.
fn ike_keys(pair: &Pair, host: usize, handle: SaHandle) -> String {
    pair.hosts[host].endpoint.danger_key_log(handle).unwrap().to_string()
}

type Replace = fn(&mut Endpoint, Instant, SaHandle, ippriv::ike::ChildId);

const WAYS: [Replace; 2] = [
    |endpoint, now, handle, child| endpoint.rekey_child(now, handle, child),
    |endpoint, now, handle, _| endpoint.rekey_ike(now, handle),
];

fn replace(pair: &mut Pair, host: usize, handle: SaHandle, way: Replace) {
    let (child, now) = (pair.child(host, handle), pair.now);
    way(&mut pair.hosts[host].endpoint, now, handle, child);
}

#[test]
fn every_replacement_has_ml_kem_again() {
    for way in WAYS {
        for side in [CLIENT, RELAY] {
            let (mut pair, ours, theirs) = with_traffic(1, hybrid(), hybrid());
            let handle = [ours, theirs][side];
            let (child, ike) = (pair.child(side, handle), ike_keys(&pair, side, handle));
            let seen = watch(&mut pair);
            // Twice: what replaced an SA is replaced the same way.
            for _ in 0..2 {
                replace(&mut pair, side, handle, way);
                pair.drain();
                pair.run(10 * SECOND);
            }
            assert_well(&pair);
            assert!(pair.child(side, handle) != child || ike_keys(&pair, side, handle) != ike);
            assert_eq!(ike_keys(&pair, CLIENT, ours), ike_keys(&pair, RELAY, theirs));
            // A question of two fragments, with 1184 octets of ML-KEM in them, and an answer of one.
            let of = |kind: u8| seen.borrow().iter().filter(|(_, found, _)| *found == kind).count();
            assert_eq!(of(FOLLOWUP_KE), 2 * 3);
            assert!(of(CREATE_CHILD_SA) >= 4);
            assert!(
                seen.borrow()
                    .iter()
                    .all(|(from, kind, answer)| { *kind != FOLLOWUP_KE || (*from == side) != *answer })
            );
        }
    }
}

#[test]
fn a_further_child_has_ml_kem_too() {
    let (mut pair, ours, _) = with_traffic(2, hybrid(), hybrid());
    let seen = watch(&mut pair);
    let local = pair.hosts[CLIENT].answer.clone().unwrap().remote;
    let any = vec![TrafficSelector::any_v4()];
    pair.at(CLIENT, |endpoint, now| endpoint.create_child(now, ours, local, any));
    pair.run(SECOND);
    pair.assert_agreement(2);
    assert!(seen.borrow().iter().any(|(_, kind, _)| *kind == FOLLOWUP_KE));
}

#[test]
fn who_has_no_ml_kem_is_not_asked_for_it() {
    for (client, relay) in [(settings(), hybrid()), (hybrid(), settings())] {
        for way in WAYS {
            let (mut pair, ours, _) = with_traffic(3, client.clone(), relay.clone());
            let seen = watch(&mut pair);
            replace(&mut pair, CLIENT, ours, way);
            pair.drain();
            pair.run(10 * SECOND);
            assert_well(&pair);
            assert!(seen.borrow().iter().all(|(_, kind, _)| *kind != FOLLOWUP_KE));
            assert!(seen.borrow().iter().any(|(_, kind, _)| *kind == CREATE_CHILD_SA));
        }
    }
}

#[test]
fn several_exchanges_follow_one_another() {
    let mut settings = hybrid();
    let more = vec![vec![KeMethod::MLKEM768], vec![KeMethod::P256], vec![KeMethod::P384]];
    for proposal in &mut settings.proposals.ike.0 {
        proposal.ke = vec![KeMethod::X25519];
        proposal.additional.clone_from(&more);
    }
    settings.proposals.esp.ke = vec![KeMethod::X25519];
    settings.proposals.esp.additional = more;
    for way in WAYS {
        for side in [CLIENT, RELAY] {
            let (mut pair, ours, theirs) = with_traffic(4, settings.clone(), settings.clone());
            let seen = watch(&mut pair);
            replace(&mut pair, side, [ours, theirs][side], way);
            pair.drain();
            pair.run(10 * SECOND);
            assert_well(&pair);
            assert_eq!(ike_keys(&pair, CLIENT, ours), ike_keys(&pair, RELAY, theirs));
            let followups = seen.borrow().iter().filter(|(_, kind, _)| *kind == FOLLOWUP_KE).count();
            assert_eq!(followups, 3 + 2 + 2);
        }
    }
}

#[test]
fn both_at_once_and_one_of_them_late() {
    for mine in WAYS {
        for yours in WAYS {
            for seed in 0..3 {
                for (late, by) in
                    [(CLIENT, 0), (CLIENT, 15), (RELAY, 15), (CLIENT, 35), (RELAY, 55), (RELAY, 300)]
                {
                    let (mut pair, ours, theirs) = with_traffic(seed, hybrid(), hybrid());
                    let first = [pair.hosts[CLIENT].sent, pair.hosts[RELAY].sent];
                    // Each datagram from one side lags, which shifts the two against each other.
                    pair.filter = Some(Box::new(move |from, nth, _| {
                        let lags = from == late && nth > first[from] && nth <= first[from] + 3;
                        if lags { Verdict::Delay(by) } else { Verdict::Pass }
                    }));
                    replace(&mut pair, CLIENT, ours, mine);
                    replace(&mut pair, RELAY, theirs, yours);
                    pair.drain();
                    pair.run(2 * MINUTE);
                    assert_well(&pair);
                    assert_eq!(ike_keys(&pair, CLIENT, ours), ike_keys(&pair, RELAY, theirs));
                    for (host, handle) in [(CLIENT, ours), (RELAY, theirs)] {
                        let saved = pair.hosts[host].endpoint.snapshot(handle).unwrap();
                        let saved = serde_json::to_value(saved).unwrap();
                        assert_eq!(saved["sa"]["generations"].as_array().unwrap().len(), 1);
                    }
                }
            }
        }
    }
}

#[test]
fn who_forgets_is_asked_anew() {
    // The responder dies between CREATE_CHILD_SA and IKE_FOLLOWUP_KE: it answers STATE_NOT_FOUND.
    for way in WAYS {
        for side in [CLIENT, RELAY] {
            let (mut pair, ours, theirs) = with_traffic(5, hybrid(), hybrid());
            let handle = [ours, theirs][side];
            let before = (pair.child(side, handle), ike_keys(&pair, side, handle));
            replace(&mut pair, side, handle, way);
            pair.drain();
            pair.run(Duration::from_millis(25));
            pair.restart(1 - side);
            pair.traffic = None;
            pair.run(20 * SECOND);
            pair.assert_agreement(1);
            assert_eq!(pair.data_lost, 0);
            let handle = *pair.hosts[side].active.keys().last().unwrap();
            assert_ne!((pair.child(side, handle), ike_keys(&pair, side, handle)), before, "done in the end");
        }
    }
}

#[test]
fn who_asks_and_dies_goes_on() {
    for way in WAYS {
        for side in [CLIENT, RELAY] {
            for after in [5, 15, 25, 35, 45] {
                let (mut pair, ours, theirs) = with_traffic(6, hybrid(), hybrid());
                replace(&mut pair, side, [ours, theirs][side], way);
                pair.drain();
                pair.run(Duration::from_millis(after));
                pair.restart(side);
                pair.run(2 * MINUTE);
                pair.assert_agreement(1);
                assert_eq!(pair.data_lost, 0);
            }
        }
    }
}

#[test]
fn who_never_follows_up_blocks_nothing_for_long() {
    for way in WAYS {
        let (mut pair, ours, theirs) = with_traffic(7, hybrid(), hybrid());
        pair.filter = Some(Box::new(
            |_, _, octets| {
                if octets[18] == FOLLOWUP_KE { Verdict::Drop } else { Verdict::Pass }
            },
        ));
        replace(&mut pair, CLIENT, ours, way);
        pair.drain();
        pair.run(SECOND);
        let child = pair.child(RELAY, theirs);
        pair.at(RELAY, |endpoint, now| endpoint.rekey_child(now, theirs, child));
        pair.run(100 * SECOND);
        assert_eq!(pair.count(RELAY, |event| matches!(event, Event::ChildKeys(_))), 1, "waits");
        pair.run(30 * SECOND);
        // By now the relay has given up waiting and asks itself; the client still repeats itself.
        pair.filter = None;
        pair.run(2 * MINUTE);
        assert_well(&pair);
        assert_eq!(ike_keys(&pair, CLIENT, ours), ike_keys(&pair, RELAY, theirs));
    }
}
