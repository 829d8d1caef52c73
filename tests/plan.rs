//! Plans and transactions against a kernel in memory.

#[cfg(test)]
mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ippriv::id::{IfId, LinkName};
use ippriv::plan::{Cause, Ending, Failure, Object, Op, OpError, Outcome, Step, Transaction, diff};
use ippriv::secret::KeyMaterial;
use ippriv::state::{Current, Direction, NftSetKind, Progress, RouteKind, Sa, State, UdpEncapsulation};
use support::kernel::{Kernel, bystanders, refused, settled};
use support::random::Random;
use support::{Circuit, as_host, client, client_state, compiled, relay, relay_state};

const EBUSY: i32 = 16;

fn circuit() -> Circuit {
    Circuit::through(1, &[1, 2, 3]).traffic(&["203.0.113.0/24"])
}

fn other_circuit() -> Circuit {
    Circuit::through(2, &[1, 3]).dual_stack()
}

/// Pairs of states: install, change of a hop, rekey, added and removed circuit, teardown; of every role.
fn changes() -> Vec<(&'static str, State, State)> {
    let one = vec![circuit()];
    let two = vec![circuit(), other_circuit()];
    let rerouted = vec![Circuit { relays: vec![1, 4, 3], generation: 1, ..circuit() }];
    let rekeyed = vec![Circuit { generation: 1, ..circuit() }];
    let mut cases = Vec::new();
    for (name, before, after) in [
        ("install", &vec![], &two),
        ("change of a hop", &one, &rerouted),
        ("rekey", &one, &rekeyed),
        ("added circuit", &one, &two),
        ("removed circuit", &two, &one),
        ("teardown", &two, &vec![]),
    ] {
        let state = |circuits: &[Circuit], number: Option<u8>| match number {
            _ if circuits.is_empty() => State::default(),
            None => {
                let mut own = client(circuits);
                own.kill_switch = circuits.len() == 2;
                compiled(&as_host(Some(own), None)).state
            }
            Some(number) => relay_state(number, circuits).state,
        };
        for role in [None, Some(1), Some(2), Some(3)] {
            cases.push((name, state(before, role), state(after, role)));
        }
    }
    cases
}

fn ours(state: &State) -> Current {
    Current { owned: settled(state), ..bystanders() }
}

fn plan(before: &State, after: &State) -> Vec<Op> {
    diff(after, &ours(before)).expect("no conflict").ops
}

fn unwound(ending: Ending) -> Failure {
    match ending {
        Ending::Unwound(failure) => *failure,
        Ending::Applied { operations } => panic!("applied {operations} operations"),
    }
}

/// Places of the operations for which `which` holds.
fn places(ops: &[Op], which: impl Fn(&Op) -> bool) -> Vec<usize> {
    ops.iter().enumerate().filter(|(_, op)| which(op)).map(|(place, _)| place).collect()
}

fn all_before(ops: &[Op], first: impl Fn(&Op) -> bool, second: impl Fn(&Op) -> bool) -> bool {
    let (first, second) = (places(ops, first), places(ops, second));
    first.last().zip(second.first()).is_none_or(|(first, second)| first < second)
}

fn made(op: &Op) -> Option<&Object> {
    (!op.only_removes()).then(|| op.object())
}

fn removed(op: &Op) -> Option<&Object> {
    op.only_removes().then(|| op.object())
}

fn sa(object: Option<&Object>, wanted: Direction) -> bool {
    matches!(object, Some(Object::Sa(sa)) if sa.direction.direction() == wanted)
}

#[test]
fn nothing_is_to_be_done_between_equal_states() {
    for (name, before, after) in changes() {
        assert!(plan(&before, &before).is_empty(), "{name}");
        assert!(plan(&after, &after).is_empty(), "{name}");
    }
}

#[test]
fn after_a_plan_nothing_is_left_to_be_done() {
    for (name, before, after) in changes() {
        let mut kernel = Kernel::holding(&before, &bystanders());
        let expected = plan(&before, &after).len();
        assert_eq!(kernel.turn_into(&after), Ok(Ending::Applied { operations: expected }), "{name}");
        assert_eq!(kernel.dump(), ours(&after), "{name}");
        assert_eq!(kernel.turn_into(&after), Ok(Ending::Applied { operations: 0 }), "{name}");
    }
}

#[test]
fn guards_come_first_and_go_last() {
    for (name, before, after) in changes() {
        let ops = plan(&before, &after);
        let guard = |object: Option<&Object>| matches!(object, Some(Object::Nft(_)));
        assert!(places(&ops, |op| guard(made(op))).iter().all(|place| *place == 0), "{name}");
        let gone = places(&ops, |op| guard(removed(op)));
        assert!(gone.iter().all(|place| place + 1 == ops.len()), "{name}");
    }
}

/// An address is looked at by the guards from before it is there until after it is gone, whatever else about
/// the table changes.
#[test]
fn guards_know_an_address_before_it_comes_and_after_it_is_gone() {
    let guarded = |state: &State| {
        let sets = state.nft.iter().flat_map(|table| &table.sets);
        let kinds: Vec<_> =
            sets.filter(|set| set.name.starts_with("handed_out")).map(|set| &set.kind).collect();
        state.addresses.keys().all(|id| {
            kinds.iter().any(|kind| match (kind, id.prefix.addr()) {
                (NftSetKind::Ipv4(known), IpAddr::V4(address)) => known.contains(&address),
                (NftSetKind::Ipv6(known), IpAddr::V6(address)) => known.contains(&address),
                _ => false,
            })
        })
    };
    let clients = |state: &State| state.links.keys().all(|link| link.as_str().starts_with("ippc"));
    for (name, before, after) in
        changes().into_iter().filter(|(_, before, after)| clients(before) && clients(after))
    {
        let mut kernel = Kernel::holding(&before, &bystanders());
        for op in plan(&before, &after) {
            assert_eq!(kernel.execute(std::slice::from_ref(&op)), [Outcome::Done], "{name}: {op}");
            assert!(guarded(&kernel.dump().owned), "{name}: after {op}");
        }
    }
}

/// Nothing but addresses in sets differs between a client with one circuit more or less and without.
#[test]
fn circuits_come_and_go_without_a_new_table() {
    let table = |circuits: &[Circuit]| {
        let mut own = client(circuits);
        own.kill_switch = true;
        compiled(&as_host(Some(own), None)).state.nft.expect("a table")
    };
    let tables = [table(&[]), table(&[circuit()]), table(&[circuit(), other_circuit()])];
    for (old, new) in [(0, 1), (1, 2), (2, 1), (1, 0)] {
        assert!(tables[old].changes_in_place(&tables[new]).is_some(), "{old} to {new}");
    }
}

#[test]
fn one_receives_before_anyone_sends() {
    for (name, before, after) in changes() {
        let ops = plan(&before, &after);
        let receives = |op: &Op| sa(made(op), Direction::In);
        let sends = |op: &Op| sa(made(op), Direction::Out);
        assert!(all_before(&ops, receives, sends), "{name}");
        let deaf = |op: &Op| sa(removed(op), Direction::In);
        let mute = |op: &Op| sa(removed(op), Direction::Out);
        assert!(all_before(&ops, mute, deaf), "{name}: goes the other way round");
    }
}

#[test]
fn what_stands_on_something_comes_after_it_and_goes_before_it() {
    let rank = |object: &Object| match object {
        Object::Nft(_) => 0,
        Object::Link(_) => 1,
        Object::Sysctl(_) => 2,
        Object::Sa(_) => 3,
        Object::Policy(_) => 4,
        Object::Address(_) => 5,
        Object::Route(_) => 6,
        Object::Rule(_) => 7,
    };
    for (name, before, after) in changes() {
        let ops = plan(&before, &after);
        let making: Vec<_> = ops.iter().filter_map(made).map(rank).collect();
        assert!(making.is_sorted(), "{name}: {making:?}");
        let removing: Vec<_> = ops.iter().filter_map(removed).map(rank).collect();
        assert!(removing.iter().rev().is_sorted(), "{name}: {removing:?}");
        assert!(all_before(&ops, |op| made(op).is_some(), |op| removed(op).is_some()), "{name}");
    }
}

#[test]
fn a_rekey_makes_before_it_breaks_and_touches_nothing_else() {
    let rekeyed = Circuit { generation: 1, ..circuit() };
    let ops = plan(&client_state(&[circuit()]).state, &client_state(&[rekeyed]).state);
    let kinds: Vec<_> =
        ops.iter().map(|op| (made(op).is_some(), sa(Some(op.object()), Direction::In))).collect();
    let expected = [(true, true), (true, false), (false, false), (false, true)];
    assert_eq!(kinds, expected.map(|step| [step; 3]).concat());
}

#[test]
fn an_sa_altered_under_its_spi_goes_right_before_its_successor() {
    let before = client_state(&[circuit()]).state;
    let mut after = before.clone();
    let id = *after.sas.keys().next().unwrap();
    let altered = after.sas.get_mut(&id).unwrap();
    altered.key = support::key(altered.suite, 0xffff);
    let ops = plan(&before, &after);
    assert_eq!(ops.len(), 2);
    assert_eq!((removed(&ops[0]).is_some(), made(&ops[1]).is_some()), (true, true));
    let mut kernel = Kernel::holding(&before, &bystanders());
    kernel.turn_into(&after).unwrap();
    assert_eq!(kernel.dump().owned.sas[&id], after.sas[&id]);
}

#[test]
fn an_sa_follows_through_nat_without_being_made_anew() {
    let ports = |port| UdpEncapsulation { source_port: port, destination_port: 4500 };
    let mut before = client_state(&[circuit()]).state;
    before.sas.values_mut().for_each(|sa| sa.encapsulation = Some(ports(4500)));
    let mut after = before.clone();
    after.sas.values_mut().for_each(|sa| sa.encapsulation = Some(ports(31_337)));
    let ops = plan(&before, &after);
    assert_eq!(ops.len(), before.sas.len());
    assert!(ops.iter().all(|op| matches!(op, Op::Replace { new: Object::Sa(_), .. })), "{ops:?}");
    // what is received through a NAT may come from anywhere; what is sent may not
    let mut elsewhere = after.clone();
    elsewhere.sas.values_mut().for_each(|sa| sa.source = "203.0.113.9".parse().unwrap());
    let receives = |sa: &Sa| sa.direction.direction() == Direction::In;
    let ops = plan(&after, &elsewhere);
    assert!(!ops.is_empty());
    assert!(ops.iter().all(|op| matches!(op.object(), Object::Sa(sa) if !receives(sa))), "{ops:?}");
    after.sas.values_mut().for_each(|sa| sa.encapsulation = None);
    elsewhere.sas.values_mut().for_each(|sa| sa.encapsulation = None);
    let ops = plan(&after, &elsewhere);
    assert!(ops.iter().any(|op| matches!(op.object(), Object::Sa(sa) if receives(sa))), "{ops:?}");
}

/// The state of a relay whose interfaces have other identifiers: `ippt` one of nobody, the overlays each
/// other's, and one of a name that nobody wants has one that is wanted.
fn other_identifiers(wanted: &State) -> State {
    let mut state = wanted.clone();
    let names: Vec<LinkName> = wanted.links.keys().cloned().collect();
    let identifiers: Vec<IfId> = wanted.links.values().map(|link| link.if_id).collect();
    for (name, if_id) in names.iter().zip([identifiers[1], identifiers[0]]) {
        state.links.get_mut(name).expect("a link").if_id = if_id;
    }
    let telescopes = state.links.remove(&names[2]).expect("three links");
    state.sysctls.retain(|_, setting| setting.link != telescopes.name);
    state.routes.retain(|_, route| route.kind != RouteKind::Link(telescopes.name.clone()));
    let stray = ippriv::state::Link { name: "ippx".parse().expect("a name"), ..telescopes };
    state.links.insert(stray.name.clone(), stray);
    state
}

#[test]
fn an_interface_with_another_identifier_is_made_anew_with_all_that_hangs_on_it() {
    let after = relay_state(2, &[circuit()]).state;
    let before = other_identifiers(&after);
    let ops = plan(&before, &after);
    let link = |object: Option<&Object>| matches!(object, Some(Object::Link(_)));
    assert!(all_before(&ops, |op| link(removed(op)), |op| made(op).is_some()));
    let mut kernel = Kernel::holding(&before, &bystanders());
    assert_eq!(kernel.turn_into(&after), Ok(Ending::Applied { operations: ops.len() }));
    assert_eq!(kernel.dump(), ours(&after));
}

#[test]
fn what_others_have_is_reported_and_nothing_is_planned() {
    let state = client_state(&[circuit()]).state;
    let link = state.links.values().next().unwrap();
    let (sa, policy) = (state.sas.keys().next().unwrap(), state.policies.keys().next().unwrap());
    let route = state.routes.keys().next().unwrap();
    let cases = [
        (format!("link {} if_id {}", link.name, link.if_id), {
            let mut current = bystanders();
            current.foreign_links.insert(link.name.clone());
            current
        }),
        (format!("link {} if_id {}", link.name, link.if_id), {
            let mut current = bystanders();
            current.foreign_if_ids.insert(link.if_id);
            current
        }),
        (format!("sa {sa}"), Current { foreign_sas: BTreeSet::from([*sa]), ..bystanders() }),
        (format!("policy {policy}"), Current { foreign_policies: BTreeSet::from([*policy]), ..bystanders() }),
        (format!("route {route}"), Current { foreign_routes: BTreeSet::from([*route]), ..bystanders() }),
    ];
    let mut all = bystanders();
    for (object, current) in cases {
        let found = diff(&state, &current).unwrap_err();
        let text = "expected the place to be free or ours, found somebody else's; nothing was changed";
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [format!("{object}: {text}")]);
        let mut kernel = Kernel::holding(&State::default(), &current);
        assert!(kernel.turn_into(&state).is_err());
        assert_eq!(kernel.dump(), current, "nothing is changed");
        all.foreign_links.extend(current.foreign_links);
        all.foreign_sas.extend(current.foreign_sas);
        all.foreign_policies.extend(current.foreign_policies);
        all.foreign_routes.extend(current.foreign_routes);
    }
    assert_eq!(diff(&state, &all).unwrap_err().len(), 4, "all are reported at once");
}

/// Lets the operation at each place fail in turn and expects the kernel to be as before.
fn fails_everywhere(name: &str, before: &State, after: &State) {
    let ops = plan(before, after);
    for (place, op) in ops.iter().enumerate() {
        let mut kernel = Kernel::holding(before, &bystanders());
        kernel.faults.insert(place, refused(EBUSY));
        let failure = unwound(kernel.turn_into(after).expect("no conflict"));
        let cause = Cause::Operation { op: Box::new(op.clone()), error: refused(EBUSY) };
        assert_eq!(failure.cause, cause, "{name} at {place}");
        let undone: Vec<_> = ops[..place].iter().rev().map(Op::inverse).collect();
        assert_eq!(failure.undone, undone, "{name} at {place}");
        assert_eq!((&failure.left, &failure.differs), (&vec![], &vec![]), "{name} at {place}");
        assert_eq!(kernel.dump(), ours(before), "{name} at {place}: {op}");
    }
}

#[test]
fn wherever_a_plan_fails_everything_is_as_before() {
    for (name, before, after) in changes() {
        fails_everywhere(name, &before, &after);
    }
}

#[test]
fn interfaces_made_anew_come_back_with_their_settings() {
    let after = relay_state(2, &[circuit()]).state;
    fails_everywhere("identifiers", &other_identifiers(&after), &after);
}

#[test]
fn an_sa_remade_with_the_same_key_goes_on_counting() {
    let after = client_state(&[circuit()]).state;
    for same_key in [true, false] {
        let mut before = after.clone();
        for sa in before.sas.values_mut() {
            sa.progress = Progress(Some(7));
            sa.reqid.0 += 1;
            if !same_key {
                sa.key = KeyMaterial::new(vec![0; sa.key.len()]);
            }
        }
        let ops = plan(&before, &after);
        let made = ops.iter().filter_map(|op| match made(op) {
            Some(Object::Sa(sa)) => Some(sa.progress.0),
            _ => None,
        });
        let made: Vec<_> = made.collect();
        assert_eq!(made, vec![same_key.then_some(7); after.sas.len()]);
        // so does one that comes back when its deletion is undone
        let undone = ops.iter().map(Op::inverse).filter_map(|op| match op {
            Op::Create(Object::Sa(sa)) => Some(sa.progress.0),
            _ => None,
        });
        assert!(undone.eq(vec![Some(7); after.sas.len()]));
    }
}

/// With an address the kernel removes the routes that prefer it.
#[test]
fn an_address_that_changes_its_scope_is_made_anew_and_with_it_what_prefers_it() {
    let short = client_state(&[Circuit::through(1, &[1, 2]).traffic(&["203.0.113.0/24"])]).state;
    let long = client_state(&[circuit()]).state;
    for (before, after) in [(&short, &long), (&long, &short)] {
        let ops = plan(before, after);
        let goes = |op: &Op| matches!(removed(op), Some(Object::Address(address)) if after.addresses.contains_key(&address.id));
        let comes = |op: &Op| matches!(made(op), Some(Object::Address(address)) if before.addresses.contains_key(&address.id));
        let [place] = places(&ops, goes)[..] else { panic!("expected one address to go: {ops:?}") };
        assert_eq!(places(&ops, comes).len(), 1);
        assert!(all_before(&ops, goes, comes));
        let Object::Address(address) = ops[place].object() else { unreachable!() };
        let source = Some(address.id.prefix.addr());
        let prefers =
            |op: &Op| matches!(op.object(), Object::Route(route) if route.preferred_source == source);
        let held = before.routes.values().filter(|route| route.preferred_source == source).count();
        assert_eq!(places(&ops[..place], prefers).len(), held);
        fails_everywhere("scope", before, after);
    }
}

/// Below IPv6's minimum MTU the kernel takes away every IPv6 address and route of an interface.
#[test]
fn an_interface_that_loses_or_gains_ipv6_is_made_anew() {
    let circuit = |mtu: u32| {
        let mut own = client(&[circuit()]);
        own.circuits[0].mtu = Some(mtu.try_into().unwrap());
        compiled(&as_host(Some(own), None)).state
    };
    let link = |op: Option<&Object>| matches!(op, Some(Object::Link(_)));
    for (before, after) in [(1280, 1279), (1279, 1280)] {
        let ops = plan(&circuit(before), &circuit(after));
        assert!(all_before(&ops, |op| link(removed(op)), |op| link(made(op))), "{before} to {after}");
        assert_eq!(places(&ops, |op| link(removed(op))).len(), 1, "{before} to {after}");
        fails_everywhere("IPv6", &circuit(before), &circuit(after));
    }
    let ops = plan(&circuit(1280), &circuit(1281));
    assert!(matches!(ops[..], [Op::Replace { .. }]), "{ops:?}");
}

#[test]
fn what_cannot_be_undone_is_reported_and_the_rest_is_undone() {
    let mut reported = 0;
    for (name, before, after) in changes() {
        let ops = plan(&before, &after);
        let settings = |op: &Op| matches!(op.object(), Object::Sysctl(_));
        let Some(last) = ops.len().checked_sub(1) else { continue };
        // undoing starts with the operation before the failed one
        let Some(stuck) = (0..last).rev().find(|place| !settings(&ops[*place])) else { continue };
        let mut kernel = Kernel::holding(&before, &bystanders());
        let first_undoing = last + 1;
        kernel.faults.insert(last, refused(EBUSY));
        kernel.faults.insert(first_undoing + (last - 1 - stuck), OpError::TimedOut(500));
        let failure = unwound(kernel.turn_into(&after).unwrap());
        let inverse = ops[stuck].inverse();
        assert_eq!(failure.left[0], (inverse.clone(), OpError::TimedOut(500)), "{name}");
        assert_eq!(failure.undone.len() + failure.left.len(), last, "{name}: all are tried");
        // what stays may go with its interface even so
        assert_eq!(failure.differs.is_empty(), kernel.dump() == ours(&before), "{name}");
        reported += usize::from(failure.differs.contains(&inverse));
    }
    assert!(reported > 5, "{reported}");
}

/// Settings go with their interface; all that an interface has by itself are named.
fn without_settings(ops: &[Op]) -> usize {
    places(ops, |op| !matches!(op.object(), Object::Sysctl(_))).len()
}

#[test]
fn a_kernel_that_drops_an_object_silently_is_found_out_and_unwound() {
    for (name, before, after) in changes() {
        let ops = plan(&before, &after);
        for (place, op) in ops.iter().enumerate() {
            let mut kernel = Kernel::holding(&before, &bystanders());
            kernel.lies.insert(place);
            let Ok(Ending::Unwound(failure)) = kernel.turn_into(&after) else { continue };
            match &failure.cause {
                Cause::Unverified { missing } => {
                    assert!(
                        missing.iter().any(|left| left.object() == op.object()),
                        "{name} at {place}: {op}"
                    );
                }
                // an operation that needs the object finds out first
                Cause::Operation { .. } => {}
            }
            assert_eq!(kernel.dump(), ours(&before), "{name} at {place}: {op}");
            assert_eq!(failure.differs, [], "{name} at {place}: {op}");
        }
    }
}

#[test]
fn a_silently_dropped_sa_leaves_nothing_behind_in_the_report() {
    let after = client_state(&[circuit()]).state;
    let ops = plan(&State::default(), &after);
    let dropped = places(&ops, |op| sa(made(op), Direction::Out))[0];
    let mut kernel = Kernel::holding(&State::default(), &bystanders());
    kernel.lies.insert(dropped);
    let failure = unwound(kernel.turn_into(&after).unwrap());
    assert_eq!(failure.cause, Cause::Unverified { missing: vec![ops[dropped].clone()] });
    assert_eq!((failure.left.len(), failure.differs.len()), (0, 0));
    assert_eq!(without_settings(&failure.undone), ops.len() - 1, "what was never there is not undone");
}

#[test]
fn what_others_put_in_our_place_meanwhile_is_found_out() {
    let after = client_state(&[circuit()]).state;
    let mut kernel = Kernel::holding(&State::default(), &bystanders());
    let before = kernel.dump();
    let plan = diff(&after, &before).unwrap();
    let mut transaction = Transaction::new(plan, after, before);
    let Step::Execute(ops) = transaction.step() else { panic!("nothing to execute") };
    let outcomes = kernel.execute(ops);
    transaction.executed(&outcomes);
    let held = kernel.held_mut();
    let (id, _) = held.owned.sas.pop_first().unwrap();
    held.foreign_sas.insert(id);
    assert_eq!(transaction.step(), Step::Dump);
    transaction.dumped(&kernel.dump());
    assert_ne!(transaction.step(), Step::Finished, "not what was asked for");
}

#[test]
fn operations_without_an_outcome_count_as_not_tried() {
    let after = client_state(&[circuit()]).state;
    let before = ours(&State::default());
    let plan = diff(&after, &before).unwrap();
    let mut kernel = Kernel::holding(&State::default(), &bystanders());
    let mut transaction = Transaction::new(plan.clone(), after, before.clone());
    let outcomes = kernel.execute(&plan.ops[..3]);
    assert_eq!(outcomes, [Outcome::Done, Outcome::Done, Outcome::Done]);
    transaction.executed(&outcomes);
    transaction.dumped(&kernel.dump());
    let Step::Execute(back) = transaction.step() else { panic!("nothing to undo") };
    assert_eq!(without_settings(back), 3, "only what was done is undone");
    let outcomes = kernel.execute(back);
    transaction.executed(&outcomes);
    assert_eq!(kernel.dump(), before);
}

#[test]
fn from_any_host_to_any_other() {
    for seed in 1..=300 {
        let mut random = Random::new(seed);
        let first = compiled(&random.host()).state;
        let mut kernel = Kernel::holding(&first, &bystanders());
        for _ in 0..3 {
            let before = kernel.dump();
            let desired = compiled(&random.host()).state;
            let operations = diff(&desired, &before).unwrap().ops.len();
            let fault = (operations > 0 && random.chance(30)).then(|| random.below(operations));
            if let Some(place) = fault {
                let mut faulty = Kernel::holding(&before.owned, &bystanders());
                faulty.faults.insert(place, refused(EBUSY));
                unwound(faulty.turn_into(&desired).unwrap());
                assert_eq!(faulty.dump(), before, "seed {seed}, fault at {place} of {operations}");
            }
            assert_eq!(kernel.turn_into(&desired), Ok(Ending::Applied { operations }), "seed {seed}");
            assert_eq!(kernel.dump(), ours(&desired), "seed {seed}");
            assert_eq!(kernel.turn_into(&desired), Ok(Ending::Applied { operations: 0 }), "seed {seed}");
        }
    }
}

#[test]
fn equal_seeds_give_equal_hosts() {
    assert_eq!(Random::new(5).host(), Random::new(5).host());
    assert!((1..20).any(|seed| Random::new(seed).host() != Random::new(seed + 1).host()));
}

#[test]
fn a_teardown_leaves_others_alone() {
    let circuits = [circuit(), other_circuit()];
    let own = client(&circuits);
    let relay = relay(3, &circuits.map(Circuit::of_another));
    let state = compiled(&as_host(Some(own), Some(relay))).state;
    let mut kernel = Kernel::holding(&state, &bystanders());
    kernel.turn_into(&State::default()).unwrap();
    assert_eq!(kernel.dump(), bystanders());
}

#[test]
fn the_report_of_a_refusal_reads_well() {
    let error = OpError::Refused { errno: EBUSY, text: Some("interface in use".into()) };
    assert_eq!(error.to_string(), "Device or resource busy (os error 16): interface in use");
    let state = client_state(&[circuit()]).state;
    let op = Op::Delete(Object::Link(state.links["ippc1".parse::<LinkName>().as_ref().unwrap()].clone()));
    assert_eq!(op.to_string(), "delete link ippc1 if_id 0x49510001");
    assert_eq!(op.inverse().to_string(), "create link ippc1 if_id 0x49510001");
}
