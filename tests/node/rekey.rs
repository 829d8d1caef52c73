//! New keys for every layer and overlay, from both sides, while packets pass.

use std::time::Duration;

use ippriv::control::{Command, Event, Rekey, RekeyTarget, RekeyWhat, Reply};

use super::world::{Links, Setup, World, circuit};

const SECOND: Duration = Duration::from_secs(1);
/// Between two packets each way: 500 a second.
const OFTEN: Duration = Duration::from_millis(2);

fn world(client: &str, relay: &str) -> World {
    let circuits = circuit("relay-a, relay-b, relay-c");
    let mut world = World::new(Setup {
        circuits,
        client: client.to_owned(),
        relay: relay.to_owned(),
        ..Setup::default()
    });
    world.watched = false;
    world.run_until_open(10 * SECOND);
    world.run(10 * SECOND);
    world
}

fn assert_nothing_lost(world: &World, least: u64) {
    assert!(
        world.lost.is_empty(),
        "{} lost of {}: {:#?}",
        world.lost.len(),
        world.arrived,
        &world.lost[..world.lost.len().min(5)]
    );
    assert!(world.arrived >= least, "{}", world.arrived);
}

fn sa(world: &mut World, hop: usize) -> (String, String, u64) {
    let view = world.circuits("client").remove(0).hops.remove(hop).sa.unwrap();
    (view.ike_initiator, view.esp_in, view.rekeyed)
}

#[test]
fn a_person_gives_every_layer_new_keys_and_no_packet_is_lost() {
    let mut world = world("", "");
    let circuit = world.circuits("client")[0].number;
    world.probe_every("client", OFTEN);
    for hop in 1..=3_u8 {
        for what in [RekeyWhat::Child, RekeyWhat::Ike, RekeyWhat::Child] {
            let before = sa(&mut world, usize::from(hop) - 1);
            let target = RekeyTarget::Circuit { circuit, hop };
            let rekey = Rekey { target, what };
            assert_eq!(world.ask("client", Command::Rekey(rekey.clone())), Reply::Done);
            world.run(10 * SECOND);
            let after = sa(&mut world, usize::from(hop) - 1);
            match what {
                RekeyWhat::Child => {
                    assert_eq!(after.2, before.2 + 1, "{hop}");
                    assert_ne!(after.1, before.1, "{hop}");
                    assert!(world.client().events.contains(&Event::Rekeyed(rekey)), "{hop}");
                }
                RekeyWhat::Ike => assert_ne!(after.0, before.0, "{hop}"),
            }
            world.assert_consistent();
        }
    }
    assert_nothing_lost(&world, 90_000);
}

#[test]
fn overlays_get_new_keys_from_either_end_and_no_packet_is_lost() {
    let mut world = world("", "");
    world.probe_every("client", OFTEN);
    for (host, neighbour) in [("relay-a", "relay-b"), ("relay-b", "relay-a"), ("relay-c", "relay-b")] {
        for what in [RekeyWhat::Child, RekeyWhat::Ike] {
            let target = RekeyTarget::Overlay { relay: neighbour.to_owned() };
            assert_eq!(world.ask(host, Command::Rekey(Rekey { target, what })), Reply::Done);
            world.run(10 * SECOND);
            world.assert_consistent();
        }
    }
    // both ends at once
    for host in ["relay-a", "relay-b"] {
        let relay = if host == "relay-a" { "relay-b" } else { "relay-a" }.to_owned();
        let target = RekeyTarget::Overlay { relay };
        world.ask(host, Command::Rekey(Rekey { target, what: RekeyWhat::Child }));
    }
    world.run(90 * SECOND);
    world.assert_consistent();
    assert_nothing_lost(&world, 60_000);
}

#[test]
fn lifetimes_of_clients_and_relays_pass_many_times_and_no_packet_is_lost() {
    let short = |indent: &str| format!("{indent}lifetimes: {{ ike: 10m, child: 5m }}\n");
    let long = |indent: &str| format!("{indent}lifetimes: {{ ike: 8h, child: 4h }}\n");
    for (client, relay) in [(short("  "), long("  ")), (long("  "), short("  ")), (short("  "), short("  "))]
    {
        let mut world = world(&client, &relay);
        world.probe_every("client", Duration::from_millis(20));
        world.run(3600 * SECOND);
        assert_nothing_lost(&world, 350_000);
        assert!(sa(&mut world, 0).2 >= 10, "{:?}", sa(&mut world, 0));
        world.probe_every("client", 3600 * SECOND);
        world.settle();
    }
}

#[test]
fn new_keys_over_bad_links_lose_nothing_either() {
    let short = "  lifetimes: { ike: 10m, child: 5m }\n";
    for seed in 0..5_u64 {
        let mut world = world(short, short);
        world.links = Links { loss: 5 + 2 * seed, twice: 10, jitter: 40, ..Links::default() };
        world.probe_every("client", Duration::from_millis(50));
        world.run(1800 * SECOND);
        assert_eq!(world.failures(), [], "{seed}");
        assert_nothing_lost(&world, 70_000);
    }
}
