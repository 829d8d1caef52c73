//! Circuits lent to commands in other network namespaces.

use std::time::Duration;

use ippriv::control::{CircuitView, Command, Event, Lend, RefusalCode, Rekey, RekeyTarget, RekeyWhat, Reply};
use ippriv::id::ProcessId;
use ippriv::node::{CommandId, Input};
use ippriv::plan::{Object, Op};
use ippriv::state::{PolicyDirection, State};
use ippriv::telescope::CircuitNumber;

use super::world::{World, circuit};

const SECOND: Duration = Duration::from_secs(1);

fn open() -> World {
    let mut world = World::simple(3, &circuit("relay-a, relay-b, relay-c"));
    world.run_until_open(10 * SECOND);
    world
}

fn process(number: u32) -> ProcessId {
    ProcessId::new(number).unwrap()
}

fn one() -> CircuitNumber {
    1.try_into().unwrap()
}

fn lend(world: &mut World, close: bool) -> Reply {
    world.ask("client", Command::CircuitLend(Lend { circuit: one(), process: process(77), close }))
}

fn give_back(world: &mut World, by: u32) -> Reply {
    world.ask("client", Command::CircuitReturn { circuit: one(), process: process(by) })
}

fn view(world: &mut World) -> CircuitView {
    world.circuits("client").remove(0)
}

fn refused(reply: Reply) -> (RefusalCode, String) {
    match reply {
        Reply::Refused(refusal) => (refusal.code, refusal.message),
        other => panic!("{other:?}"),
    }
}

/// The SAs and outbound policies that belong to the lent interface.
fn of_the_lent(world: &mut World) -> (usize, Vec<usize>) {
    let machine = world.client();
    let Some((link, _)) = machine.lent.last() else { return (0, Vec::new()) };
    let if_id = link.if_id;
    let State { sas, policies, .. } = &machine.kernel;
    let templates = policies
        .values()
        .filter(|policy| policy.id.if_id == if_id && policy.id.direction == PolicyDirection::Out)
        .map(|policy| policy.templates.len());
    (sas.values().filter(|sa| sa.if_id == if_id).count(), templates.collect())
}

#[test]
fn a_lent_circuit_has_its_innermost_layer_elsewhere_and_comes_back_whole() {
    let mut world = open();
    let before = world.client().kernel.clone();
    let Reply::Circuit(lent) = lend(&mut world, false) else { panic!() };
    assert_eq!(lent.lent_to, Some(process(77)));
    let (link, to) = world.client().lent[0].clone();
    assert_eq!((link.name.as_str(), link.mtu.get(), to), ("ippr1", 1280, process(77)));
    assert!(world.client().watched.contains(&process(77)));
    // both directions of the innermost layer, and a policy with that layer alone
    assert_eq!(of_the_lent(&mut world), (2, vec![1]));
    world.assert_consistent();
    let held = &world.client().kernel;
    let address = lent.addresses[0];
    assert!(!held.addresses.keys().any(|id| id.prefix.addr() == address), "the host still has {address}");
    let around = held.links.values().find(|link| link.name.as_str() == "ippc1").unwrap();
    assert!(around.mtu.get() > link.mtu.get(), "{around:?}");
    let from_it = held.policies.values().filter(|policy| policy.id.selector.source == address.into());
    assert_eq!(from_it.map(|policy| policy.id.if_id).collect::<Vec<_>>(), [link.if_id]);

    let before_return = world.client().ops;
    assert_eq!(refused(give_back(&mut world, 78)).0, RefusalCode::Conflict);
    assert_eq!(world.client().ops, before_return);
    assert_eq!(give_back(&mut world, 77), Reply::Done);
    assert_eq!(world.client().kernel, before);
    assert_eq!(view(&mut world).lent_to, None);
    assert!(world.probe("client").iter().all(Result::is_ok));
    world.assert_consistent();
}

#[test]
fn no_sa_is_ever_made_anew_for_it() {
    let mut world = open();
    let wanted = |world: &mut World| world.client().node.desired().unwrap().state;
    let before = wanted(&mut world);
    lend(&mut world, false);
    let lent = wanted(&mut world);
    for (from, to) in [(&before, &lent), (&lent, &before)] {
        let ops = ippriv::plan::changes(to, from).ops;
        let sas: Vec<_> = ops.iter().filter(|op| matches!(op.object(), Object::Sa(_))).collect();
        assert_eq!(sas.len(), 2, "{sas:?}");
        assert!(sas.iter().all(|op| matches!(op, Op::Replace { .. })), "{sas:?}");
    }
}

#[test]
fn what_cannot_be_lent_is_refused_and_stays_as_it_is() {
    let mut world = open();
    let ask = |world: &mut World, number: u32| {
        let circuit = number.try_into().unwrap();
        refused(
            world.ask("client", Command::CircuitLend(Lend { circuit, process: process(5), close: false })),
        )
    };
    assert_eq!(ask(&mut world, 9).0, RefusalCode::NotFound);
    let before = world.client().kernel.clone();
    world.client().lends_nothing = true;
    let (code, message) = ask(&mut world, 1);
    assert!(code == RefusalCode::Failed && message.contains("cannot be lent"), "{message}");
    assert_eq!(world.client().kernel, before);
    world.client().lends_nothing = false;
    // a kernel that refuses leaves everything to the host
    world.client().refuses = Some(Box::new(|_, op| matches!(op, Op::Replace { new: Object::Sa(_), .. })));
    let (code, message) = ask(&mut world, 1);
    assert!(code == RefusalCode::Failed && message.contains("refused to replace sa"), "{message}");
    world.client().refuses = None;
    world.run(120 * SECOND);
    assert_eq!(world.client().kernel, before);
    assert!(world.probe("client").iter().all(Result::is_ok));

    lend(&mut world, false);
    let (code, message) = ask(&mut world, 1);
    assert!(code == RefusalCode::Conflict && message.contains("process 77 uses it"), "{message}");
}

#[test]
fn it_comes_back_when_the_process_ends_and_is_closed_if_that_was_agreed() {
    let mut world = open();
    let before = world.client().kernel.clone();
    lend(&mut world, false);
    world.input("client", Input::ProcessEnded(process(78)));
    assert_eq!(view(&mut world).lent_to, Some(process(77)));
    world.input("client", Input::ProcessEnded(process(77)));
    assert_eq!(world.client().kernel, before);
    let returned =
        |event: &Event| matches!(event, Event::CircuitReturned { process, .. } if process.get() == 77);
    assert!(world.client().events.iter().any(returned));

    world.client().lent.clear();
    lend(&mut world, true);
    world.client().replies.clear();
    let back = Command::CircuitReturn { circuit: one(), process: process(77) };
    world.command("client", 5, back);
    world.run(10 * SECOND);
    assert_eq!(world.client().replies, [(CommandId(5), Reply::Done)]);
    assert_eq!(world.circuits("client"), []);
    assert_eq!(world.sas("client"), 0);
}

#[test]
fn new_keys_are_for_the_process_that_has_the_circuit() {
    let mut world = open();
    lend(&mut world, false);
    for hop in 1..=3 {
        for what in [RekeyWhat::Child, RekeyWhat::Ike] {
            let target = RekeyTarget::Circuit { circuit: one(), hop };
            world.ask("client", Command::Rekey(Rekey { target, what }));
            world.run(15 * SECOND);
        }
    }
    assert_eq!(of_the_lent(&mut world), (2, vec![1]));
    assert_eq!(view(&mut world).hops[2].sa.as_ref().unwrap().rekeyed, 1);
    assert_eq!(world.failures(), []);
    world.assert_consistent();
}

#[test]
fn a_restart_changes_nothing_for_the_process() {
    let mut world = open();
    lend(&mut world, false);
    world.kill("client");
    world.run(20 * SECOND);
    world.client().watched.clear();
    assert_eq!(world.restart("client"), []);
    world.run(5 * SECOND);
    assert_eq!(view(&mut world).lent_to, Some(process(77)));
    assert!(world.client().watched.contains(&process(77)));
    assert_eq!(give_back(&mut world, 77), Reply::Done);
    assert!(world.probe("client").iter().all(Result::is_ok));
    // and that it is back is remembered as well
    world.kill("client");
    assert_eq!(world.restart("client"), []);
    assert_eq!(view(&mut world).lent_to, None);
}

#[test]
fn a_circuit_that_ends_takes_the_network_with_it() {
    let mut world = open();
    lend(&mut world, false);
    world.ask("client", Command::CircuitList);
    let number = world.circuits("client")[0].number;
    world.client().replies.clear();
    world.command("client", 6, Command::CircuitClose(number));
    assert_eq!(of_the_lent(&mut world), (0, Vec::new()));
    world.run(10 * SECOND);
    let reasons: Vec<_> =
        world.client().events.iter().filter(|event| matches!(event, Event::CircuitReturned { .. })).collect();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert_eq!(world.sas("client"), 0);
}
