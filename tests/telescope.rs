//! What the model of a telescope becomes in the kernel of each role.

#[cfg(test)]
mod support;

use std::collections::BTreeSet;

use ippriv::id::{IfId, Mtu, Reqid, TableId};
use ippriv::ownership;
use ippriv::state::{
    Direction, NftSetKind, Policy, PolicyDirection, RouteKind, Rule, RuleAction, SaDirection, Scope, State,
    UdpEncapsulation,
};
use ippriv::suite::Suite;
use ippriv::telescope::Host;
use support::{
    CLIENT, Circuit, as_host, chain, client, client_state, compiled, hops, inbound, ip, looks_up, net,
    outbound, policies, relay, relay_address, relay_state,
};

fn two_circuits() -> [Circuit; 2] {
    [Circuit::through(1, &[1, 2, 3]), Circuit::through(2, &[1, 2, 3])]
}

/// Every role of circuits of every length, with and without IPv6.
fn every_host() -> Vec<Host> {
    let mut hosts = Vec::new();
    for count in 1..=5 {
        for circuit in [Some(hops(count)), (count <= 3).then(|| hops(count).dual_stack())] {
            let Some(circuit) = circuit else { continue };
            let circuit = [circuit.traffic(&["0.0.0.0/0", "::/0"])];
            hosts.push(as_host(Some(client(&circuit)), None));
            hosts.extend((1..=count).map(|number| as_host(None, Some(relay(number, &circuit)))));
            let of_others = circuit.clone().map(Circuit::of_another);
            hosts.push(as_host(Some(client(&circuit)), Some(relay(count, &of_others))));
        }
    }
    hosts.iter_mut().flat_map(|host| &mut host.client).for_each(|client| client.kill_switch = true);
    hosts
}

fn names(state: &State) -> Vec<&str> {
    state.links.keys().map(ippriv::id::LinkName::as_str).collect()
}

#[test]
fn a_client_has_one_interface_per_circuit_with_all_its_sas_and_policies() {
    for count in 1..=5_u8 {
        let state = client_state(&[hops(count), Circuit { number: 7, ..hops(count) }]).state;
        assert_eq!(names(&state), ["ippc1", "ippc7"]);
        let if_ids: BTreeSet<_> = state.links.values().map(|link| link.if_id).collect();
        assert_eq!(if_ids.len(), 2);
        for if_id in if_ids {
            assert_eq!(state.sas.values().filter(|sa| sa.if_id == if_id).count(), 2 * usize::from(count));
            let own = |policy: &&&Policy| policy.id.if_id == if_id;
            assert_eq!(policies(&state, PolicyDirection::Out).iter().filter(own).count(), 1);
            assert_eq!(policies(&state, PolicyDirection::In).iter().filter(own).count(), usize::from(count));
        }
    }
}

#[test]
fn a_relay_has_one_interface_for_all_telescopes_and_one_per_neighbour() {
    let circuits = two_circuits();
    assert_eq!(names(&relay_state(1, &circuits).state), ["ippo2", "ippt"]);
    assert_eq!(names(&relay_state(2, &circuits).state), ["ippo1", "ippo3", "ippt"]);
    assert_eq!(names(&relay_state(3, &circuits).state), ["ippo2", "ippt"]);
    let alone = relay_state(1, &[hops(1)]).state;
    assert_eq!(names(&alone), ["ippt"]);
}

#[test]
fn the_client_wraps_the_innermost_layer_first() {
    for count in 1..=5_u8 {
        let circuit = hops(count);
        let state = client_state(std::slice::from_ref(&circuit)).state;
        let out = policies(&state, PolicyDirection::Out);
        let ends: Vec<_> = out[0].templates.iter().map(|template| template.destination).collect();
        let relays: Vec<_> = (1..=count).rev().map(relay_address).collect();
        assert_eq!(ends, relays);
        let starts: Vec<_> = out[0].templates.iter().filter_map(|template| template.source).collect();
        let mut handed_out: Vec<_> =
            (0..usize::from(count) - 1).rev().map(|at| circuit.address(at)).collect();
        handed_out.push(CLIENT);
        assert_eq!(starts, handed_out, "each layer starts from the address the relay before handed out");
    }
}

#[test]
fn each_layer_is_checked_by_itself_on_the_way_in() {
    let state = client_state(&[hops(3)]).state;
    for policy in policies(&state, PolicyDirection::In) {
        assert_eq!(policy.templates.len(), 1);
        assert!(policy.id.selector.destination.prefix_len() == 32, "{}", policy.id);
    }
}

#[test]
fn two_circuits_through_the_same_relays_share_no_reqid() {
    let circuits = two_circuits();
    let state = client_state(&circuits).state;
    let per_layer: BTreeSet<_> = state.sas.values().map(|sa| (sa.reqid, sa.if_id)).collect();
    let reqids: BTreeSet<_> = state.sas.values().map(|sa| sa.reqid).collect();
    assert_eq!((per_layer.len(), reqids.len()), (6, 6));
    for number in 1..=3 {
        let state = relay_state(number, &circuits).state;
        let out: BTreeSet<_> = outbound(&state).iter().map(|sa| sa.reqid).collect();
        assert_eq!(out.len(), outbound(&state).len(), "relay {number}");
    }
}

#[test]
fn every_template_finds_exactly_one_outbound_sa() {
    for host in every_host() {
        let state = compiled(&host).state;
        for policy in policies(&state, PolicyDirection::Out) {
            for template in &policy.templates {
                let serves = |sa: &&&ippriv::state::Sa| {
                    sa.reqid == template.reqid
                        && sa.id.destination == template.destination
                        && Some(sa.source) == template.source
                        && sa.if_id == policy.id.if_id
                };
                assert_eq!(outbound(&state).iter().filter(serves).count(), 1, "{template}");
            }
        }
    }
}

#[test]
fn both_ends_of_a_layer_have_the_same_two_sas() {
    for count in 1..=5_u8 {
        let circuit = [hops(count)];
        let client = client_state(&circuit).state;
        for number in 1..=count {
            let relay = relay_state(number, &circuit).state;
            let here = relay_address(number);
            let ends_here = client.sas.values().filter(|sa| sa.source == here || sa.id.destination == here);
            for sa in ends_here {
                let other = &relay.sas[&sa.id];
                assert_eq!((other.source, other.suite, &other.key), (sa.source, sa.suite, &sa.key));
                assert_ne!(other.direction.direction(), sa.direction.direction());
            }
        }
    }
}

#[test]
fn circuits_of_ipv4_share_the_inbound_reqid_and_are_held_to_their_own_address() {
    let circuits = two_circuits();
    for number in 1..=3_u8 {
        let state = relay_state(number, &circuits).state;
        let telescopes =
            state.links.values().find(|link| link.name.as_str() == "ippt").map(|link| link.if_id);
        let ours: Vec<_> = inbound(&state).into_iter().filter(|sa| Some(sa.if_id) == telescopes).collect();
        let reqids: BTreeSet<_> = ours.iter().map(|sa| sa.reqid).collect();
        assert_eq!((ours.len(), reqids.len()), (2, 1));
        let held: BTreeSet<_> = ours.iter().filter_map(|sa| sa.selector).map(|sel| sel.source).collect();
        let position = usize::from(number) - 1;
        let own: BTreeSet<_> = circuits.iter().map(|circuit| circuit.address(position).into()).collect();
        assert_eq!(held, own);
        let forward = policies(&state, PolicyDirection::Forward);
        let pool: Vec<_> = forward.iter().filter(|policy| Some(policy.id.if_id) == telescopes).collect();
        assert_eq!(pool.len(), 1, "one policy for the whole pool");
        assert_eq!(Some(pool[0].templates[0].reqid), reqids.first().copied());
    }
}

#[test]
fn dual_stack_circuits_have_their_own_forward_policies_before_the_pools() {
    let state = relay_state(3, &[hops(3).dual_stack(), Circuit { number: 2, ..hops(3) }]).state;
    let forward = policies(&state, PolicyDirection::Forward);
    let pool = forward.iter().find(|policy| policy.id.selector.source == net("10.67.0.0/16")).unwrap();
    for own in ["10.67.0.1/32", "fd00:3::1/128"] {
        let policy = forward.iter().find(|policy| policy.id.selector.source == net(own)).unwrap();
        let template = policy.templates[0];
        assert!(policy.priority < pool.priority, "of two with equal priority the kernel takes the older");
        assert_ne!(template.reqid, pool.templates[0].reqid);
        let sa = inbound(&state).into_iter().find(|sa| sa.reqid == template.reqid).unwrap();
        assert_eq!(sa.selector, None, "an SA for both families has no selector");
    }
}

#[test]
fn sas_that_both_families_pass_have_no_selector() {
    let client = client_state(&[hops(3).dual_stack()]).state;
    assert!(client.sas.values().all(|sa| sa.selector.is_none()));
    let middle = relay_state(2, &two_circuits()).state;
    let overlay = |sa: &&ippriv::state::Sa| sa.source == relay_address(1) || sa.source == relay_address(3);
    let overlays: Vec<_> = middle.sas.values().filter(overlay).collect();
    assert_eq!(overlays.len(), 2);
    assert!(overlays.iter().all(|sa| sa.selector.is_none()));
}

#[test]
fn without_its_interface_every_route_leads_nowhere() {
    for host in every_host() {
        let state = compiled(&host).state;
        for route in state.routes.values() {
            assert_ne!(route.id.metric, 0, "IPv6 makes 1024 of it");
            let RouteKind::Link(link) = &route.kind else { continue };
            assert!(state.links.contains_key(link));
            let guard = state.routes.values().find(|other| {
                other.id.table == route.id.table
                    && other.id.destination == route.id.destination
                    && other.id.metric > route.id.metric
                    && other.kind == RouteKind::Unreachable
            });
            assert!(guard.is_some(), "{}", route.id);
        }
        for table in state.rules.iter().filter_map(looks_up).filter(|table| *table != TableId::MAIN) {
            let ends = state.routes.values().any(|route| route.id.table == table);
            let neighbours = state.links.keys().any(|name| name.as_str().starts_with("ippo"));
            assert!(ends || !neighbours, "table {table} is looked up and empty");
        }
    }
}

#[test]
fn only_the_address_of_the_exit_is_offered_as_a_source() {
    let circuit = hops(3).dual_stack();
    let state = client_state(std::slice::from_ref(&circuit)).state;
    let global: Vec<_> = state.addresses.values().filter(|address| address.scope == Scope::Global).collect();
    let prefixes: BTreeSet<_> = global.iter().map(|address| address.id.prefix).collect();
    assert_eq!(prefixes, BTreeSet::from([circuit.address(2).into(), net("fd00:3::1/128")]));
    assert_eq!(state.addresses.len(), 4);
}

#[test]
fn the_layers_themselves_are_routed_outside_the_circuit() {
    let circuit = hops(3).traffic(&["0.0.0.0/0"]);
    let state = client_state(std::slice::from_ref(&circuit)).state;
    let outside: Vec<_> = state.rules.iter().filter(|rule| looks_up(rule) == Some(TableId::MAIN)).collect();
    let sources: BTreeSet<_> = outside.iter().map(|rule| rule.source).collect();
    let expected = [CLIENT, circuit.address(0), circuit.address(1)].map(ipnet::IpNet::from);
    assert_eq!(sources, BTreeSet::from(expected));
    let entry = outside.iter().find(|rule| rule.source == CLIENT.into()).unwrap();
    assert_eq!(entry.destination, relay_address(1).into(), "only to the entry, and only from our address");
    let first_inside = state.rules.iter().find(|rule| looks_up(rule) != Some(TableId::MAIN)).unwrap();
    assert!(outside.iter().all(|rule| rule.priority < first_inside.priority));
}

#[test]
fn the_longest_prefix_chooses_the_circuit() {
    let whole = Circuit::through(1, &[1, 2]).traffic(&["0.0.0.0/0"]);
    let part = Circuit::through(2, &[1, 3]).traffic(&["203.0.113.0/24"]);
    let state = client_state(&[whole, part]).state;
    let by_destination: Vec<_> = state.rules.iter().filter(|rule| rule.source.prefix_len() == 0).collect();
    assert_eq!(by_destination.len(), 1, "rules of equal priority apply in the order they were made");
    let table = looks_up(by_destination[0]).unwrap();
    let way = |prefix: &str| {
        let routes = state.routes.values().filter(|route| route.id.table == table);
        let mut of_prefix = routes.filter(|route| route.id.destination == net(prefix));
        of_prefix.next().map(|route| route.kind.clone())
    };
    assert_eq!(way("0.0.0.0/0"), Some(RouteKind::Link("ippc1".parse().unwrap())));
    assert_eq!(way("203.0.113.0/24"), Some(RouteKind::Link("ippc2".parse().unwrap())));
}

#[test]
fn ipv6_for_a_circuit_without_it_is_unreachable() {
    let state = client_state(&[hops(3).traffic(&["0.0.0.0/0", "::/0"])]).state;
    let kinds = |prefix: &str| -> Vec<_> {
        let routes = state.routes.values().filter(|route| route.id.destination == net(prefix));
        routes.map(|route| route.kind == RouteKind::Unreachable).collect()
    };
    assert_eq!(kinds("::/0"), [true]);
    let rule = state.rules.iter().find(|rule| rule.destination == net("::/0")).unwrap();
    assert!(state.routes.values().any(|route| looks_up(rule) == Some(route.id.table)));
    let dual = client_state(&[hops(3).dual_stack().traffic(&["::/0"])]).state;
    let through = |route: &&ippriv::state::Route| route.preferred_source == Some(ip("fd00:3::1"));
    assert_eq!(dual.routes.values().filter(through).count(), 2, "by source and by destination");
}

#[test]
fn the_kill_switch_lets_the_layers_pass_and_ends_in_drop() {
    let mut client = client(&two_circuits());
    client.kill_switch = true;
    client.allow = vec![net("192.0.2.0/24"), net("2001:db8::/32")];
    let state = compiled(&as_host(Some(client), None)).state;
    let output = chain(&state, "output");
    assert_eq!(output.last(), Some(&"drop"));
    for needed in [
        "oifname \"ipp*\" accept",
        "rt ipsec exists accept",
        "ip daddr @entries meta l4proto esp accept",
        "ip daddr @entries udp dport { 500, 4500 } accept",
        "ip daddr 192.0.2.0/24 accept",
        "ip6 daddr 2001:db8::/32 accept",
    ] {
        assert!(output.contains(&needed), "{needed}");
    }
    let sets = &state.nft.as_ref().expect("a table").sets;
    let entries = sets.iter().find(|set| set.name == "entries").map(|set| &set.kind);
    let entry = std::net::Ipv4Addr::new(198, 18, 1, 2);
    assert_eq!(entries, Some(&NftSetKind::Ipv4(std::iter::once(entry).collect())));
    assert_eq!(chain(&state, "forward"), ["iifname != \"ipp*\" oifname != \"ipp*\" drop"]);
}

#[test]
fn a_kill_switch_without_circuits_drops_too() {
    let mut client = client(&[]);
    client.kill_switch = true;
    let state = compiled(&as_host(Some(client), None)).state;
    assert_eq!(chain(&state, "output").last(), Some(&"drop"));
}

#[test]
fn a_host_that_relays_goes_on_relaying_with_the_kill_switch() {
    let circuits = two_circuits();
    let mut client = client(&circuits);
    client.kill_switch = true;
    let relay = relay(2, &circuits.map(Circuit::of_another));
    let state = compiled(&as_host(Some(client), Some(relay))).state;
    let output = chain(&state, "output");
    for needed in [
        "ip saddr 198.18.2.2 meta l4proto esp accept",
        "ip saddr 198.18.2.2 udp sport { 500, 4500 } accept",
        "oifname \"ipp*\" accept",
    ] {
        assert!(output.contains(&needed), "{needed}");
    }
    assert_eq!(output.iter().position(|rule| *rule == "drop"), Some(output.len() - 1));
}

#[test]
fn a_client_does_not_take_the_packets_of_a_relay_on_its_host() {
    let circuits = [hops(3).traffic(&["0.0.0.0/0"])];
    let relay = relay(3, &circuits.clone().map(Circuit::of_another));
    let state = compiled(&as_host(Some(client(&circuits)), Some(relay))).state;
    let priority = |found: &dyn Fn(&Rule) -> bool| {
        state.rules.iter().find(|rule| found(rule)).map(|rule| rule.priority).expect("a rule")
    };
    let everything =
        priority(&|rule| rule.source.prefix_len() == 0 && rule.priority > ownership::FIRST_RULE + 9);
    let main = |rule: &Rule| looks_up(rule) == Some(TableId::MAIN);
    let tunnels = priority(&|rule| rule.source == relay_address(3).into() && main(rule));
    let leaving = priority(&|rule| rule.input_link == "ippt".parse().ok() && main(rule));
    let pools = priority(&|rule| rule.input_link.is_none() && rule.source.prefix_len() == 0);
    assert!(leaving < pools && pools < tunnels && tunnels < everything);
}

#[test]
fn handed_out_addresses_never_leave_bare() {
    let state = client_state(&[hops(3).dual_stack()]).state;
    assert_eq!(
        chain(&state, "output"),
        [
            "ip saddr @handed_out oifname != \"ippc*\" rt ipsec missing drop",
            "ip6 saddr @handed_out6 oifname != \"ippc*\" rt ipsec missing drop",
        ]
    );
    assert_eq!(chain(&state, "input").len(), 2);
}

#[test]
fn an_exit_masquerades_and_refuses_what_is_nobodys() {
    let exit = relay_state(3, &two_circuits());
    assert_eq!(
        chain(&exit.state, "postrouting"),
        ["ip saddr @pool iifname \"ippt\" oifname != \"ipp*\" masquerade fully-random"]
    );
    let forward = chain(&exit.state, "forward");
    assert!(forward.iter().any(|rule| rule.contains("ip daddr @exit_reject reject")));
    assert!(!forward.contains(&"iifname \"ippt\" oifname != \"ippo*\" drop"));
    let asked: Vec<_> = exit.requirements.iter().map(|asked| asked.path).collect();
    assert_eq!(asked, ["net/ipv4/ip_forward"]);
    let dual = relay_state(3, &[hops(3).dual_stack()]);
    let asked: Vec<_> = dual.requirements.iter().map(|asked| asked.path).collect();
    assert_eq!(asked, ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"]);
    assert_eq!(chain(&dual.state, "postrouting").len(), 2);
}

#[test]
fn the_ports_of_an_exit_are_a_list() {
    let mut exit = relay(3, &[hops(3)]);
    let policy = exit.exit.as_mut().unwrap();
    policy.tcp_ports = Some(vec![(80, 80), (1000, 2000)]);
    policy.udp_ports = Some(Vec::new());
    let state = compiled(&as_host(None, Some(exit))).state;
    let forward = chain(&state, "forward");
    let leaving = "iifname \"ippt\" oifname != \"ipp*\"";
    for rule in [
        format!("{leaving} tcp dport != {{ 80, 1000-2000 }} reject with icmpx type admin-prohibited"),
        format!("{leaving} meta l4proto udp drop"),
    ] {
        assert!(forward.contains(&rule.as_str()), "{rule}");
    }
}

#[test]
fn a_middle_lets_nothing_out() {
    let middle = relay_state(2, &two_circuits());
    assert!(chain(&middle.state, "forward").contains(&"iifname \"ippt\" oifname != \"ippo*\" drop"));
    assert!(chain(&middle.state, "postrouting").is_empty());
    assert!(middle.requirements.is_empty());
    let rules = &middle.state.rules;
    let no_exit = rules.iter().find(|rule| rule.action == RuleAction::Unreachable).unwrap();
    assert_eq!(no_exit.input_link, Some("ippt".parse().unwrap()));
    let pools = rules.iter().last().unwrap();
    assert!(no_exit.priority < pools.priority, "not even into the pools");
}

#[test]
fn from_a_telescope_into_an_overlay_only_to_the_neighbour_itself() {
    let rule = "iifname \"ippt\" oifname \"ippo*\" ip daddr != @neighbours drop";
    for number in 1..=3 {
        let state = relay_state(number, &two_circuits()).state;
        assert!(chain(&state, "forward").contains(&rule), "relay {number}");
    }
}

#[test]
fn clients_reach_no_service_of_a_relay_but_the_layers() {
    let state = relay_state(2, &two_circuits()).state;
    let input = chain(&state, "input");
    for rule in [
        "iifname \"ippo*\" ip saddr @pools meta l4proto != { esp, udp } drop",
        "iifname \"ippo*\" ip saddr @pools udp dport != { 500, 4500 } drop",
    ] {
        assert!(input.contains(&rule), "{rule}");
    }
    let telescopes = state.links[&"ippt".parse().unwrap()].if_id;
    let local = |policy: &&&Policy| policy.id.if_id == telescopes;
    assert_eq!(policies(&state, PolicyDirection::In).iter().filter(local).count(), 0);
}

#[test]
fn an_ipv6_relay_speaks_of_ipv6() {
    let mut exit = relay(1, &[]);
    exit.address = ip("2001:db8::1");
    exit.pool = net("fd64::/64");
    exit.exit = Some(ippriv::telescope::ExitPolicy::default());
    let desired = compiled(&as_host(None, Some(exit)));
    assert_eq!(
        chain(&desired.state, "postrouting"),
        ["ip6 saddr @pool iifname \"ippt\" oifname != \"ipp*\" masquerade fully-random"]
    );
    assert_eq!(chain(&desired.state, "mangle"), ["iifname \"ippt\" oifname != \"ipp*\" ip6 dscp set cs0"]);
    let asked: Vec<_> = desired.requirements.iter().map(|asked| asked.path).collect();
    assert_eq!(asked, ["net/ipv6/conf/all/forwarding"]);
}

#[test]
fn the_mtu_is_1280_or_what_fits() {
    use Suite::{AesCbc128HmacSha1, AesGcm128, ChaCha20Poly1305, DangerNull};
    for (suite, mtus) in [
        (AesGcm128, [1280, 1280, 1280, 1278, 1222]),
        (ChaCha20Poly1305, [1280, 1280, 1280, 1278, 1222]),
        (AesCbc128HmacSha1, [1280, 1280, 1280, 1246, 1182]),
        (DangerNull, [1280, 1280, 1280, 1280, 1280]),
    ] {
        for (count, expected) in (1..).zip(mtus) {
            let circuit = Circuit { suite, ..hops(count) };
            let state = client_state(std::slice::from_ref(&circuit)).state;
            let mtus: Vec<_> = state.links.values().map(|link| link.mtu.get()).collect();
            assert_eq!(mtus, [expected], "{suite}, {count} hops");
            let dual = as_host(Some(client(&[circuit.dual_stack()])), None).desired();
            assert_eq!(dual.is_ok(), expected >= 1280, "IPv6 over {suite}, {count} hops");
        }
    }
}

#[test]
fn udp_around_the_first_layer_costs_eight_octets_and_is_mirrored_inbound() {
    let mut client = client(&[hops(3)]);
    let ports = UdpEncapsulation { source_port: 4500, destination_port: 31580 };
    client.circuits[0].hops[0].encapsulation = Some(ports);
    client.circuits[0].mtu = Mtu::try_from(1327).ok();
    let refused = as_host(Some(client.clone()), None).desired().unwrap_err().to_string();
    assert!(refused.starts_with("mtu 1327: expected at most 1326"), "{refused}");
    client.circuits[0].mtu = Mtu::try_from(1326).ok();
    let state = compiled(&as_host(Some(client), None)).state;
    let in_udp: Vec<_> = state.sas.values().filter_map(|sa| Some((sa, sa.encapsulation?))).collect();
    assert_eq!(in_udp.len(), 2);
    for (sa, found) in in_udp {
        match sa.direction {
            SaDirection::Out { nat_keepalive, .. } => {
                assert_eq!((found, nat_keepalive), (ports, Some(20)));
            }
            SaDirection::In { .. } => assert_eq!((found.source_port, found.destination_port), (31580, 4500)),
        }
    }
}

#[test]
fn while_keys_are_replaced_both_inbound_sas_are_there() {
    let mut client = client(&[hops(1)]);
    let keys = &mut client.circuits[0].hops[0].keys;
    keys.r#in.extend(support::keys(Suite::AesGcm128, 0x5000).r#in);
    let state = compiled(&as_host(Some(client), None)).state;
    let reqids: BTreeSet<_> = inbound(&state).iter().map(|sa| sa.reqid).collect();
    assert_eq!((inbound(&state).len(), outbound(&state).len(), reqids.len()), (2, 1, 1));
}

#[test]
fn everything_compiled_bears_our_marks() {
    for host in every_host() {
        let state = compiled(&host).state;
        assert!(state.links.values().all(|link| ownership::owns_link(&link.name, Some(link.if_id))));
        assert!(state.sas.values().all(|sa| ownership::owns_sa(Some(sa.if_id), sa.reqid)));
        for policy in state.policies.values() {
            let reqids = policy.templates.iter().map(|template| template.reqid);
            assert!(ownership::owns_policy(Some(policy.id.if_id), reqids), "{}", policy.id);
            assert!(policy.templates.len() <= 5);
        }
        for route in state.routes.values() {
            assert!(ownership::owns_route(ownership::PROTOCOL, route.id.table), "{}", route.id);
        }
        for rule in &state.rules {
            assert!(ownership::owns_rule(ownership::PROTOCOL, rule.priority), "{rule}");
            assert_eq!(rule.source.addr().is_ipv4(), rule.destination.addr().is_ipv4(), "{rule}");
        }
        for (path, setting) in &state.sysctls {
            assert!(path.contains(setting.link.as_str()) && state.links.contains_key(&setting.link));
        }
        let known: BTreeSet<IfId> = state.links.values().map(|link| link.if_id).collect();
        assert!(state.sas.values().all(|sa| known.contains(&sa.if_id)));
        assert!(state.policies.values().all(|policy| known.contains(&policy.id.if_id)));
    }
}

#[test]
fn inbound_and_outbound_reqids_of_both_roles_stay_apart() {
    let circuits = two_circuits();
    let own = client(&circuits);
    let relay = relay(2, &circuits.map(Circuit::of_another));
    let state = compiled(&as_host(Some(own), Some(relay))).state;
    let of = |direction: Direction, reqid: Reqid| {
        let same = |sa: &&ippriv::state::Sa| sa.reqid == reqid && sa.direction.direction() == direction;
        state.sas.values().filter(same).count()
    };
    assert!(state.sas.values().all(|sa| of(Direction::Out, sa.reqid) <= 1));
}

#[test]
fn the_state_of_each_role_is_the_one_on_file() {
    let circuit = [hops(3).traffic(&["0.0.0.0/0", "::/0"])];
    let mut own = client(&circuit);
    own.kill_switch = true;
    own.allow = vec![net("192.0.2.0/24")];
    for (name, desired) in [
        ("client", compiled(&as_host(Some(own), None))),
        ("entry", relay_state(1, &circuit)),
        ("middle", relay_state(2, &circuit)),
        ("exit", relay_state(3, &circuit)),
    ] {
        on_file(name, &support::listing::listing(&desired));
    }
}

#[expect(clippy::disallowed_methods, reason = "the person who runs the test says whether to write the files")]
fn on_file(name: &str, found: &str) {
    let path = format!("{}/tests/data/desired/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("IPPRIV_BLESS").is_some() {
        std::fs::write(&path, found).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (expected, found)) in (1..).zip(expected.lines().zip(found.lines())) {
        assert_eq!(expected, found, "{path}:{number}; IPPRIV_BLESS=1 writes it anew");
    }
    assert_eq!(expected, found, "{path}; IPPRIV_BLESS=1 writes it anew");
}
