//! Messages as stock daemons send them, and broken ones. What is to be sealed stays in clear here.

use std::net::IpAddr;

use ippriv::ike::wire::{
    Attribute, AttributeType, AuthMethod, CertEncoding, Configuration, CpType, Delete, Direction,
    EncryptionId, EsnId, Exchange, Flags, HashId, Header, Id, IdKind, IkeSpi, IntegrityId, KeMethod,
    MessageId, Notify, NotifyType, Payload, PayloadType, PrfId, Proposal, Protocol, Room, TrafficSelector,
    Transform, TransformType, encode_clear, encode_encrypted, encode_payloads,
};

use Direction::{Request, Response};

/// A message that every receiver has to read.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) header: Header,
    pub(crate) payloads: Vec<Payload>,
    pub(crate) datagram: Vec<u8>,
}

/// Octets that no receiver may take, and what to say about them.
pub(crate) struct Broken {
    pub(crate) name: &'static str,
    pub(crate) datagram: Vec<u8>,
    pub(crate) error: &'static str,
}

fn header(exchange: Exchange, direction: Direction) -> Header {
    let responder_spi = match (exchange, direction) {
        (Exchange::SA_INIT, Request) => IkeSpi::ZERO,
        _ => IkeSpi(0x5e1f_0001_0002_0003),
    };
    Header {
        initiator_spi: IkeSpi(0x1234_5678_9abc_def0),
        responder_spi,
        exchange,
        flags: Flags { initiator: direction == Request, response: direction == Response },
        message_id: MessageId(u32::from(exchange != Exchange::SA_INIT)),
    }
}

fn clear(name: &'static str, direction: Direction, payloads: Vec<Payload>) -> Sample {
    let header = header(Exchange::SA_INIT, direction);
    let datagram = encode_clear(&header, &payloads);
    Sample { name, header, payloads, datagram }
}

fn sealed(name: &'static str, exchange: Exchange, direction: Direction, payloads: Vec<Payload>) -> Sample {
    let header = header(exchange, direction);
    let (first, plain) = encode_payloads(&payloads);
    Sample { name, header, payloads, datagram: fill(&header, first, &plain, None) }
}

fn fill(header: &Header, first: PayloadType, plain: &[u8], fragment: Option<(u16, u16)>) -> Vec<u8> {
    let room = Room { iv: 0, plain: plain.len(), icv: 0 };
    let mut sealable = encode_encrypted(header, first, room, fragment);
    sealable.datagram[sealable.body_offset..].copy_from_slice(plain);
    sealable.datagram
}

fn notify(kind: NotifyType) -> Payload {
    Payload::Notify(Notify::new(kind))
}

fn told(kind: NotifyType, data: &[u8]) -> Payload {
    Payload::Notify(Notify::with_data(kind, data.to_vec()))
}

/// An offer as strongSwan makes it: ciphers with integrity in one proposal, those without in another.
fn ike_offer(spi: &[u8]) -> Payload {
    let prfs = [PrfId::HMAC_SHA2_256, PrfId::HMAC_SHA2_384, PrfId::HMAC_SHA2_512, PrfId::AES128_XCBC];
    let methods = [KeMethod::P256, KeMethod::P384, KeMethod::X25519, KeMethod::X448, KeMethod::MODP3072];
    let integrity = [
        IntegrityId::HMAC_SHA2_256_128,
        IntegrityId::HMAC_SHA2_384_192,
        IntegrityId::HMAC_SHA2_512_256,
        IntegrityId::AES_XCBC_96,
    ];
    let sizes = [Some(128), Some(192), Some(256)];
    let common = || prfs.map(Transform::prf).into_iter().chain(methods.map(Transform::key_exchange));
    let additional = Transform::new(TransformType::ADDKE1, KeMethod::MLKEM768.0);
    let cbc = sizes.map(|bits| Transform::encryption(EncryptionId::AES_CBC, bits));
    let gcm = sizes.map(|bits| Transform::encryption(EncryptionId::AES_GCM_16, bits));
    let chacha = Transform::encryption(EncryptionId::CHACHA20_POLY1305, None);
    let with = cbc.into_iter().chain(integrity.map(Transform::integrity)).chain(common());
    let without = gcm.into_iter().chain([chacha]).chain(common()).chain([additional]);
    let proposal =
        |number, transforms| Proposal { number, protocol: Protocol::IKE, spi: spi.to_vec(), transforms };
    Payload::Sa(vec![proposal(1, with.collect()), proposal(2, without.collect())])
}

fn ike_choice(spi: &[u8]) -> Payload {
    let transforms = vec![
        Transform::encryption(EncryptionId::AES_GCM_16, Some(256)),
        Transform::prf(PrfId::HMAC_SHA2_256),
        Transform::key_exchange(KeMethod::X25519),
    ];
    Payload::Sa(vec![Proposal { number: 2, protocol: Protocol::IKE, spi: spi.to_vec(), transforms }])
}

fn esp(number: u8) -> Proposal {
    let transforms = vec![
        Transform::encryption(EncryptionId::AES_GCM_16, Some(128)),
        Transform::esn(EsnId::YES),
        Transform::esn(EsnId::NO),
    ];
    Proposal { number, protocol: Protocol::ESP, spi: vec![0xc0, 0xff, 0xee, number], transforms }
}

fn key_exchange() -> Payload {
    Payload::Ke { method: KeMethod::X25519, data: (1..=32).collect() }
}

fn nonce() -> Payload {
    Payload::Nonce((100..132).collect())
}

fn host(last: u8) -> Vec<TrafficSelector> {
    vec![TrafficSelector::host(IpAddr::from([10, 1, 2, last]))]
}

fn everything() -> Vec<TrafficSelector> {
    let dns = TrafficSelector { protocol: 17, ports: (53, 53), ..TrafficSelector::any_v4() };
    vec![dns, TrafficSelector::any_v4(), TrafficSelector::any_v6()]
}

fn configuration(kind: CpType, attributes: Vec<Attribute>) -> Payload {
    Payload::Cp(Configuration { kind, attributes })
}

fn sa_init() -> Vec<Sample> {
    let hashes = [HashId::SHA2_256, HashId::SHA2_384, HashId::SHA2_512, HashId::IDENTITY];
    let hashes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0.to_be_bytes()).collect();
    let announced = vec![
        told(NotifyType::NAT_DETECTION_SOURCE_IP, &[1; 20]),
        told(NotifyType::NAT_DETECTION_DESTINATION_IP, &[2; 20]),
        notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED),
        told(NotifyType::SIGNATURE_HASH_ALGORITHMS, &hashes),
        notify(NotifyType::REDIRECT_SUPPORTED),
        notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED),
        Payload::VendorId(b"strongSwan-like".to_vec()),
        Payload::VendorId(vec![0xaf; 16]),
    ];
    let request = [vec![ike_offer(&[]), key_exchange(), nonce()], announced.clone()].concat();
    let cookie = [vec![told(NotifyType::COOKIE, &[0xc0; 40])], request.clone()].concat();
    let authorities = Payload::CertReq { encoding: CertEncoding::X509_SIGNATURE, data: vec![3; 40] };
    let response = [vec![ike_choice(&[]), key_exchange(), nonce(), authorities], announced].concat();
    vec![
        clear("sa-init-request", Request, request),
        clear("sa-init-request-with-cookie", Request, cookie),
        clear("sa-init-cookie", Response, vec![told(NotifyType::COOKIE, &[0xc0; 40])]),
        clear("sa-init-other-method", Response, vec![told(NotifyType::INVALID_KE_PAYLOAD, &[0, 31])]),
        clear("sa-init-response", Response, response),
    ]
}

fn auth() -> Vec<Sample> {
    let request = vec![
        Payload::IdI(Id { kind: IdKind::FQDN, data: b"client.example".to_vec() }),
        Payload::Cert { encoding: CertEncoding::X509_SIGNATURE, data: vec![0x30; 50] },
        notify(NotifyType::INITIAL_CONTACT),
        Payload::CertReq { encoding: CertEncoding::X509_SIGNATURE, data: vec![3; 20] },
        Payload::IdR(Id::fqdn("relay.example")),
        Payload::Auth { method: AuthMethod::DIGITAL_SIGNATURE, data: vec![5; 72] },
        configuration(
            CpType::REQUEST,
            vec![
                Attribute::any(AttributeType::INTERNAL_IP4_ADDRESS),
                Attribute::any(AttributeType::INTERNAL_IP6_ADDRESS),
                Attribute::any(AttributeType::INTERNAL_IP4_DNS),
            ],
        ),
        notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED),
        Payload::Sa(vec![esp(1), esp(2)]),
        Payload::TsI(everything()),
        Payload::TsR(everything()),
        notify(NotifyType::MOBIKE_SUPPORTED),
        told(NotifyType::ADDITIONAL_IP4_ADDRESS, &[192, 0, 2, 1]),
        told(NotifyType::ADDITIONAL_IP6_ADDRESS, &[0xfd; 16]),
        notify(NotifyType::MULTIPLE_AUTH_SUPPORTED),
        Payload::Unknown { kind: PayloadType(230), critical: false },
    ];
    let response = vec![
        Payload::IdR(Id::fqdn("relay.example")),
        Payload::Auth { method: AuthMethod::DIGITAL_SIGNATURE, data: vec![6; 72] },
        configuration(
            CpType::REPLY,
            vec![
                Attribute::internal(IpAddr::from([10, 1, 2, 3])),
                Attribute::internal(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 3])),
                Attribute::dns(IpAddr::from([10, 1, 2, 1])),
            ],
        ),
        Payload::Sa(vec![esp(1)]),
        Payload::TsI(host(3)),
        Payload::TsR(everything()),
        told(NotifyType::AUTH_LIFETIME, &[0, 0, 14, 16]),
    ];
    let anonymous = vec![
        Payload::IdI(Id::NULL),
        Payload::Auth { method: AuthMethod::NULL, data: vec![7; 32] },
        Payload::Sa(vec![esp(1)]),
        Payload::TsI(host(3)),
        Payload::TsR(everything()),
    ];
    let refused = vec![notify(NotifyType::AUTHENTICATION_FAILED)];
    vec![
        sealed("auth-request", Exchange::AUTH, Request, request),
        sealed("auth-request-anonymous", Exchange::AUTH, Request, anonymous),
        sealed("auth-response", Exchange::AUTH, Response, response),
        sealed("auth-refused", Exchange::AUTH, Response, refused),
    ]
}

fn later() -> Vec<Sample> {
    let child = vec![
        Payload::Sa(vec![esp(1)]),
        nonce(),
        key_exchange(),
        Payload::TsI(host(3)),
        Payload::TsR(everything()),
    ];
    let rekeyed = Payload::Notify(Notify::about_child(NotifyType::REKEY_SA, 0xc0ff_ee01));
    let gone = Payload::Notify(Notify::about_child(NotifyType::CHILD_SA_NOT_FOUND, 0xc0ff_ee01));
    let link = told(NotifyType::ADDITIONAL_KEY_EXCHANGE, &[8; 16]);
    let rekey = [vec![rekeyed], child.clone()].concat();
    let large = Payload::Ke { method: KeMethod::MLKEM768, data: vec![9; 1184] };
    let create = Exchange::CREATE_CHILD_SA;
    let deleted = vec![Payload::Delete(Delete::children(vec![0xc0ff_ee01, 0xc0ff_ee02]))];
    vec![
        sealed("child-request", create, Request, child),
        sealed("child-rekey-request", create, Request, rekey),
        sealed("child-not-found", create, Response, vec![gone]),
        sealed("ike-rekey-request", create, Request, vec![ike_offer(&[4; 8]), nonce(), key_exchange()]),
        sealed(
            "ike-rekey-response",
            create,
            Response,
            vec![ike_choice(&[5; 8]), nonce(), key_exchange(), link.clone()],
        ),
        sealed("alive", Exchange::INFORMATIONAL, Request, vec![]),
        sealed("delete-children", Exchange::INFORMATIONAL, Request, deleted),
        sealed("delete-ike", Exchange::INFORMATIONAL, Request, vec![Payload::Delete(Delete::ike())]),
        sealed("intermediate", Exchange::INTERMEDIATE, Request, vec![large.clone()]),
        sealed("followup", Exchange::FOLLOWUP_KE, Request, vec![large, link]),
    ]
}

/// Messages that every receiver has to read.
pub(crate) fn legal() -> Vec<Sample> {
    [sa_init(), auth(), later()].into_iter().flatten().collect()
}

/// A message cut into two fragments.
pub(crate) fn fragments() -> [(&'static str, Vec<u8>); 2] {
    let (first, plain) = encode_payloads(&[nonce(), nonce()]);
    let header = header(Exchange::AUTH, Request);
    let (front, back) = plain.split_at(plain.len() / 2);
    [
        ("fragment-1", fill(&header, first, front, Some((1, 2)))),
        ("fragment-2", fill(&header, first, back, Some((2, 2)))),
    ]
}

/// A datagram whose payloads are these octets.
fn by_hand(first: PayloadType, octets: &[u8]) -> Vec<u8> {
    let mut datagram = encode_clear(&header(Exchange::SA_INIT, Request), &[]);
    datagram.extend(octets);
    datagram[16] = first.0;
    set_length(&mut datagram);
    datagram
}

/// Makes the header's length that of the datagram.
pub(crate) fn set_length(datagram: &mut [u8]) {
    let length = u32::try_from(datagram.len()).expect("a datagram");
    if let Some(field) = datagram.get_mut(24..28) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

fn altered(at: usize, value: u8) -> Vec<u8> {
    let mut datagram = sa_init().swap_remove(0).datagram;
    datagram[at] = value;
    datagram
}

/// Messages with what a receiver has to overlook: it reads them, but would not write them so.
pub(crate) fn odd() -> Vec<(&'static str, Vec<u8>)> {
    let transform = [3, 0, 0, 18, 1, 0, 0, 12, 0x80, 14, 0, 128, 0x40, 1, 0, 2, 7, 7];
    let offer = [&[0, 0, 0, 38, 0, 0, 0, 34, 1, 1, 0, 2][..], &transform, &[0, 0, 0, 8, 2, 0, 0, 5]].concat();
    let label = [0, 0, 0, 18, 1, 0, 0, 0, 10, 0, 0, 10, 0, 0, b'l', b'a', b'b', 0];
    vec![
        ("odd-minor-version", altered(17, 0x2f)),
        ("odd-flags", altered(19, 0xdf)),
        ("odd-reserved-bits", altered(29, 0x7f)),
        ("odd-critical-but-known", altered(29, 0x80)),
        ("odd-critical", by_hand(PayloadType(201), &[0, 0x80, 0, 6, 1, 2])),
        ("odd-unknown-attribute", by_hand(PayloadType::SA, &offer)),
        ("odd-unknown-selector", by_hand(PayloadType::TSR, &label)),
        (
            "odd-in-front",
            by_hand(PayloadType::VENDOR_ID, &[46, 0, 0, 5, 1, 41, 0, 0, 12, 0, 0, 0, 8, 0, 0, 0x40, 0]),
        ),
        ("odd-delete-ike", by_hand(PayloadType::DELETE, &[0, 0, 0, 8, 1, 0, 0, 1])),
        ("odd-nothing", by_hand(PayloadType::NONE, &[])),
    ]
}

/// Octets that no receiver may take.
pub(crate) fn broken() -> Vec<Broken> {
    let broken = |name, datagram, error| Broken { name, datagram, error };
    let chain = [43, 0, 0, 4].repeat(129);
    let reversed = [1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 10, 0, 0, 2, 10, 0, 0, 1];
    let reversed = [&[0, 0, 0, 24][..], &reversed].concat();
    vec![
        broken("bad-empty", vec![], "datagram of 0 octets: expected 28"),
        broken("bad-version-1", altered(17, 0x10), "IKE version 1: expected 2"),
        broken("bad-version-3", altered(17, 0x30), "IKE version 3: expected 2"),
        broken("bad-length", altered(26, 0), "datagram of 523 octets: expected 11"),
        broken(
            "bad-payload-length",
            by_hand(PayloadType::VENDOR_ID, &[0, 0, 0, 3, 9]),
            "payload: found 3 octets, expected at least 4",
        ),
        broken(
            "bad-last-proposal",
            altered(32, 1),
            "last substructure of a proposal: found 1, expected 0 or 2",
        ),
        broken(
            "bad-last-transform",
            altered(40, 0),
            "last substructure of a transform: found 0, expected 0 in the last transform, 3 in others",
        ),
        broken("bad-transform-length", altered(43, 13), "transform: found 1 octets, expected at least 2"),
        broken("bad-spi-size", altered(38, 255), "proposal: found 140 octets, expected at least 255"),
        broken(
            "bad-nonce",
            by_hand(PayloadType::NONCE, &[0, 0, 0, 5, 1]),
            "length of a nonce: found 1, expected 16 to 256 octets",
        ),
        broken(
            "bad-notify-spi",
            by_hand(PayloadType::NOTIFY, &[0, 0, 0, 9, 3, 4, 0x40, 9, 1]),
            "Notify payload: found 1 octets, expected at least 4",
        ),
        broken(
            "bad-delete-count",
            by_hand(PayloadType::DELETE, &[0, 0, 0, 12, 3, 4, 0, 2, 1, 2, 3, 4]),
            "Delete payload: found 0 octets, expected at least 4",
        ),
        broken(
            "bad-reversed-range",
            by_hand(PayloadType::TSI, &reversed),
            "range from 10.0.0.2 to 10.0.0.1: expected addresses in order",
        ),
        broken(
            "bad-attribute",
            by_hand(PayloadType::CP, &[0, 0, 0, 12, 1, 0, 0, 0, 0, 1, 0, 4]),
            "CP payload: found 0 octets, expected at least 4",
        ),
        broken(
            "bad-fragment-number",
            by_hand(PayloadType::SKF, &[33, 0, 0, 8, 0, 3, 0, 2]),
            "fragment 3 of 2: expected a number from 1 to the total",
        ),
        broken(
            "bad-behind-sealed",
            by_hand(PayloadType::SK, &[33, 0, 0, 4, 1]),
            "payloads: found 1 more octets, expected its end",
        ),
        broken(
            "bad-nested",
            by_hand(PayloadType::SK, &[46, 0, 0, 8, 0, 0, 0, 4]),
            "payload type: found 46, expected no encrypted payload inside another one",
        ),
        broken(
            "bad-many-payloads",
            by_hand(PayloadType::VENDOR_ID, &chain),
            "payloads: found more than 128, expected at most that many",
        ),
    ]
}
