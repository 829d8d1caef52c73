//! Daemons that are killed at every moment, and find their journal.

use std::time::Duration;

use ippriv::control::{Command, Event, Rekey, RekeyTarget, RekeyWhat, Reply};
use ippriv::plan::{Object, Op};

use super::world::{Setup, World, circuit, relay};

const SECOND: Duration = Duration::from_secs(1);
const HOSTS: [&str; 4] = ["client", "relay-a", "relay-b", "relay-c"];

fn setup() -> Setup {
    Setup { circuits: circuit("relay-a, relay-b, relay-c"), ..Setup::default() }
}

fn open() -> World {
    let mut world = World::new(setup());
    world.run_until_open(10 * SECOND);
    world.run(60 * SECOND);
    world
}

fn rekey_everything(world: &mut World) {
    let circuit = world.circuits("client")[0].number;
    for what in [RekeyWhat::Child, RekeyWhat::Ike] {
        for hop in 1..=3 {
            let target = RekeyTarget::Circuit { circuit, hop };
            world.ask("client", Command::Rekey(Rekey { target, what }));
        }
        for (host, neighbour) in [("relay-a", "relay-b"), ("relay-c", "relay-b")] {
            let target = RekeyTarget::Overlay { relay: neighbour.to_owned() };
            world.ask(host, Command::Rekey(Rekey { target, what }));
        }
        world.run(15 * SECOND);
    }
}

#[test]
fn a_restart_touches_nothing_in_the_kernel_and_loses_nothing() {
    for host in HOSTS {
        let mut world = open();
        world.probe_every("client", Duration::from_millis(10));
        for round in 0..3 {
            world.kill(host);
            world.run(20 * SECOND);
            let ops: Vec<_> = world.restart(host).iter().map(ToString::to_string).collect();
            assert!(ops.is_empty(), "{host} {round}: {ops:#?}");
            world.run(5 * SECOND);
            rekey_everything(&mut world);
            assert_eq!(world.lost, [] as [String; 0], "{host} {round}");
        }
        assert!(world.arrived > 10_000);
        assert!(world.is_open());
        assert_eq!(world.failures(), []);
        world.probe_every("client", 3600 * SECOND);
        world.run(SECOND);
        world.assert_consistent();
        // what was taken over can be closed in order
        world.flush("client");
        world.run(20 * SECOND);
        for number in 1..=3 {
            assert_eq!(world.sas(&relay(number)), 4, "{host}: {number}");
        }
    }
}

#[test]
fn what_is_asked_right_after_a_restart_is_done_at_once() {
    for host in ["client", "relay-a"] {
        let mut world = open();
        world.kill(host);
        world.run(SECOND);
        world.restart(host);
        let target = match host {
            "client" => RekeyTarget::Circuit { circuit: world.circuits("client")[0].number, hop: 3 },
            _ => RekeyTarget::Overlay { relay: "relay-b".to_owned() },
        };
        for what in [RekeyWhat::Child, RekeyWhat::Ike] {
            let rekey = Rekey { target: target.clone(), what };
            assert_eq!(world.ask(host, Command::Rekey(rekey.clone())), Reply::Done);
            world.machine(host).events.clear();
            world.run(SECOND);
            if what == RekeyWhat::Child {
                let done = world.machine(host).events.contains(&Event::Rekeyed(rekey));
                assert!(done, "{host}: {:#?}", world.machine(host).events);
            }
        }
        world.settle();
    }
}

#[test]
fn all_daemons_restart_at_once() {
    let mut world = open();
    world.probe_every("client", Duration::from_millis(10));
    for host in HOSTS {
        world.kill(host);
    }
    world.run(10 * SECOND);
    for host in HOSTS {
        assert_eq!(world.restart(host), [], "{host}");
    }
    world.run(60 * SECOND);
    rekey_everything(&mut world);
    assert_eq!(world.lost, [] as [String; 0]);
    assert!(world.is_open());
}

#[test]
fn killed_at_every_output_of_a_build_a_host_starts_over_and_nothing_stays_behind() {
    for host in HOSTS {
        let mut number = 1;
        loop {
            let mut world = World::new(setup());
            let begun = world.machine(host).outputs;
            world.dies = Some((host.to_owned(), begun + number));
            world.run(3 * SECOND);
            if world.dies.is_some() {
                assert!(number > 10, "{host}: {number}");
                break;
            }
            world.restart(host);
            world.run(900 * SECOND);
            assert!(world.is_open(), "{host} {number}: {:#?}", world.client().events);
            world.assert_consistent();
            assert!(world.probe("client").iter().all(Result::is_ok), "{host} {number}");
            assert_eq!(world.sas("client"), 6, "{host} {number}");
            number += 1;
        }
    }
}

#[test]
fn killed_at_every_output_of_a_rekey_no_live_sa_is_removed_and_no_packet_lost() {
    for host in HOSTS {
        let mut number = 1;
        loop {
            let mut world = open();
            world.probe_every("client", Duration::from_millis(10));
            let targets = targets(host, &mut world);
            let begun = world.machine(host).outputs;
            world.dies = Some((host.to_owned(), begun + number));
            for (from, target) in targets {
                world.command(&from, 1, Command::Rekey(Rekey { target, what: RekeyWhat::Child }));
            }
            world.run(SECOND / 2);
            if world.dies.is_some() {
                assert!(number > 3, "{host}: {number}");
                break;
            }
            let ops = world.restart(host);
            let made = |op: &Op| !matches!(op, Op::Create(Object::Sa(_)) | Op::Delete(Object::Sa(_)));
            assert!(ops.iter().all(|op| !made(op)), "{host} {number}: {ops:?}");
            world.run(120 * SECOND);
            assert_eq!(world.lost, [] as [String; 0], "{host} {number}");
            rekey_everything(&mut world);
            assert_eq!(world.failures(), [], "{host} {number}");
            assert_eq!(world.lost, [] as [String; 0], "{host} {number}");
            world.probe_every("client", 3600 * SECOND);
            world.run(SECOND);
            world.assert_consistent();
            number += 1;
        }
    }
}

/// What is rekeyed so that a host has a part in it, and by whom.
fn targets(host: &str, world: &mut World) -> Vec<(String, RekeyTarget)> {
    let circuit = world.circuits("client")[0].number;
    let hop = match host {
        "client" | "relay-a" => 1,
        "relay-b" => 2,
        _ => 3,
    };
    let mut targets = vec![("client".to_owned(), RekeyTarget::Circuit { circuit, hop })];
    let neighbour = if host == "relay-b" { "relay-a" } else { "relay-b" };
    if host != "client" {
        targets.push((host.to_owned(), RekeyTarget::Overlay { relay: neighbour.to_owned() }));
    }
    targets
}
