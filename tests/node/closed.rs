//! Nothing that a circuit is to carry has a way out in clear: the world looks after every output of a client,
//! and here are the moments that matter.

use std::time::Duration;

use ippriv::control::{CircuitState, Command, Event};
use ippriv::state::RouteKind;

use super::world::{Setup, World, circuit, client_address};

const SECOND: Duration = Duration::from_secs(1);

fn setup() -> Setup {
    Setup { circuits: circuit("relay-a, relay-b, relay-c"), ..Setup::default() }
}

/// Whether any route of the client leads into a circuit.
fn has_way(world: &World) -> bool {
    let kernel = &world.hosts["client"].kernel;
    kernel.routes.values().any(|route| matches!(route.kind, RouteKind::Link(_)))
}

#[test]
fn traffic_has_a_way_exactly_while_the_circuit_is_open() {
    let mut world = World::new(setup());
    let mut states = Vec::new();
    for step in 0..4000 {
        match step {
            1000 => world.kill("relay-c"),
            3000 => {
                let number = world.circuits("client")[0].number;
                world.command("client", 1, Command::CircuitClose(number));
            }
            _ => {}
        }
        world.run(Duration::from_millis(if step < 1000 { 5 } else { 100 }));
        let state = world.circuits("client").first().map(|circuit| circuit.state);
        assert_eq!(has_way(&world), state == Some(CircuitState::Open), "{step}: {state:?}");
        world.client().assert_closed();
        if states.last() != Some(&state) {
            states.push(state);
        }
    }
    assert!(
        states.contains(&Some(CircuitState::Open)) && states.contains(&Some(CircuitState::Failed)),
        "{states:?}"
    );
    assert_eq!(states.last(), Some(&None), "closed by a person, and guarded all the same");
}

#[test]
fn ike_with_a_relay_inside_is_bound_to_the_circuit() {
    let mut world = World::new(setup());
    world.run_until_open(10 * SECOND);
    let number = world.circuits("client")[0].number;
    world.command("client", 1, Command::CircuitClose(number));
    world.run(20 * SECOND);
    let own: std::net::IpAddr = client_address(1).parse().unwrap();
    let from_client = |seen: &&super::world::Seen| seen.link.is_some() || seen.from.ip() == own;
    let mut inside = 0;
    for seen in world.seen.iter().filter(from_client) {
        let entry = seen.to.ip() == std::net::IpAddr::from([198, 18, 1, 2]);
        assert_eq!(entry, seen.link.is_none(), "{} to {}", seen.from, seen.to);
        inside += u32::from(!entry);
    }
    assert!(inside >= 6, "{inside}");
    // the relays heard of the end, through the layers before them
    for host in ["relay-a", "relay-b", "relay-c"] {
        assert!(
            world.hosts[host].events.iter().any(|event| matches!(event, Event::RelayCircuitDown { .. })),
            "{host}"
        );
    }
}

#[test]
fn the_relays_hear_of_a_failure_from_the_last_layer_inwards() {
    let mut world = World::new(setup());
    world.kill("relay-c");
    world.run(60 * SECOND);
    let failures = world.failures();
    assert!(failures.iter().all(|(hop, _)| *hop == Some(3)), "{failures:?}");
    world.run(60 * SECOND);
    for host in ["relay-a", "relay-b"] {
        let down = |event: &&Event| matches!(event, Event::RelayCircuitDown { .. });
        let up = |event: &&Event| matches!(event, Event::RelayCircuitUp { .. });
        let events = &world.hosts[host].events;
        let (up, down) = (events.iter().filter(up).count(), events.iter().filter(down).count());
        assert!(up >= 2 && up - down <= 1, "{host}: {up} {down}");
    }
}

#[test]
fn a_socket_that_cannot_be_opened_is_reported_and_tried_again() {
    let mut world = World::new(Setup { address: Some("198.18.0.77"), ..setup() });
    world.watched = false;
    world.run(30 * SECOND);
    assert!(!world.is_open());
    let refused = |event: &Event| matches!(event, Event::KernelRefused { operation, .. } if operation.contains("198.18.0.77:500"));
    assert!(world.client().events.iter().any(refused));
    world.client().address = "198.18.0.77".parse().unwrap();
    world.run_until_open(300 * SECOND);
    world.run(10 * SECOND);
    world.assert_consistent();
}
