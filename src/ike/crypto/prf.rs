//! `prf` and `prf+` (RFC 7296 §2.13).

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::algorithm::Prf;

/// The most octets [`Prf::expand`] gives are this many outputs: its counter is one octet.
const MOST_OUTPUTS: usize = 255;

impl Prf {
    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha384 => hmac::HMAC_SHA384,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        }
    }

    /// `prf(key, parts[0] | parts[1] | ...)`; octets of the result are [`Self::output_octets`].
    pub(super) fn compute(self, key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&hmac::Key::new(self.hmac(), key));
        for part in parts {
            context.update(part);
        }
        context.sign()
    }

    /// The first `length` octets of `prf+(key, seed[0] | seed[1] | ...)`, or as many as `prf+` is defined
    /// for, which is 5,100 for the shortest function.
    pub(super) fn expand(self, key: &[u8], seed: &[&[u8]], length: usize) -> Zeroizing<Vec<u8>> {
        let step = self.output_octets();
        let length = length.min(MOST_OUTPUTS * step);
        let mut output = Zeroizing::new(Vec::with_capacity(length));
        let key = hmac::Key::new(self.hmac(), key);
        for counter in 1..=u8::MAX {
            if output.len() == length {
                break;
            }
            let mut context = hmac::Context::with_key(&key);
            context.update(&output[output.len().saturating_sub(step)..]);
            for part in seed {
                context.update(part);
            }
            context.update(&[counter]);
            let block = context.sign();
            let wanted = step.min(length - output.len());
            output.extend_from_slice(&block.as_ref()[..wanted]);
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::KeyMaterial;

    fn hex(text: &str) -> Vec<u8> {
        KeyMaterial::from_hex(text).unwrap().expose().to_vec()
    }

    /// RFC 4231 §4.3, test case 2.
    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let cases = [
            (Prf::HmacSha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Prf::HmacSha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Prf::HmacSha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
                 caeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (function, expected) in cases {
            let found = function.compute(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
            assert_eq!(found.as_ref(), hex(expected), "{function}");
        }
    }

    /// RFC 2202 §3, test case 2.
    #[test]
    fn hmac_sha1_is_that_of_rfc_2202() {
        let found = Prf::HmacSha1.compute(b"Jefe", &[b"what do ya want for nothing?"]);
        assert_eq!(found.as_ref(), hex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"));
    }

    #[test]
    fn expansion_chains_its_outputs() {
        for function in Prf::ALL {
            let first = function.compute(b"key", &[b"seed", &[1]]);
            let second = function.compute(b"key", &[first.as_ref(), b"seed", &[2]]);
            let both = [first.as_ref(), second.as_ref()].concat();
            let length = function.output_octets() + 7;
            assert_eq!(function.expand(b"key", &[b"se", b"ed"], length)[..], both[..length], "{function}");
        }
    }

    #[test]
    fn expansion_ends_where_its_counter_does() {
        assert_eq!(Prf::HmacSha1.expand(b"key", &[b"seed"], usize::MAX).len(), 5100);
        assert!(Prf::HmacSha1.expand(b"key", &[b"seed"], 0).is_empty());
    }
}
