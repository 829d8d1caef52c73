//! What the AUTH payload says, and over what (RFC 7296 §2.15, RFC 7427, RFC 7619, RFC 9242 §3.3).

use aws_lc_rs::constant_time;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use super::algorithm::Prf;
use super::der::{self, Reader};
use super::key::{PublicKey, SigningKey};
use super::schedule::{KeySchedule, Role};
use crate::ike::wire::{self, AuthMethod, HashId, Header, Id, MessageId, PayloadType};

/// The hashes for our SIGNATURE_HASH_ALGORITHMS notification: those [`verify_auth`] takes.
pub const SIGNATURE_HASHES: [HashId; 4] =
    [HashId::IDENTITY, HashId::SHA2_256, HashId::SHA2_384, HashId::SHA2_512];

/// What one side's AUTH payload covers.
#[derive(Debug, Clone, Copy)]
pub struct AuthOctets<'a> {
    /// The signer's IKE_SA_INIT message, from the first octet of its header; the last one sent, when a cookie
    /// or another key exchange was asked for.
    pub message: &'a [u8],
    /// The other side's nonce.
    pub nonce: &'a [u8],
    /// The signer's identity.
    pub id: &'a Id,
    /// The IKE_INTERMEDIATE exchanges and the message id of the first IKE_AUTH message, if there were any.
    pub intermediate: Option<(&'a IntermediateAuth, MessageId)>,
}

/// The chained MACs over all IKE_INTERMEDIATE messages, one for each side (RFC 9242 §3.3.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntermediateAuth {
    initiator: Vec<u8>,
    responder: Vec<u8>,
}

/// Why a peer has not proven who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAuth {
    /// A method that is not taken from anyone.
    #[error("authentication method {0}: expected a digital signature (14) or ECDSA (9, 10)")]
    Method(AuthMethod),
    /// A signature with an algorithm that is not taken from anyone.
    #[error("signature algorithm: expected Ed25519, or ECDSA or RSA with SHA-2")]
    Algorithm,
    /// A signature with another algorithm than the key's.
    #[error("signature algorithm: expected the one of the peer's key")]
    OtherKey,
    /// The proof is wrong: not made with the key, or not for this IKE SA.
    #[error("authentication data: expected a proof by the peer's key for this IKE SA")]
    Proof,
}

impl AuthOctets<'_> {
    /// Puts them together for `signer`, whose `SK_p` key covers the identity.
    #[must_use]
    pub fn build(&self, schedule: &KeySchedule, signer: Role) -> Vec<u8> {
        let mac = schedule.prf().compute(schedule.authentication_key(signer), &[&self.id.body()]);
        let mut octets = Vec::with_capacity(self.message.len() + self.nonce.len() + 3 * 64 + 4);
        octets.extend_from_slice(self.message);
        octets.extend_from_slice(self.nonce);
        octets.extend_from_slice(mac.as_ref());
        if let Some((intermediate, message_id)) = self.intermediate {
            octets.extend_from_slice(&intermediate.initiator);
            octets.extend_from_slice(&intermediate.responder);
            octets.extend_from_slice(&message_id.0.to_be_bytes());
        }
        octets
    }
}

impl IntermediateAuth {
    /// Adds a message of `sender`. `plain` is its payloads in clear, put together from all fragments, and
    /// `first` the type of the first of them. `schedule` is the one the message was protected with, before
    /// any [`KeySchedule::updated`] it leads to.
    pub fn add(
        &mut self,
        schedule: &KeySchedule,
        sender: Role,
        header: &Header,
        first: PayloadType,
        plain: &[u8],
    ) {
        let chain = match sender {
            Role::Initiator => &mut self.initiator,
            Role::Responder => &mut self.responder,
        };
        let front = wire::intermediate_header(header, first, plain.len());
        let mac = schedule.prf().compute(schedule.authentication_key(sender), &[chain, &front, plain]);
        *chain = mac.as_ref().to_vec();
    }
}

/// The data of an AUTH payload with [`AuthMethod::DIGITAL_SIGNATURE`] (RFC 7427 §3, RFC 8420).
#[must_use]
pub fn sign_auth(key: &SigningKey, octets: &[u8]) -> Vec<u8> {
    let signature = key.sign(octets);
    let mut data = Vec::with_capacity(1 + ED25519.len() + signature.len());
    data.push(ED25519_LENGTH);
    data.extend_from_slice(&ED25519);
    data.extend_from_slice(&signature);
    data
}

/// Checks the data of an AUTH payload with a signature. [`AuthMethod::RSA_SIGNATURE`] is refused, for it
/// means SHA-1 to many.
///
/// # Errors
/// [`BadAuth`] when `data` does not prove that the owner of `key` has signed `octets`.
pub fn verify_auth(key: &PublicKey, method: AuthMethod, data: &[u8], octets: &[u8]) -> Result<(), BadAuth> {
    let (algorithm, signature) = match (method, key) {
        (AuthMethod::DIGITAL_SIGNATURE, _) => {
            let (length, rest) = data.split_first().ok_or(BadAuth::Algorithm)?;
            let (identifier, signature) =
                rest.split_at_checked((*length).into()).ok_or(BadAuth::Algorithm)?;
            let scheme = Scheme::read(identifier).ok_or(BadAuth::Algorithm)?;
            (scheme.with(key).ok_or(BadAuth::OtherKey)?, signature)
        }
        (AuthMethod::ECDSA_SHA256_P256, PublicKey::EcdsaP256(_)) => {
            (&signature::ECDSA_P256_SHA256_FIXED as &'static dyn VerificationAlgorithm, data)
        }
        (AuthMethod::ECDSA_SHA384_P384, PublicKey::EcdsaP384(_)) => {
            (&signature::ECDSA_P384_SHA384_FIXED as _, data)
        }
        (AuthMethod::ECDSA_SHA256_P256 | AuthMethod::ECDSA_SHA384_P384, _) => return Err(BadAuth::OtherKey),
        _ => return Err(BadAuth::Method(method)),
    };
    let key: &[u8] = match key {
        PublicKey::Ed25519(key) => key,
        PublicKey::EcdsaP256(point) => point,
        PublicKey::EcdsaP384(point) => point,
        PublicKey::Rsa(der) => der,
    };
    UnparsedPublicKey::new(algorithm, key).verify(octets, signature).map_err(|_| BadAuth::Proof)
}

/// The data of an AUTH payload with [`AuthMethod::SHARED_KEY`] (RFC 7296 §2.15).
#[must_use]
pub fn psk_auth(prf: Prf, key: &[u8], octets: &[u8]) -> Vec<u8> {
    let padded = prf.compute(key, &[b"Key Pad for IKEv2"]);
    prf.compute(padded.as_ref(), &[octets]).as_ref().to_vec()
}

/// Checks the data of an AUTH payload with [`AuthMethod::SHARED_KEY`], in constant time.
///
/// # Errors
/// [`BadAuth::Proof`] when it was made with another key or over other octets.
pub fn verify_psk_auth(prf: Prf, key: &[u8], data: &[u8], octets: &[u8]) -> Result<(), BadAuth> {
    constant_time::verify_slices_are_equal(&psk_auth(prf, key, octets), data).map_err(|_| BadAuth::Proof)
}

/// The data of an AUTH payload with [`AuthMethod::NULL`]: a shared key that is `SK_pi` or `SK_pr`
/// (RFC 7619 §2.1). It says that both sides have seen the same IKE_SA_INIT, not who they are.
#[must_use]
pub fn null_auth(schedule: &KeySchedule, signer: Role, octets: &[u8]) -> Vec<u8> {
    psk_auth(schedule.prf(), schedule.authentication_key(signer), octets)
}

/// Checks the data of an AUTH payload with [`AuthMethod::NULL`], in constant time.
///
/// # Errors
/// [`BadAuth::Proof`] when it was made for another IKE SA or over other octets.
pub fn verify_null_auth(
    schedule: &KeySchedule,
    signer: Role,
    data: &[u8],
    octets: &[u8],
) -> Result<(), BadAuth> {
    verify_psk_auth(schedule.prf(), schedule.authentication_key(signer), data, octets)
}

/// How to sign, as an AlgorithmIdentifier tells it (RFC 7427 appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Ed25519,
    Ecdsa(Hash),
    RsaPkcs1(Hash),
    RsaPss(Hash),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// AlgorithmIdentifier of Ed25519 (RFC 8420 appendix A).
const ED25519: [u8; 7] = [der::SEQUENCE, 5, der::OID, 3, 0x2b, 0x65, 0x70];
const ED25519_LENGTH: u8 = 7;

/// `ecdsa-with-SHA2` without its last octet (RFC 5758 §3.2).
const ECDSA_SHA2: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];
/// `pkcs-1` (RFC 8017 appendix A).
const PKCS1: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
const MGF1: u8 = 8;
const RSASSA_PSS: u8 = 10;
/// `hashAlgs` of NIST.
const NIST_HASH: [u8; 8] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];

impl Scheme {
    fn read(identifier: &[u8]) -> Option<Self> {
        if identifier == ED25519 {
            return Some(Self::Ed25519);
        }
        let mut outer = Reader(identifier);
        let mut fields = outer.enter(der::SEQUENCE)?;
        outer.end()?;
        let (last, arc) = fields.take(der::OID)?.split_last()?;
        if arc == ECDSA_SHA2 {
            fields.end()?;
            let hash = match last {
                2 => Hash::Sha256,
                3 => Hash::Sha384,
                4 => Hash::Sha512,
                _ => return None,
            };
            return Some(Self::Ecdsa(hash));
        }
        if arc != PKCS1 {
            return None;
        }
        if *last == RSASSA_PSS {
            return read_pss(fields).map(Self::RsaPss);
        }
        null_or_nothing(fields)?;
        match last {
            11 => Some(Self::RsaPkcs1(Hash::Sha256)),
            12 => Some(Self::RsaPkcs1(Hash::Sha384)),
            13 => Some(Self::RsaPkcs1(Hash::Sha512)),
            _ => None,
        }
    }

    /// The library's algorithm, if the scheme is one of `key`'s.
    fn with(self, key: &PublicKey) -> Option<&'static dyn VerificationAlgorithm> {
        use Hash::{Sha256, Sha384, Sha512};
        Some(match (self, key) {
            (Self::Ed25519, PublicKey::Ed25519(_)) => &signature::ED25519,
            (Self::Ecdsa(Sha256), PublicKey::EcdsaP256(_)) => &signature::ECDSA_P256_SHA256_ASN1,
            (Self::Ecdsa(Sha384), PublicKey::EcdsaP256(_)) => &signature::ECDSA_P256_SHA384_ASN1,
            (Self::Ecdsa(Sha512), PublicKey::EcdsaP256(_)) => &signature::ECDSA_P256_SHA512_ASN1,
            (Self::Ecdsa(Sha256), PublicKey::EcdsaP384(_)) => &signature::ECDSA_P384_SHA256_ASN1,
            (Self::Ecdsa(Sha384), PublicKey::EcdsaP384(_)) => &signature::ECDSA_P384_SHA384_ASN1,
            (Self::Ecdsa(Sha512), PublicKey::EcdsaP384(_)) => &signature::ECDSA_P384_SHA512_ASN1,
            (Self::RsaPkcs1(Sha256), PublicKey::Rsa(_)) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Self::RsaPkcs1(Sha384), PublicKey::Rsa(_)) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Self::RsaPkcs1(Sha512), PublicKey::Rsa(_)) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Self::RsaPss(Sha256), PublicKey::Rsa(_)) => &signature::RSA_PSS_2048_8192_SHA256,
            (Self::RsaPss(Sha384), PublicKey::Rsa(_)) => &signature::RSA_PSS_2048_8192_SHA384,
            (Self::RsaPss(Sha512), PublicKey::Rsa(_)) => &signature::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }
}

/// `RSASSA-PSS-params` (RFC 8017 appendix A.2.3) with one SHA-2 hash for both purposes and a salt as long as
/// its output, which is what the library checks. The defaults mean SHA-1, so all three must be there.
fn read_pss(mut fields: Reader<'_>) -> Option<Hash> {
    let mut parameters = fields.enter(der::SEQUENCE)?;
    fields.end()?;
    let hash = read_hash(parameters.enter(0xa0)?)?;
    let mut mask = parameters.enter(0xa1)?;
    let mut generator = mask.enter(der::SEQUENCE)?;
    mask.end()?;
    let (last, arc) = generator.take(der::OID)?.split_last()?;
    if arc != PKCS1 || *last != MGF1 || read_hash(generator)? != hash {
        return None;
    }
    let mut salt = parameters.enter(0xa2)?;
    let length = salt.take(der::INTEGER)?;
    salt.end()?;
    let expected = match hash {
        Hash::Sha256 => 32,
        Hash::Sha384 => 48,
        Hash::Sha512 => 64,
    };
    if length != [expected] {
        return None;
    }
    // `trailerField`, by its default and by any other sane value 1.
    if parameters.end().is_none() {
        let mut trailer = parameters.enter(0xa3)?;
        let one = trailer.take(der::INTEGER)? == [1];
        trailer.end()?;
        parameters.end()?;
        return one.then_some(hash);
    }
    Some(hash)
}

fn read_hash(mut outer: Reader<'_>) -> Option<Hash> {
    let mut fields = outer.enter(der::SEQUENCE)?;
    outer.end()?;
    let (last, arc) = fields.take(der::OID)?.split_last()?;
    null_or_nothing(fields)?;
    if arc != NIST_HASH {
        return None;
    }
    match last {
        1 => Some(Hash::Sha256),
        2 => Some(Hash::Sha384),
        3 => Some(Hash::Sha512),
        _ => None,
    }
}

/// Parameters that are NULL; some leave them out (RFC 4055 §2.1 has receivers take both).
fn null_or_nothing(mut fields: Reader<'_>) -> Option<()> {
    if fields.end().is_none() {
        fields.take(der::NULL).filter(|contents| contents.is_empty())?;
    }
    fields.end()
}

#[cfg(test)]
mod tests;
