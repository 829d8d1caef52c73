//! A thousand lives of a connection: both owners do what they like, the link loses, doubles and reorders, and
//! hosts restart from their journals. When the link is well again, both ends have to hold exactly the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/ike_pair.rs"]
mod ike_pair;

use std::time::Duration;

use ike_pair::*;
use ippriv::entropy::Entropy;
use ippriv::ike::proposal::IkeOffer;
use ippriv::ike::wire::TrafficSelector;
use ippriv::ike::{Event, Lifetimes, OwnAuth, SaHandle};

const MINUTE: Duration = Duration::from_secs(60);

/// How wild a life is.
#[derive(Clone, Copy)]
enum Ops {
    /// Replace and probe: the child SA has to survive.
    Harmless,
    /// Delete, create and close as well.
    Any,
    /// Restarts of either host.
    Restarts,
}

fn life(seed: u64, ops: Ops) -> Pair {
    let mut relaxed = settings();
    relaxed.lifetimes = Lifetimes { probe: Some(MINUTE), ..Lifetimes::default() };
    if seed % 4 == 1 {
        // With ML-KEM-768 in every exchange of keys, first and later ones.
        relaxed.proposals.ike = IkeOffer::default();
    }
    let mut pair = Pair::with(seed, relaxed.clone(), relaxed);
    let loss = pair.rng.below(200);
    pair.link = Link { loss, double: 100, delay: (5, 60), ..Link::default() };
    for host in &mut pair.hosts {
        host.slow = seed.is_multiple_of(3).then_some(30);
    }
    pair.connect(OwnAuth::Null);
    pair.run(Duration::from_secs(30));
    // Data flows as long as nobody deletes anything.
    pair.traffic = matches!(ops, Ops::Harmless).then_some(5);
    for _ in 0..14 {
        let side = usize::try_from(pair.rng.below(2)).unwrap();
        op(&mut pair, side, ops);
        let both = pair.rng.below(2) == 0;
        if both {
            op(&mut pair, 1 - side, ops);
        }
        let wait = [0, 20, 300, 4000][usize::try_from(pair.rng.below(4)).unwrap()];
        let wait = pair.rng.below(wait + 1);
        pair.run(Duration::from_millis(wait));
    }
    pair.link = Link::default();
    pair.run(Duration::from_secs(15));
    pair.traffic = None;
    pair.run(20 * MINUTE);
    pair
}

fn op(pair: &mut Pair, side: usize, ops: Ops) {
    let handles: Vec<SaHandle> = pair.hosts[side].active.keys().copied().collect();
    let Some(&handle) = handles.last() else { return };
    let children: Vec<_> =
        pair.hosts[side].kernel.keys().filter(|(sa, _)| *sa == handle).map(|(_, child)| *child).collect();
    let child = children[usize::try_from(pair.rng.below(children.len() as u64)).unwrap()];
    let choices = match ops {
        Ops::Harmless => 3,
        Ops::Any => 6,
        Ops::Restarts => 4,
    };
    let choice = pair.rng.below(choices);
    match (choice, ops) {
        (0, _) => pair.at(side, |endpoint, now| endpoint.rekey_child(now, handle, child)),
        (1, _) => pair.at(side, |endpoint, now| endpoint.rekey_ike(now, handle)),
        (2, _) => pair.at(side, |endpoint, now| endpoint.probe(now, handle)),
        (3, Ops::Restarts) => pair.restart(side),
        (3, _) => pair.at(side, |endpoint, now| endpoint.close_child(now, handle, child)),
        (4, _) => {
            let own = pair.hosts[CLIENT].answer.clone().unwrap().remote;
            let any = vec![TrafficSelector::any_v4()];
            let (local, remote) = if side == CLIENT { (own, any) } else { (any, own) };
            pair.at(side, |endpoint, now| endpoint.create_child(now, handle, local, remote));
        }
        _ => {
            if pair.rng.below(4) == 0 {
                pair.at(side, |endpoint, now| endpoint.close(now, handle));
            }
        }
    }
}

/// Both ends agree and nothing is half done.
fn assert_settled(pair: &Pair) {
    pair.assert_agreement(pair.hosts[CLIENT].kernel.len());
    let sides = [CLIENT, RELAY].map(|host| {
        let endpoint = &pair.hosts[host].endpoint;
        assert_eq!(endpoint.half_open(), 0);
        let mut keys: Vec<String> = Vec::new();
        for handle in endpoint.handles() {
            let log = endpoint.danger_key_log(handle).expect("nothing is left in the middle");
            keys.push(log.split(' ').next().unwrap().to_owned());
            let saved = serde_json::to_value(endpoint.snapshot(handle).unwrap()).unwrap();
            let generations = saved["sa"]["generations"].as_array().unwrap();
            assert_eq!(generations.len(), 1, "IKE SAs of {handle}");
            let sent = &generations[0]["in_flight"];
            assert!(sent.is_null() || sent["purpose"] == "Probe", "{sent}");
            for child in saved["sa"]["children"].as_array().unwrap() {
                assert_eq!(child["state"], "Live");
            }
        }
        keys.sort();
        keys
    });
    assert_eq!(sides[0], sides[1]);
}

#[test]
fn what_is_only_replaced_survives() {
    for seed in 0..400 {
        let pair = std::panic::catch_unwind(|| {
            let pair = life(seed, Ops::Harmless);
            assert_settled(&pair);
            pair
        });
        let Ok(pair) = pair else { panic!("seed {seed}") };
        let connected = pair.count(CLIENT, |event| matches!(event, Event::ChildKeys(_))) > 0;
        assert!(!connected || pair.hosts[CLIENT].kernel.len() == 1, "seed {seed}: {:?}", pair.closed(CLIENT));
        assert!(!connected || pair.delivered > 1000, "seed {seed}: {}", pair.delivered);
        assert_eq!(pair.data_lost, 0, "seed {seed}");
    }
}

#[test]
fn both_ends_agree_whatever_was_done() {
    for seed in 1000..1400 {
        let settled = std::panic::catch_unwind(|| assert_settled(&life(seed, Ops::Any)));
        assert!(settled.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_restart_loses_no_connection() {
    for seed in 2000..2300 {
        let pair = std::panic::catch_unwind(|| {
            let pair = life(seed, Ops::Restarts);
            assert_settled(&pair);
            pair
        });
        let Ok(pair) = pair else { panic!("seed {seed}") };
        assert!(pair.hosts[CLIENT].kernel.len() <= 1, "seed {seed}");
        let connected = pair.count(CLIENT, |event| matches!(event, Event::ChildKeys(_))) > 0;
        assert!(!connected || pair.hosts[CLIENT].kernel.len() == 1, "seed {seed}: {:?}", pair.closed(CLIENT));
    }
}

#[test]
fn the_same_seed_gives_the_same_life() {
    for seed in [5, 1005, 2005] {
        let ops = [Ops::Harmless, Ops::Any, Ops::Restarts][usize::try_from(seed / 1000).unwrap()];
        assert_eq!(life(seed, ops).trace, life(seed, ops).trace);
    }
}
