//! Every kind of object is made, read back, replaced and removed in a real kernel.
//!
//! Needs root in a kernel with ESP, xfrm interfaces and nftables, and no one else using it: the lab.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ippriv::id::{IfId, LinkName, Mark, Mtu, Reqid, Spi, TableId};
use ippriv::ownership::FIRST;
use ippriv::plan::{Object, Op, Outcome};
use ippriv::secret::KeyMaterial;
use ippriv::state::{
    Action, Address, AddressId, Link, NftChain, NftHook, NftRule, NftSet, NftSetKind, NftTable, Policy,
    PolicyDirection, PolicyId, Progress, Route, RouteId, RouteKind, RouteMetrics, Rule, RuleAction, Sa,
    SaDirection, SaId, Scope, Selector, State, Sysctl, Template, UdpEncapsulation,
};
use ippriv::suite::{SequenceNumbers, Suite};
use ipprivd::kernel::{Kernel, LinuxKernel};

/// One test at a time: they share a kernel.
fn lab() -> MutexGuard<'static, ()> {
    static KERNEL: Mutex<()> = Mutex::new(());
    KERNEL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Carries `ops` out and expects each to be done.
fn execute(ops: &[Op]) {
    for (op, outcome) in ops.iter().zip(kernel().execute(ops)) {
        assert_eq!(outcome, Outcome::Done, "{op}");
    }
}

/// Through the trait, as those who use it see it.
fn kernel() -> Box<dyn Kernel> {
    Box::new(LinuxKernel)
}

fn owned(desired: &State) -> State {
    kernel().dump(desired).unwrap().owned
}

/// Makes the objects, reads them back, replaces the first by `replacement`, reads that back, removes all.
fn life_of(objects: &[Object], replacement: &Object) {
    let before = owned(&State::default());
    execute(&objects.iter().cloned().map(Op::Create).collect::<Vec<_>>());
    let mut expected = before.clone();
    objects.iter().for_each(|object| insert(&mut expected, object));
    assert_eq!(owned(&expected), expected);

    execute(&[Op::Replace { old: objects[0].clone(), new: replacement.clone() }]);
    let mut expected = before.clone();
    let objects: Vec<_> = [replacement].into_iter().chain(&objects[1..]).cloned().collect();
    objects.iter().for_each(|object| insert(&mut expected, object));
    assert_eq!(owned(&expected), expected);

    execute(&objects.iter().rev().cloned().map(Op::Delete).collect::<Vec<_>>());
    assert_eq!(owned(&State::default()), before);
}

fn insert(state: &mut State, object: &Object) {
    match object.clone() {
        Object::Link(link) => drop(state.links.insert(link.name.clone(), link)),
        Object::Sa(sa) => drop(state.sas.insert(sa.id, sa)),
        Object::Policy(policy) => drop(state.policies.insert(policy.id, policy)),
        Object::Address(address) => drop(state.addresses.insert(address.id.clone(), address)),
        Object::Route(route) => drop(state.routes.insert(route.id, route)),
        Object::Rule(rule) => drop(state.rules.insert(rule)),
        Object::Nft(table) => state.nft = Some(table),
        Object::Sysctl(sysctl) => drop(state.sysctls.insert(sysctl.path.clone(), sysctl)),
    }
}

fn if_id(number: u32) -> IfId {
    IfId::new(FIRST + number).unwrap()
}

fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

fn link(text: &str, number: u32) -> Link {
    Link { name: name(text), if_id: if_id(number), mtu: Mtu::try_from(1280).unwrap(), up: true }
}

/// With an interface of ours in the kernel for as long as `test` runs.
fn with_link(test: impl FnOnce(LinkName)) {
    let link = Object::Link(link("ippc9", 9));
    execute(&[Op::Create(link.clone())]);
    test(name("ippc9"));
    execute(&[Op::Delete(link)]);
}

fn sa(number: u32, suite: Suite, direction: SaDirection) -> Sa {
    Sa {
        source: "192.0.2.1".parse().unwrap(),
        id: SaId { destination: "192.0.2.2".parse().unwrap(), spi: Spi::try_from(0x1000 + number).unwrap() },
        reqid: Reqid(FIRST + number),
        if_id: if_id(1),
        direction,
        suite,
        sequence: SequenceNumbers::Extended,
        key: KeyMaterial::new((1..).take(suite.key_length()).collect()),
        selector: None,
        encapsulation: None,
        progress: Progress::default(),
    }
}

const IN: SaDirection = SaDirection::In { replay_window: 1024 };
const OUT: SaDirection = SaDirection::Out { tfc_padding: None, nat_keepalive: None };

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn links() {
    let _lab = lab();
    let first = link("ippc1", 1);
    let changed = Link { mtu: Mtu::try_from(1400).unwrap(), up: false, if_id: if_id(3), ..first.clone() };
    life_of(&[Object::Link(first), Object::Link(link("ippc2", 2))], &Object::Link(changed));
    with_link(|link| {
        let shown = run("ip", &format!("-d link show {link}"));
        for expected in ["xfrm if_id 0x49500009", "mtu 1280", "UP", "addrgenmode none"] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
        assert_eq!(run("ip", &format!("-6 address show dev {link}")), "");
    });
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn security_associations_of_every_suite_and_direction() {
    let _lab = lab();
    let mut sas: Vec<_> = (0..).zip(Suite::ALL).map(|(number, suite)| sa(number, suite, IN)).collect();
    sas.extend((10..).zip(Suite::ALL).map(|(number, suite)| sa(number, suite, OUT)));
    let net = |text: &str| text.parse().unwrap();
    sas.push(Sa {
        selector: Some(Selector {
            source: net("10.1.0.0/16"),
            destination: net("10.2.3.4/32"),
            protocol: Some(17),
        }),
        encapsulation: Some(UdpEncapsulation { source_port: 4500, destination_port: 61234 }),
        direction: SaDirection::Out { tfc_padding: Some(1400), nat_keepalive: Some(20) },
        ..sa(20, Suite::AesGcm256, OUT)
    });
    let wide = sa(21, Suite::ChaCha20Poly1305, IN);
    sas.push(Sa {
        source: "2001:db8::1".parse().unwrap(),
        id: SaId { destination: "2001:db8::2".parse().unwrap(), ..wide.id },
        selector: Some(Selector::new(net("2001:db8:1::/48"), net("::/0"))),
        ..wide
    });
    let replacement = sa(0, Suite::AesGcm256, SaDirection::In { replay_window: 4096 });
    let objects: Vec<_> = sas.into_iter().map(Object::Sa).collect();
    life_of(&objects, &Object::Sa(replacement));
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn ports_of_an_encapsulation_change_in_place() {
    let _lab = lab();
    let ports = |destination_port| Some(UdpEncapsulation { source_port: 4500, destination_port });
    let before = Sa { encapsulation: ports(4500), ..sa(0, Suite::AesGcm128, OUT) };
    let after = Sa { encapsulation: ports(4501), ..before.clone() };
    life_of(&[Object::Sa(before)], &Object::Sa(after));
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn what_cannot_be_replaced_stays_as_it_was() {
    let _lab = lab();
    let before = sa(0, Suite::AesGcm128, OUT);
    execute(&[Op::Create(Object::Sa(before.clone()))]);
    // The kernel wants UDP encapsulation for keepalives.
    let direction = SaDirection::Out { tfc_padding: None, nat_keepalive: Some(20) };
    let refused = Object::Sa(Sa { direction, ..before.clone() });
    let replace = |old: &Sa| {
        let ops = [Op::Replace { old: Object::Sa(old.clone()), new: refused.clone() }];
        format!("{:?}", kernel().execute(&ops))
    };
    let outcome = replace(&before);
    assert!(outcome.contains("Refused { errno: 22"), "{outcome}");
    assert_eq!(owned(&State::default()).sas.get(&before.id), Some(&before));

    // A stand-in for what someone changed cannot be put back, and that is said.
    let outcome = replace(&Sa { key: KeyMaterial::new(Vec::new()), ..before });
    assert!(outcome.contains("not undone: key: found 0 octets, expected 20"), "{outcome}");
    assert!(owned(&State::default()).is_empty());
}

fn policy(direction: PolicyDirection, selector: Selector, templates: &[(&str, &str)]) -> Policy {
    let template = |(number, (source, destination)): (u32, &(&str, &str))| Template {
        source: (!source.is_empty()).then(|| source.parse().unwrap()),
        destination: destination.parse().unwrap(),
        reqid: Reqid(FIRST + number),
    };
    Policy {
        id: PolicyId { if_id: if_id(1), direction, selector },
        priority: 100,
        action: Action::Allow,
        templates: (0..).zip(templates).map(template).collect(),
    }
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn policies() {
    let _lab = lab();
    let v4 = Selector::new("0.0.0.0/0".parse().unwrap(), "0.0.0.0/0".parse().unwrap());
    let v6 = Selector::new("2001:db8::/32".parse().unwrap(), "::/0".parse().unwrap());
    let three = [("10.2.0.1", "192.0.2.3"), ("10.1.0.1", "192.0.2.2"), ("198.51.100.1", "192.0.2.1")];
    let out = policy(PolicyDirection::Out, v4, &three);
    let mut shorter = policy(PolicyDirection::Out, v4, &three[1..]);
    shorter.priority = 7;
    shorter.action = Action::Block;
    let policies = [
        out,
        policy(PolicyDirection::In, v4, &[("", "192.0.2.1")]),
        policy(PolicyDirection::Forward, Selector { protocol: Some(6), ..v4 }, &[("", "192.0.2.1")]),
        policy(PolicyDirection::Out, v6, &[("2001:db8::1", "2001:db8::2")]),
    ];
    life_of(&policies.map(Object::Policy), &Object::Policy(shorter));
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn addresses() {
    let _lab = lab();
    with_link(|link| {
        let address = |prefix: &str, scope| {
            let id = AddressId { link: link.clone(), prefix: prefix.parse().unwrap() };
            Object::Address(Address { id, scope })
        };
        let all = [
            address("10.9.0.1/32", Scope::Global),
            address("10.9.1.1/24", Scope::Host),
            address("2001:db8::1/128", Scope::Global),
        ];
        life_of(&all, &address("10.9.0.1/32", Scope::Host));
        execute(&[Op::Create(all[2].clone())]);
        let shown = run("ip", &format!("-6 address show dev {link}"));
        assert!(shown.contains("nodad") && !shown.contains("tentative"), "{shown}");
        execute(&[Op::Delete(all[2].clone())]);
    });
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn routes() {
    let _lab = lab();
    with_link(|link| {
        let source = AddressId { link: link.clone(), prefix: "10.9.0.1/32".parse().unwrap() };
        let source = Op::Create(Object::Address(Address { id: source, scope: Scope::Global }));
        execute(std::slice::from_ref(&source));
        let route = |destination: &str, metric, kind| Route {
            id: RouteId { table: TableId(FIRST + 1), destination: destination.parse().unwrap(), metric },
            kind,
            preferred_source: None,
            metrics: RouteMetrics::default(),
        };
        let to_link = || RouteKind::Link(link.clone());
        let metrics =
            RouteMetrics { advmss: Some(1240), initcwnd: Some(20), congestion_control: Some("cubic".into()) };
        let rich = Route {
            preferred_source: Some("10.9.0.1".parse().unwrap()),
            metrics,
            ..route("0.0.0.0/0", 10, to_link())
        };
        let plain = route("0.0.0.0/0", 10, RouteKind::Unreachable);
        let rest = [
            route("0.0.0.0/0", 20, RouteKind::Unreachable),
            route("10.1.2.0/24", 1, to_link()),
            route("::/0", 10, to_link()),
            route("2001:db8::/32", 20, RouteKind::Unreachable),
        ];
        let all: Vec<_> = [&rich].into_iter().chain(&rest).cloned().map(Object::Route).collect();
        life_of(&all, &Object::Route(plain));
        let unreachable = Object::Route(route("::/0", 10, RouteKind::Unreachable));
        life_of(&[Object::Route(rest[2].clone())], &unreachable);
        life_of(&[unreachable], &Object::Route(rest[2].clone()));
        execute(&[source.inverse()]);
    });
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn rules() {
    let _lab = lab();
    let rule = |priority, source: &str, destination: &str, action| Rule {
        priority,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        input_link: None,
        protocol: None,
        mark: None,
        action,
    };
    let lookup = RuleAction::Lookup(TableId(FIRST + 1));
    let first = rule(4950, "10.9.0.1/32", "0.0.0.0/0", lookup);
    let rest = [
        Rule {
            input_link: Some(name("lo")),
            ..rule(4951, "0.0.0.0/0", "0.0.0.0/0", RuleAction::Unreachable)
        },
        Rule { protocol: Some(50), ..rule(4952, "0.0.0.0/0", "192.0.2.0/24", lookup) },
        Rule {
            mark: Some(Mark { value: 1, mask: 0xffff }),
            ..rule(4953, "::/0", "::/0", RuleAction::Lookup(TableId::MAIN))
        },
        rule(4950, "2001:db8::/32", "::/0", RuleAction::Lookup(TableId::MAIN)),
        Rule { input_link: Some(name("ippc77")), ..rule(4999, "::/0", "::/0", RuleAction::Unreachable) },
    ];
    let all: Vec<_> = [&first].into_iter().chain(&rest).cloned().map(Object::Rule).collect();
    life_of(&all, &Object::Rule(Rule { action: RuleAction::Unreachable, ..first }));
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn nftables() {
    let _lab = lab();
    let rules = |rules: &[&str]| rules.iter().map(|rule| NftRule((*rule).to_owned())).collect::<Vec<_>>();
    let set = |name: &str, prefixes: &[&str]| NftSet {
        name: name.into(),
        kind: NftSetKind::Prefixes(prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect()),
    };
    let addresses = |addresses: &[&str]| {
        NftSetKind::Ipv4(addresses.iter().map(|address| address.parse().unwrap()).collect())
    };
    let chain = |name: &str, hook, rules| NftChain { name: name.into(), hook, rules };
    let table = NftTable {
        sets: vec![
            set("private", &["10.0.0.0/8", "127.0.0.1/32", "172.16.0.0/12", "192.168.0.0/16"]),
            set("adjacent", &["10.0.0.0/9", "10.128.0.0/9"]),
            set("everything", &["0.0.0.0/0"]),
            set("private6", &["fc00::/7", "fe80::/10"]),
            NftSet { name: "handed_out".into(), kind: addresses(&["10.65.0.1", "10.65.0.2"]) },
            NftSet { name: "handed_out6".into(), kind: NftSetKind::Ipv6(BTreeSet::new()) },
        ],
        chains: vec![
            chain("input", NftHook::Input, rules(&["iifname \"ippt\" tcp dport 22 counter drop"])),
            chain(
                "forward",
                NftHook::Forward,
                rules(&["ip daddr @private drop", "ip6 daddr @private6 drop"]),
            ),
            chain("output", NftHook::Output, rules(&[])),
            chain("nat", NftHook::PostroutingNat, rules(&["ip saddr 10.9.0.0/16 masquerade"])),
            chain("marks", NftHook::PreroutingMangle, rules(&["ip saddr 10.9.0.0/16 meta mark set 7"])),
            chain("last", NftHook::PostroutingLast, rules(&["ip saddr 10.9.0.0/16 drop"])),
            chain("mss", NftHook::ForwardMangle, rules(&["tcp flags syn tcp option maxseg size set 1240"])),
        ],
    };
    let mut other = table.clone();
    other.chains[1].rules.pop();
    other.sets.truncate(1);
    life_of(&[Object::Nft(table.clone())], &Object::Nft(other));

    // What the caller does not know comes back in nft's words, and can be put back.
    execute(&[Op::Create(Object::Nft(table.clone()))]);
    let read = owned(&State::default()).nft.unwrap();
    assert_eq!(read.sets, table.sets);
    execute(&[Op::Replace { old: Object::Nft(table.clone()), new: Object::Nft(read.clone()) }]);
    assert_eq!(owned(&State::default()).nft.unwrap(), read);
    execute(&[Op::Replace { old: Object::Nft(read), new: Object::Nft(table.clone()) }]);

    let desired = State { nft: Some(table.clone()), ..State::default() };
    for change in [
        "add rule inet ippriv input drop",
        "add set inet ippriv more { type inet_service; }",
        "add chain inet ippriv jumped",
        "add element inet ippriv private { 1.2.3.4 }",
        "add element inet ippriv handed_out { 1.2.3.4 }",
        "add chain inet ippriv output { policy drop; }",
    ] {
        run("nft", change);
        assert_ne!(owned(&desired), desired, "{change}");
        execute(&[Op::Replace { old: Object::Nft(table.clone()), new: Object::Nft(table.clone()) }]);
        assert_eq!(owned(&desired), desired);
    }

    // Addresses come and go in a table that stays the same.
    let handle = || {
        let listing = run("nft", "-a list table inet ippriv");
        listing.lines().find_map(|line| Some(line.split_once("# handle ")?.1.to_owned())).unwrap()
    };
    let first = handle();
    let mut moved = table.clone();
    moved.sets[4].kind = addresses(&["10.65.0.2", "10.65.0.3"]);
    moved.sets[5].kind = NftSetKind::Ipv6(BTreeSet::from(["fd00::1".parse().unwrap()]));
    let desired = State { nft: Some(moved.clone()), ..State::default() };
    execute(&[Op::Replace { old: Object::Nft(table.clone()), new: Object::Nft(moved.clone()) }]);
    assert_eq!(owned(&desired), desired);
    assert_eq!(handle(), first);

    // One that is to go and is not there is what somebody else did: then all is made again.
    run("nft", "delete element inet ippriv handed_out { 10.65.0.3 }");
    execute(&[Op::Replace { old: Object::Nft(moved), new: Object::Nft(table.clone()) }]);
    let desired = State { nft: Some(table.clone()), ..State::default() };
    assert_eq!(owned(&desired), desired);
    assert_ne!(handle(), first);
    execute(&[Op::Delete(Object::Nft(table))]);
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn settings() {
    let _lab = lab();
    with_link(|link| {
        let setting = |value: &str| Sysctl {
            link: link.clone(),
            path: format!("net/ipv4/conf/{link}/rp_filter"),
            value: value.into(),
        };
        let mut desired = owned(&State::default());
        for value in ["2", "0"] {
            insert(&mut desired, &Object::Sysctl(setting(value)));
            execute(&[Op::Create(Object::Sysctl(setting(value)))]);
            assert_eq!(owned(&desired), desired);
        }
    });
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn the_usual_tools_show_what_was_made() {
    let _lab = lab();
    let shows = |command: &str, expected: &[&str]| {
        let (program, arguments) = command.split_once(' ').unwrap();
        let shown = run(program, arguments);
        for expected in expected {
            assert!(shown.contains(expected), "{command}: {expected}: {shown}");
        }
    };
    with_link(|link| {
        let any = Selector::new("0.0.0.0/0".parse().unwrap(), "0.0.0.0/0".parse().unwrap());
        let made = [
            Object::Sa(Sa {
                encapsulation: Some(UdpEncapsulation { source_port: 4500, destination_port: 61234 }),
                ..sa(1, Suite::AesGcm128, OUT)
            }),
            Object::Sa(sa(2, Suite::AesCbc128HmacSha256, IN)),
            Object::Policy(policy(PolicyDirection::Out, any, &[("192.0.2.1", "192.0.2.2")])),
            Object::Route(Route {
                id: RouteId {
                    table: TableId(FIRST + 1),
                    destination: "10.8.0.0/16".parse().unwrap(),
                    metric: 5,
                },
                kind: RouteKind::Link(link.clone()),
                preferred_source: None,
                metrics: RouteMetrics { advmss: Some(1240), ..RouteMetrics::default() },
            }),
            Object::Rule(Rule {
                priority: 4950,
                source: "10.8.0.0/16".parse().unwrap(),
                destination: "0.0.0.0/0".parse().unwrap(),
                input_link: None,
                protocol: Some(6),
                mark: None,
                action: RuleAction::Lookup(TableId(FIRST + 1)),
            }),
        ];
        execute(&made.clone().map(Op::Create));
        shows(
            "ip -s xfrm state list spi 0x1001",
            &[
                "src 192.0.2.1 dst 192.0.2.2\n\tproto esp spi 0x00001001",
                "reqid 1229979649(0x49500001) mode tunnel",
                "flag nopmtudisc af-unspec esn",
                "extra_flag dont-encap-dscp",
                "aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 (160 bits) 128",
                "encap type espinudp sport 4500 dport 61234",
                "if_id 0x49500001",
            ],
        );
        let integrity =
            "auth-trunc hmac(sha256) 0x1112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f30 128";
        let window = "replay_window 1024, bitmap-length 32";
        shows("ip xfrm state list spi 0x1002", &[integrity, "enc cbc(aes) 0x0102", window]);
        let template = "tmpl src 192.0.2.1 dst 192.0.2.2\n\t\tproto esp reqid 1229979648 mode tunnel";
        shows("ip xfrm policy", &["dir out priority 100", template, "if_id 0x49500001"]);
        let table = format!("ip route list table {}", FIRST + 1);
        shows(&table, &["10.8.0.0/16 dev ippc9 proto 73 scope link metric 5 advmss 1240"]);
        shows("ip rule", &["4950:\tfrom 10.8.0.0/16 ipproto tcp lookup 1229979649 proto 73"]);
        execute(&made.map(Op::Delete));
    });
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn what_others_own_is_never_ours() {
    let _lab = lab();
    run(
        "ip",
        "xfrm state add src 192.0.2.1 dst 192.0.2.9 proto esp spi 0x9000 reqid 7 mode tunnel \
        aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 128",
    );
    run(
        "ip",
        "xfrm policy add src 0.0.0.0/0 dst 10.0.0.0/8 dir out if_id 0x49500001 \
        tmpl src 192.0.2.1 dst 192.0.2.9 proto esp reqid 7 mode tunnel",
    );
    run("ip", "link add vpn0 type xfrm if_id 0x77");
    run("ip", "route add unreachable 10.7.0.0/16 table 1229979649 metric 5");
    run("ip", "rule add priority 4960 from 10.7.0.0/16 table 100");
    let route = RouteId { table: TableId(FIRST + 1), destination: "10.8.0.0/16".parse().unwrap(), metric: 5 };
    let route = Object::Route(Route {
        id: route,
        kind: RouteKind::Unreachable,
        preferred_source: None,
        metrics: RouteMetrics::default(),
    });
    execute(&[Op::Create(route.clone())]);
    let current = kernel().dump(&State::default()).unwrap();
    execute(&[Op::Delete(route)]);
    run("ip", "xfrm state flush");
    run("ip", "xfrm policy flush");
    run("ip", "link del vpn0");
    run("ip", "route flush table 1229979649");
    run("ip", "rule del priority 4960");

    assert_eq!(current.owned.len(), 1, "{:?}", current.owned);
    assert_eq!(current.foreign_sas.len(), 1);
    assert_eq!(current.foreign_policies.len(), 1);
    assert_eq!(current.foreign_routes.len(), 1);
    assert!(current.foreign_links.contains(&name("vpn0")) && current.foreign_links.contains(&name("lo")));
    assert!(current.foreign_if_ids.contains(&IfId::new(0x77).unwrap()));
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn what_someone_changed_is_ours_but_not_what_we_asked_for() {
    let _lab = lab();
    let marks = "reqid 1229979649 mode transport if_id 1229979649";
    run(
        "ip",
        &format!(
            "xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001 {marks} aead rfc4106(gcm(aes)) \
        0x0102030405060708090a0b0c0d0e0f1011121314 128"
        ),
    );
    run("ip", "rule add priority 4960 from 10.7.0.0/16 tos 0x10 table 100 protocol 73");
    run("ip", "route add prohibit 10.8.0.0/16 table 1229979649 metric 5 protocol 73");
    let owned = owned(&State::default());
    let wanted = sa(1, Suite::AesGcm128, OUT);
    let found = owned.sas.get(&wanted.id).unwrap();
    assert_ne!(*found, wanted);

    // It can be replaced and removed, but not be made again.
    execute(&[Op::Replace { old: Object::Sa(found.clone()), new: Object::Sa(wanted.clone()) }]);
    execute(&[Op::Delete(Object::Sa(wanted))]);
    let rule = Object::Rule(owned.rules.first().unwrap().clone());
    let route = Object::Route(owned.routes.values().next().unwrap().clone());
    execute(&[Op::Delete(rule.clone()), Op::Delete(route.clone())]);
    for object in [Object::Sa(found.clone()), rule, route] {
        assert!(matches!(kernel().execute(&[Op::Create(object)])[..], [Outcome::Failed(_)]));
    }
}

#[test]
#[ignore = "needs the lab kernel; cargo lab test runs it there"]
fn a_refusal_is_told_with_the_kernels_words_and_stops_what_follows() {
    let _lab = lab();
    let create = |number| Op::Create(Object::Sa(sa(number, Suite::AesGcm256, IN)));
    let again = Op::Create(Object::Link(link("ippc5", 5)));
    let ops = [create(1), create(1), create(2), again.clone()];
    let outcomes = kernel().execute(&ops);
    assert_eq!(outcomes[0], Outcome::Done);
    assert!(format!("{:?}", outcomes[1]).contains("errno: 17"), "{outcomes:?}");
    assert_eq!(outcomes[2..], [Outcome::Done, Outcome::NotTried]);
    execute(&[create(1).inverse(), create(2).inverse()]);

    let lo = Op::Create(Object::Link(link("ippc6", 5)));
    let outcomes = kernel().execute(&[again.clone(), lo]);
    assert!(matches!(outcomes[..], [Outcome::Done, Outcome::Failed(_)]), "{outcomes:?}");
    execute(&[again.inverse()]);

    let mut unknown = sa(3, Suite::AesGcm256, IN);
    unknown.direction = SaDirection::In { replay_window: 33 };
    let outcomes = kernel().execute(&[create(1), Op::Create(Object::Sa(unknown))]);
    let text = "replay window 33: expected a multiple of 32, from 32 to 4096";
    assert_eq!(outcomes[1], Outcome::Failed(ippriv::plan::OpError::Tool(text.into())));
    execute(&[create(1).inverse()]);
    assert!(owned(&State::default()).is_empty());
}
