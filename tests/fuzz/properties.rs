//! What has to hold for any octets whatever, for the tests and for the fuzzer.

use ippriv::ike::wire::{
    Body, Direction, Exchange, Header, Malformed, NotifyType, Packet, Payload, decode, decode_header,
    decode_payloads, encode_clear, encode_payloads, rules,
};

/// Decodes a datagram as far as that goes, and panics when the result is not what encoding it again gives.
/// What is sealed is taken for plaintext, so that one input reaches all of the codec.
///
/// # Errors
/// What decoding said.
pub(crate) fn decoding_holds(datagram: &[u8]) -> Result<(Header, Vec<Payload>), Malformed> {
    let packet = decode(datagram).inspect_err(says_something)?;
    let header = packet.header;
    assert_eq!(decode_header(datagram), Ok(header));
    let payloads = match packet.body {
        Body::Clear(payloads) => {
            let again = encode_clear(&header, &payloads);
            assert!(again.len() <= datagram.len());
            assert_eq!(decode(&again), Ok(Packet { header, body: Body::Clear(payloads.clone()) }));
            payloads
        }
        Body::Encrypted { first, aad, sealed, leading } => {
            assert_eq!([aad, sealed].concat(), datagram);
            let inside = decode_payloads(first, sealed).inspect_err(says_something)?;
            [round_trip(leading), round_trip(inside)].concat()
        }
        Body::Fragment { first, number, total, aad, sealed } => {
            assert_eq!([aad, sealed].concat(), datagram);
            assert!(0 < number && number <= total);
            round_trip(decode_payloads(first, sealed).inspect_err(says_something)?)
        }
    };
    for number in 34..=44 {
        for direction in [Direction::Request, Direction::Response] {
            if let Err(illegal) = rules::check(Exchange(number), direction, true, &payloads) {
                assert!(!illegal.to_string().is_empty());
                assert_eq!(illegal.notification().map(|notify| notify.kind), illegal.notify());
            }
        }
    }
    Ok((header, payloads))
}

fn round_trip(payloads: Vec<Payload>) -> Vec<Payload> {
    let (first, octets) = encode_payloads(&payloads);
    assert_eq!(decode_payloads(first, &octets).as_ref(), Ok(&payloads));
    payloads
}

fn says_something(error: &Malformed) {
    assert!(error.to_string().contains("expected"), "{error}");
    assert!(error.notify().is_none_or(NotifyType::is_error));
}
