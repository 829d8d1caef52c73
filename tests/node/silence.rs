//! Daemons that are away for long while their kernels go on.

use std::time::Duration;

use ippriv::control::{Command, Rekey, RekeyTarget, RekeyWhat, Reply};

use super::world::{Setup, World, circuit, relay};

const SECOND: Duration = Duration::from_secs(1);
/// A good while longer than any peer has to answer.
const AWAY: Duration = Duration::from_secs(60);
/// Between two packets each way.
const OFTEN: Duration = Duration::from_millis(100);

fn open(client: &str) -> World {
    let mut world = World::new(Setup {
        circuits: circuit("relay-a, relay-b, relay-c"),
        client: client.to_owned(),
        ..Setup::default()
    });
    world.run_until_open(10 * SECOND);
    world.run(30 * SECOND);
    world
}

fn rekey(world: &mut World, host: &str, target: RekeyTarget, what: RekeyWhat) {
    assert_eq!(world.ask(host, Command::Rekey(Rekey { target, what })), Reply::Done);
}

fn assert_unharmed(world: &mut World, what: &str) {
    assert_eq!(world.failures(), [], "{what}");
    assert_eq!(world.lost, [] as [String; 0], "{what}");
    assert!(world.is_open(), "{what}");
}

#[test]
fn a_relay_whose_kernel_forwards_is_not_dead() {
    for number in 1..=3_u8 {
        let mut world = open("");
        let host = relay(number);
        let before = world.circuits("client")[0].number;
        world.probe_every("client", OFTEN);
        world.kill(&host);
        world.run(AWAY);
        assert_unharmed(&mut world, &host);
        assert_eq!(world.restart(&host), [], "{host}");
        // what was asked meanwhile is answered, and so is what comes next
        world.run(5 * SECOND);
        for what in [RekeyWhat::Child, RekeyWhat::Ike] {
            let target = RekeyTarget::Circuit { circuit: before, hop: number };
            rekey(&mut world, "client", target, what);
            world.run(15 * SECOND);
        }
        let view = world.circuits("client").remove(0);
        assert_eq!(view.number, before);
        let rekeyed = view.hops[usize::from(number) - 1].sa.as_ref().map(|sa| sa.rekeyed);
        assert_eq!(rekeyed, Some(1), "{host}");
        assert_unharmed(&mut world, &host);
        world.probe_every("client", 3600 * SECOND);
        world.run(SECOND);
        world.assert_consistent();
    }
}

#[test]
fn new_keys_that_are_due_wait_for_the_daemon() {
    for what in [RekeyWhat::Child, RekeyWhat::Ike] {
        for number in 1..=3_u8 {
            let mut world = open("");
            let host = relay(number);
            let circuit = world.circuits("client")[0].number;
            world.probe_every("client", OFTEN);
            world.kill(&host);
            rekey(&mut world, "client", RekeyTarget::Circuit { circuit, hop: number }, what);
            world.run(AWAY);
            assert_unharmed(&mut world, &host);
            world.restart(&host);
            world.run(30 * SECOND);
            assert_unharmed(&mut world, &host);
            world.probe_every("client", 3600 * SECOND);
            world.run(SECOND);
            world.assert_consistent();
        }
    }
}

#[test]
fn nor_is_a_client_or_a_neighbour_dead_whose_kernel_forwards() {
    let overlay = |relay: &str| RekeyTarget::Overlay { relay: relay.to_owned() };
    for (away, asks, target) in [
        ("relay-b", "relay-a", overlay("relay-b")),
        ("relay-a", "relay-b", overlay("relay-a")),
        ("relay-c", "relay-b", overlay("relay-c")),
    ] {
        let mut world = open("");
        world.probe_every("client", OFTEN);
        world.kill(away);
        rekey(&mut world, asks, target, RekeyWhat::Child);
        world.run(2 * AWAY);
        assert_unharmed(&mut world, away);
        world.restart(away);
        world.run(60 * SECOND);
        assert_unharmed(&mut world, away);
        world.probe_every("client", 3600 * SECOND);
        world.settle();
    }
    // relays ask a client after five minutes
    let mut world = open("");
    world.probe_every("client", OFTEN);
    world.kill("client");
    world.run(600 * SECOND);
    assert_eq!(world.lost, [] as [String; 0]);
    world.restart("client");
    world.run(60 * SECOND);
    assert_unharmed(&mut world, "client");
}

#[test]
fn who_neither_answers_nor_forwards_is_as_dead_as_ever() {
    // an exit through which nobody sends anything: the last of the layers says nothing of its kernel
    let mut world = open("");
    world.kill("relay-c");
    world.run(45 * SECOND);
    let (hop, reason) = &world.failures()[0];
    assert_eq!(*hop, Some(3));
    assert!(reason.contains("does not answer"), "{reason}");
}

#[test]
fn a_death_under_load_is_noticed_no_later() {
    for number in 1..=3_u8 {
        let mut world = open("");
        world.probe_every("client", OFTEN);
        world.run(20 * SECOND);
        world.kill(&relay(number));
        world.machine(&relay(number)).kernel = ippriv::state::State::default();
        // ten seconds of silence, twenty to answer and a fifth more, four for those before it
        world.run(39 * SECOND);
        let (hop, reason) = &world.failures()[0];
        assert_eq!(*hop, Some(number), "{reason}");
    }
}

#[test]
fn a_kernel_that_dies_after_its_daemon_is_missed_too() {
    let mut world = open("");
    world.probe_every("client", OFTEN);
    world.kill("relay-b");
    world.run(AWAY);
    assert_eq!(world.failures(), []);
    world.machine("relay-b").kernel = ippriv::state::State::default();
    world.run(35 * SECOND);
    assert!(!world.failures().is_empty());
}

#[test]
fn a_relay_that_forwards_the_answers_of_others_is_not_blamed() {
    let mut world = open("");
    // both at the same time, so that either may be missed first
    world.kill("relay-a");
    world.kill("relay-c");
    world.machine("relay-c").kernel = ippriv::state::State::default();
    world.run(45 * SECOND);
    let (hop, reason) = &world.failures()[0];
    assert_eq!(*hop, Some(3), "{reason}");
}

#[test]
fn packets_are_not_counted_while_everybody_answers() {
    let mut world = open("");
    world.probe_every("client", OFTEN);
    world.run(600 * SECOND);
    for host in ["client", "relay-a", "relay-b", "relay-c"] {
        assert_eq!(world.machine(host).counted, 0, "{host}");
    }
}
