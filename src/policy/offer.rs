//! Cipher policies as the offers of IKE.

use super::{CipherPolicy, PostQuantum};
use crate::ike::proposal::{EspOffer, IkeOffer, IkeProposal};
use crate::ike::wire::KeMethod;
use crate::suite::SequenceNumbers;

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
                let (encryption, integrity, prf) = cipher.algorithms();
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

    /// What is offered for ESP SAs: with a key exchange of their own when they are replaced, or without; and with
    /// ML-KEM-768 after it, as far as the policy allows.
    #[must_use]
    pub fn esp_offer(&self) -> EspOffer {
        let mut ke: Vec<KeMethod> = self.key_exchange.iter().map(|method| method.method()).collect();
        ke.push(KeMethod::NONE);
        EspOffer {
            suites: self.esp.clone(),
            sequence: vec![SequenceNumbers::Extended, SequenceNumbers::Short],
            ke,
            additional: match self.post_quantum {
                PostQuantum::Preferred => vec![vec![KeMethod::MLKEM768, KeMethod::NONE]],
                PostQuantum::Required => vec![vec![KeMethod::MLKEM768]],
                PostQuantum::Off => Vec::new(),
            },
        }
    }
}
