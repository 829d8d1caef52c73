//! Private keys of relays and operators, and the files they are in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Document, Ed25519Key, Name, Signature};
use crate::entropy::Entropy;
use crate::ike::crypto::{PublicKey, SigningKey};

/// An Ed25519 private key (RFC 8032): wiped when dropped, absent from `Debug`.
pub struct PrivateKey {
    seed: Zeroizing<[u8; 32]>,
    key: SigningKey,
    public: Ed25519Key,
}

/// What a private key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A relay proves who it is.
    Identity,
    /// An operator signs network documents.
    Operator,
}

/// Text that is no private key. The text itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeyFile {
    /// No block of PEM.
    #[error("expected a block from -----BEGIN PRIVATE KEY----- to -----END PRIVATE KEY-----")]
    NoBlock,
    /// More than one block, and no word which.
    #[error("more than one private key: expected one")]
    Several,
    /// A private key of another kind.
    #[error("private key: expected base64 of an Ed25519 key in PKCS #8 (RFC 8410 section 7)")]
    NotEd25519,
    /// The library refuses the key.
    #[error("private key: expected one that Ed25519 can sign with")]
    Unusable,
}

/// `PrivateKeyInfo { 0, { id-Ed25519 }, OCTET STRING { OCTET STRING } }` up to the seed (RFC 8410 section 7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Characters of base64 for [`PKCS8`] and a seed.
const ENCODED: usize = 64;

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    /// [`BadKeyFile::Unusable`] when the library refuses it, which no seed is known to make it do.
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, BadKeyFile> {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.secret_fill(&mut *seed);
        Self::from_seed(seed)
    }

    /// The key that `seed` (the private key of RFC 8032 section 5.1.5) stands for.
    ///
    /// # Errors
    /// [`BadKeyFile::Unusable`] when the library refuses it.
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, BadKeyFile> {
        let key = SigningKey::from_seed(&seed).map_err(|_| BadKeyFile::Unusable)?;
        let PublicKey::Ed25519(octets) = key.public() else { return Err(BadKeyFile::Unusable) };
        let public = Ed25519Key::new(octets).map_err(|_| BadKeyFile::Unusable)?;
        Ok(Self { seed, key, public })
    }

    /// Reads a key file: PKCS #8 in PEM (RFC 7468 section 10), with any text before and after.
    ///
    /// # Errors
    /// [`BadKeyFile`] for anything but one Ed25519 key.
    pub fn from_pem(text: &str) -> Result<Self, BadKeyFile> {
        let (_, rest) = text.split_once(BEGIN).ok_or(BadKeyFile::NoBlock)?;
        let (block, after) = rest.split_once(END).ok_or(BadKeyFile::NoBlock)?;
        if after.contains(BEGIN) {
            return Err(BadKeyFile::Several);
        }
        let mut encoded = Zeroizing::new(Vec::with_capacity(block.len()));
        encoded.extend(block.bytes().filter(|octet| !octet.is_ascii_whitespace()));
        // Base64 may write a little more than it decodes to.
        let mut octets = Zeroizing::new([0; ENCODED]);
        if encoded.len() != ENCODED {
            return Err(BadKeyFile::NotEd25519);
        }
        let length = STANDARD.decode_slice(&*encoded, &mut *octets).map_err(|_| BadKeyFile::NotEd25519)?;
        let seed = octets[..length].strip_prefix(&PKCS8).ok_or(BadKeyFile::NotEd25519)?;
        let mut copy = Zeroizing::new([0; 32]);
        if seed.len() != copy.len() {
            return Err(BadKeyFile::NotEd25519);
        }
        copy.copy_from_slice(seed);
        Self::from_seed(copy)
    }

    /// The text of a key file, with lines before the key that say what it is for and what its public key is.
    #[must_use]
    pub fn to_pem(&self, purpose: Purpose, name: Option<&Name>) -> Zeroizing<String> {
        let mut octets = Zeroizing::new([0; PKCS8.len() + 32]);
        octets[..PKCS8.len()].copy_from_slice(&PKCS8);
        octets[PKCS8.len()..].copy_from_slice(&*self.seed);
        let mut encoded = Zeroizing::new([0; ENCODED]);
        let length = STANDARD.encode_slice(octets.as_slice(), encoded.as_mut_slice()).unwrap_or(0);
        let encoded = std::str::from_utf8(&encoded[..length]).unwrap_or_default();
        // Room for all of it at once, so that growing leaves no copy of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(512));
        text.push_str("# ippriv private key of ");
        text.push_str(match purpose {
            Purpose::Identity => "a relay, for its identity",
            Purpose::Operator => "an operator, to sign network documents",
        });
        if let Some(name) = name {
            text.push_str(": ");
            text.push_str(name.as_str());
        }
        text.push_str("\n# public key: ");
        text.push_str(&self.public.to_string());
        for piece in ["\n", BEGIN, "\n", encoded, "\n", END, "\n"] {
            text.push_str(piece);
        }
        text
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> Ed25519Key {
        self.public
    }

    /// The key that IKE signs with.
    #[must_use]
    pub fn into_signing_key(self) -> SigningKey {
        self.key
    }

    /// Signs a document as `operator`.
    #[must_use]
    pub fn sign(&self, document: &Document, operator: Name) -> Signature {
        Signature { operator, octets: self.key.sign(&document.canonical()) }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Seeded;

    /// RFC 8410 section 10.3.
    const RFC_8410: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let key = PrivateKey::from_pem(RFC_8410).unwrap();
        assert_eq!(key.public().to_string(), "ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
        assert!(key.to_pem(Purpose::Identity, None).ends_with(RFC_8410));
    }

    #[test]
    fn a_key_file_says_whose_it_is_and_is_read_back() {
        let key = PrivateKey::generate(&mut Seeded::new([1; 32])).unwrap();
        let name = "alice".parse().unwrap();
        let text = key.to_pem(Purpose::Operator, Some(&name));
        let expected = format!(
            "# ippriv private key of an operator, to sign network documents: alice\n# public key: {}\n",
            key.public()
        );
        assert!(text.starts_with(&expected), "{}", text.lines().next().unwrap());
        assert_eq!(PrivateKey::from_pem(&text).unwrap().public(), key.public());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        use BadKeyFile::{NoBlock, NotEd25519, Several};
        for (text, expected) in [
            (String::new(), NoBlock),
            (RFC_8410.replace("PRIVATE", "PUBLIC"), NoBlock),
            (RFC_8410.replace("-----END", "----END"), NoBlock),
            (RFC_8410.repeat(2), Several),
            (RFC_8410.replace("MC4C", "MC4D"), NotEd25519),
            (RFC_8410.replace("MC4C", ""), NotEd25519),
            (RFC_8410.replace("MC4C", "!!!!"), NotEd25519),
        ] {
            assert_eq!(PrivateKey::from_pem(&text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn debug_shows_the_public_key_and_nothing_else() {
        let key = PrivateKey::from_pem(RFC_8410).unwrap();
        assert_eq!(format!("{key:?}"), format!("PrivateKey(of {})", key.public()));
    }
}
