//! What the model refuses, in the user's words.

#[cfg(test)]
mod support;

use ippriv::id::Mtu;
use ippriv::suite::Suite;
use ippriv::telescope::{Host, Refused};
use support::{Circuit, as_host, client, hops, ip, net, relay};

fn refusal(host: &Host) -> String {
    host.desired().expect_err("a refusal").to_string()
}

fn client_refusal(circuits: &[Circuit], change: impl FnOnce(&mut ippriv::telescope::Client)) -> String {
    let mut client = client(circuits);
    change(&mut client);
    refusal(&as_host(Some(client), None))
}

fn relay_refusal(change: impl FnOnce(&mut ippriv::telescope::Relay)) -> String {
    let mut relay = relay(2, &[hops(3), Circuit { number: 2, ..hops(3) }]);
    change(&mut relay);
    refusal(&as_host(None, Some(relay)))
}

#[test]
fn circuits_of_no_or_too_many_hops_are_refused() {
    let none = client_refusal(&[hops(1)], |client| client.circuits[0].hops.clear());
    let text = "expected 1 to 5 (the kernel nests at most 6 transformations)";
    assert_eq!(none, format!("circuit 1: 0 hops: {text}"));
    assert_eq!(client_refusal(&[hops(6)], |_| {}), format!("circuit 1: 6 hops: {text}"));
}

#[test]
fn keys_that_do_not_suit_are_refused() {
    let short = |keys: &mut ippriv::telescope::TunnelKeys| keys.suite = Suite::AesGcm256;
    let found = client_refusal(&[hops(2)], |client| short(&mut client.circuits[0].hops[1].keys));
    assert_eq!(found, "circuit 1 hop 2: key of 20 octets: expected 36 for aes-gcm-256");
    let found = relay_refusal(|relay| short(&mut relay.circuits[0].keys));
    assert_eq!(found, "circuit 1: key of 20 octets: expected 36 for aes-gcm-256");
    let found = relay_refusal(|relay| relay.neighbours[1].keys.as_mut().unwrap().r#in.clear());
    assert_eq!(found, "neighbour 3: no inbound SA: expected at least one");
}

#[test]
fn what_must_be_unique_is_refused_twice() {
    let same = [hops(3), Circuit { generation: 1, ..hops(3) }];
    assert_eq!(client_refusal(&same, |_| {}), "ippc1 is there twice: expected it once");
    let traffic = [hops(1).traffic(&["203.0.113.5/24", "203.0.113.0/24"])];
    let text = "traffic to 203.0.113.0/24 is there twice: expected it once";
    assert_eq!(client_refusal(&traffic, |_| {}), text);
    let found = relay_refusal(|relay| relay.circuits[1].number = relay.circuits[0].number);
    assert_eq!(found, "circuit 1 is there twice: expected it once");
    let found = relay_refusal(|relay| relay.circuits[1].keys = relay.circuits[0].keys.clone());
    assert!(found.starts_with("esp spi 0x"), "{found}");
    let found = relay_refusal(|relay| relay.neighbours[1].number = relay.neighbours[0].number);
    assert_eq!(found, "ippo1 is there twice: expected it once");
    let found = relay_refusal(|relay| relay.circuits[1].address = relay.circuits[0].address);
    assert!(found.ends_with("is there twice: expected it once"), "{found}");
}

#[test]
fn addresses_outside_the_pools_are_refused() {
    let found = relay_refusal(|relay| relay.circuits[0].address = ip("10.99.0.1"));
    assert_eq!(found, "circuit 1: address 10.99.0.1: expected one of the pool 10.66.0.0/16");
    let found = relay_refusal(|relay| relay.circuits[0].address6 = "fd00::1".parse().ok());
    assert_eq!(found, "circuit 1: address fd00::1: expected a relay with an IPv6 pool");
    let found = relay_refusal(|relay| {
        relay.pool6 = Some(net("fd00:2::/64"));
        relay.circuits[0].address6 = "fd00::1".parse().ok();
    });
    assert_eq!(found, "circuit 1: address fd00::1: expected one of the pool fd00:2::/64");
}

#[test]
fn overlapping_pools_are_refused() {
    let found = relay_refusal(|relay| relay.neighbours[0].pool = net("10.66.7.0/24"));
    assert_eq!(found, "pool 10.66.7.0/24 overlaps pool 10.66.0.0/16: expected disjoint pools");
}

#[test]
fn families_that_differ_are_refused() {
    let found = client_refusal(&[hops(1)], |client| client.address = ip("2001:db8::1"));
    assert_eq!(found, "circuit 1 hop 1: 2001:db8::1 and 198.18.1.2: expected addresses of one family");
    let found = relay_refusal(|relay| relay.pool = net("fd00::/64"));
    assert_eq!(found, "relay address and pool: 198.18.2.2 and fd00::: expected addresses of one family");
    let found = relay_refusal(|relay| relay.neighbours[0].address = ip("2001:db8::1"));
    assert_eq!(found, "neighbour 1: 198.18.2.2 and 2001:db8::1: expected addresses of one family");
    let found = relay_refusal(|relay| relay.circuits[0].peer = ip("2001:db8::1"));
    assert_eq!(found, "circuit 1: 198.18.2.2 and 2001:db8::1: expected addresses of one family");
    let found = relay_refusal(|relay| relay.pool6 = Some(net("10.200.0.0/16")));
    assert_eq!(found, "pool6: 10.200.0.0 and ::: expected addresses of one family");
}

#[test]
fn an_mtu_that_does_not_fit_is_refused() {
    let found = client_refusal(&[hops(3)], |client| client.circuits[0].mtu = Mtu::try_from(1335).ok());
    assert_eq!(found, "mtu 1335: expected at most 1334, which 3 layers leave of a path of 1500");
    let host = as_host(Some(client(&[hops(4).dual_stack()])), None);
    assert!(matches!(host.desired(), Err(Refused::Mtu(_))));
    assert!(refusal(&host).starts_with("mtu 1278 is below 1280, which IPv6 needs"));
}
