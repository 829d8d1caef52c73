//! Cipher policies as the offers of IKE.

use super::{CipherPolicy, IkeCipher, KeyExchangeMethod, PostQuantum};
use crate::ike::crypto::{Encryption, Integrity, Prf};
use crate::ike::proposal::{EspOffer, IkeOffer, IkeProposal};
use crate::ike::wire::KeMethod;
use crate::suite::SequenceNumbers;

impl KeyExchangeMethod {
    /// The method in IKE.
    #[must_use]
    pub const fn method(self) -> KeMethod {
        match self {
            Self::X25519 => KeMethod::X25519,
            Self::P256 => KeMethod::P256,
            Self::P384 => KeMethod::P384,
        }
    }
}

impl IkeCipher {
    const fn parts(self) -> (Encryption, Option<Integrity>, Prf) {
        match self {
            Self::AesGcm128Sha256 => (Encryption::AesGcm128, None, Prf::HmacSha256),
            Self::AesGcm256Sha384 => (Encryption::AesGcm256, None, Prf::HmacSha384),
            Self::ChaCha20Poly1305Sha256 => (Encryption::ChaCha20Poly1305, None, Prf::HmacSha256),
            Self::AesCbc128Sha256 => {
                (Encryption::AesCbc128, Some(Integrity::HmacSha256_128), Prf::HmacSha256)
            }
            Self::AesCbc256Sha384 => {
                (Encryption::AesCbc256, Some(Integrity::HmacSha384_192), Prf::HmacSha384)
            }
        }
    }
}

impl CipherPolicy {
    /// What is offered for IKE SAs: a proposal for each cipher, so that ciphers and PRFs stay together; with
    /// ML-KEM-768 first, and without it after, as far as the policy allows (RFC 9370).
    #[must_use]
    pub fn ike_offer(&self) -> IkeOffer {
        let ke: Vec<KeMethod> = self.key_exchange.iter().map(|method| method.method()).collect();
        let rounds: &[Vec<Vec<KeMethod>>] = &match self.post_quantum {
            PostQuantum::Preferred => vec![vec![vec![KeMethod::MLKEM768]], vec![]],
            PostQuantum::Required => vec![vec![vec![KeMethod::MLKEM768]]],
            PostQuantum::Off => vec![vec![]],
        };
        let mut offer = Vec::with_capacity(rounds.len() * self.ike.len());
        for additional in rounds {
            for cipher in &self.ike {
                let (encryption, integrity, prf) = cipher.parts();
                offer.push(IkeProposal {
                    encryption: vec![encryption],
                    integrity: integrity.into_iter().collect(),
                    prf: vec![prf],
                    ke: ke.clone(),
                    additional: additional.clone(),
                });
            }
        }
        IkeOffer(offer)
    }

    /// What is offered for ESP SAs: with a key exchange of their own when they are replaced, or without.
    #[must_use]
    pub fn esp_offer(&self) -> EspOffer {
        let mut ke: Vec<KeMethod> = self.key_exchange.iter().map(|method| method.method()).collect();
        ke.push(KeMethod::NONE);
        EspOffer {
            suites: self.esp.clone(),
            sequence: vec![SequenceNumbers::Extended],
            ke,
            additional: Vec::new(),
        }
    }
}
