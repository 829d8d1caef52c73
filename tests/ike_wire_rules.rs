//! Which payloads each IKEv2 message may have, against the forms of RFC 7296 appendix C written down as the
//! RFC writes them: every set of payloads, in every exchange, both ways, in clear and encrypted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::IpAddr;

use ippriv::ike::wire::{
    AuthMethod, CertEncoding, Configuration, CpType, Delete, Direction, Exchange, Id, Illegal, KeMethod,
    MOST_PAYLOADS, Notify, NotifyType, Payload, PayloadType, TrafficSelector, rules,
};

use Direction::{Request, Response};

/// What each message may be; all in clear in `IKE_SA_INIT`, all encrypted elsewhere. `N` and `V` may be in
/// every message, so they are listed only where at least one `N` must be.
const FORMS: &[(Exchange, Direction, &[&str])] = &[
    (Exchange::SA_INIT, Request, &["SA KE Nonce"]),
    (Exchange::SA_INIT, Response, &["SA KE Nonce CERTREQ*", "N+"]),
    (
        Exchange::AUTH,
        Request,
        &[
            "IDi CERT* CERTREQ* IDr? AUTH CP? SA TSi TSr",
            "IDi CERT* CERTREQ* IDr? AUTH CP?", // RFC 6023
        ],
    ),
    (Exchange::AUTH, Response, &["IDr CERT* AUTH CP? SA TSi TSr", "IDr CERT* AUTH CP?", "N+"]),
    (Exchange::CREATE_CHILD_SA, Request, &["CP? SA Nonce KE? TSi TSr", "SA Nonce KE"]),
    (Exchange::CREATE_CHILD_SA, Response, &["CP? SA Nonce KE? TSi TSr", "SA Nonce KE", "N+"]),
    (Exchange::INFORMATIONAL, Request, &["D* CP?"]),
    (Exchange::INFORMATIONAL, Response, &["D* CP?"]),
    (Exchange::INTERMEDIATE, Request, &["KE?"]),
    (Exchange::INTERMEDIATE, Response, &["KE?"]),
];

fn selectors() -> Vec<TrafficSelector> {
    vec![TrafficSelector::host(IpAddr::from([10, 0, 0, 1]))]
}

/// One of every type.
fn samples() -> [Payload; 17] {
    [
        Payload::Sa(vec![]),
        Payload::Ke { method: KeMethod::X25519, data: vec![] },
        Payload::IdI(Id::NULL),
        Payload::IdR(Id::NULL),
        Payload::Cert { encoding: CertEncoding::X509_SIGNATURE, data: vec![] },
        Payload::CertReq { encoding: CertEncoding::X509_SIGNATURE, data: vec![] },
        Payload::Auth { method: AuthMethod::NULL, data: vec![] },
        Payload::Nonce(vec![]),
        Payload::Notify(Notify::new(NotifyType(40_000))),
        Payload::Delete(Delete::ike()),
        Payload::VendorId(vec![]),
        Payload::TsI(selectors()),
        Payload::TsR(selectors()),
        Payload::Cp(Configuration { kind: CpType::REQUEST, attributes: vec![] }),
        Payload::Eap(vec![]),
        Payload::Unknown { kind: PayloadType(200), critical: false },
        Payload::Unknown { kind: PayloadType(201), critical: true },
    ]
}

/// Whether the payloads are what a form says, and no more.
fn matches(form: &str, payloads: &[Payload]) -> bool {
    let words: Vec<(&str, usize, usize)> = form
        .split(' ')
        .map(|word| match word.split_at(word.len() - 1) {
            (name, "*") => (name, 0, usize::MAX),
            (name, "+") => (name, 1, usize::MAX),
            (name, "?") => (name, 0, 1),
            _ => (word, 1, 1),
        })
        .collect();
    let count = |name: &str| payloads.iter().filter(|payload| payload.kind().to_string() == name).count();
    let listed = |payload: &Payload| words.iter().any(|(name, _, _)| *name == payload.kind().to_string());
    let free = |payload: &Payload| {
        matches!(
            payload,
            Payload::Notify(_) | Payload::VendorId(_) | Payload::Unknown { critical: false, .. }
        )
    };
    words.iter().all(|(name, min, max)| (*min..=*max).contains(&count(name)))
        && payloads.iter().all(|payload| listed(payload) || free(payload))
}

#[test]
fn every_set_of_payloads_is_judged_as_the_forms_say() {
    let samples = samples();
    for (exchange, direction, forms) in FORMS {
        let (exchange, direction) = (*exchange, *direction);
        let allowed = |payloads: &[Payload]| forms.iter().any(|form| matches(form, payloads));
        let protected = exchange != Exchange::SA_INIT;
        let mut accepted = 0;
        for set in 0..1_u32 << samples.len() {
            let chosen = samples.iter().enumerate().filter(|(index, _)| set >> index & 1 == 1);
            let mut payloads: Vec<Payload> = chosen.map(|(_, payload)| payload.clone()).collect();
            let found = rules::check(exchange, direction, protected, &payloads);
            // Names are slow to compare: the forms are asked only about what could be right.
            let expected = may_be(&payloads) && allowed(&payloads);
            assert_eq!(found.is_ok(), expected, "{exchange} {direction}: {payloads:?}: {found:?}");
            if !expected {
                continue;
            }
            accepted += 1;
            let opposite = rules::check(exchange, direction, !protected, &payloads);
            let refusal = Illegal::Protection { exchange, direction, encrypted: !protected };
            assert_eq!(opposite, Err(refusal));
            for index in 0..payloads.len() {
                payloads.push(payloads[index].clone());
                let found = rules::check(exchange, direction, protected, &payloads);
                assert_eq!(
                    found.is_ok(),
                    allowed(&payloads),
                    "{exchange} {direction}: {payloads:?}: {found:?}"
                );
                payloads.pop();
            }
        }
        assert!(accepted > 0, "{exchange} {direction}");
    }
}

/// No message has EAP or a critical payload we do not know.
fn may_be(payloads: &[Payload]) -> bool {
    !payloads
        .iter()
        .any(|payload| matches!(payload, Payload::Eap(_) | Payload::Unknown { critical: true, .. }))
}

fn of(names: &[&str]) -> Vec<Payload> {
    let sample = |name: &&str| samples().into_iter().find(|payload| payload.kind().to_string() == **name);
    names.iter().map(|name| sample(name).unwrap()).collect()
}

fn with(names: &[&str], kinds: &[NotifyType]) -> Vec<Payload> {
    let mut payloads = of(names);
    payloads.extend(kinds.iter().map(|kind| Payload::Notify(Notify::new(*kind))));
    payloads
}

fn encrypted(exchange: Exchange, direction: Direction, payloads: &[Payload]) -> Result<(), Illegal> {
    rules::check(exchange, direction, true, payloads)
}

#[test]
fn create_child_sa_has_three_uses() {
    let check = |payloads: &[Payload]| encrypted(Exchange::CREATE_CHILD_SA, Request, payloads);
    let child = ["SA", "Nonce", "TSi", "TSr"];
    assert_eq!(check(&of(&child)), Ok(()));
    assert_eq!(check(&of(&["SA", "Nonce", "KE", "TSi", "TSr"])), Ok(()));
    assert_eq!(check(&with(&child, &[NotifyType::REKEY_SA])), Ok(()));
    assert_eq!(check(&of(&["SA", "Nonce", "KE"])), Ok(()));

    // One child is rekeyed at a time, and never by a request without its traffic selectors.
    let twice = check(&with(&child, &[NotifyType::REKEY_SA, NotifyType::REKEY_SA])).unwrap_err();
    assert_eq!(twice.to_string(), "CREATE_CHILD_SA request: found 2 REKEY_SA notifications, expected 1 to 1");
    let bare = check(&with(&["SA", "Nonce", "KE"], &[NotifyType::REKEY_SA])).unwrap_err();
    assert_eq!(bare.to_string(), "CREATE_CHILD_SA request: found 0 TSi payloads, expected 1 to 1");
    // An IKE SA is always rekeyed with a key exchange.
    let without = check(&of(&["SA", "Nonce"])).unwrap_err();
    assert_eq!(without.to_string(), "CREATE_CHILD_SA request: found 0 KE payloads, expected 1 to 1");
    assert_eq!(without.notify(), Some(NotifyType::INVALID_SYNTAX));
}

#[test]
fn a_followup_names_the_exchange_it_continues() {
    let link = NotifyType::ADDITIONAL_KEY_EXCHANGE;
    let request = |payloads: &[Payload]| encrypted(Exchange::FOLLOWUP_KE, Request, payloads).is_ok();
    assert!(request(&with(&["KE"], &[link])));
    assert!(!request(&of(&["KE"])));
    assert!(!request(&with(&["KE"], &[link, link])));
    assert!(!request(&with(&[], &[link])));
    assert!(!request(&with(&["KE", "Nonce"], &[link])));
    let response = |payloads: &[Payload]| encrypted(Exchange::FOLLOWUP_KE, Response, payloads).is_ok();
    assert!(response(&with(&["KE"], &[link])));
    assert!(response(&of(&["KE"])));
    assert!(response(&with(&[], &[NotifyType::STATE_NOT_FOUND])));
    assert!(!response(&with(&[], &[link])));
    assert!(!response(&[]));

    let child = |kinds: &[NotifyType]| {
        let payloads = with(&["SA", "Nonce", "KE", "TSi", "TSr"], kinds);
        encrypted(Exchange::CREATE_CHILD_SA, Response, &payloads).is_ok()
    };
    assert!(child(&[link]) && !child(&[link, link]));
}

#[test]
fn an_answer_to_the_first_request_is_a_cookie_a_method_or_an_sa() {
    let check = |payloads: &[Payload]| rules::check(Exchange::SA_INIT, Response, false, payloads).is_ok();
    for kind in [NotifyType::COOKIE, NotifyType::INVALID_KE_PAYLOAD, NotifyType::NO_PROPOSAL_CHOSEN] {
        assert!(check(&with(&[], &[kind])));
        assert!(check(&with(&["V"], &[kind])));
        let whole = check(&with(&["SA", "KE", "Nonce"], &[kind]));
        assert_eq!(whole, kind == NotifyType::NO_PROPOSAL_CHOSEN);
    }
    assert!(!check(&with(&[], &[NotifyType::COOKIE, NotifyType::COOKIE])));
    let request = |kinds: &[NotifyType]| {
        rules::check(Exchange::SA_INIT, Request, false, &with(&["SA", "KE", "Nonce"], kinds)).is_ok()
    };
    assert!(request(&[NotifyType::COOKIE]) && !request(&[NotifyType::COOKIE, NotifyType::COOKIE]));
}

#[test]
fn stock_daemons_messages_are_legal() {
    let first = [
        NotifyType::NAT_DETECTION_SOURCE_IP,
        NotifyType::NAT_DETECTION_SOURCE_IP,
        NotifyType::NAT_DETECTION_DESTINATION_IP,
        NotifyType::IKEV2_FRAGMENTATION_SUPPORTED,
        NotifyType::SIGNATURE_HASH_ALGORITHMS,
        NotifyType::REDIRECT_SUPPORTED,
        NotifyType::CHILDLESS_IKEV2_SUPPORTED,
        NotifyType(50_000),
    ];
    let payloads = with(&["SA", "KE", "Nonce", "V", "V", "V"], &first);
    assert_eq!(rules::check(Exchange::SA_INIT, Request, false, &payloads), Ok(()));
    let payloads = with(&["SA", "KE", "Nonce", "CERTREQ", "CERTREQ", "V"], &first);
    assert_eq!(rules::check(Exchange::SA_INIT, Response, false, &payloads), Ok(()));

    let second = [
        NotifyType::INITIAL_CONTACT,
        NotifyType::MOBIKE_SUPPORTED,
        NotifyType::ADDITIONAL_IP4_ADDRESS,
        NotifyType::ADDITIONAL_IP6_ADDRESS,
        NotifyType::ADDITIONAL_IP6_ADDRESS,
        NotifyType::MULTIPLE_AUTH_SUPPORTED,
        NotifyType::EAP_ONLY_AUTHENTICATION,
        NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED,
        NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED,
        NotifyType::NON_FIRST_FRAGMENTS_ALSO,
    ];
    let names = ["V", "IDi", "CERT", "CERT", "CERTREQ", "IDr", "AUTH", "CP", "SA", "TSi", "TSr"];
    assert_eq!(encrypted(Exchange::AUTH, Request, &with(&names, &second)), Ok(()));
    let refused =
        with(&["IDr", "CERT", "AUTH"], &[NotifyType::TS_UNACCEPTABLE, NotifyType::MOBIKE_SUPPORTED]);
    assert_eq!(encrypted(Exchange::AUTH, Response, &refused), Ok(()));
    let moved = [NotifyType::UPDATE_SA_ADDRESSES, NotifyType::COOKIE2];
    assert_eq!(encrypted(Exchange::INFORMATIONAL, Request, &with(&[], &moved)), Ok(()));
    assert_eq!(encrypted(Exchange::INFORMATIONAL, Response, &[]), Ok(()));
}

#[test]
fn a_critical_payload_we_do_not_know_is_named_to_the_peer() {
    let payloads = of(&["SA", "KE", "Nonce", "201"]);
    let illegal = rules::check(Exchange::SA_INIT, Request, false, &payloads).unwrap_err();
    assert_eq!(illegal, Illegal::Critical(PayloadType(201)));
    let notify = Notify::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![201]);
    assert_eq!(illegal.notification(), Some(notify));
    assert_eq!(illegal.to_string(), "critical payload of unknown type 201: expected one we know");
    // Whether anything else is missing is of no interest then.
    assert_eq!(encrypted(Exchange::AUTH, Request, &of(&["201"])), Err(illegal));
}

#[test]
fn a_request_without_proof_is_one_for_eap_which_we_do_not_have() {
    let asked = encrypted(Exchange::AUTH, Request, &of(&["IDi", "SA", "TSi", "TSr"])).unwrap_err();
    assert_eq!(asked.notify(), Some(NotifyType::AUTHENTICATION_FAILED));
    assert_eq!(asked.notification(), Some(Notify::new(NotifyType::AUTHENTICATION_FAILED)));
    let proofs = encrypted(Exchange::AUTH, Request, &of(&["IDi", "AUTH", "AUTH"])).unwrap_err();
    assert_eq!(proofs.notify(), Some(NotifyType::INVALID_SYNTAX));
    let eap = encrypted(Exchange::AUTH, Request, &of(&["IDi", "AUTH", "EAP"])).unwrap_err();
    assert_eq!(eap.to_string(), "IKE_AUTH request: found 1 EAP payloads, expected 0 to 0");
}

#[test]
fn what_comes_with_the_wrong_protection_is_not_answered() {
    let clear = rules::check(Exchange::INFORMATIONAL, Response, false, &[]).unwrap_err();
    assert_eq!(clear.to_string(), "INFORMATIONAL response in clear: expected the opposite");
    assert_eq!(clear.notification(), None);
}

#[test]
fn exchanges_we_do_not_know_are_refused() {
    for number in (0..=255).filter(|number| !matches!(number, 34..=37 | 43 | 44)) {
        for direction in [Request, Response] {
            let illegal = encrypted(Exchange(number), direction, &[]).unwrap_err();
            assert_eq!(illegal, Illegal::Exchange(Exchange(number)));
            assert_eq!(illegal.notify(), Some(NotifyType::INVALID_SYNTAX));
        }
    }
}

#[test]
fn as_many_notifications_as_a_message_holds_are_legal() {
    let payloads = vec![Payload::Notify(Notify::new(NotifyType::ADDITIONAL_IP4_ADDRESS)); MOST_PAYLOADS];
    assert_eq!(encrypted(Exchange::INFORMATIONAL, Request, &payloads), Ok(()));
}
