//! Encryption in place: AEAD (RFC 5282, RFC 7634), or CBC and a MAC over the result (RFC 7296 §3.14).

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time;

use super::algorithm::{Encryption, Integrity};

/// The keys of one direction of an IKE SA.
#[derive(Clone, Copy)]
pub(super) struct Cipher<'a> {
    pub(super) encryption: Encryption,
    pub(super) integrity: Option<Integrity>,
    /// `SK_e`, with the salt of an AEAD at its end.
    pub(super) key: &'a [u8],
    /// `SK_a`, empty with an AEAD.
    pub(super) integrity_key: &'a [u8],
}

/// The keys do not fit the algorithms, the octets are no multiple of a block, or the ICV is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed;

const SALT: usize = 4;

impl Cipher<'_> {
    /// Octets of the ICV.
    pub(super) const fn icv_octets(&self) -> usize {
        match self.integrity {
            Some(integrity) => integrity.icv_octets(),
            None => 16,
        }
    }

    /// The IV of the message with this number, which may be used once: the number itself for an AEAD
    /// (RFC 5282 §3.1), and for CBC one that nobody can foresee. The latter is the PRF of the number under the
    /// integrity key, of which no ICV says anything: what those cover is always longer.
    pub(super) fn write_iv(&self, number: u64, iv: &mut [u8]) {
        let number = number.to_be_bytes();
        match self.integrity {
            None => iv.copy_from_slice(&number),
            Some(integrity) => {
                let mac = integrity.prf().compute(self.integrity_key, &[&number]);
                iv.copy_from_slice(&mac.as_ref()[..iv.len()]);
            }
        }
    }

    /// Encrypts what is between IV and ICV of `body` and writes the ICV.
    pub(super) fn seal(&self, aad: &[u8], body: &mut [u8]) -> Result<(), Failed> {
        let (iv, rest) = body.split_at_mut_checked(self.encryption.iv_octets()).ok_or(Failed)?;
        let length = rest.len().checked_sub(self.icv_octets()).ok_or(Failed)?;
        let (text, icv) = rest.split_at_mut(length);
        if let Some(integrity) = self.integrity {
            self.cbc(iv, text, Way::Encrypt)?;
            let mac = integrity.prf().compute(self.integrity_key, &[aad, iv, text]);
            icv.copy_from_slice(&mac.as_ref()[..icv.len()]);
            return Ok(());
        }
        let (key, nonce) = self.aead(iv)?;
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).map_err(|_| Failed)?;
        icv.copy_from_slice(tag.as_ref());
        Ok(())
    }

    /// Checks the ICV of `body` and gives what is between it and the IV, decrypted.
    pub(super) fn open(&self, aad: &[u8], body: &[u8]) -> Result<Vec<u8>, Failed> {
        let (iv, rest) = body.split_at_checked(self.encryption.iv_octets()).ok_or(Failed)?;
        let length = rest.len().checked_sub(self.icv_octets()).ok_or(Failed)?;
        let (text, icv) = rest.split_at(length);
        if let Some(integrity) = self.integrity {
            let mac = integrity.prf().compute(self.integrity_key, &[aad, iv, text]);
            constant_time::verify_slices_are_equal(&mac.as_ref()[..icv.len()], icv).map_err(|_| Failed)?;
            let mut plain = text.to_vec();
            self.cbc(iv, &mut plain, Way::Decrypt)?;
            return Ok(plain);
        }
        let (key, nonce) = self.aead(iv)?;
        let mut plain = vec![0; text.len()];
        key.open_separate_gather(nonce, Aad::from(aad), text, icv, &mut plain).map_err(|_| Failed)?;
        Ok(plain)
    }

    fn aead(&self, iv: &[u8]) -> Result<(LessSafeKey, Nonce), Failed> {
        let algorithm = match self.encryption {
            Encryption::AesGcm128 => &aead::AES_128_GCM,
            Encryption::AesGcm256 => &aead::AES_256_GCM,
            Encryption::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            Encryption::AesCbc128 | Encryption::AesCbc256 => return Err(Failed),
        };
        let length = self.key.len().checked_sub(SALT).ok_or(Failed)?;
        let (key, salt) = self.key.split_at(length);
        let mut nonce = [0; aead::NONCE_LEN];
        let (front, back) = nonce.split_at_mut(SALT);
        front.copy_from_slice(salt);
        if iv.len() != back.len() {
            return Err(Failed);
        }
        back.copy_from_slice(iv);
        let key = UnboundKey::new(algorithm, key).map_err(|_| Failed)?;
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce)))
    }

    fn cbc(&self, iv: &[u8], text: &mut [u8], way: Way) -> Result<(), Failed> {
        match self.encryption {
            Encryption::AesCbc128 => run::<aes::Aes128>(self.key, iv, text, way),
            Encryption::AesCbc256 => run::<aes::Aes256>(self.key, iv, text, way),
            Encryption::AesGcm128 | Encryption::AesGcm256 | Encryption::ChaCha20Poly1305 => Err(Failed),
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    Encrypt,
    Decrypt,
}

fn run<C>(key: &[u8], iv: &[u8], text: &mut [u8], way: Way) -> Result<(), Failed>
where
    C: aes::cipher::BlockCipherEncrypt + aes::cipher::BlockCipherDecrypt + aes::cipher::KeyInit,
{
    let length = text.len();
    match way {
        Way::Encrypt => {
            let cipher = cbc::Encryptor::<C>::new_from_slices(key, iv).map_err(|_| Failed)?;
            cipher.encrypt_padded::<NoPadding>(text, length).map_err(|_| Failed)?;
        }
        Way::Decrypt => {
            let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).map_err(|_| Failed)?;
            cipher.decrypt_padded::<NoPadding>(text).map_err(|_| Failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::KeyMaterial;

    /// The IKE message of RFC 7634 appendix B, and what Python's `cryptography` makes of the same with
    /// AES-GCM (RFC 5282).
    #[test]
    fn aead_messages_are_those_of_rfc_7634_and_of_another_implementation() {
        let hex = |text| KeyMaterial::from_hex(text).unwrap().expose().to_vec();
        let aad = hex("c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029");
        let iv = hex("1011121314151617");
        let plain = hex("0000000c000040010000000a00");
        let key: Vec<u8> = (0x80..0xa4).collect();
        let short = [&key[..16], &key[32..]].concat();
        for (encryption, key, expected) in [
            (
                Encryption::ChaCha20Poly1305,
                &key,
                "610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2",
            ),
            (Encryption::AesGcm256, &key, "9440c4dcb893200cfb55f6fdcc30045d78376cd938f8f24d89b4ab48f2"),
            (Encryption::AesGcm128, &short, "9146c4ffacb89c2bc9f175a7fa300a7cc3736a7d6febaa1cde9ff2970d"),
        ] {
            let cipher = Cipher { encryption, integrity: None, key, integrity_key: &[] };
            let mut body = [&iv[..], &plain, &[0; 16]].concat();
            cipher.seal(&aad, &mut body).unwrap();
            assert_eq!(body[8..], hex(expected), "{encryption}");
            assert_eq!(cipher.open(&aad, &body).unwrap(), plain, "{encryption}");
        }
    }

    /// RFC 3602 §4, case 2.
    #[test]
    fn cbc_is_that_of_rfc_3602() {
        let hex = |text| KeyMaterial::from_hex(text).unwrap().expose().to_vec();
        let key = hex("c286696d887c9aa0611bbb3e2025a45a");
        let plain: Vec<u8> = (0..32).collect();
        let integrity = Some(Integrity::HmacSha1_96);
        let cipher =
            Cipher { encryption: Encryption::AesCbc128, integrity, key: &key, integrity_key: &[1; 20] };
        let mut body = [hex("562e17996d093d28ddb3ba695a2e6f58"), plain, vec![0; 12]].concat();
        cipher.seal(&[], &mut body).unwrap();
        assert_eq!(body[16..48], hex("d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1"));
    }

    #[test]
    fn keys_and_algorithms_that_do_not_fit_fail() {
        let cipher =
            |encryption, integrity, key| Cipher { encryption, integrity, key, integrity_key: &[1; 20] };
        let sha1 = Some(Integrity::HmacSha1_96);
        let refused = [
            cipher(Encryption::AesGcm128, None, &[0; 21][..]),
            cipher(Encryption::AesGcm128, None, &[0; 3]),
            cipher(Encryption::AesGcm128, sha1, &[0; 20]),
            cipher(Encryption::AesCbc128, None, &[0; 16]),
            cipher(Encryption::AesCbc128, sha1, &[0; 32]),
        ];
        for cipher in refused {
            assert_eq!(cipher.seal(&[], &mut [0; 64]), Err(Failed));
        }
        let uneven = cipher(Encryption::AesCbc128, sha1, &[0; 16]);
        assert_eq!(uneven.seal(&[], &mut [0; 16 + 17 + 12]), Err(Failed));
    }
}
