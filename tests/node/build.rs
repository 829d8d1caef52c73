//! Circuits are built on bad links and with kernels that refuse, or fail with a reason and leave nothing.

use std::time::Duration;

use ippriv::control::{Command, Event, NewCircuit};

use super::world::{Links, Setup, World, circuit, relay};

const SECOND: Duration = Duration::from_secs(1);

fn hops(length: u8) -> String {
    (1..=length).map(relay).collect::<Vec<_>>().join(", ")
}

#[test]
fn circuits_of_every_length_are_built_hop_by_hop() {
    for length in 1..=5_u8 {
        let mut world = World::simple(5, &circuit(&hops(length)));
        world.run(10 * SECOND);
        assert!(world.is_open(), "{length}: {:#?}", world.client().events);
        world.assert_consistent();
        assert_eq!(world.sas("client"), 2 * usize::from(length));
        assert!(
            world.client().kernel.routes.values().any(|route| format!("{:?}", route.kind).contains("ippc1"))
        );
    }
}

/// After everything: no layer on any relay, and nothing of a circuit on the client.
fn assert_nothing_left(world: &World, overlays: usize) {
    for (name, machine) in &world.hosts {
        let expected = if machine.is_client() { 0 } else { overlays };
        assert_eq!(machine.kernel.sas.len(), expected, "{name}");
    }
    world.assert_consistent();
}

#[test]
fn bad_links_delay_a_circuit_or_fail_it_with_a_hop_and_a_reason() {
    let mut opened = 0;
    for seed in 0..200_u8 {
        let number = u64::from(seed);
        let links = Links {
            loss: 1 + number * 29 / 199,
            twice: number % 30,
            jitter: number % 120,
            ..Links::default()
        };
        let circuits = circuit(&hops(3)).replace("traffic", "rebuild: false\n      traffic");
        let setup = Setup { seed, circuits, ..Setup::default() };
        let mut world = World::with(setup, |world| world.links = links);
        world.run(60 * SECOND);
        if world.is_open() {
            opened += 1;
            world.links = Links::default();
            world.run(60 * SECOND);
            world.assert_consistent();
            assert!(world.probe("client").iter().all(Result::is_ok), "{seed}");
            continue;
        }
        let failures = world.failures();
        let [(Some(hop), reason)] = &failures[..] else { panic!("{seed}: {failures:?}") };
        assert!(reason.starts_with(&format!("{}: ", relay(*hop))), "{seed}: {reason}");
        assert_eq!(world.sas("client"), 0, "{seed}");
        // relays find out by themselves: after five minutes of silence they ask
        world.links = Links::default();
        world.run(500 * SECOND);
        assert_nothing_left(&world, 4);
        world.command(
            "client",
            1,
            Command::CircuitNew(NewCircuit {
                hops: Some((1..=3).map(relay).collect()),
                wait: true,
                ..Default::default()
            }),
        );
        world.run(20 * SECOND);
        world.assert_consistent();
        assert_eq!(world.sas("client"), 6, "{seed}: {:?}", world.client().replies);
    }
    assert!(opened > 100, "{opened}");
}

#[test]
fn the_same_seed_gives_the_same_octets() {
    let trace = |seed| {
        let circuits = circuit(&hops(3));
        let links = Links { loss: 10, twice: 10, jitter: 50, ..Links::default() };
        let mut world =
            World::with(Setup { seed, circuits, ..Setup::default() }, |world| world.links = links);
        world.run(20 * SECOND);
        world.seen.iter().map(|seen| (seen.from, seen.to, seen.octets.clone())).collect::<Vec<_>>()
    };
    assert!(trace(1) == trace(1));
    assert!(trace(1) != trace(2));
}

/// Each link loses one packet in twenty, and there are two from host to host: of the exchanges with the third
/// relay almost one in two fails.
#[test]
fn three_hops_are_built_in_the_usual_time_where_every_link_loses_packets() {
    let mut opened = 0;
    for seed in 0..20 {
        let mut world = World::new(Setup { seed, ..Setup::default() });
        world.run(10 * SECOND);
        world.watched = false;
        world.links = Links { each: 5, jitter: 20, ..Links::default() };
        for id in 1..=10 {
            let hops = (1..=3).map(|number| relay(number).parse().unwrap()).collect();
            let new = NewCircuit { hops: Some(hops), ..NewCircuit::default() };
            world.command("client", id, Command::CircuitNew(new));
        }
        world.run(62 * SECOND);
        let events = &world.client().events;
        opened += events.iter().filter(|event| matches!(event, Event::CircuitOpen { .. })).count();
    }
    assert!(opened >= 198, "{opened} of 200 opened");
}
