//! The IKEv2 codec against whole messages: as they are, cut short, altered, and at random. The messages are
//! also the corpus that the fuzzer starts from (`tests/fuzz/corpus/wire`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../fuzz/properties.rs"]
mod properties;
mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ippriv::entropy::{Entropy, Seeded};
use ippriv::ike::wire::{Body, Exchange, Header, Malformed, PayloadType, decode, decode_payloads, rules};

use properties::decoding_holds;
use samples::{Sample, broken, fragments, legal, odd, set_length};

const PAYLOAD_HEADER: usize = 4;

#[test]
fn legal_messages_are_read_as_they_were_written() {
    for Sample { name, header, payloads, datagram } in legal() {
        assert_eq!(decoding_holds(&datagram), Ok((header, payloads.clone())), "{name}");
        let protected = header.exchange != Exchange::SA_INIT;
        assert_eq!(rules::check(header.exchange, header.direction(), protected, &payloads), Ok(()), "{name}");
    }
}

#[test]
fn broken_messages_are_refused_with_what_is_wrong() {
    for broken in broken() {
        let error = decoding_holds(&broken.datagram).unwrap_err();
        assert_eq!(error.to_string(), broken.error, "{}", broken.name);
    }
}

#[test]
fn oddities_are_overlooked() {
    for (name, datagram) in odd() {
        assert!(decoding_holds(&datagram).is_ok(), "{name}: {:?}", decoding_holds(&datagram));
    }
}

#[test]
fn messages_cut_short_anywhere_are_refused() {
    for Sample { name, datagram, .. } in legal() {
        for length in 0..datagram.len() {
            let mut cut = datagram[..length].to_vec();
            assert!(decoding_holds(&cut).is_err(), "{name} {length}");
            set_length(&mut cut);
            assert!(decoding_holds(&cut).is_err(), "{name} {length}");
        }
    }
}

/// Where the payloads of the chain begin, and the octets that hold it.
fn chain(datagram: &[u8]) -> (PayloadType, Vec<u8>) {
    match decode(datagram).unwrap().body {
        Body::Clear(_) => (PayloadType(datagram[16]), datagram[Header::LENGTH..].to_vec()),
        Body::Encrypted { first, sealed, .. } | Body::Fragment { first, sealed, .. } => {
            (first, sealed.to_vec())
        }
    }
}

#[test]
fn payloads_cut_short_anywhere_are_refused() {
    for Sample { name, datagram, .. } in legal() {
        let (first, plain) = chain(&datagram);
        for length in 0..plain.len() {
            assert!(decode_payloads(first, &plain[..length]).is_err(), "{name} {length}");
        }
    }
}

#[test]
fn a_payload_of_another_length_than_it_has_is_refused() {
    for Sample { name, payloads, datagram, .. } in legal() {
        let (first, plain) = chain(&datagram);
        let mut start = 0;
        for payload in &payloads {
            let length = u16::from_be_bytes([plain[start + 2], plain[start + 3]]);
            for wrong in [0, 1, 3, length - 1, length + 1, u16::MAX] {
                let mut altered = plain.clone();
                altered[start + 2..start + PAYLOAD_HEADER].copy_from_slice(&wrong.to_be_bytes());
                let found = decode_payloads(first, &altered);
                assert!(found.is_err(), "{name} {payload:?}: {wrong}");
            }
            start += usize::from(length);
        }
        assert_eq!(start, plain.len());
    }
}

#[test]
fn any_octet_may_have_any_value() {
    let (mut read, mut refused) = (0, 0);
    for Sample { datagram, .. } in legal() {
        for at in 0..datagram.len().min(300) {
            let mut altered = datagram.clone();
            for value in [0, 1, 3, 4, 5, 7, 8, 33, 46, 53, 127, 128, 255] {
                altered[at] = value;
                match decoding_holds(&altered) {
                    Ok(_) => read += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} {refused}");
}

/// Changes octets here and there, as a fuzzer would.
fn mutate(random: &mut Seeded, datagram: &mut Vec<u8>, other: &[u8]) {
    let mut below = |bound: usize| usize::try_from(random.below(u64::try_from(bound).unwrap())).unwrap();
    for _ in 0..=below(4) {
        let length = datagram.len();
        let at = below(length.max(1));
        let span = at..(at + 1 + below(16)).min(length);
        let octet = u8::try_from(below(256)).unwrap();
        match below(7) {
            _ if span.is_empty() => datagram.extend_from_slice(other),
            0 => datagram[at] ^= 1 << below(8),
            1 => datagram[at] = octet,
            2 => datagram[at] = [0, 1, 4, 8, 40, 41, 43, 255][below(8)],
            3 => drop(datagram.drain(span)),
            4 => datagram.insert(at, octet),
            5 => datagram.extend_from_within(span),
            _ => {
                let from = below(other.len());
                let count = span.len().min(other.len() - from);
                datagram[at..at + count].copy_from_slice(&other[from..from + count]);
            }
        }
    }
    // Else nearly all would be refused for that.
    if below(8) > 0 {
        set_length(datagram);
        let sealed =
            matches!(datagram.get(16).copied().map(PayloadType), Some(PayloadType::SK | PayloadType::SKF));
        let length = u16::try_from(datagram.len().saturating_sub(Header::LENGTH)).unwrap();
        if let Some(field) = datagram.get_mut(30..32)
            && sealed
        {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[test]
fn a_hundred_thousand_mutants_are_read_or_refused() {
    let mut random = Seeded::new([0x1e; 32]);
    let originals: Vec<Vec<u8>> = legal()
        .into_iter()
        .map(|sample| sample.datagram)
        .chain(fragments().map(|(_, datagram)| datagram))
        .chain(odd().into_iter().map(|(_, datagram)| datagram))
        .chain(broken().into_iter().map(|broken| broken.datagram).filter(|datagram| !datagram.is_empty()))
        .collect();
    let bound = u64::try_from(originals.len()).unwrap();
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..100_000 {
        let mut pick = || originals[usize::try_from(random.below(bound)).unwrap()].clone();
        let (mut datagram, other) = (pick(), pick());
        mutate(&mut random, &mut datagram, &other);
        *outcomes.entry(outcome(&datagram)).or_default() += 1;
    }
    // Each kind of outcome comes up, so the mutants get deep into the decoder.
    assert_eq!(outcomes.len(), 8, "{outcomes:?}");
    assert!(outcomes["read"] > 10_000, "{outcomes:?}");
}

fn outcome(datagram: &[u8]) -> &'static str {
    match decoding_holds(datagram) {
        Ok(_) => "read",
        Err(Malformed::Datagram { .. }) => "datagram",
        Err(Malformed::Version { .. }) => "version",
        Err(Malformed::FragmentNumber { .. }) => "fragment number",
        Err(Malformed::Short { .. }) => "short",
        Err(Malformed::Trailing { .. }) => "trailing",
        Err(Malformed::Field { .. } | Malformed::Reversed { .. }) => "field",
        Err(Malformed::TooMany { .. }) => "too many",
    }
}

#[test]
fn fragments_are_told_apart() {
    let [(_, one), (_, two)] = fragments();
    let Body::Fragment { first, number: 1, total: 2, sealed: front, .. } = decode(&one).unwrap().body else {
        panic!("not the first fragment");
    };
    let Body::Fragment { first: PayloadType::NONE, number: 2, total: 2, sealed: back, .. } =
        decode(&two).unwrap().body
    else {
        panic!("not the second fragment");
    };
    let payloads = decode_payloads(first, &[front, back].concat()).unwrap();
    assert_eq!(payloads.len(), 2);
}

/// `IPPRIV_BLESS=1 cargo test` writes the corpus anew; what a fuzzer found and added stays.
#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks for this by hand")]
fn the_corpus_holds_every_sample_and_all_of_it_is_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/wire");
    let samples = legal()
        .into_iter()
        .map(|sample| (sample.name, sample.datagram))
        .chain(fragments())
        .chain(odd())
        .chain(broken().into_iter().map(|broken| (broken.name, broken.datagram)));
    for (name, datagram) in samples {
        let path = folder.join(name);
        if std::env::var_os("IPPRIV_BLESS").is_some() {
            fs::write(&path, &datagram).unwrap();
        }
        let found = fs::read(&path).unwrap_or_default();
        assert!(path.exists() && found == datagram, "{name}; IPPRIV_BLESS=1 writes it anew");
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bad = path.file_name().unwrap().to_string_lossy().starts_with("bad-");
        let found = decoding_holds(&fs::read(&path).unwrap());
        assert!(!(bad && found.is_ok()), "{}", path.display());
    }
}
