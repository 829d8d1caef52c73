use super::*;
use crate::id::TableId;
use crate::state::RuleAction;

fn key(octets: usize) -> String {
    "ab".repeat(octets)
}

fn client(extra: &str, hop_key: &str) -> String {
    format!(
        "lab: true
client:
  address: 198.18.1.2
  kill_switch: true
  circuits:
    - number: 1
      traffic: [0.0.0.0/0]
{extra}
      hops:
        - relay: 198.18.2.2
          address: 10.64.0.2
          suite: aes-gcm-128
          out: {{spi: 0x1001, key: \"{hop_key}\"}}
          in: [{{spi: 0x1002, key: \"{hop_key}\"}}]
"
    )
}

#[test]
fn a_client_file_is_read() {
    let config = parse(&client("      mtu: 1400", &key(20))).unwrap();
    let host = config.host.client.unwrap();
    assert_eq!(host.circuits[0].hops[0].keys.out.spi.get(), 0x1001);
    assert_eq!(host.circuits[0].mtu.unwrap().get(), 1400);
    assert_eq!(config.desired.state.sas.len(), 2);
}

/// Through the circuit, the kernel would take the MTU of the circuit's interface for that of the path outside.
#[test]
fn what_inner_layers_send_is_routed_as_without_us() {
    let first = client("", &key(20));
    let hop = &first[first.find("        - relay").unwrap()..];
    let hop = hop.replace("198.18.2.2", "198.18.3.2").replace("10.64.0.2", "10.65.0.2").replace("0x1", "0x2");
    let state = parse(&(first.clone() + &hop)).unwrap().desired.state;
    let from = |source: &str| {
        let source = source.parse().unwrap();
        let mut rules = state.rules.iter().filter(move |rule| rule.source == source);
        (rules.next().unwrap().action, rules.next().is_none())
    };
    let main = RuleAction::Lookup(TableId::MAIN);
    assert_eq!(from("10.64.0.2/32"), (main, true));
    assert_ne!(from("10.65.0.2/32").0, main);
}

#[test]
fn errors_say_where_and_what() {
    for (text, expected) in [
        (client("      mtuu: 3", &key(20)), "8:7: unknown field `mtuu`"),
        (client("      mtu: 20", &key(20)), "8:12: mtu 20: expected 68 to 65535 octets"),
        (client("", &key(19)), "6:7: circuit 1 hop 1: key of 19 octets: expected 20 for aes-gcm-128"),
        (client("", "xyz"), "13:35: key: expected pairs of hexadecimal digits"),
        (client("      mtu: 1500", &key(20)), "6:7: mtu 1500: expected at most 1446"),
        (client("      congestion_control: 'a b'", &key(20)), "8:27: congestion_control \"a b\""),
    ] {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "expected {expected}\n   found {error}");
    }
}

#[test]
fn a_file_that_does_not_say_it_is_a_lab_is_refused() {
    let text = client("", &key(20)).replace("lab: true", "lab: false");
    assert!(parse(&text).unwrap_err().problem.contains("expected `lab: true`"));
}

#[test]
fn no_error_repeats_a_key() {
    let secret = "c0ffee".repeat(6) + "zz";
    let error = parse(&client("", &secret)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("c0ffee"));
}

#[test]
fn no_error_repeats_a_key_in_the_wrong_place() {
    let secret = "c0ffee".repeat(6);
    for text in [
        client("", &key(20)).replace("aes-gcm-128", &secret),
        client(&format!("      {secret}: 1"), &key(20)),
        client("", &key(20)).replace("lab: true", &format!("lab: {secret}")),
        client("", &key(20)).replace("198.18.1.2", &secret),
        client("", &key(20)).replace("0x1001", &secret),
        format!("{secret}: 1\n"),
        format!("{}{secret}\n", client("", &key(20))),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("c0ffee"), "{error}");
    }
}
