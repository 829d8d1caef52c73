//! What relays and those between them get to know of a client: the paper's requirements S.1 to S.5.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ippriv::control::{Command, Event};
use ippriv::ike::wire::{Body, Exchange, NotifyType, Payload, decode};

use super::world::{Seen, Setup, World, circuit, client_address, relay};

const SECOND: Duration = Duration::from_secs(1);

fn world(clients: u8, relays: u8, hops: &str) -> World {
    let setup = Setup { clients, relays, circuits: circuit(hops), ..Setup::default() };
    // the overlays are up before the clients begin
    let mut world = World::with(setup, |_| {});
    world.run(20 * SECOND);
    world
}

/// What clients and relays said to each other in IKE, without the overlays' own.
fn of_circuits(world: &World) -> Vec<Seen> {
    let relays: Vec<IpAddr> = (1..=9).map(|number| IpAddr::from([198, 18, number, 2])).collect();
    let between = |seen: &&Seen| relays.contains(&seen.from.ip()) && relays.contains(&seen.to.ip());
    world.seen.iter().filter(|seen| !between(seen)).cloned().collect()
}

#[test]
fn each_relay_sees_the_address_that_the_one_before_it_gave() {
    let mut world = world(1, 4, "relay-a, relay-b, relay-c, relay-d");
    let circuit = world.circuits("client").remove(0);
    let own: IpAddr = client_address(1).parse().unwrap();
    let mut source = own;
    for hop in &circuit.hops {
        let requests = world.seen.iter().filter(|seen| seen.to.ip() == hop.address);
        let from_client =
            requests.filter(|seen| seen.from.ip() == own || world.owner(seen.from.ip()).is_some());
        let sources: Vec<&Seen> = from_client.collect();
        assert!(!sources.is_empty());
        for seen in sources {
            assert_eq!(seen.from.ip(), source, "{}", hop.relay);
            let inside = seen.link.as_ref().map(ToString::to_string);
            assert_eq!(inside.as_deref(), (source != own).then_some("ippc1"), "{}", hop.relay);
        }
        // what the relay knows of the layer: where it comes from, and the address it gave
        let machine = &world.hosts[&hop.relay];
        let peers: Vec<&IpAddr> = machine.events.iter().filter_map(up).collect();
        assert_eq!(peers, [&source], "{}", hop.relay);
        let given = hop.assigned.unwrap();
        let selected = machine.kernel.sas.values().filter_map(|sa| sa.selector);
        let of_client: Vec<_> = selected.collect();
        assert_eq!(of_client.len(), 2, "{}", hop.relay);
        for selector in of_client {
            assert!([selector.source, selector.destination].contains(&given.into()), "{selector}");
        }
        if hop.relay != relay(1) {
            let text = format!("{:?} {:?}", machine.kernel, machine.events);
            assert!(!text.contains(&own.to_string()), "{} knows the client", hop.relay);
            let journal = machine.journal.values().map(|value| String::from_utf8_lossy(value).into_owned());
            assert!(journal.into_iter().all(|text| !text.contains(&own.to_string())), "{}", hop.relay);
        }
        source = given;
    }
}

const fn up(event: &Event) -> Option<&IpAddr> {
    match event {
        Event::RelayCircuitUp { peer, .. } => peer.expose(),
        _ => None,
    }
}

#[test]
fn messages_in_clear_hold_nothing_that_tells_who_or_what_the_client_is() {
    let world = world(1, 3, "relay-a, relay-b, relay-c");
    let mut first = 0;
    for seen in of_circuits(&world) {
        let packet = decode(&seen.octets).unwrap();
        if packet.header.exchange != Exchange::SA_INIT {
            continue;
        }
        first += 1;
        let needles: [&[u8]; 2] = [&[198, 18, 0, 2], b"198.18.0.2"];
        for needle in needles {
            assert!(!seen.octets.windows(needle.len()).any(|window| window == needle));
        }
        let Body::Clear(payloads) = &packet.body else { panic!("sealed") };
        for payload in payloads {
            let harmless = match payload {
                Payload::Notify(notify) => [
                    NotifyType::NAT_DETECTION_SOURCE_IP,
                    NotifyType::NAT_DETECTION_DESTINATION_IP,
                    NotifyType::IKEV2_FRAGMENTATION_SUPPORTED,
                    NotifyType::SIGNATURE_HASH_ALGORITHMS,
                    NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED,
                    NotifyType::CHILDLESS_IKEV2_SUPPORTED,
                ]
                .contains(&notify.kind),
                Payload::Sa(_) | Payload::Ke { .. } | Payload::Nonce(_) => true,
                _ => false,
            };
            assert!(harmless, "{payload:?}");
        }
    }
    assert!(first >= 6, "{first}");
}

/// Sizes and order of what a client says and hears, by relay.
fn shapes(world: &World, client: &str) -> BTreeMap<IpAddr, Vec<(bool, usize)>> {
    let machine = &world.hosts[client];
    let mut own: Vec<IpAddr> = machine.kernel.addresses.keys().map(|id| id.prefix.addr()).collect();
    own.push(machine.address);
    let mut shapes: BTreeMap<IpAddr, Vec<(bool, usize)>> = BTreeMap::new();
    for seen in of_circuits(world) {
        if own.contains(&seen.from.ip()) {
            shapes.entry(seen.to.ip()).or_default().push((true, seen.octets.len()));
        } else if own.contains(&seen.to.ip()) {
            shapes.entry(seen.from.ip()).or_default().push((false, seen.octets.len()));
        }
    }
    shapes
}

#[test]
fn all_clients_and_all_their_circuits_look_alike() {
    let names = ["client", "client-2", "client-3"];
    let world = world(3, 3, "relay-a, relay-b, relay-c");
    let one = shapes(&world, names[0]);
    assert_eq!(one.len(), 3);
    for other in &names[1..] {
        assert_eq!(shapes(&world, other).keys().collect::<Vec<_>>(), one.keys().collect::<Vec<_>>());
    }
    // the first layer of the first client may have been begun before its relay knew its neighbours: what was
    // sent again is left out, the rest has the same sizes in the same order
    let once = |shape: &Vec<(bool, usize)>| {
        let mut shape = shape.clone();
        shape.dedup();
        shape
    };
    for other in names {
        for (relay, shape) in &shapes(&world, other) {
            assert_eq!(once(shape), once(&one[relay]), "{other} {relay}");
        }
    }
    let entry = once(&one[&IpAddr::from([198, 18, 1, 2])]);
    let exit = once(&one[&IpAddr::from([198, 18, 3, 2])]);
    assert_eq!(entry.len(), exit.len());
    assert_eq!(entry, exit, "a relay learns its place from the shape of the messages");
}

#[test]
fn a_second_circuit_is_built_by_the_same_messages_as_the_first() {
    // nobody asks the relays of the circuits that stand already
    let client = "  timeouts: { silence: 1h }\n".to_owned();
    let mut world = World::new(Setup { client, ..Setup::default() });
    world.run(10 * SECOND);
    let mut shapes = Vec::new();
    for number in 1..=3 {
        let before = world.seen.len();
        let hops = Some((1..=3).map(relay).collect());
        let new = ippriv::control::NewCircuit { hops, wait: true, ..Default::default() };
        world.command("client", number, Command::CircuitNew(new));
        world.run(5 * SECOND);
        let shape: Vec<(IpAddr, usize)> =
            world.seen[before..].iter().map(|seen| (seen.to.ip(), seen.octets.len())).collect();
        let to_relays: Vec<_> = shape.into_iter().filter(|(to, _)| world.owner(*to).is_none()).collect();
        shapes.push(to_relays);
    }
    assert_eq!(shapes[0], shapes[1]);
    assert_eq!(shapes[1], shapes[2]);
}
