//! Whole networks of nodes without any IO: circuits are built, live, and go.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod node_world;

use std::time::Duration;

use ippriv::control::{CircuitState, Command, Event, NewCircuit, Reply};
use node_world::World;

const MINUTE: Duration = Duration::from_secs(60);

fn circuit(hops: &str) -> String {
    format!("    - name: c\n      hops: [{hops}]\n      traffic: [0.0.0.0/0]\n")
}

fn state(world: &mut World) -> Option<CircuitState> {
    world.command("client", 900, Command::CircuitList);
    match world.client().replies.pop() {
        Some((_, Reply::Circuits(circuits))) => circuits.first().map(|circuit| circuit.state),
        other => panic!("{other:?}"),
    }
}

#[test]
fn circuits_of_every_length_are_built_hop_by_hop() {
    for length in 1..=5_u8 {
        let hops: Vec<String> = (1..=length).map(node_world::name).collect();
        let mut world = World::new(5, &circuit(&hops.join(", ")));
        world.run(Duration::from_secs(5));
        assert_eq!(state(&mut world), Some(CircuitState::Open), "{length}: {:?}", world.client().events);
        world.assert_consistent();
        let kernel = &world.client().kernel;
        assert_eq!(kernel.sas.len(), 2 * usize::from(length));
        assert!(kernel.routes.values().any(|route| format!("{:?}", route.kind).contains("ippc1")));
    }
}
