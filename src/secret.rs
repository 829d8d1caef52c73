//! Key material that wipes itself and never prints itself.

use std::fmt;

use zeroize::Zeroizing;

/// Secret octets: wiped when dropped, absent from `Debug`, compared without leaving early.
#[derive(Clone)]
pub struct KeyMaterial(Zeroizing<Vec<u8>>);

/// Text that is not hexadecimal key material. The text itself is not repeated, for it may be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key: expected pairs of hexadecimal digits, found {length} characters that are not")]
pub struct NotHex {
    length: usize,
}

impl KeyMaterial {
    /// Takes `octets` over.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// Reads hexadecimal digits, with or without `0x` before them.
    ///
    /// # Errors
    /// [`NotHex`] when a character is no hexadecimal digit or their number is odd.
    pub fn from_hex(text: &str) -> Result<Self, NotHex> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let refused = NotHex { length: text.chars().count() };
        if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
            return Err(refused);
        }
        let mut octets = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
        for pair in digits.as_bytes().chunks_exact(2) {
            let nibble = |c: u8| char::from(c).to_digit(16).and_then(|n| u8::try_from(n).ok());
            match (nibble(pair[0]), nibble(pair[1])) {
                (Some(high), Some(low)) => octets.push(high << 4 | low),
                _ => return Err(refused),
            }
        }
        Ok(Self(octets))
    }

    /// The octets, for the one place that hands them to the kernel.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many octets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none, as for the NULL cipher.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for KeyMaterial {
    fn eq(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(other.0.iter()).fold(0, |seen, (a, b)| seen | (a ^ b));
        self.0.len() == other.0.len() && differing == 0
    }
}

impl Eq for KeyMaterial {}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyMaterial({} octets)", self.0.len())
    }
}

/// Serialises keys for the daemon's journal and nothing else: `#[serde(with = "secret::in_journal")]`. The type
/// itself has no such implementation, so that no key gets into a report by accident.
pub mod in_journal {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use zeroize::Zeroizing;

    use super::KeyMaterial;

    /// Writes hexadecimal digits.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(key: &KeyMaterial, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let digits = key.expose().iter().flat_map(|octet| [digit(octet >> 4), digit(octet & 15)]);
        let mut text = Zeroizing::new(String::with_capacity(2 * key.len()));
        text.extend(digits);
        serializer.serialize_str(&text)
    }

    /// Reads hexadecimal digits.
    ///
    /// # Errors
    /// The deserializer's, and [`NotHex`](super::NotHex).
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyMaterial, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        KeyMaterial::from_hex(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_the_length_and_nothing_else() {
        let key = KeyMaterial::from_hex("0xdeadbeef").unwrap();
        assert_eq!(format!("{key:?}"), "KeyMaterial(4 octets)");
        assert_eq!(key.expose(), [0xde, 0xad, 0xbe, 0xef]);
    }

    #[test]
    fn the_journal_gives_back_what_it_got() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Record {
            #[serde(with = "in_journal")]
            key: KeyMaterial,
        }
        let key = KeyMaterial::from_hex("00ff10").unwrap();
        let text = serde_json::to_string(&Record { key: key.clone() }).unwrap();
        assert_eq!(text, r#"{"key":"00ff10"}"#);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap().key, key);
    }

    #[test]
    fn bad_hex_is_refused_without_repeating_it() {
        for bad in ["abc", "zz", "0x0g", "äö"] {
            let text = KeyMaterial::from_hex(bad).unwrap_err().to_string();
            assert!(!text.contains(bad), "{text}");
        }
    }

    #[test]
    fn equality_looks_at_every_octet_and_the_length() {
        let key = |hex| KeyMaterial::from_hex(hex).unwrap();
        assert_eq!(key("0102"), key("0102"));
        assert_ne!(key("0102"), key("0103"));
        assert_ne!(key("0102"), key("010203"));
    }
}
