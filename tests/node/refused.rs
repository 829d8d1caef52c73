//! Kernels that refuse: every operation of a build, on every host, once and for good.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ippriv::control::Event;
use ippriv::plan::Op;

use super::world::{Setup, World, circuit};

const SECOND: Duration = Duration::from_secs(1);
const HOPS: &str = "relay-a, relay-b, relay-c";

fn setup() -> Setup {
    Setup { circuits: circuit(HOPS), ..Setup::default() }
}

/// How many operations a host is asked for while the circuit is built, those of its start first.
fn operations(host: &str) -> (u64, u64) {
    let mut world = World::new(setup());
    let before = world.machine(host).ops;
    world.run_until_open(10 * SECOND);
    (before, world.machine(host).ops)
}

fn refused(world: &World, host: &str) -> bool {
    world.hosts[host].events.iter().any(|event| matches!(event, Event::KernelRefused { .. }))
}

#[test]
fn a_refusal_of_any_operation_is_reported_unwound_and_got_over() {
    for host in ["client", "relay-a", "relay-b", "relay-c"] {
        let (first, last) = operations(host);
        assert!(last > first + 5, "{host}: {first} to {last}");
        for nth in first + 1..=last {
            let mut world = World::new(setup());
            world.machine(host).refuses = Some(Box::new(move |number, _| number == nth));
            world.run(30 * SECOND);
            assert!(refused(&world, host), "{host} {nth}");
            // until relays have asked after layers that a failed circuit left there
            world.run(600 * SECOND);
            assert!(world.is_open(), "{host} {nth}: {:#?}", world.client().events);
            world.assert_consistent();
            assert_eq!(world.sas("client"), 6, "{host} {nth}");
            assert!(world.probe("client").iter().all(Result::is_ok), "{host} {nth}");
        }
    }
}

#[test]
fn an_operation_that_is_refused_for_good_fails_the_circuit_with_the_kernels_words() {
    for word in ["create link", "create sa", "create policy", "create address", "create route"] {
        let mut world = World::new(setup());
        let refuses = move |_, op: &Op| op.to_string().starts_with(word);
        world.client().refuses = Some(Box::new(refuses));
        world.run(20 * SECOND);
        let failures = world.failures();
        assert!(!failures.is_empty(), "{word}");
        assert!(failures.iter().all(|(_, reason)| reason.contains("kernel refused")), "{failures:?}");
        assert!(refused(&world, "client"), "{word}");
        world.client().refuses = None;
        world.run(700 * SECOND);
        assert!(world.is_open(), "{word}");
        world.assert_consistent();
    }
}

#[test]
fn removals_that_are_refused_are_tried_again_until_nothing_is_left() {
    let mut world = World::new(setup());
    world.run_until_open(10 * SECOND);
    for host in ["client", "relay-a", "relay-c"] {
        world.machine(host).refuses = Some(Box::new(|_, op| matches!(op, Op::Delete(_))));
    }
    world.flush("client");
    world.run(20 * SECOND);
    assert!(refused(&world, "client") && refused(&world, "relay-a"));
    assert!(world.sas("client") > 0);
    for machine in world.hosts.values_mut() {
        machine.refuses = None;
    }
    world.run(120 * SECOND);
    assert_eq!(world.sas("client"), 0);
    world.assert_consistent();
}

#[test]
fn refusals_at_random_leave_the_books_right() {
    for seed in 0..40_u8 {
        let setup = Setup { seed, ..setup() };
        let mut world = World::new(setup);
        let count = Rc::new(RefCell::new(u64::from(seed) * 7919 + 1));
        for machine in world.hosts.values_mut() {
            let count = Rc::clone(&count);
            machine.refuses = Some(Box::new(move |_, _| {
                let mut state = count.borrow_mut();
                *state =
                    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (*state >> 33).is_multiple_of(12)
            }));
        }
        world.run(120 * SECOND);
        for machine in world.hosts.values_mut() {
            machine.refuses = None;
        }
        world.run(1200 * SECOND);
        assert!(world.is_open(), "{seed}: {:#?}", world.failures());
        world.assert_consistent();
        assert!(world.probe("client").iter().all(Result::is_ok), "{seed}");
    }
}
