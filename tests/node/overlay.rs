//! Overlays: who opens them, and what happens when both ends do.

use std::time::Duration;

use ippriv::control::{Event, OverlayState};
use ippriv::node::Input;

use super::world::{Links, Setup, World, circuit, relay};

const SECOND: Duration = Duration::from_secs(1);

fn on_demand(seed: u8) -> Setup {
    Setup { seed, relays: 2, relay: "  overlay: { neighbours: on-demand }\n".to_owned(), ..Setup::default() }
}

fn address(number: u8) -> std::net::IpAddr {
    [198, 18, number, 2].into()
}

/// A packet for the other relay waits at both, the second one so many milliseconds later.
fn both_want(world: &mut World, first: u8, later: u64) {
    let second = 3 - first;
    world.input(&relay(first), Input::Acquire { peer: address(second) });
    world.run(Duration::from_millis(later));
    world.input(&relay(second), Input::Acquire { peer: address(first) });
}

fn ups(world: &World, host: &str) -> usize {
    world.hosts[host].events.iter().filter(|event| matches!(event, Event::OverlayUp { .. })).count()
}

#[test]
fn there_is_none_before_it_is_wanted() {
    let mut world = World::new(on_demand(0));
    world.run(60 * SECOND);
    assert_eq!((world.sas("relay-a"), world.sas("relay-b")), (0, 0));
    world.input("relay-b", Input::Acquire { peer: address(1) });
    world.run(5 * SECOND);
    assert_eq!((world.sas("relay-a"), world.sas("relay-b")), (2, 2));
}

#[test]
fn both_ends_open_one_at_once_and_one_is_left() {
    for first in [1, 2] {
        for later in [0, 12, 25, 45] {
            for seed in 0..4 {
                let circuits = circuit("relay-a, relay-b").replace("traffic", "rebuild: true\n      traffic");
                let mut world = World::new(Setup { circuits, ..on_demand(seed) });
                if seed > 1 {
                    world.links = Links { jitter: 30, twice: 10, ..Links::default() };
                }
                both_want(&mut world, first, later);
                world.run_until_open(60 * SECOND);
                // traffic in both directions while one of the two goes
                world.probe_every("client", Duration::from_millis(20));
                world.run(25 * SECOND);
                let case = format!("{first} {later} {seed}");
                assert!(world.arrived > 1000, "{case}");
                assert!(world.lost.is_empty(), "{case}: {:?}", world.lost.first());
                for host in ["relay-a", "relay-b"] {
                    assert_eq!(ups(&world, host), 1, "{case} {host}");
                    let other = world.hosts[host].kernel.sas.values();
                    let between = other.filter(|sa| {
                        let ends = [address(1), address(2)];
                        ends.contains(&sa.source) && ends.contains(&sa.id.destination)
                    });
                    assert_eq!(between.count(), 2, "{case} {host}");
                }
                world.assert_consistent();
            }
        }
    }
}

#[test]
fn what_both_opened_is_one_for_good() {
    let mut world = World::new(on_demand(1));
    both_want(&mut world, 1, 0);
    // over several replacements of its keys
    world.run(8 * 3600 * SECOND);
    for host in ["relay-a", "relay-b"] {
        assert_eq!(world.sas(host), 2);
        let ippriv::control::Reply::Overlays(views) = world.ask(host, ippriv::control::Command::OverlayList)
        else {
            panic!("expected overlays")
        };
        assert_eq!(views[0].state, OverlayState::Up);
        assert_eq!(ups(&world, host), 1);
    }
    world.assert_consistent();
}

#[test]
fn a_neighbour_that_forgot_it_gets_another_at_once() {
    let mut world = World::new(on_demand(2));
    both_want(&mut world, 1, 0);
    world.run(120 * SECOND);
    for forgetful in [1, 2] {
        world.reboot(&relay(forgetful));
        world.input(&relay(forgetful), Input::Acquire { peer: address(3 - forgetful) });
        world.run(60 * SECOND);
        assert_eq!((world.sas("relay-a"), world.sas("relay-b")), (2, 2), "{forgetful}");
        world.assert_consistent();
    }
}
