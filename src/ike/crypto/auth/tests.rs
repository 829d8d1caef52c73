use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaEncoding, RsaKeyPair};

use super::*;
use crate::ike::crypto::{Encryption, IkeSuite, Nonces, SharedSecret};
use crate::ike::wire::{Exchange, Flags, IkeSpi, KeMethod};
use crate::secret::KeyMaterial;

const OCTETS: &[u8] = b"signed octets";
const METHOD: AuthMethod = AuthMethod::DIGITAL_SIGNATURE;

fn hex(text: &str) -> Vec<u8> {
    KeyMaterial::from_hex(text).unwrap().expose().to_vec()
}

/// AUTH data of RFC 7427.
fn data(identifier: &str, signature: &[u8]) -> Vec<u8> {
    let identifier = hex(identifier);
    let length = u8::try_from(identifier.len()).unwrap();
    [&[length], identifier.as_slice(), signature].concat()
}

fn schedule() -> KeySchedule {
    let suite = IkeSuite {
        encryption: Encryption::AesGcm128,
        integrity: None,
        prf: Prf::HmacSha256,
        ke: KeMethod::X25519,
        additional: Vec::new(),
    };
    let nonces = Nonces { initiator: &[1; 32], responder: &[2; 32] };
    KeySchedule::initial(&suite, nonces, &SharedSecret::new(vec![3; 32]), IkeSpi(4), IkeSpi(5))
}

#[test]
fn our_signatures_are_good_for_these_octets_and_this_key_only() {
    let key = SigningKey::from_seed(&[1; 32]).unwrap();
    let other = SigningKey::from_seed(&[2; 32]).unwrap().public();
    let good = sign_auth(&key, OCTETS);
    assert_eq!(good, sign_auth(&key, OCTETS));
    assert_eq!(good[..8], hex("0730050603 2b6570".replace(' ', "").as_str()));
    assert_eq!(verify_auth(&key.public(), METHOD, &good, OCTETS), Ok(()));
    assert_eq!(verify_auth(&key.public(), METHOD, &good, b"others"), Err(BadAuth::Proof));
    assert_eq!(verify_auth(&other, METHOD, &good, OCTETS), Err(BadAuth::Proof));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(verify_auth(&key.public(), METHOD, &bad, OCTETS).is_err(), "{at}");
        assert!(verify_auth(&key.public(), METHOD, &good[..at], OCTETS).is_err(), "{at}");
    }
}

#[test]
fn methods_that_prove_too_little_are_refused() {
    let key = SigningKey::from_seed(&[1; 32]).unwrap();
    let signature = key.sign(OCTETS);
    for method in [AuthMethod::RSA_SIGNATURE, AuthMethod::SHARED_KEY, AuthMethod::NULL, AuthMethod(200)] {
        assert_eq!(verify_auth(&key.public(), method, &signature, OCTETS), Err(BadAuth::Method(method)));
    }
    let method = AuthMethod::ECDSA_SHA256_P256;
    assert_eq!(verify_auth(&key.public(), method, &signature, OCTETS), Err(BadAuth::OtherKey));
    // sha1WithRSAEncryption
    let sha1 = data("300d06092a864886f70d0101050500", &[0; 256]);
    assert_eq!(verify_auth(&key.public(), METHOD, &sha1, OCTETS), Err(BadAuth::Algorithm));
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, prefix: &str) -> (PublicKey, Vec<u8>) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let der = [hex(prefix).as_slice(), pair.public_key().as_ref()].concat();
    let public = PublicKey::from_spki_der(&der).unwrap();
    assert_eq!(public.to_spki_der(), der);
    (public, pair.sign(&SystemRandom::new(), OCTETS).unwrap().as_ref().to_vec())
}

#[test]
fn ecdsa_signatures_are_taken_from_both_curves_in_both_forms() {
    let p256 = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let p384 = "3076301006072a8648ce3d020106052b81040022036200";
    let sha256 = "300a06082a8648ce3d040302";
    let sha384 = "300a06082a8648ce3d040303";
    for (algorithm, prefix, identifier) in [
        (&signature::ECDSA_P256_SHA256_ASN1_SIGNING, p256, sha256),
        (&signature::ECDSA_P384_SHA384_ASN1_SIGNING, p384, sha384),
    ] {
        let (key, signature) = ecdsa(algorithm, prefix);
        let good = data(identifier, &signature);
        assert_eq!(verify_auth(&key, METHOD, &good, OCTETS), Ok(()), "{algorithm:?}");
        assert_eq!(verify_auth(&key, METHOD, &good, b"others"), Err(BadAuth::Proof));
        let ed25519 = SigningKey::from_seed(&[1; 32]).unwrap().public();
        assert_eq!(verify_auth(&ed25519, METHOD, &good, OCTETS), Err(BadAuth::OtherKey));
    }
    for (algorithm, prefix, method) in [
        (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, p256, AuthMethod::ECDSA_SHA256_P256),
        (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, p384, AuthMethod::ECDSA_SHA384_P384),
    ] {
        let (key, signature) = ecdsa(algorithm, prefix);
        assert_eq!(verify_auth(&key, method, &signature, OCTETS), Ok(()));
        assert_eq!(verify_auth(&key, method, &signature, b"others"), Err(BadAuth::Proof));
    }
}

#[test]
fn rsa_signatures_are_taken_with_sha2_in_both_schemes() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let key = PublicKey::from_spki_der(der.as_ref()).unwrap();
    assert_eq!(key.to_spki_der(), der.as_ref());
    let sign = |encoding: &'static dyn RsaEncoding| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), OCTETS, &mut signature).unwrap();
        signature
    };
    // RFC 7427 appendix A.3 has NULL parameters in the hashes of RSASSA-PSS; some leave them out.
    let cases: [(&'static dyn RsaEncoding, &str); 6] = [
        (&signature::RSA_PKCS1_SHA256, "300d06092a864886f70d01010b0500"),
        (&signature::RSA_PKCS1_SHA384, "300d06092a864886f70d01010c0500"),
        (&signature::RSA_PKCS1_SHA512, "300d06092a864886f70d01010d0500"),
        (
            &signature::RSA_PSS_SHA256,
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500\
             a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120",
        ),
        (
            &signature::RSA_PSS_SHA384,
            "303d06092a864886f70d01010a3030a00d300b0609608648016503040202\
             a11a301806092a864886f70d010108300b0609608648016503040202a203020130",
        ),
        (
            &signature::RSA_PSS_SHA512,
            "304206092a864886f70d01010a3035a00d300b0609608648016503040203\
             a11a301806092a864886f70d010108300b0609608648016503040203a203020140a303020101",
        ),
    ];
    for (encoding, identifier) in cases {
        let good = data(identifier, &sign(encoding));
        assert_eq!(verify_auth(&key, METHOD, &good, OCTETS), Ok(()), "{identifier}");
        assert_eq!(verify_auth(&key, METHOD, &good, b"others"), Err(BadAuth::Proof), "{identifier}");
    }
}

#[test]
fn pss_parameters_that_mean_something_else_are_refused() {
    for bad in [
        // None: everything by default, which is SHA-1.
        "300d06092a864886f70d01010a3000",
        // A salt of 20 octets with SHA2-256.
        "304106092a864886f70d01010a3034a00f300d06096086480165030402010500\
         a11c301a06092a864886f70d010108300d06096086480165030402010500a203020114",
        // SHA2-384 for the mask.
        "304106092a864886f70d01010a3034a00f300d06096086480165030402010500\
         a11c301a06092a864886f70d010108300d06096086480165030402020500a203020120",
    ] {
        assert_eq!(Scheme::read(&hex(bad)), None, "{bad}");
    }
}

/// As Python's `hmac` has it.
#[test]
fn a_shared_key_proves_itself() {
    let good = psk_auth(Prf::HmacSha256, b"secret", b"octets");
    assert_eq!(good, hex("93d6b432e988c4c184f49457ef7ddfef938f1179de4120120d1cc523b368d33b"));
    let verify = |key: &[u8], data: &[u8]| verify_psk_auth(Prf::HmacSha256, key, data, b"octets");
    assert_eq!(verify(b"secret", &good), Ok(()));
    assert_eq!(verify(b"Secret", &good), Err(BadAuth::Proof));
    assert_eq!(verify(b"secret", &good[1..]), Err(BadAuth::Proof));
}

#[test]
fn null_authentication_is_bound_to_the_sa_and_the_side() {
    let schedule = schedule();
    let good = null_auth(&schedule, Role::Initiator, OCTETS);
    assert_eq!(good, psk_auth(schedule.prf(), schedule.danger_keys().pi, OCTETS));
    assert_eq!(verify_null_auth(&schedule, Role::Initiator, &good, OCTETS), Ok(()));
    assert_eq!(verify_null_auth(&schedule, Role::Responder, &good, OCTETS), Err(BadAuth::Proof));
}

#[test]
fn signed_octets_have_the_parts_of_the_rfc_in_order() {
    let schedule = schedule();
    let id = Id::fqdn("relay");
    let plain = AuthOctets { message: b"message", nonce: b"nonce", id: &id, intermediate: None };
    let mac = |role| schedule.prf().compute(schedule.authentication_key(role), &[b"\x02\0\0\0relay"]);
    for role in [Role::Initiator, Role::Responder] {
        assert_eq!(plain.build(&schedule, role), [b"messagenonce", mac(role).as_ref()].concat());
    }
    let header = Header {
        initiator_spi: IkeSpi(4),
        responder_spi: IkeSpi(5),
        exchange: Exchange::INTERMEDIATE,
        flags: Flags { initiator: true, response: false },
        message_id: MessageId(1),
    };
    let mut intermediate = IntermediateAuth::default();
    intermediate.add(&schedule, Role::Initiator, &header, PayloadType::KE, b"one");
    intermediate.add(&schedule, Role::Responder, &header.reply(), PayloadType::KE, b"two");
    intermediate.add(&schedule, Role::Initiator, &header, PayloadType::KE, b"three");
    let link = |role, before: &[u8], header: &Header, plain: &[u8]| {
        let front = wire::intermediate_header(header, PayloadType::KE, plain.len());
        let key = schedule.authentication_key(role);
        schedule.prf().compute(key, &[before, &front, plain]).as_ref().to_vec()
    };
    let first = link(Role::Initiator, &[], &header, b"one");
    let second = link(Role::Initiator, &first, &header, b"three");
    let answer = link(Role::Responder, &[], &header.reply(), b"two");
    let octets = AuthOctets { intermediate: Some((&intermediate, MessageId(3))), ..plain };
    let expected = [plain.build(&schedule, Role::Initiator), second, answer, vec![0, 0, 0, 3]].concat();
    assert_eq!(octets.build(&schedule, Role::Initiator), expected);
}
