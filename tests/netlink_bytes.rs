//! Our netlink messages, octet by octet, against those that iproute2 sends (`tests/data/netlink`), and our
//! decoders against every way a message can be cut short or altered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;

use ippriv::id::{IfId, LinkName, Mark, Mtu, Reqid, Spi, TableId};
use ippriv::netlink::{
    AddressDump, Attributes, Dump, Frames, LinkDump, LinkIndexes, Parsed, PolicyDump, RouteDump, RuleDump,
    SaDump, SaPackets, change_sets, requests,
};
use ippriv::ownership::FIRST;
use ippriv::plan::{Object, Op};
use ippriv::secret::KeyMaterial;
use ippriv::state::{
    Action, Address, AddressId, Link, Policy, PolicyDirection, PolicyId, Progress, Route, RouteId, RouteKind,
    RouteMetrics, Rule, RuleAction, Sa, SaDirection, SaId, Scope, Selector, SetChange, Template,
    UdpEncapsulation,
};
use ippriv::suite::{SequenceNumbers, Suite};

const SA_INFO: usize = 224;
const SA_ID: usize = 24;
const POLICY_INFO: usize = 168;
const POLICY_ID: usize = 64;
const LINK_INFO: usize = 16;
const ADDRESS_INFO: usize = 8;
const ROUTE_INFO: usize = 12;
const RULE_INFO: usize = 12;

/// What differs on purpose between our message and iproute2's.
#[derive(Default)]
struct Deviations {
    /// Attributes that only we send.
    ours: &'static [u16],
    /// Attributes that only iproute2 sends.
    theirs: &'static [u16],
    /// Attributes whose content differs.
    differ: &'static [u16],
    /// Octets of the fixed part that differ.
    fixed: Range<usize>,
}

const NONE: Deviations = Deviations { ours: &[], theirs: &[], differ: &[], fixed: 0..0 };

/// `XFRMA_SA_DIR`: iproute2 6.1 does not know it.
const DIRECTION: Deviations = Deviations { ours: &[33], ..NONE };
/// `RTA_TABLE`, `FRA_TABLE`: iproute2 sends it for tables above 255 only; we always do.
const TABLE: Deviations = Deviations { ours: &[15], ..NONE };
/// `IFLA_IFNAME` instead of the number of the interface: we need not look it up.
const BY_NAME: Deviations = Deviations { ours: &[3], fixed: 4..8, ..NONE };

struct Taken<'a> {
    kind: u16,
    flags: u16,
    fixed: &'a [u8],
    attributes: BTreeMap<u16, Vec<u8>>,
}

/// Takes a message apart. Attributes inside `IFLA_LINKINFO`, `IFLA_AF_SPEC` and `RTA_METRICS` come in the
/// order in which both sides send them, so they are compared as they are.
fn take_apart(message: &[u8], fixed: usize) -> Taken<'_> {
    let frame = Frames::new(message).next().unwrap().unwrap();
    let (fixed, attributes) = frame.payload.split_at(fixed);
    let attributes = Attributes::new(attributes)
        .map(Result::unwrap)
        .filter(|attribute| attribute.kind != 0)
        .map(|attribute| (attribute.kind, attribute.content.to_vec()))
        .collect();
    Taken { kind: frame.kind, flags: frame.flags, fixed, attributes }
}

fn captured(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/netlink/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    KeyMaterial::from_hex(&digits).unwrap().expose().to_vec()
}

fn links() -> LinkIndexes {
    let mut links = LinkIndexes::default();
    links.insert(name("lo"), 1);
    links
}

fn messages(op: &Op) -> Vec<Vec<u8>> {
    let finish = |mut message: ippriv::netlink::Message| {
        message.ask_for_ack();
        message.as_bytes().to_vec()
    };
    requests(op, &links()).unwrap().into_iter().map(|request| finish(request.message)).collect()
}

/// Compares message number `position` of those for `op` with the captured one.
fn compare(name: &str, op: &Op, position: usize, fixed: usize, deviations: &Deviations) {
    let (ours, theirs) = (&messages(op)[position], captured(name));
    let (ours, theirs) = (take_apart(ours, fixed), take_apart(&theirs, fixed));
    assert_eq!((ours.kind, ours.flags), (theirs.kind, theirs.flags), "{name}: type and flags");
    let differ = |range: Range<usize>| ours.fixed[range.clone()] != theirs.fixed[range];
    assert!(!differ(0..deviations.fixed.start), "{name}: {:x?} {:x?}", ours.fixed, theirs.fixed);
    assert_eq!(differ(deviations.fixed.clone()), !deviations.fixed.is_empty(), "{name}: no deviation");
    assert!(!differ(deviations.fixed.end..fixed), "{name}: {:x?} {:x?}", ours.fixed, theirs.fixed);
    let kinds = |attributes: &BTreeMap<u16, _>, others: &BTreeMap<u16, _>| {
        attributes.keys().copied().filter(|kind| !others.contains_key(kind)).collect::<BTreeSet<_>>()
    };
    let set = |kinds: &[u16]| kinds.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(kinds(&ours.attributes, &theirs.attributes), set(deviations.ours), "{name}: only ours");
    assert_eq!(kinds(&theirs.attributes, &ours.attributes), set(deviations.theirs), "{name}: only theirs");
    for (kind, content) in &ours.attributes {
        if let Some(theirs) = theirs.attributes.get(kind) {
            assert_eq!(
                content != theirs,
                deviations.differ.contains(kind),
                "{name}: {kind} {content:x?} {theirs:x?}"
            );
        }
    }
}

fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

fn key(suite: Suite) -> KeyMaterial {
    KeyMaterial::new((1..).take(suite.key_length()).collect())
}

fn sa(suite: Suite, direction: SaDirection) -> Sa {
    Sa {
        source: "192.0.2.1".parse().unwrap(),
        id: SaId { destination: "192.0.2.2".parse().unwrap(), spi: Spi::try_from(0x1001).unwrap() },
        reqid: Reqid(FIRST + 1),
        if_id: IfId::new(FIRST + 1).unwrap(),
        direction,
        suite,
        sequence: SequenceNumbers::Extended,
        key: key(suite),
        selector: None,
        encapsulation: None,
        progress: Progress::default(),
    }
}

fn wide(sa: Sa) -> Sa {
    let destination = "2001:db8::2".parse().unwrap();
    Sa { source: "2001:db8::1".parse().unwrap(), id: SaId { destination, ..sa.id }, ..sa }
}

const fn incoming(replay_window: u32) -> SaDirection {
    SaDirection::In { replay_window }
}

const OUT: SaDirection = SaDirection::Out { tfc_padding: None, nat_keepalive: None };
const PORTS: Option<UdpEncapsulation> = Some(UdpEncapsulation { source_port: 4500, destination_port: 61234 });

fn create(sa: Sa) -> Op {
    Op::Create(Object::Sa(sa))
}

#[test]
fn making_security_associations() {
    let compare = |name, sa, deviations| compare(name, &create(sa), 0, SA_INFO, deviations);
    compare("sa_gcm128_in", sa(Suite::AesGcm128, incoming(128)), &DIRECTION);
    let v6 = Selector::new(net("2001:db8:1::/48"), net("::/0"));
    let chacha = wide(sa(Suite::ChaCha20Poly1305, incoming(64)));
    compare("sa_chacha_v6", Sa { selector: Some(v6), ..chacha }, &DIRECTION);
    let sha1 = sa(Suite::AesCbc128HmacSha1, incoming(32));
    compare("sa_cbc_sha1_encap", Sa { encapsulation: PORTS, ..sha1 }, &DIRECTION);
    let udp = Selector { protocol: Some(17), ..Selector::new(net("10.1.0.0/16"), net("10.2.3.4/32")) };
    let sha256 = sa(Suite::AesCbc128HmacSha256, incoming(32));
    compare("sa_cbc_sha256_selector", Sa { selector: Some(udp), ..sha256 }, &DIRECTION);
    // XFRMA_REPLAY_ESN_VAL: iproute2 cannot say "no window", which XFRM_SA_DIR_OUT needs.
    let no_window = Deviations { differ: &[23], ..DIRECTION };
    compare("sa_gcm256_out", sa(Suite::AesGcm256, OUT), &no_window);
}

#[test]
fn changing_removing_and_asking_for_security_associations() {
    let before = Sa { encapsulation: PORTS, ..sa(Suite::AesGcm128, incoming(128)) };
    let after = before.clone();
    let other = UdpEncapsulation { source_port: 1, destination_port: 2 };
    let before = Sa { encapsulation: Some(other), ..before };
    let replace = Op::Replace { old: Object::Sa(before), new: Object::Sa(after) };
    compare("sa_update", &replace, 0, SA_INFO, &DIRECTION);

    // XFRMA_SRCADDR: the kernel looks at it for other protocols than ESP only.
    let no_source = Deviations { theirs: &[13], ..NONE };
    let gcm = sa(Suite::AesGcm128, OUT);
    compare("sa_delete", &Op::Delete(Object::Sa(gcm.clone())), 0, SA_ID, &no_source);
    compare("sa_delete_v6", &Op::Delete(Object::Sa(wide(gcm.clone()))), 0, SA_ID, &no_source);
    let request = SaPackets(gcm.id).request();
    let (ours, theirs) = (take_apart(request.as_bytes(), SA_ID).fixed, captured("sa_get"));
    assert_eq!(ours, take_apart(&theirs, SA_ID).fixed);
}

/// `include/uapi/linux/xfrm.h`: `XFRMA_TFCPAD` 22, `XFRMA_REPLAY_ESN_VAL` 23, `XFRMA_SA_DIR` 33 (1 in, 2 out),
/// `XFRMA_NAT_KEEPALIVE_INTERVAL` 34, all but the second plain integers.
#[test]
fn attributes_that_iproute2_does_not_know() {
    let direction = SaDirection::Out { tfc_padding: Some(1400), nat_keepalive: Some(20) };
    let message = &messages(&create(sa(Suite::AesGcm128, direction)))[0];
    let attributes = take_apart(message, SA_INFO).attributes;
    assert_eq!(attributes[&22], 1400_u32.to_ne_bytes());
    assert_eq!(attributes[&23], [0; 24]);
    assert_eq!(attributes[&33], [2]);
    assert_eq!(attributes[&34], 20_u32.to_ne_bytes());
    let message = &messages(&create(sa(Suite::AesGcm128, incoming(32))))[0];
    assert_eq!(take_apart(message, SA_INFO).attributes[&33], [1]);
}

fn policy(direction: PolicyDirection, selector: Selector, templates: &[(&str, &str)]) -> Policy {
    let template = |(number, (source, destination)): (u32, &(&str, &str))| Template {
        source: (!source.is_empty()).then(|| source.parse().unwrap()),
        destination: destination.parse().unwrap(),
        reqid: Reqid(FIRST + number),
    };
    Policy {
        id: PolicyId { if_id: IfId::new(FIRST + 1).unwrap(), direction, selector },
        priority: 100,
        action: Action::Allow,
        templates: (0..).zip(templates).map(template).collect(),
    }
}

const THREE: [(&str, &str); 3] =
    [("10.2.0.1", "192.0.2.3"), ("10.1.0.1", "192.0.2.2"), ("198.51.100.1", "192.0.2.1")];

#[test]
fn policies() {
    let any = Selector::new(net("0.0.0.0/0"), net("0.0.0.0/0"));
    let ten = Selector { destination: net("10.0.0.0/8"), ..any };
    let v6 = Selector::new(net("2001:db8::/32"), net("::/0"));
    let make = |policy| Op::Create(Object::Policy(policy));
    let out = make(policy(PolicyDirection::Out, any, &THREE));
    compare("policy_out_three", &out, 0, POLICY_INFO, &NONE);
    let tcp = Selector { protocol: Some(6), ..ten };
    let incoming = make(policy(PolicyDirection::In, tcp, &[("", "192.0.2.1")]));
    compare("policy_in_any", &incoming, 0, POLICY_INFO, &NONE);
    let mut block = policy(PolicyDirection::Forward, v6, &[("2001:db8::1", "2001:db8::2")]);
    block.action = Action::Block;
    compare("policy_fwd_block_v6", &make(block), 0, POLICY_INFO, &NONE);
    let one = Object::Policy(policy(PolicyDirection::Out, ten, &THREE[..1]));
    let replace = Op::Replace { old: one.clone(), new: one.clone() };
    compare("policy_update", &replace, 0, POLICY_INFO, &NONE);
    compare("policy_delete", &Op::Delete(one), 0, POLICY_ID, &NONE);
}

#[test]
fn interfaces() {
    let link = |name_: &str, mtu, up| Link {
        name: name(name_),
        if_id: IfId::new(FIRST + 1).unwrap(),
        mtu: Mtu::try_from(mtu).unwrap(),
        up,
    };
    let create = Op::Create(Object::Link(link("ippc1", 1280, true)));
    compare("link_create", &create, 0, LINK_INFO, &NONE);
    let create = Op::Create(Object::Link(link("lo", 1280, true)));
    compare("link_no_addresses", &create, 1, LINK_INFO, &BY_NAME);
    let lo = link("lo", 1280, true);
    let replace = Op::Replace { old: Object::Link(link("lo", 1500, false)), new: Object::Link(lo.clone()) };
    compare("link_change", &replace, 0, LINK_INFO, &BY_NAME);
    compare("link_delete", &Op::Delete(Object::Link(lo)), 0, LINK_INFO, &BY_NAME);
}

#[test]
fn addresses() {
    let address = |prefix: &str, scope| {
        Object::Address(Address { id: AddressId { link: name("lo"), prefix: net(prefix) }, scope })
    };
    let compare = |name, op| compare(name, &op, 0, ADDRESS_INFO, &NONE);
    compare("address_v4", Op::Create(address("10.9.0.1/32", Scope::Global)));
    compare("address_v4_host", Op::Create(address("10.9.1.1/24", Scope::Host)));
    compare("address_v6", Op::Create(address("2001:db8::1/128", Scope::Global)));
    compare("address_delete", Op::Delete(address("10.9.0.1/32", Scope::Global)));
}

fn route(table: TableId, destination: &str, metric: u32, kind: RouteKind) -> Route {
    Route {
        id: RouteId { table, destination: net(destination), metric },
        kind,
        preferred_source: None,
        metrics: RouteMetrics::default(),
    }
}

fn rich_route() -> Route {
    let congestion_control = Some("cubic".into());
    Route {
        preferred_source: Some("10.9.0.1".parse().unwrap()),
        metrics: RouteMetrics { advmss: Some(1240), initcwnd: Some(20), congestion_control },
        ..route(OURS, "0.0.0.0/0", 10, RouteKind::Link(name("lo")))
    }
}

const OURS: TableId = TableId(FIRST + 1);

#[test]
fn routes() {
    let lo = || RouteKind::Link(name("lo"));
    let compare = |name, op, deviations| compare(name, &op, 0, ROUTE_INFO, deviations);
    let make = |route| Op::Create(Object::Route(route));
    compare("route_rich", make(rich_route()), &NONE);
    let unreachable = route(OURS, "10.0.0.0/8", 20, RouteKind::Unreachable);
    compare("route_unreachable", make(unreachable.clone()), &NONE);
    compare("route_delete", Op::Delete(Object::Route(unreachable)), &NONE);
    compare("route_main", make(route(TableId::MAIN, "10.0.0.0/8", 10, lo())), &TABLE);
    let v6 = Object::Route(route(OURS, "2001:db8::/32", 10, lo()));
    // Scope: IPv6 has none, and the kernel ignores it.
    let scope = Deviations { fixed: 6..7, ..NONE };
    compare("route_replace_v6", Op::Replace { old: v6.clone(), new: v6 }, &scope);

    // iproute2 pads its question with zeros and asks for one family; ours is for both.
    let request = RouteDump { table: Some(OURS), links: &links() }.request();
    let theirs = captured("route_dump");
    let (ours, theirs) = (take_apart(request.as_bytes(), ROUTE_INFO), take_apart(&theirs[..36], ROUTE_INFO));
    assert_eq!((ours.kind, ours.flags), (theirs.kind, theirs.flags));
    assert_eq!((&ours.fixed[1..], ours.attributes), (&theirs.fixed[1..], theirs.attributes));
}

#[test]
fn rules() {
    let rule = |priority, source: &str, destination: &str, action| Rule {
        priority,
        source: net(source),
        destination: net(destination),
        input_link: None,
        protocol: None,
        mark: None,
        action,
    };
    let lookup = RuleAction::Lookup;
    let compare = |name, op, deviations| compare(name, &op, 0, RULE_INFO, deviations);
    let make = |rule| Op::Create(Object::Rule(rule));
    let source = rule(4950, "10.9.0.1/32", "0.0.0.0/0", lookup(OURS));
    compare("rule_source", make(source.clone()), &NONE);
    // The action: iproute2 leaves it out, so that any matches.
    let action = Deviations { fixed: 7..8, ..NONE };
    compare("rule_delete", Op::Delete(Object::Rule(source)), &action);
    let unreachable = rule(4951, "0.0.0.0/0", "0.0.0.0/0", RuleAction::Unreachable);
    compare("rule_input_unreachable", make(Rule { input_link: Some(name("lo")), ..unreachable }), &NONE);
    let esp = rule(4952, "0.0.0.0/0", "192.0.2.0/24", lookup(TableId::MAIN));
    compare("rule_protocol", make(Rule { protocol: Some(50), ..esp }), &TABLE);
    compare("rule_v6", make(rule(4950, "2001:db8::/32", "::/0", lookup(OURS))), &NONE);
}

/// The payload of the last message that makes `object`.
fn payload(object: Object) -> Vec<u8> {
    let message = messages(&Op::Create(object)).pop().unwrap();
    Frames::new(&message).next().unwrap().unwrap().payload.to_vec()
}

/// Sets every bit of `payload` to its opposite, one at a time, and expects that it is not the original any
/// more, save in the octets that mean nothing. The same when it is cut short.
fn every_bit_counts(payload: &[u8], ignored: &BTreeSet<usize>, is_original: impl Fn(&[u8]) -> bool) {
    assert!(is_original(payload));
    for position in (0..payload.len()).filter(|position| !ignored.contains(position)) {
        for bit in 0..8 {
            let mut altered = payload.to_vec();
            altered[position] ^= 1 << bit;
            assert!(!is_original(&altered), "octet {position} bit {bit}");
        }
        assert!(!is_original(&payload[..position]), "cut at {position}");
    }
}

/// Of all attributes behind the fixed part, the flags of their types, their padding, and the length of those
/// that have padding: a little longer, and they say the same.
fn unused(payload: &[u8], fixed: usize) -> BTreeSet<usize> {
    let mut unused = BTreeSet::new();
    let mut at = fixed;
    for attribute in Attributes::new(&payload[fixed..]) {
        let end = at + 4 + attribute.unwrap().content.len();
        unused.insert(at + 3);
        unused.extend(end..end.next_multiple_of(4));
        unused.extend((!end.is_multiple_of(4)).then_some(at));
        at = end.next_multiple_of(4);
    }
    unused
}

#[test]
fn every_bit_of_a_security_association_counts() {
    let full = SaDirection::Out { tfc_padding: Some(1400), nat_keepalive: Some(20) };
    let udp = Selector { protocol: Some(17), ..Selector::new(net("10.1.0.0/16"), net("10.2.3.4/32")) };
    for original in [
        sa(Suite::AesGcm256, incoming(128)),
        Sa { encapsulation: PORTS, ..wide(sa(Suite::AesCbc128HmacSha1, full)) },
        Sa { selector: Some(udp), ..sa(Suite::DangerNull, OUT) },
    ] {
        let payload = payload(Object::Sa(original.clone()));
        let mut ignored = unused(&payload, SA_INFO);
        // Padding, usage so far, statistics, sequence number of a request.
        for range in [45..48, 77..80, 160..208, 217..224] {
            ignored.extend(range);
        }
        let narrow = original.source.is_ipv4();
        ignored.extend(if narrow { (60..72).chain(84..96) } else { (0..0).chain(0..0) });
        ignored.extend(if original.selector.is_some() { (4..16).chain(18..32) } else { (0..0).chain(0..0) });
        let mut at = SA_INFO;
        for attribute in Attributes::new(&payload[SA_INFO..]) {
            let attribute = attribute.unwrap();
            let (start, length) = (at + 4, attribute.content.len());
            match attribute.kind {
                // Names end at a NUL, and keys are counted in octets.
                1 | 2 | 18 | 20 => {
                    let name = attribute.content.iter().position(|octet| *octet == 0).unwrap();
                    ignored.extend(start + name + 1..start + 64);
                    ignored.insert(start + 64);
                }
                // The original address, which the kernel ignores.
                4 => ignored.extend(start + 6..start + 24),
                // Sequence numbers, and the length of a bitmap that only the kernel sees.
                23 => ignored.extend(start..start + 20),
                // Without it, the window tells.
                33 => ignored.extend([at + 2]),
                _ => {}
            }
            at = start + length.next_multiple_of(4);
        }
        every_bit_counts(&payload, &ignored, |octets| {
            SaDump.parse(octets) == Ok(Parsed::Ours(original.clone()))
        });
    }
}

#[test]
fn before_linux_6_10_the_window_tells_the_direction() {
    for original in [sa(Suite::AesGcm256, incoming(128)), sa(Suite::AesGcm256, OUT)] {
        let payload = payload(Object::Sa(original.clone()));
        let mut old = payload[..SA_INFO].to_vec();
        let mut at = SA_INFO;
        for attribute in Attributes::new(&payload[SA_INFO..]).map(Result::unwrap) {
            let end = at + (4 + attribute.content.len()).next_multiple_of(4);
            // XFRMA_SA_DIR.
            if attribute.kind != 33 {
                old.extend_from_slice(&payload[at..end]);
            }
            at = end;
        }
        assert_eq!(SaDump.parse(&old), Ok(Parsed::Ours(original)));
    }
}

#[test]
fn security_associations_that_cannot_be_in_the_way_are_irrelevant() {
    let with = |range: Range<usize>, octets: &[u8]| {
        let mut payload = payload(Object::Sa(sa(Suite::AesGcm256, OUT)));
        payload[range].copy_from_slice(octets);
        SaDump.parse(&payload).unwrap()
    };
    // One that still waits for its SPI, one of AH.
    assert_eq!(with(72..76, &[0; 4]), Parsed::Irrelevant);
    assert_eq!(with(76..77, &[51]), Parsed::Irrelevant);
    let reqid = 208..212;
    assert_eq!(with(reqid, &7_u32.to_ne_bytes()), Parsed::Foreign(sa(Suite::AesGcm256, OUT).id));
}

#[test]
fn every_bit_of_a_policy_counts() {
    let any = Selector::new(net("0.0.0.0/0"), net("10.0.0.0/8"));
    let original = policy(PolicyDirection::Out, any, &THREE);
    let payload = payload(Object::Policy(original.clone()));
    let mut ignored = unused(&payload, POLICY_INFO);
    // Upper part of addresses, padding, usage so far, index.
    for range in [1..16, 16..32, 45..48, 120..152, 156..160, 164..168] {
        ignored.extend(range);
    }
    for template in 0..3 {
        let start = POLICY_INFO + 4 + 64 * template;
        for range in [4..16, 21..24, 26..28, 32..44, 51..52] {
            ignored.extend(range.start + start..range.end + start);
        }
    }
    every_bit_counts(&payload, &ignored, |octets| {
        PolicyDump.parse(octets) == Ok(Parsed::Ours(original.clone()))
    });
}

#[test]
fn every_bit_of_a_route_counts() {
    let links = links();
    let dump = RouteDump { table: None, links: &links };
    let original =
        Route { id: RouteId { destination: net("10.1.2.3/32"), ..rich_route().id }, ..rich_route() };
    let payload = payload(Object::Route(original.clone()));
    let mut ignored = unused(&payload, ROUTE_INFO);
    // Table in short, which the attribute overrides; scope; flags. Flags and padding of the metrics.
    ignored.extend([4, 6, 8, 9, 10, 11]);
    let metrics = payload.len() - 28;
    ignored.extend(unused(&payload, metrics));
    every_bit_counts(&payload, &ignored, |octets| dump.parse(octets) == Ok(Parsed::Ours(original.clone())));
}

#[test]
fn every_bit_of_a_rule_counts() {
    let original = Rule {
        priority: 4950,
        source: net("10.0.0.1/32"),
        destination: net("192.0.2.1/32"),
        input_link: Some(name("ippt")),
        protocol: Some(50),
        mark: Some(Mark { value: 0x4950_0001, mask: u32::MAX }),
        action: RuleAction::Lookup(OURS),
    };
    let payload = payload(Object::Rule(original.clone()));
    let mut ignored = unused(&payload, RULE_INFO);
    // Table in short, reserved octets, "the interface is not there now".
    ignored.extend([4, 5, 6, 8]);
    every_bit_counts(&payload, &ignored, |octets| RuleDump.parse(octets) == Ok(Some(original.clone())));
}

#[test]
fn whatever_is_read_back_is_what_was_written() {
    let links = links();
    let route = rich_route();
    let dump = RouteDump { table: None, links: &links };
    assert_eq!(dump.parse(&payload(Object::Route(route.clone()))), Ok(Parsed::Ours(route)));
    let address =
        Address { id: AddressId { link: name("lo"), prefix: net("2001:db8::1/64") }, scope: Scope::Global };
    let read = AddressDump { links: &links }.parse(&payload(Object::Address(address.clone())));
    assert_eq!(read, Ok(Parsed::Ours(address)));
    let rule = Rule {
        priority: 4950,
        source: net("10.0.0.0/8"),
        destination: net("0.0.0.0/0"),
        input_link: Some(name("ippt")),
        protocol: Some(50),
        mark: Some(Mark { value: 0x4950_0001, mask: u32::MAX }),
        action: RuleAction::Lookup(OURS),
    };
    assert_eq!(RuleDump.parse(&payload(Object::Rule(rule.clone()))), Ok(Some(rule)));
}

/// nft's transaction says the same as ours, but for `NFTA_SET_ELEM_LIST_SET_ID`, which is for sets made by the
/// same transaction.
#[test]
fn changing_sets_of_nftables() {
    const SET_ID: u16 = 4;
    let addresses =
        |addresses: &[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect::<Vec<_>>();
    let change = |set: &str, add: &[&str], remove: &[&str]| SetChange {
        set: set.to_owned(),
        add: addresses(add),
        remove: addresses(remove),
    };
    let changes =
        [change("handed_out", &["10.65.0.1"], &["10.66.0.1"]), change("handed_out6", &["2001:db8::1"], &[])];
    let ours = change_sets(&changes);
    let theirs = captured("nft_sets");
    let mut rest = theirs.as_slice();
    for (position, ours) in ours.iter().enumerate() {
        let length = usize::try_from(u32::from_ne_bytes(rest[..4].try_into().unwrap())).unwrap();
        let (theirs, others) = rest.split_at(length);
        rest = others;
        let (ours, mut theirs) = (take_apart(ours.as_bytes(), 4), take_apart(theirs, 4));
        theirs.attributes.remove(&SET_ID);
        assert_eq!((ours.kind, ours.flags), (theirs.kind, theirs.flags), "{position}");
        assert_eq!((ours.fixed, ours.attributes), (theirs.fixed, theirs.attributes), "{position}");
    }
    assert!(rest.is_empty());
}

/// No decoder panics, whatever it gets: every captured message, cut anywhere and altered everywhere.
#[test]
fn decoders_survive_anything() {
    let links = links();
    let directory = format!("{}/tests/data/netlink", env!("CARGO_MANIFEST_DIR"));
    for file in fs::read_dir(directory).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".hex") else { continue };
        let whole = captured(name);
        for end in 16..=whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut payload = whole[16..end].to_vec();
                if let Some(last) = payload.last_mut() {
                    *last ^= value;
                }
                let _ = SaDump.parse(&payload);
                let _ = PolicyDump.parse(&payload);
                let _ = LinkDump.parse(&payload);
                let _ = AddressDump { links: &links }.parse(&payload);
                let _ = RouteDump { table: None, links: &links }.parse(&payload);
                let _ = RuleDump.parse(&payload);
                Frames::new(&payload).flatten().for_each(|frame| drop(frame.reply()));
            }
        }
    }
}
