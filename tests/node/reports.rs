//! What is reported: each thing once, and to whom it may be.

use std::time::Duration;

use ippriv::control::Event;

use super::world::{Setup, World, circuit};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_start_is_reported_with_what_was_taken_over() {
    let mut world = World::simple(3, &circuit("relay-a, relay-b, relay-c"));
    world.run_until_open(10 * SECOND);
    for (host, taken) in [("client", 1), ("relay-b", 3)] {
        let first = world.machine(host).events.first().cloned();
        assert!(matches!(first, Some(Event::Started { adopted: 0, .. })), "{first:?}");
        world.machine(host).events.clear();
        world.kill(host);
        world.restart(host);
        world.run(SECOND);
        let first = world.machine(host).events.first().cloned();
        assert!(matches!(first, Some(Event::Started { adopted, .. }) if adopted == taken), "{first:?}");
    }
}

#[test]
fn a_refused_handshake_is_reported_at_the_relay() {
    let setup = Setup {
        clients: 2,
        relay: "  limits: { circuits: 1 }\n".to_owned(),
        circuits: circuit("relay-a"),
        ..Setup::default()
    };
    let mut world = World::new(setup);
    world.run(5 * SECOND);
    let refused = world.machine("relay-a").events.iter().find_map(|event| match event {
        Event::HandshakeRefused { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(refused.as_deref(), Some("no further child SA is accepted"));
}

#[test]
fn a_refusal_of_the_kernel_is_reported_once() {
    for word in ["create link", "create sa", "create policy", "create address", "create route"] {
        let circuits = circuit("relay-a, relay-b").replace("traffic", "rebuild: false\n      traffic");
        let mut world = World::new(Setup { circuits, ..Setup::default() });
        let refuses = move |_, op: &ippriv::plan::Op| op.to_string().starts_with(word);
        world.client().refuses = Some(Box::new(refuses));
        world.run(20 * SECOND);
        let events = &world.client().events;
        let said = events.iter().filter(|event| matches!(event, Event::KernelRefused { .. })).count();
        assert_eq!(said, 1, "{word}: {events:#?}");
    }
}
