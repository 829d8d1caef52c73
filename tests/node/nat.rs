//! Clients behind a NAT that forgets who they are.

use std::time::Duration;

use ippriv::state::{Direction, Sa, SaId};

use super::world::{DELAY, Setup, World, circuit};

const SECOND: Duration = Duration::from_secs(1);
const PACE: Duration = Duration::from_millis(10);

fn open() -> World {
    let setup = Setup { circuits: circuit("relay-a, relay-b, relay-c"), ..Setup::default() };
    let mut world = World::with(setup, |world| world.nat = true);
    world.run_until_open(10 * SECOND);
    world.run(SECOND);
    world
}

/// The SAs of the first layer at the entry.
fn layer(world: &World) -> Vec<Sa> {
    world.hosts["relay-a"].kernel.sas.values().filter(|sa| sa.encapsulation.is_some()).cloned().collect()
}

fn inbound(world: &World) -> Sa {
    layer(world).into_iter().find(|sa| sa.direction.direction() == Direction::In).unwrap()
}

fn ids(world: &World) -> Vec<SaId> {
    layer(world).iter().map(|sa| sa.id).collect()
}

#[test]
fn only_the_first_layer_is_in_udp_and_only_the_client_keeps_it_alive() {
    use ippriv::state::SaDirection::Out;
    let world = open();
    assert_eq!(layer(&world).len(), 2);
    for (host, expected) in [("relay-b", 0), ("relay-c", 0), ("client", 2)] {
        let all = world.hosts[host].kernel.sas.values();
        assert_eq!(all.filter(|sa| sa.encapsulation.is_some()).count(), expected, "{host}");
    }
    for (host, expected) in [("relay-a", 0), ("client", 1)] {
        let all = world.hosts[host].kernel.sas.values();
        let keeping = all.filter(|sa| matches!(sa.direction, Out { nat_keepalive: Some(_), .. }));
        assert_eq!(keeping.count(), expected, "{host}");
    }
}

#[test]
fn another_port_is_followed_without_new_keys() {
    let mut world = open();
    let before = ids(&world);
    world.probe_every("client", PACE);
    world.run(SECOND);
    assert_eq!(world.lost, [] as [String; 0]);
    world.nat_forgets(None);
    world.run(SECOND);
    // what the exit sends until a packet of the client has come by the new port
    let most = 1 + DELAY.div_duration_f64(PACE) as usize;
    assert!(world.lost.len() <= most, "{:#?}", world.lost);
    world.lost.clear();
    assert_eq!(ids(&world), before);
    for _ in 0..2 {
        world.kill("relay-a");
        world.run(SECOND);
        assert_eq!(world.restart("relay-a"), [], "the next daemon knows the port");
        // long enough for the relay to ask whether the client is there
        world.run(400 * SECOND);
    }
    assert_eq!(world.lost, [] as [String; 0]);
    assert_eq!(world.failures(), []);
    world.probe_every("client", 3600 * SECOND);
    world.run(SECOND);
    world.assert_consistent();
}

#[test]
fn another_address_is_followed_with_new_keys() {
    let mut world = open();
    let before = ids(&world);
    world.probe_every("client", PACE);
    world.run(SECOND);
    world.nat_forgets(Some("198.18.200.2"));
    world.run(SECOND);
    // one of each family, until CREATE_CHILD_SA and, for ML-KEM, IKE_FOLLOWUP_KE have made new keys
    let most = 2 * (4 * DELAY).div_duration_f64(PACE) as usize;
    assert!((1..=most).contains(&world.lost.len()), "{:#?}", world.lost);
    world.lost.clear();
    world.run(30 * SECOND);
    assert!(ids(&world).iter().all(|id| !before.contains(id)));
    assert_eq!(world.lost, [] as [String; 0]);
    assert_eq!(world.failures(), []);
    world.kill("relay-a");
    assert_eq!(world.restart("relay-a"), []);
    world.run(30 * SECOND);
    assert_eq!(world.lost, [] as [String; 0]);
    world.probe_every("client", 3600 * SECOND);
    world.run(SECOND);
    world.assert_consistent();
}

#[test]
fn the_daemon_sleeps_while_the_nat_forgets() {
    let mut world = open();
    world.probe_every("client", PACE);
    world.kill("relay-a");
    world.nat_forgets(None);
    world.run(SECOND);
    world.restart("relay-a");
    world.run(SECOND);
    world.lost.clear();
    world.run(10 * SECOND);
    assert_eq!(world.lost, [] as [String; 0]);
}

#[test]
fn who_sends_from_everywhere_is_followed_once_a_second() {
    let mut world = open();
    let sa = inbound(&world);
    let port = |world: &World| inbound(world).encapsulation.unwrap().source_port;
    let from = |port: u16| std::net::SocketAddr::new(sa.source, port);
    for (at, expected) in [(6000, 6000), (6001, 6000), (6002, 6000)] {
        world.mapping("relay-a", sa.id, from(at));
        assert_eq!(port(&world), expected);
    }
    world.run(SECOND);
    world.mapping("relay-a", sa.id, from(6003));
    assert_eq!(port(&world), 6003);
}

#[test]
fn who_is_behind_no_nat_is_not_followed() {
    let mut world = World::simple(3, &circuit("relay-a, relay-b, relay-c"));
    world.run_until_open(10 * SECOND);
    let elsewhere = "203.0.113.9:4500".parse().unwrap();
    for host in ["relay-a", "relay-b", "relay-c", "client"] {
        let before = world.hosts[host].kernel.clone();
        let all: Vec<SaId> = before.sas.keys().copied().collect();
        for sa in all {
            world.mapping(host, sa, elsewhere);
        }
        world.run(SECOND);
        assert_eq!(world.hosts[host].kernel, before, "{host}");
    }
    let mut world = open();
    let before = world.hosts["client"].kernel.clone();
    let all: Vec<SaId> = before.sas.keys().copied().collect();
    for sa in all {
        world.mapping("client", sa, elsewhere);
    }
    assert_eq!(world.hosts["client"].kernel, before, "who is behind a NAT follows nobody");
}
