//! A client that has the keys and gets one field wrong: every octet of every message, every payload left out or
//! there twice, and by name what each mistake is answered with. The connection stands as it stood, or is over if
//! the message made no sense at all (RFC 7296 §2.21.3).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/ike_pair.rs"]
mod ike_pair;
#[path = "common/ike_raw.rs"]
mod ike_raw;

use ike_pair::*;
use ike_raw::Raw;
use ippriv::entropy::Seeded;
use ippriv::ike::crypto::KeyExchange;
use ippriv::ike::proposal::{EspOffer, IkeOffer};
use ippriv::ike::wire::{
    Delete, Exchange, IkeSpi, KeMethod, Notify, NotifyType, Payload, PayloadType, TrafficSelector,
    encode_payloads,
};
use ippriv::suite::Suite;

use NotifyType as N;

/// What the client calls its first child SA.
const SPI: u32 = 0x1234_5678;

fn fresh() -> Raw {
    let mut hybrid = settings();
    hybrid.proposals.ike = IkeOffer::default();
    Raw::new(Pair::with(1, settings(), hybrid))
}

fn authenticated() -> Raw {
    let mut raw = fresh();
    let (first, plain) = encode_payloads(&raw.auth());
    let answer = raw.ask(Exchange::AUTH, first, &plain).unwrap();
    assert_eq!(errors(&answer), []);
    raw
}

fn errors(payloads: &[Payload]) -> Vec<NotifyType> {
    let kinds = payloads.iter().filter_map(|payload| match payload {
        Payload::Notify(notify) => Some(notify.kind),
        _ => None,
    });
    kinds.filter(|kind| kind.is_error()).collect()
}

fn ke(method: KeMethod) -> Payload {
    let exchange = KeyExchange::start(method, &mut Seeded::new([1; 32])).unwrap();
    Payload::Ke { method, data: exchange.public().to_vec() }
}

fn esp() -> Payload {
    Payload::Sa(EspOffer { additional: Vec::new(), ..EspOffer::default() }.to_wire(0x2345_6789))
}

fn any() -> Vec<TrafficSelector> {
    vec![TrafficSelector::any_v4()]
}

fn rekey(spi: u32) -> Payload {
    Payload::Notify(Notify::about_child(N::REKEY_SA, spi))
}

fn child() -> Vec<Payload> {
    vec![esp(), Payload::Nonce(vec![1; 32]), ke(KeMethod::X25519), Payload::TsI(any()), Payload::TsR(any())]
}

fn rekey_child() -> Vec<Payload> {
    [vec![rekey(SPI)], child()].concat()
}

fn rekey_ike() -> Vec<Payload> {
    let offer = IkeOffer::default().without_additional().to_wire(Some(IkeSpi(77)));
    vec![Payload::Sa(offer), Payload::Nonce(vec![2; 32]), ke(KeMethod::X25519)]
}

/// A rekeying that goes on with IKE_FOLLOWUP_KE, and the request for that.
fn followup(raw: &mut Raw) -> Vec<Payload> {
    let offer = EspOffer::default().to_wire(0x2345_6789);
    let mut payloads = rekey_child();
    payloads[1] = Payload::Sa(offer);
    let (first, plain) = encode_payloads(&payloads);
    let answer = raw.ask(Exchange::CREATE_CHILD_SA, first, &plain).unwrap();
    let link = answer.into_iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == N::ADDITIONAL_KEY_EXCHANGE => Some(notify),
        _ => None,
    });
    vec![ke(KeMethod::MLKEM768), Payload::Notify(link.expect("a further exchange is called for"))]
}

/// Every message a client sends once it has keys, and who sends it.
type Message = (&'static str, Exchange, fn() -> (Raw, Vec<Payload>));

const MESSAGES: [Message; 7] = [
    ("IKE_AUTH", Exchange::AUTH, || {
        let raw = fresh();
        let payloads = raw.auth();
        (raw, payloads)
    }),
    ("new child", Exchange::CREATE_CHILD_SA, || (authenticated(), child())),
    ("child rekey", Exchange::CREATE_CHILD_SA, || (authenticated(), rekey_child())),
    ("IKE rekey", Exchange::CREATE_CHILD_SA, || (authenticated(), rekey_ike())),
    ("followup", Exchange::FOLLOWUP_KE, || {
        let mut raw = authenticated();
        let payloads = followup(&mut raw);
        (raw, payloads)
    }),
    ("child deletion", Exchange::INFORMATIONAL, || {
        (authenticated(), vec![Payload::Delete(Delete::children(vec![SPI]))])
    }),
    ("deletion", Exchange::INFORMATIONAL, || (authenticated(), vec![Payload::Delete(Delete::ike())])),
];

/// Sends it, holds the relay to what always has to be, and returns the errors it answered with.
fn judge(what: &str, mut raw: Raw, exchange: Exchange, first: PayloadType, plain: &[u8]) -> Vec<NotifyType> {
    let children = |raw: &Raw| -> usize {
        let endpoint = &raw.pair.hosts[RELAY].endpoint;
        endpoint.handles().map(|handle| endpoint.children(handle).count()).sum()
    };
    let before = children(&raw);
    let answer = raw.ask(exchange, first, plain).unwrap_or_else(|| panic!("{what}: no answer"));
    let errors = errors(&answer);
    assert!(errors.len() <= 1, "{what}: {errors:?}");
    let Some(error) = errors.first() else { return errors };
    let over = raw.pair.hosts[RELAY].endpoint.handles().next().is_none();
    match (exchange, *error) {
        (Exchange::AUTH, _) => assert_eq!(children(&raw), 0, "{what}: {error}"),
        // The connection is over, and only then.
        (_, N::INVALID_SYNTAX) if over => assert_eq!(children(&raw), 0, "{what}"),
        _ => {
            assert_eq!(children(&raw), before, "{what}: {error}");
            let alive = raw.ask(Exchange::INFORMATIONAL, PayloadType::NONE, &[]);
            assert_eq!(alive, Some(Vec::new()), "{what}: {error}: still there");
        }
    }
    errors
}

#[test]
fn every_octet_of_every_message_may_be_wrong() {
    for (name, exchange, prepare) in MESSAGES {
        let (_, payloads) = prepare();
        let length = encode_payloads(&payloads).1.len();
        // Key exchange values are any octets.
        let step = if length > 600 { 7 } else { 1 };
        for at in (0..length).step_by(step) {
            for flip in [0x01, 0x80, 0xff] {
                let (raw, payloads) = prepare();
                let (first, mut plain) = encode_payloads(&payloads);
                plain[at] ^= flip;
                let what = format!("{name}, octet {at} ^ {flip:02x}");
                for error in judge(&what, raw, exchange, first, &plain) {
                    let sensible = [
                        N::UNSUPPORTED_CRITICAL_PAYLOAD,
                        N::INVALID_SYNTAX,
                        N::NO_PROPOSAL_CHOSEN,
                        N::INVALID_KE_PAYLOAD,
                        N::AUTHENTICATION_FAILED,
                        N::FAILED_CP_REQUIRED,
                        N::TS_UNACCEPTABLE,
                        N::CHILD_SA_NOT_FOUND,
                        N::STATE_NOT_FOUND,
                    ];
                    assert!(sensible.contains(&error), "{what}: {error}");
                }
            }
        }
    }
}

#[test]
fn payloads_left_out_or_there_twice() {
    for (name, exchange, prepare) in MESSAGES {
        for at in 0..prepare().1.len() {
            let (raw, mut payloads) = prepare();
            let kind = payloads[at].kind();
            payloads.remove(at);
            let (first, plain) = encode_payloads(&payloads);
            let what = format!("{name} without {kind}");
            let expected = match (name, kind) {
                // Without what belongs to a child SA it is a message of another kind, and a good one.
                ("IKE_AUTH", PayloadType::AUTH) => vec![N::AUTHENTICATION_FAILED],
                // A key exchange is offered, and is what we choose.
                ("new child" | "child rekey", PayloadType::KE) => vec![N::INVALID_KE_PAYLOAD],
                ("child rekey", PayloadType::NOTIFY) | ("child deletion" | "deletion", _) => vec![],
                _ => vec![N::INVALID_SYNTAX],
            };
            assert_eq!(judge(&what, raw, exchange, first, &plain), expected, "{what}");

            let (raw, mut payloads) = prepare();
            payloads.insert(at, payloads[at].clone());
            let (first, plain) = encode_payloads(&payloads);
            let what = format!("{name} with {kind} twice");
            let expected = if kind == PayloadType::DELETE { vec![] } else { vec![N::INVALID_SYNTAX] };
            assert_eq!(judge(&what, raw, exchange, first, &plain), expected, "{what}");
        }
    }
}

#[test]
fn each_mistake_has_its_notify() {
    let mut wrong_method = child();
    wrong_method[2] = Payload::Ke { method: KeMethod::P256, data: vec![4; 64] };
    let mut only_p384 = child();
    only_p384[0] = Payload::Sa(
        EspOffer { ke: vec![KeMethod::P384], additional: Vec::new(), ..EspOffer::default() }.to_wire(0x999),
    );
    let mut short = child();
    short[2] = Payload::Ke { method: KeMethod::X25519, data: vec![4; 31] };
    let mut zero = child();
    zero[2] = Payload::Ke { method: KeMethod::X25519, data: vec![0; 32] };
    let mut nothing_shared = child();
    nothing_shared[0] = Payload::Sa(
        EspOffer { suites: vec![Suite::AesCbc128HmacSha1], ..EspOffer::default() }.to_wire(0x999),
    );
    let mut elsewhere = rekey_child();
    elsewhere[4] = Payload::TsI(vec![TrafficSelector::host("203.0.113.77".parse().unwrap())]);
    let critical = [vec![Payload::Unknown { kind: PayloadType(200), critical: true }], child()].concat();
    let odd = [vec![Payload::Unknown { kind: PayloadType(200), critical: false }], child()].concat();
    let unknown = [vec![rekey(0x0bad_0bad)], child()].concat();
    let mut old_cipher = rekey_ike();
    old_cipher[0] = Payload::Sa(EspOffer::default().to_wire(0x999));
    let cases = [
        (
            "a method of ours without its value",
            Exchange::CREATE_CHILD_SA,
            only_p384,
            Some(N::INVALID_KE_PAYLOAD),
        ),
        ("a value that is no point", Exchange::CREATE_CHILD_SA, wrong_method, Some(N::INVALID_SYNTAX)),
        ("a value too short", Exchange::CREATE_CHILD_SA, short, Some(N::INVALID_SYNTAX)),
        ("a value of zeros", Exchange::CREATE_CHILD_SA, zero, Some(N::INVALID_SYNTAX)),
        ("no cipher in common", Exchange::CREATE_CHILD_SA, nothing_shared, Some(N::NO_PROPOSAL_CHOSEN)),
        ("selectors of others", Exchange::CREATE_CHILD_SA, elsewhere, Some(N::TS_UNACCEPTABLE)),
        ("a critical payload", Exchange::CREATE_CHILD_SA, critical, Some(N::UNSUPPORTED_CRITICAL_PAYLOAD)),
        ("a payload nobody knows", Exchange::CREATE_CHILD_SA, odd, None),
        ("another child SA", Exchange::CREATE_CHILD_SA, unknown, Some(N::CHILD_SA_NOT_FOUND)),
        ("ESP where IKE is meant", Exchange::CREATE_CHILD_SA, old_cipher, Some(N::INVALID_SYNTAX)),
        ("an exchange of the past", Exchange::AUTH, child(), Some(N::INVALID_SYNTAX)),
        ("an exchange nobody knows", Exchange(99), child(), Some(N::INVALID_SYNTAX)),
        (
            "a followup of nothing",
            Exchange::FOLLOWUP_KE,
            vec![
                ke(KeMethod::MLKEM768),
                Payload::Notify(Notify::with_data(N::ADDITIONAL_KEY_EXCHANGE, vec![1; 8])),
            ],
            Some(N::STATE_NOT_FOUND),
        ),
        (
            "a child SA nobody has",
            Exchange::INFORMATIONAL,
            vec![Payload::Delete(Delete::children(vec![0x0bad_0bad]))],
            None,
        ),
    ];
    for (what, exchange, payloads, expected) in cases {
        let (first, plain) = encode_payloads(&payloads);
        let errors = judge(what, authenticated(), exchange, first, &plain);
        assert_eq!(errors, expected.into_iter().collect::<Vec<_>>(), "{what}");
    }
}

#[test]
fn a_followup_has_to_name_and_continue_what_was_begun() {
    type Change = fn(&mut Vec<Payload>);
    let changes: [(&str, Change, NotifyType); 4] = [
        (
            "another link",
            |payloads| {
                payloads[1] = Payload::Notify(Notify::with_data(N::ADDITIONAL_KEY_EXCHANGE, vec![7; 8]));
            },
            N::STATE_NOT_FOUND,
        ),
        (
            "no data in the link",
            |payloads| {
                payloads[1] = Payload::Notify(Notify::new(N::ADDITIONAL_KEY_EXCHANGE));
            },
            N::STATE_NOT_FOUND,
        ),
        ("another method", |payloads| payloads[0] = ke(KeMethod::X25519), N::INVALID_SYNTAX),
        (
            "a value too short",
            |payloads| {
                payloads[0] = Payload::Ke { method: KeMethod::MLKEM768, data: vec![1; 100] };
            },
            N::INVALID_SYNTAX,
        ),
    ];
    for (what, change, expected) in changes {
        let mut raw = authenticated();
        let mut payloads = followup(&mut raw);
        change(&mut payloads);
        let (first, plain) = encode_payloads(&payloads);
        assert_eq!(judge(what, raw, Exchange::FOLLOWUP_KE, first, &plain), [expected], "{what}");
    }
    // Once is enough, and another request in between gives it up.
    let mut raw = authenticated();
    let payloads = followup(&mut raw);
    let (first, plain) = encode_payloads(&payloads);
    assert_eq!(errors(&raw.ask(Exchange::FOLLOWUP_KE, first, &plain).unwrap()), []);
    assert_eq!(errors(&raw.ask(Exchange::FOLLOWUP_KE, first, &plain).unwrap()), [N::STATE_NOT_FOUND]);
    let mut raw = authenticated();
    let payloads = followup(&mut raw);
    let again = followup(&mut raw);
    assert_ne!(payloads[1], again[1]);
    let (first, plain) = encode_payloads(&payloads);
    assert_eq!(errors(&raw.ask(Exchange::FOLLOWUP_KE, first, &plain).unwrap()), [N::STATE_NOT_FOUND]);
}
