//! Public keys in the forms that other people's files have them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::network::IdentityKey;

/// Octets in a line of PEM (RFC 7468 section 2).
const PEM_LINE: usize = 64;
/// Octets of the two coordinates of a point of P-256.
const P256_POINT: usize = 64;

/// `SubjectPublicKeyInfo` in PEM (RFC 7468 section 13).
pub(super) fn pem(key: &IdentityKey) -> String {
    let encoded = STANDARD.encode(key.to_spki());
    let mut text = String::from("-----BEGIN PUBLIC KEY-----\n");
    for line in encoded.as_bytes().chunks(PEM_LINE) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text + "-----END PUBLIC KEY-----\n"
}

/// The key as libreswan's `leftecdsakey=` and `leftrsasigkey=` have it: `0s`, and in base64 the point's coordinates
/// (RFC 5903 section 7), or the exponent's length, the exponent and the modulus (RFC 3110 section 2). `None` for
/// kinds of keys that libreswan 4.10 and 5.2 do not know.
#[must_use]
pub fn libreswan_key(key: &IdentityKey) -> Option<String> {
    let octets = match key {
        IdentityKey::Ed25519(_) | IdentityKey::EcdsaP384(_) => return None,
        // A SubjectPublicKeyInfo ends with the point (RFC 5480 section 2.2).
        IdentityKey::EcdsaP256(_) => {
            key.octets().get(key.octets().len().checked_sub(P256_POINT)?..)?.to_vec()
        }
        IdentityKey::Rsa(_) => rfc3110(key.octets())?,
    };
    Some(format!("0s{}", STANDARD.encode(octets)))
}

/// The exponent and modulus of an RSA key, from its `SubjectPublicKeyInfo` (RFC 3279 section 2.3.1).
fn rfc3110(spki: &[u8]) -> Option<Vec<u8>> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    let (spki, _) = der(spki, SEQUENCE)?;
    let (_, rest) = der(spki, SEQUENCE)?;
    let (bits, _) = der(rest, BIT_STRING)?;
    let (key, _) = der(bits.strip_prefix(&[0])?, SEQUENCE)?;
    let (modulus, rest) = der(key, INTEGER)?;
    let (exponent, _) = der(rest, INTEGER)?;
    let unsigned = |number: &'_ [u8]| number.strip_prefix(&[0]).unwrap_or(number).to_vec();
    let (modulus, exponent) = (unsigned(modulus), unsigned(exponent));
    let length = u8::try_from(exponent.len()).ok()?;
    Some([vec![length], exponent, modulus].concat())
}

/// The content of the first element, which has to have this tag, and what follows it (X.690 section 8.1).
fn der(octets: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = octets.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (length.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_rsa_keys_have_no_form() {
        for damaged in [&[][..], &[0x30], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 0x84, 255, 255, 255, 255]] {
            assert_eq!(rfc3110(damaged), None);
        }
    }
}
