use std::fmt::Debug;
use std::net::IpAddr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::id::ProcessId;
use crate::telescope::{CircuitNumber, HopNumber};

/// Programs depend on every name here: a change of one of these lines is a new version of the protocol.
#[track_caller]
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, json: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), json);
    assert_eq!(serde_json::from_str::<T>(json).unwrap(), *value);
}

fn circuit(number: u32) -> CircuitNumber {
    CircuitNumber::try_from(number).unwrap()
}

fn layer(number: u32) -> HopNumber {
    HopNumber::try_from(number).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn commands_keep_their_form() {
    golden(&Command::Status, r#""status""#);
    golden(&Command::CircuitShow(circuit(7)), r#"{"circuit_show":7}"#);
    golden(
        &NewCircuit {
            name: Some("work".to_owned()),
            hops: Some(vec!["a".to_owned(), "b".to_owned()]),
            length: None,
            traffic: vec!["0.0.0.0/0".parse().unwrap()],
            wait: true,
        },
        r#"{"name":"work","hops":["a","b"],"traffic":["0.0.0.0/0"],"wait":true}"#,
    );
    golden(&NewCircuit { length: Some(3), ..NewCircuit::default() }, r#"{"length":3,"wait":false}"#);
    golden(
        &Rekey { target: RekeyTarget::Circuit { circuit: circuit(1), hop: 2 }, what: RekeyWhat::Child },
        r#"{"target":{"circuit":{"circuit":1,"hop":2}},"what":"child"}"#,
    );
    golden(
        &Rekey { target: RekeyTarget::Overlay { relay: "b".to_owned() }, what: RekeyWhat::Ike },
        r#"{"target":{"overlay":{"relay":"b"}},"what":"ike"}"#,
    );
    let process = ProcessId::new(77).unwrap();
    golden(
        &Command::CircuitLend(Lend { circuit: circuit(1), process, close: true }),
        r#"{"circuit_lend":{"circuit":1,"process":77,"close":true}}"#,
    );
    golden(
        &Command::CircuitReturn { circuit: circuit(1), process },
        r#"{"circuit_return":{"circuit":1,"process":77}}"#,
    );
}

#[test]
fn an_empty_request_asks_for_what_the_policy_says() {
    assert_eq!(serde_json::from_str::<NewCircuit>("{}").unwrap(), NewCircuit::default());
}

#[test]
fn a_misspelt_field_is_refused_rather_than_ignored() {
    let error = serde_json::from_str::<NewCircuit>(r#"{"lenght":3}"#).unwrap_err().to_string();
    assert!(error.contains("unknown field `lenght`, expected one of `name`"), "{error}");
}

#[test]
fn circuit_zero_is_refused() {
    assert!(serde_json::from_str::<Command>(r#"{"circuit_show":0}"#).is_err());
}

#[test]
fn replies_keep_their_form() {
    golden(&Reply::Done, r#""done""#);
    golden(
        &Reply::refused(RefusalCode::NotFound, "circuit 9: expected one of 1, 2"),
        r#"{"refused":{"code":"not_found","message":"circuit 9: expected one of 1, 2"}}"#,
    );
    for code in [
        RefusalCode::Invalid,
        RefusalCode::NotFound,
        RefusalCode::Conflict,
        RefusalCode::NotAllowed,
        RefusalCode::NoPath,
        RefusalCode::Failed,
        RefusalCode::TimedOut,
        RefusalCode::Unavailable,
    ] {
        golden(&code, &format!("\"{code}\""));
    }
    golden(&Stopping::Flush, r#""flush""#);
    golden(
        &Reloaded { changes: vec!["network serial 3".to_owned()], restart: Vec::new() },
        r#"{"changes":["network serial 3"],"restart":[]}"#,
    );
}

#[test]
fn status_keeps_its_form() {
    golden(
        &Status {
            version: "0.1.0".to_owned(),
            uptime_s: 5,
            roles: vec![Role::Client, Role::Relay, Role::Exit],
            network: NetworkSummary {
                name: "five".to_owned(),
                serial: 2,
                valid_until: "2027-01-01T00:00:00Z".to_owned(),
                relays: 5,
            },
            circuits: Some(CircuitsSummary { open: 1, building: 0, kill_switch: true }),
            relay: Some(RelaySummary {
                name: "a".to_owned(),
                layers: 3,
                leases: 4,
                half_open: 1,
                overlays_up: 1,
                overlays: 2,
            }),
            warnings: Vec::new(),
            key_log: None,
        },
        concat!(
            r#"{"version":"0.1.0","uptime_s":5,"roles":["client","relay","exit"],"#,
            r#""network":{"name":"five","serial":2,"valid_until":"2027-01-01T00:00:00Z","relays":5},"#,
            r#""circuits":{"open":1,"building":0,"kill_switch":true},"#,
            r#""relay":{"name":"a","layers":3,"leases":4,"half_open":1,"overlays_up":1,"overlays":2},"warnings":[]}"#,
        ),
    );
}

#[test]
fn a_circuit_keeps_its_form() {
    golden(
        &CircuitView {
            number: circuit(1),
            name: None,
            state: CircuitState::Open,
            link: Some("ippc1".to_owned()),
            addresses: vec![address("10.64.3.1")],
            dns: vec![address("9.9.9.9")],
            mtu: Some(1280),
            traffic: vec!["0.0.0.0/0".parse().unwrap()],
            age_s: 60,
            lent_to: ProcessId::new(77),
            hops: vec![HopView {
                relay: "a".to_owned(),
                address: address("192.0.2.1"),
                assigned: Some(address("10.64.3.1")),
                sa: Some(SaView {
                    ike_initiator: "0123456789abcdef".to_owned(),
                    ike_responder: "fedcba9876543210".to_owned(),
                    ike_suite: "aes256gcm16-prfsha256-x25519".to_owned(),
                    esp_suite: "aes128gcm16".to_owned(),
                    esp_in: "c0000001".to_owned(),
                    esp_out: "c0000002".to_owned(),
                    in_udp: false,
                    rekeyed: 0,
                }),
            }],
            reason: None,
        },
        concat!(
            r#"{"number":1,"name":null,"state":"open","link":"ippc1","addresses":["10.64.3.1"],"dns":["9.9.9.9"],"mtu":1280,"#,
            r#""traffic":["0.0.0.0/0"],"age_s":60,"lent_to":77,"hops":[{"relay":"a","address":"192.0.2.1","#,
            r#""assigned":"10.64.3.1","sa":{"ike_initiator":"0123456789abcdef","#,
            r#""ike_responder":"fedcba9876543210","ike_suite":"aes256gcm16-prfsha256-x25519","#,
            r#""esp_suite":"aes128gcm16","esp_in":"c0000001","esp_out":"c0000002","in_udp":false,"rekeyed":0}}]}"#,
        ),
    );
}

#[test]
fn relays_and_overlays_keep_their_form() {
    golden(
        &RelayView {
            name: "a".to_owned(),
            addresses: vec![address("192.0.2.1")],
            key: "MCow".to_owned(),
            exit: false,
            entry: true,
            country: Some("de".to_owned()),
            family: None,
            neighbours: vec!["b".to_owned()],
            this: false,
            avoided: None,
        },
        concat!(
            r#"{"name":"a","addresses":["192.0.2.1"],"key":"MCow","exit":false,"entry":true,"country":"de","#,
            r#""family":null,"neighbours":["b"],"this":false,"avoided":null}"#,
        ),
    );
    golden(
        &OverlayView {
            relay: "b".to_owned(),
            address: address("2001:db8::1"),
            state: OverlayState::Connecting,
            link: None,
            age_s: 3,
            sa: None,
            reason: Some("no answer".to_owned()),
        },
        concat!(
            r#"{"relay":"b","address":"2001:db8::1","state":"connecting","link":null,"age_s":3,"#,
            r#""reason":"no answer"}"#,
        ),
    );
}

#[test]
fn events_keep_their_form() {
    let stamped = |event| Stamped { time: "2026-11-21T12:00:00.000Z".to_owned(), sequence: 4, event };
    golden(
        &stamped(Event::CircuitFailed { circuit: circuit(2), hop: Some(3), reason: "no answer".to_owned() }),
        concat!(
            r#"{"time":"2026-11-21T12:00:00.000Z","sequence":4,"event":"circuit_failed","circuit":2,"#,
            r#""hop":3,"reason":"no answer"}"#,
        ),
    );
    golden(
        &stamped(Event::Rekeyed(Rekey {
            target: RekeyTarget::Circuit { circuit: circuit(2), hop: 1 },
            what: RekeyWhat::Ike,
        })),
        concat!(
            r#"{"time":"2026-11-21T12:00:00.000Z","sequence":4,"event":"rekeyed","#,
            r#""target":{"circuit":{"circuit":2,"hop":1}},"what":"ike"}"#,
        ),
    );
    golden(
        &stamped(Event::ReloadDone(Reloaded::default())),
        r#"{"time":"2026-11-21T12:00:00.000Z","sequence":4,"event":"reload_done","changes":[],"restart":[]}"#,
    );
}

/// Events reach the log, and programs that may log them in turn.
#[test]
fn no_form_of_an_event_shows_a_client() {
    let secret = "198.51.100.77";
    let socket = format!("{secret}:4500").parse().unwrap();
    for event in [
        Event::RelayCircuitUp { layer: layer(1), peer: Private::new(address(secret)) },
        Event::RelayPeerMoved { layer: layer(1), peer: Private::new(socket) },
        Event::HandshakeRefused { peer: Private::new(socket), reason: "cookie".to_owned() },
    ] {
        assert!(!serde_json::to_string(&event).unwrap().contains("198"), "{event:?}");
        assert!(!format!("{event:?}").contains("198"), "{event:?}");
        assert_eq!(event.level(), Level::Debug);
    }
    let hidden = Private::new(address(secret));
    assert_eq!(hidden.to_string(), "hidden");
    assert_eq!(hidden.expose(), Some(&address(secret)));
}
