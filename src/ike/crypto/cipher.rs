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
