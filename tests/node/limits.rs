//! What relays take on at most, many clients, NAT, and a client that moves.

use std::time::Duration;

use ippriv::control::{CircuitState, Command, Event, NewCircuit, RefusalCode, Reply};
use ippriv::node::Input;
use ippriv::plan::Op;

use super::world::{Setup, World, circuit, client_address, relay};

const SECOND: Duration = Duration::from_secs(1);

fn new(hops: &[&str]) -> Command {
    let hops = Some(hops.iter().map(ToString::to_string).collect());
    Command::CircuitNew(NewCircuit { hops, wait: true, ..Default::default() })
}

/// Asks for circuits one after the other, and gives the answers.
fn ask_for(world: &mut World, circuits: u64, hops: &[&str]) -> Vec<Result<(), (RefusalCode, String)>> {
    let mut answers = Vec::new();
    for number in 0..circuits {
        world.client().replies.clear();
        world.command("client", number, new(hops));
        world.run(5 * SECOND);
        answers.push(match world.client().replies.pop() {
            Some((_, Reply::Circuit(view))) if view.state == CircuitState::Open => Ok(()),
            Some((_, Reply::Refused(refusal))) => Err((refusal.code, refusal.message)),
            other => panic!("{other:?}"),
        });
    }
    answers
}

#[test]
fn a_relay_whose_pool_is_empty_says_so_and_the_client_as_well() {
    let mut world =
        World::new(Setup { pool: 30, relay: "  pool_quarantine: 5m\n".to_owned(), ..Setup::default() });
    let answers = ask_for(&mut world, 3, &["relay-a"]);
    assert_eq!(answers[..2], [Ok(()), Ok(())]);
    let (code, message) = answers[2].clone().unwrap_err();
    assert_eq!(code, RefusalCode::Failed);
    assert!(
        message.starts_with("hop 1: relay-a: ") && message.contains("INTERNAL_ADDRESS_FAILURE"),
        "{message}"
    );
    // an address rests for five minutes after it came back
    let number = world.circuits("client")[0].number;
    world.command("client", 9, Command::CircuitClose(number));
    world.run(100 * SECOND);
    assert!(ask_for(&mut world, 1, &["relay-a"])[0].is_err());
    let Reply::Status(status) = world.ask("relay-a", Command::Status) else { panic!() };
    assert_eq!(status.relay.unwrap().leases, 1, "one is used, one rests");
    world.run(300 * SECOND);
    assert!(ask_for(&mut world, 1, &["relay-a"])[0].is_ok());
    world.assert_consistent();
}

#[test]
fn limits_of_circuits_hold_for_all_and_for_each_prefix() {
    let relay = "  limits: { circuits: 2 }\n".to_owned();
    let mut world = World::new(Setup { relay, ..Setup::default() });
    let answers = ask_for(&mut world, 3, &["relay-a"]);
    let (_, message) = answers[2].clone().unwrap_err();
    assert!(answers[1].is_ok() && message.contains("NO_ADDITIONAL_SAS"), "{message}");

    let relay = "  limits: { circuits_per_prefix: 2 }\n".to_owned();
    let mut world = World::new(Setup { relay, ..Setup::default() });
    let answers = ask_for(&mut world, 3, &["relay-a"]);
    assert!(answers[1].is_ok() && answers[2].is_err());
    // what comes from another relay's pool is nobody's prefix
    let answers = ask_for(&mut world, 2, &["relay-b", "relay-c"]);
    assert_eq!(answers, [Ok(()), Ok(())]);
    let number = world.circuits("client")[0].number;
    world.command("client", 9, Command::CircuitClose(number));
    world.run(5 * SECOND);
    assert!(ask_for(&mut world, 1, &["relay-a"])[0].is_ok(), "a place that is free again");
    world.assert_consistent();
}

fn many(nat: bool) {
    let circuits: String =
        (1..=10).map(|n| format!("    - {{ name: c{n}, length: 3, traffic: [192.0.{n}.0/24] }}\n")).collect();
    let setup = Setup { clients: 3, relays: 4, circuits, ..Setup::default() };
    let mut world = World::with(setup, |world| world.nat = nat);
    world.watched = false;
    world.run(30 * SECOND);
    for host in ["client", "client-2", "client-3"] {
        let circuits = world.circuits(host);
        assert_eq!(circuits.len(), 10);
        assert!(circuits.iter().all(|one| one.state == CircuitState::Open), "{host}: {circuits:#?}");
        let udp: Vec<bool> = circuits.iter().map(|one| one.hops[0].sa.as_ref().unwrap().in_udp).collect();
        assert_eq!(udp, [nat; 10], "{host}");
        let probes = world.probe(host);
        assert!(probes.len() >= 20 && probes.iter().all(Result::is_ok), "{host}: {probes:?}");
    }
    world.assert_consistent();
    for host in ["client", "client-2", "client-3"] {
        world.flush(host);
    }
    world.run(20 * SECOND);
    for number in 1..=4 {
        assert_eq!(world.sas(&relay(number)), 6, "{number}: its three overlays");
    }
    assert_eq!(world.sas("client-2"), 0);
}

#[test]
fn three_clients_build_ten_circuits_each_at_once() {
    many(false);
}

#[test]
fn clients_behind_one_address_are_told_apart() {
    many(true);
}

#[test]
fn a_client_that_moves_builds_its_circuits_anew_from_its_new_address() {
    let circuits = circuit("relay-a, relay-b, relay-c");
    let mut world = World::new(Setup { address: Some("auto"), circuits, ..Setup::default() });
    world.run(10 * SECOND);
    assert!(!world.is_open(), "without an address");
    assert_eq!(world.failures(), []);
    let address = client_address(1).parse().unwrap();
    world.input("client", Input::AddressChanged(Some(address)));
    world.run_until_open(10 * SECOND);
    world.assert_consistent();

    let moved = client_address(7).parse().unwrap();
    world.client().address = moved;
    world.input("client", Input::AddressChanged(Some(moved)));
    assert!(world.probe("client").is_empty(), "the old circuit carries on");
    world.run_until_open(10 * SECOND);
    let view = world.circuits("client").remove(0);
    assert_eq!(world.hosts["client"].kernel.sas.values().filter(|sa| sa.source == address).count(), 0);
    assert_eq!(view.hops.len(), 3);

    world.input("client", Input::AddressChanged(None));
    world.run(600 * SECOND);
    assert!(!world.is_open());
    assert_eq!(world.sas("client"), 0);
    assert!(!world.client().journal.keys().any(|key| key.starts_with("circuit/")));
    world.input("client", Input::AddressChanged(Some(moved)));
    world.run_until_open(10 * SECOND);
    world.run(10 * SECOND);
    world.assert_consistent();
    assert!(world.client().events.contains(&Event::AddressChanged { online: false }));
}

#[test]
fn somebody_who_waits_for_a_circuit_is_told_when_the_client_moves() {
    let mut world = World::new(Setup { address: Some("auto"), ..Setup::default() });
    let address = client_address(1).parse().unwrap();
    world.input("client", Input::AddressChanged(Some(address)));
    world.command("client", 5, new(&["relay-a", "relay-b"]));
    world.input("client", Input::AddressChanged(None));
    world.run(SECOND);
    assert!(matches!(&world.client().replies[..], [(_, Reply::Refused(_))]), "{:?}", world.client().replies);
}

#[test]
fn one_layer_more_costs_the_same_whether_there_are_none_or_thousands() {
    let relay = "  limits: { circuits: 20000, circuits_per_prefix: 20000, half_open_per_prefix: 20000 }\n";
    let mut world = World::new(Setup { relays: 1, relay: relay.to_owned(), ..Setup::default() });
    world.watched = false;
    let mut costs = Vec::new();
    for _ in 0..500 {
        let before = (world.machine("relay-a").ops, world.machine("relay-a").outputs);
        for number in 0..20 {
            world.command("client", number, new(&["relay-a"]));
        }
        world.run(SECOND / 5);
        let after = (world.machine("relay-a").ops, world.machine("relay-a").outputs);
        costs.push((after.0 - before.0, after.1 - before.1));
        // the client has nothing to do with what is measured here
        world.reboot("client");
        world.seen.clear();
    }
    assert_eq!(world.sas("relay-a"), 20_000);
    assert_eq!(costs[0].0, 20 * 3, "two SAs and a policy each");
    costs.dedup();
    assert_eq!(costs.len(), 1, "{costs:?}");
    let touched: Vec<Op> = world.restart("relay-a");
    assert_eq!(touched, []);
}
