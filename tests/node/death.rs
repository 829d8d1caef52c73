//! Relays that die, and relays that come back without a memory.

use std::time::Duration;

use ippriv::control::{CircuitState, Event};

use super::world::{Setup, World, circuit, relay};

const SECOND: Duration = Duration::from_secs(1);
/// A client asks after ten seconds of silence, for twenty seconds, and then those before the silent one.
const NOTICED: Duration = Duration::from_secs(45);

#[test]
fn the_client_says_which_relay_died_and_lets_nothing_out() {
    for dead in 1..=3_u8 {
        let mut world = World::simple(3, &circuit("relay-a, relay-b, relay-c"));
        world.run_until_open(10 * SECOND);
        let host = relay(dead);
        world.kill(&host);
        world.machine(&host).kernel = ippriv::state::State::default();
        world.run(NOTICED);
        let failures = world.failures();
        // all relays beyond a dead one are silent as well
        let (hop, reason) = &failures[0];
        assert_eq!(*hop, Some(dead), "{failures:?}");
        assert!(reason.starts_with(&relay(dead)) && reason.contains("does not answer"), "{failures:?}");
        assert!(!world.is_open());
        assert_eq!(world.probe("client").len(), 0, "traffic has a way");
        // it is tried again and again, and names the dead one
        world.run(120 * SECOND);
        let (hop, reason) = world.failures().pop().unwrap();
        assert_eq!(hop, Some(dead), "{reason}");
        assert!(reason.starts_with(&relay(dead)), "{reason}");
        world.reboot(&host);
        world.run(700 * SECOND);
        assert!(world.is_open(), "{:#?}", world.failures());
        world.assert_consistent();
    }
}

#[test]
fn a_daemon_that_starts_while_a_relay_is_suspected_gives_the_circuit_up() {
    let mut world = World::simple(3, &circuit("relay-a, relay-b, relay-c"));
    world.run_until_open(10 * SECOND);
    world.kill("relay-c");
    world.machine("relay-c").kernel = ippriv::state::State::default();
    // the relays before it do not answer in time either, or it would be over at once
    world.kill("relay-b");
    let mut suspected = false;
    for _ in 0..450 {
        world.run(SECOND / 10);
        suspected = world.circuits("client")[0].state == CircuitState::Closing && world.failures().is_empty();
        if suspected {
            break;
        }
    }
    assert!(suspected, "{:#?}", world.failures());
    assert_eq!(world.circuits("client")[0].age_s, 0, "it has been closing since now, and open for longer");
    world.kill("client");
    world.restart("client");
    world.run(NOTICED);
    assert!(!world.failures().is_empty(), "nobody gave it up");
    world.restart("relay-b");
    world.reboot("relay-c");
    world.run(900 * SECOND);
    assert!(world.is_open(), "{:#?}", world.failures());
    world.assert_consistent();
}

#[test]
fn a_circuit_of_chosen_relays_is_built_through_others() {
    for seed in 0..10 {
        let circuits = "    - { name: c, length: 3, traffic: [0.0.0.0/0] }\n".to_owned();
        let mut world = World::new(Setup { seed, relays: 6, circuits, ..Setup::default() });
        world.run_until_open(10 * SECOND);
        let path = |world: &mut World| -> Vec<String> {
            world.circuits("client")[0].hops.iter().map(|hop| hop.relay.clone()).collect()
        };
        let dead = path(&mut world)[usize::from(seed) % 3].clone();
        world.kill(&dead);
        world.machine(&dead).kernel = ippriv::state::State::default();
        world.run(NOTICED);
        world.run_until_open(600 * SECOND);
        assert!(!path(&mut world).contains(&dead), "{seed}");
        assert!(world.probe("client").iter().all(Result::is_ok), "{seed}");
    }
}

#[test]
fn a_relay_that_forgot_everything_is_found_out_and_used_again() {
    for forgetful in 1..=3_u8 {
        let mut world = World::simple(3, &circuit("relay-a, relay-b, relay-c"));
        world.run_until_open(10 * SECOND);
        world.reboot(&relay(forgetful));
        world.run(NOTICED);
        assert!(!world.failures().is_empty(), "{forgetful}");
        world.run(900 * SECOND);
        assert!(world.is_open(), "{forgetful}: {:#?}", world.failures());
        world.assert_consistent();
        assert!(world.probe("client").iter().all(Result::is_ok), "{forgetful}");
    }
}

#[test]
fn an_overlay_that_never_comes_up_is_reported_once() {
    let mut world = World::with(Setup { relays: 2, ..Setup::default() }, |_| {});
    world.run(5 * SECOND);
    world.kill("relay-b");
    world.machine("relay-a").events.clear();
    world.run(3600 * SECOND);
    let down: Vec<_> = world.machine("relay-a").events.clone();
    // once because it had been up, and once because there is no answer to a new attempt
    assert!((1..=2).contains(&down.len()), "{down:#?}");
    assert!(down.iter().all(|event| matches!(event, Event::OverlayDown { .. })), "{down:#?}");
    world.restart("relay-b");
    world.run(120 * SECOND);
    assert!(matches!(world.machine("relay-a").events.last(), Some(Event::OverlayUp { .. })));
    world.assert_consistent();
}

#[test]
fn a_client_that_vanishes_is_forgotten_by_every_relay() {
    let mut world = World::simple(3, &circuit("relay-a, relay-b, relay-c"));
    world.run_until_open(10 * SECOND);
    assert_eq!(world.circuits("client")[0].state, CircuitState::Open);
    world.kill("client");
    world.client().kernel = ippriv::state::State::default();
    world.run(600 * SECOND);
    for number in 1..=3 {
        assert_eq!(world.sas(&relay(number)), 4, "{number}: its two overlays");
        assert!(!world.machine(&relay(number)).journal.keys().any(|key| key.starts_with("layer/")));
    }
}
