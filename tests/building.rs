//! What the kernel holds while a circuit is being built: IKE with the next relay inside the layers so far,
//! and nothing else.

mod support;

use ippriv::state::{PolicyDirection, RuleAction, State};
use ippriv::telescope::{Client, Stage};

use support::{as_host, client, compiled, hops, ip, net, policies, relay, relay_address};

/// The first `done` hops of a circuit that has three.
fn building(done: usize) -> Client {
    let mut client = client(&[hops(3).traffic(&["0.0.0.0/0"])]);
    let circuit = &mut client.circuits[0];
    let next = circuit.hops.get(done).map(|hop| hop.relay);
    circuit.hops.truncate(done);
    circuit.stage = Stage::Building { next };
    client.kill_switch = true;
    client
}

fn state(done: usize) -> State {
    compiled(&as_host(Some(building(done)), None)).state
}

#[test]
fn ike_with_the_next_relay_goes_through_the_layers_so_far() {
    for done in 0..3 {
        let state = state(done);
        let out = policies(&state, PolicyDirection::Out);
        assert_eq!(out.len(), done, "one for each relay beyond the entry, the next included");
        for policy in out {
            assert_eq!(policy.id.selector.protocol, Some(17), "UDP alone");
            assert_eq!(policy.id.selector.source.prefix_len(), 32);
            assert_eq!(policy.id.selector.destination.prefix_len(), 32);
            let innermost = policy.templates.first().and_then(|template| template.source).unwrap();
            let around = policy.templates.len();
            let from = building(done).circuits[0].hops[around - 1].address;
            assert_eq!(policy.id.selector.source.addr(), from);
            assert_ne!(innermost, from, "the layer that this address belongs to is the innermost");
            assert_eq!(policy.templates.last().map(|template| template.destination), Some(relay_address(1)));
        }
    }
}

#[test]
fn no_traffic_finds_the_interface_before_the_circuit_is_complete() {
    for done in 0..=3 {
        let mut client = building(done);
        client.circuits[0].stage = Stage::Building { next: None };
        let state = compiled(&as_host(Some(client), None)).state;
        assert!(state.routes.is_empty(), "{:?}", state.routes);
        let main = ippriv::id::TableId::MAIN;
        assert!(state.rules.iter().all(|rule| rule.action == RuleAction::Lookup(main)), "{:?}", state.rules);
        let anywhere = |policy: &&&ippriv::state::Policy| policy.id.selector.destination == net("0.0.0.0/0");
        assert_eq!(policies(&state, PolicyDirection::Out).iter().filter(anywhere).count(), 0);
    }
}

#[test]
fn the_kill_switch_lets_ike_to_the_first_relay_pass_before_there_is_a_hop() {
    let nft = state(0).nft.expect("a kill switch");
    let entry = relay_address(1);
    let entries = nft.sets.iter().find(|set| set.name == "entries").map(|set| format!("{:?}", set.kind));
    assert_eq!(entries, Some(format!("Ipv4({{{entry}}})")));
    let rules: Vec<_> =
        nft.chains.iter().flat_map(|chain| &chain.rules).map(|rule| rule.0.as_str()).collect();
    assert!(rules.contains(&"ip daddr @entries udp dport { 500, 4500 } accept"), "{rules:?}");
    assert_eq!(building(0).circuits[0].entry(), Some(entry));
}

#[test]
fn an_open_circuit_keeps_ike_with_its_relays() {
    let mut client = client(&[hops(3)]);
    let before = compiled(&as_host(Some(client.clone()), None)).state;
    client.circuits[0].stage = Stage::Open;
    let open = compiled(&as_host(Some(client), None)).state;
    let more: Vec<_> =
        open.policies.values().filter(|policy| !before.policies.contains_key(&policy.id)).collect();
    assert_eq!(more.len(), 2, "relays 2 and 3");
    assert_eq!(open.policies.len(), before.policies.len() + 2);
    assert_eq!((open.routes, open.rules), (before.routes, before.rules));
}

#[test]
fn an_overlay_without_keys_is_there_and_has_no_sa() {
    let mut relay = relay(2, &[hops(3)]);
    let with = compiled(&as_host(None, Some(relay.clone()))).state;
    relay.neighbours[0].keys = None;
    let without = compiled(&as_host(None, Some(relay))).state;
    assert_eq!(without.sas.len() + 2, with.sas.len());
    assert_eq!((without.links, without.policies), (with.links, with.policies));
    assert_eq!(without.routes, with.routes);
}

#[test]
fn one_circuit_of_a_relay_can_be_had_alone() {
    let mut relay = relay(2, &[hops(3)]);
    let whole = compiled(&as_host(None, Some(relay.clone()))).state;
    let circuit = relay.circuits.remove(0);
    let part = relay.circuit_state(&circuit).unwrap();
    let rest = compiled(&as_host(None, Some(relay.clone()))).state;
    assert_eq!(part.sas.len() + rest.sas.len(), whole.sas.len());
    assert_eq!(part.policies.len() + rest.policies.len(), whole.policies.len());
    assert!(part.routes.is_empty() && part.links.is_empty() && part.nft.is_none());
    let outside = ippriv::telescope::RelayCircuit { address: ip("10.250.0.1"), ..circuit };
    assert!(relay.circuit_state(&outside).is_err(), "an address of another's pool");
}

#[test]
fn what_circuits_are_to_carry_is_unreachable_until_one_does() {
    let mut client = building(1);
    client.guarded = vec![net("0.0.0.0/0"), net("2001:db8::/32")];
    let state = compiled(&as_host(Some(client), None)).state;
    assert_eq!(state.routes.len(), 2);
    assert!(state.routes.values().all(|route| route.kind == ippriv::state::RouteKind::Unreachable));
    assert_eq!(state.rules.iter().filter(|rule| rule.priority == 4966).count(), 2, "{:?}", state.rules);
    let looks_out = |rule: &&ippriv::state::Rule| rule.mark == Some(ippriv::telescope::LOOKING_OUT);
    let outside: Vec<_> = state.rules.iter().filter(looks_out).collect();
    assert_eq!(outside.len(), 2, "of each family: {:?}", state.rules);
    assert!(outside.iter().all(|rule| rule.priority < 4966), "the way out comes first");

    let mut open = support::client(&[hops(3).traffic(&["0.0.0.0/0"])]);
    let before = compiled(&as_host(Some(open.clone()), None)).state;
    open.guarded = vec![net("0.0.0.0/0")];
    assert_eq!(compiled(&as_host(Some(open), None)).state.routes, before.routes, "carried now");
}
