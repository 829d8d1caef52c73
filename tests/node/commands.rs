//! What people ask, what they are told, other policies while circuits live, and the end.

use std::time::Duration;

use ippriv::control::{
    CircuitState, Command, NewCircuit, OverlayState, RefusalCode, Rekey, RekeyTarget, RekeyWhat, Reply, Role,
};
use ippriv::telescope::CircuitNumber;

use super::world::{Setup, World, circuit, relay};

const SECOND: Duration = Duration::from_secs(1);

fn open() -> World {
    let mut world = World::simple(3, &circuit("relay-a, relay-b, relay-c"));
    world.run_until_open(10 * SECOND);
    world
}

fn refusal(reply: Reply) -> (RefusalCode, String) {
    match reply {
        Reply::Refused(refusal) => (refusal.code, refusal.message),
        other => panic!("{other:?}"),
    }
}

fn number(value: u32) -> CircuitNumber {
    value.try_into().unwrap()
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let mut world = open();
    let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
    let new = NewCircuit::default;
    let prefix = "0.0.0.0/0".parse().unwrap();
    let cases = [
        (
            NewCircuit { name: Some("c".to_owned()), ..new() },
            RefusalCode::Conflict,
            "there is a circuit c already",
        ),
        (NewCircuit { name: Some("No Name".to_owned()), ..new() }, RefusalCode::Invalid, ""),
        (
            NewCircuit { hops: names(&["relay-a"]), length: Some(2), ..new() },
            RefusalCode::Invalid,
            "expected one of them",
        ),
        (NewCircuit { hops: names(&["relay-x"]), ..new() }, RefusalCode::NoPath, "no relay \"relay-x\""),
        (NewCircuit { hops: names(&["relay-a", "relay-a"]), ..new() }, RefusalCode::NoPath, "relay-a twice"),
        (NewCircuit { hops: names(&[]), ..new() }, RefusalCode::NoPath, "0 hops: expected 1 to 5"),
        (NewCircuit { length: Some(6), ..new() }, RefusalCode::NoPath, "6 hops: expected 1 to 5"),
        (NewCircuit { length: Some(5), ..new() }, RefusalCode::NoPath, "no 5 relays"),
        (NewCircuit { traffic: vec![prefix], ..new() }, RefusalCode::Conflict, "0.0.0.0/0"),
    ];
    for (new, code, words) in cases {
        let before = world.client().ops;
        let (found, message) = refusal(world.ask("client", Command::CircuitNew(new.clone())));
        assert_eq!(found, code, "{new:?}: {message}");
        assert!(message.contains(words) && !message.is_empty(), "{message}");
        assert_eq!(world.client().ops, before, "{new:?}");
    }
    let cases = [
        Command::CircuitShow(number(77)),
        Command::CircuitClose(number(77)),
        Command::RelayShow("relay-x".to_owned()),
        Command::Rekey(Rekey {
            target: RekeyTarget::Circuit { circuit: number(1), hop: 0 },
            what: RekeyWhat::Ike,
        }),
        Command::Rekey(Rekey {
            target: RekeyTarget::Circuit { circuit: number(1), hop: 4 },
            what: RekeyWhat::Ike,
        }),
        Command::Rekey(Rekey { target: RekeyTarget::Overlay { relay: relay(1) }, what: RekeyWhat::Ike }),
    ];
    for command in cases {
        assert_eq!(refusal(world.ask("client", command)).0, RefusalCode::NotFound);
    }
    let (code, message) = refusal(world.ask("relay-a", Command::CircuitNew(new())));
    assert_eq!(code, RefusalCode::NotAllowed);
    assert!(message.contains("no client"), "{message}");
}

#[test]
fn a_circuit_is_made_shown_and_closed_by_command() {
    let mut world = open();
    let new = NewCircuit { name: Some("mine".to_owned()), length: Some(2), ..Default::default() };
    let Reply::Circuit(view) = world.ask("client", Command::CircuitNew(new)) else { panic!() };
    assert_eq!((view.state, view.hops.len()), (CircuitState::Building, 2));
    world.run(5 * SECOND);
    let Reply::Circuit(view) = world.ask("client", Command::CircuitShow(view.number)) else { panic!() };
    assert_eq!(view.state, CircuitState::Open);
    assert_eq!(view.link.as_deref(), Some("ippc2"));
    assert!(view.hops.iter().all(|hop| hop.assigned.is_some() && hop.sa.is_some()));
    assert_eq!(view.addresses, [view.hops[1].assigned.unwrap()]);
    let Reply::Status(status) = world.ask("client", Command::Status) else { panic!() };
    assert_eq!(status.roles, [Role::Client]);
    assert_eq!(status.circuits.unwrap().open, 2);
    world.client().replies.clear();
    world.command("client", 5, Command::CircuitClose(view.number));
    world.command("client", 6, Command::CircuitClose(view.number));
    world.run(5 * SECOND);
    assert_eq!(world.client().replies.iter().filter(|(_, reply)| *reply == Reply::Done).count(), 2);
    assert_eq!(world.circuits("client").len(), 1);
    world.assert_consistent();
}

#[test]
fn a_circuit_has_the_name_servers_that_its_exit_tells_of() {
    let exit = "{ dns: [9.9.9.9, 1.1.1.1, \"2620:fe::fe\"] }";
    let mut world = World::new(Setup { circuits: circuit("relay-a, relay-b"), exit, ..Setup::default() });
    world.run_until_open(10 * SECOND);
    let told = |world: &mut World| world.circuits("client")[0].dns.clone();
    // relays without IPv6 tell of no server that takes it
    let expected: Vec<std::net::IpAddr> = vec!["9.9.9.9".parse().unwrap(), "1.1.1.1".parse().unwrap()];
    assert_eq!(told(&mut world), expected);
    world.kill("client");
    world.restart("client");
    assert_eq!(told(&mut world), expected);
    let Reply::Status(status) = world.ask("client", Command::Status) else { panic!() };
    assert_eq!(status.warnings, [] as [String; 0]);
    // others tell those who come after a reload
    world.reload("relay-b", |setup| setup.exit = "{ dns: [8.8.8.8] }").unwrap();
    world.command("client", 5, Command::CircuitClose(number(1)));
    world.run(10 * SECOND);
    let new =
        NewCircuit { hops: Some(vec!["relay-a".to_owned(), "relay-b".to_owned()]), ..Default::default() };
    world.ask("client", Command::CircuitNew(new));
    world.run(10 * SECOND);
    let circuits = world.circuits("client");
    assert_eq!(circuits.last().unwrap().dns, ["8.8.8.8".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn relays_and_overlays_are_shown() {
    let mut world = open();
    let Reply::Relays(relays) = world.ask("client", Command::RelayList) else { panic!() };
    assert_eq!(relays.len(), 3);
    assert!(relays.iter().all(|one| one.neighbours.len() == 2 && !one.this));
    let Reply::Overlays(overlays) = world.ask("relay-b", Command::OverlayList) else { panic!() };
    assert_eq!(overlays.iter().map(|one| one.relay.as_str()).collect::<Vec<_>>(), ["relay-a", "relay-c"]);
    assert!(overlays.iter().all(|one| one.state == OverlayState::Up && one.sa.is_some()));
    let Reply::Status(status) = world.ask("relay-b", Command::Status) else { panic!() };
    let summary = status.relay.unwrap();
    assert_eq!((summary.layers, summary.overlays, summary.overlays_up), (1, 2, 2));
    assert_eq!(summary.leases, 1);
}

#[test]
fn another_policy_leaves_what_lives_alone() {
    let mut world = open();
    world.probe_every("client", Duration::from_millis(20));
    let sas = world.client().kernel.sas.clone();
    let reloaded = world.reload("client", |setup| {
        setup.circuits += "    - { name: other, length: 2, traffic: [192.0.2.0/24] }\n";
    });
    assert!(!reloaded.unwrap().changes.is_empty());
    world.run(10 * SECOND);
    let circuits = world.circuits("client");
    assert_eq!(circuits.len(), 2);
    assert!(circuits.iter().all(|one| one.state == CircuitState::Open));
    assert!(sas.keys().all(|id| world.client().kernel.sas.contains_key(id)));
    assert_eq!(world.lost, [] as [String; 0]);
    world.reload("client", |_| {}).unwrap();
    world.run(SECOND);
    // packets of the circuit that was closed
    world.lost.clear();
    world.run(10 * SECOND);
    assert_eq!(world.circuits("client").len(), 1);
    assert_eq!(world.lost, [] as [String; 0]);
    world.reload("client", Setup::without_circuits).unwrap();
    world.probe_every("client", 3600 * SECOND);
    world.run(10 * SECOND);
    assert_eq!((world.circuits("client").len(), world.sas("client")), (0, 0));
    world.run(10 * SECOND);
    world.assert_consistent();
}

#[test]
fn a_policy_that_does_not_fit_changes_nothing() {
    let mut world = open();
    let before = world.machine("relay-c").kernel.clone();
    let refused = world.reload("relay-c", |setup| setup.relays = 2);
    assert!(refused.unwrap_err().contains("relay-c is not in the network document"));
    world.run(20 * SECOND);
    assert!(world.is_open());
    assert_eq!(world.machine("relay-c").kernel, before);
    world.assert_consistent();
}

#[test]
fn a_neighbour_comes_with_a_new_document_and_goes_with_the_next() {
    let mut world = World::simple(3, "");
    world.run(10 * SECOND);
    assert_eq!(world.sas("relay-a"), 4);
    for host in ["relay-a", "relay-b"] {
        world.reload(host, |setup| setup.relays = 2).unwrap();
    }
    world.run(20 * SECOND);
    assert_eq!(world.sas("relay-a"), 2);
    assert!(!world.machine("relay-a").journal.keys().any(|key| key.contains("relay-c")));
    for host in ["relay-a", "relay-b"] {
        world.reload(host, |_| {}).unwrap();
    }
    world.run(120 * SECOND);
    assert_eq!(world.sas("relay-a"), 4);
    world.assert_consistent();
    let numbers = world.machine("relay-a").kernel.links.clone();
    world.kill("relay-a");
    assert_eq!(world.restart("relay-a"), []);
    assert_eq!(world.machine("relay-a").kernel.links, numbers);
}

#[test]
fn a_flush_leaves_nothing_anywhere() {
    let mut world = open();
    for host in ["client", "relay-a", "relay-b", "relay-c"] {
        world.flush(host);
        world.run(30 * SECOND);
        assert!(world.hosts[host].node.is_idle(), "{host}");
        assert_eq!(world.sas(host), 0, "{host}");
        let kept: Vec<_> =
            world.hosts[host].journal.keys().filter(|key| !key.starts_with("neighbour/")).collect();
        assert!(kept.is_empty(), "{host}: {kept:?}");
    }
    let (code, _) = refusal(world.ask("client", Command::CircuitNew(NewCircuit::default())));
    assert_eq!(code, RefusalCode::Unavailable);
}
