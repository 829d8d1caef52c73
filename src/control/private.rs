use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Something that would tell who a relay's client is, such as its address: shown by neither `Debug`,
/// `Display` nor serialisation. Whoever wants it in a log has to say so with [`expose`](Self::expose), and
/// there is one such place, which logs at DEBUG.
#[derive(Clone, PartialEq, Eq)]
pub struct Private<T>(Option<T>);

impl<T> Private<T> {
    /// Hides `value`.
    pub const fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The hidden value, or `None` when it comes from another process, which was not told.
    pub const fn expose(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

impl<T> fmt::Display for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

impl<T> Serialize for Private<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("hidden")
    }
}

impl<'de, T> Deserialize<'de> for Private<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self(None))
    }
}
