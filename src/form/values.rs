//! Values that several kinds of files hold, as serde sees them.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::de::{self, Deserialize, Deserializer};

/// A value given as text, with an error that repeats it and says what was expected.
macro_rules! text_form {
    ($name:ident, $value:ty, $expected:literal) => {
        pub(crate) struct $name(pub(crate) $value);

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                let refused = |_| {
                    let words = format!(concat!("{:?}: expected ", $expected), text);
                    serde::de::Error::custom(words)
                };
                text.parse().map(Self).map_err(refused)
            }
        }
    };
}

pub(crate) use text_form;

text_form!(AddressForm, IpAddr, "an IP address such as 198.51.100.2");
text_form!(Ip6Form, Ipv6Addr, "an IPv6 address such as fd00:66::2");
text_form!(PrefixForm, IpNet, "an IP prefix such as 10.64.0.0/16 or fd00:66::/64");

/// The prefixes of a list.
pub(crate) fn prefixes(forms: Vec<PrefixForm>) -> Vec<IpNet> {
    forms.into_iter().map(|PrefixForm(prefix)| prefix).collect()
}

/// The name of a congestion control, at most `TCP_CA_NAME_MAX` octets with the final zero.
pub(crate) struct CongestionControl(pub(crate) String);

impl<'de> Deserialize<'de> for CongestionControl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if (1..16).contains(&name.len()) && name.chars().all(plain) {
            Ok(Self(name))
        } else {
            Err(de::Error::custom(format!(
                "congestion_control {name:?}: expected a name the kernel knows, such as cubic or bbr"
            )))
        }
    }
}

/// A port, or `FIRST-LAST`.
pub(crate) struct PortRange(pub(crate) u16, pub(crate) u16);

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self(first, last)),
            _ => Err(de::Error::custom(format!("port {text:?}: expected a port or FIRST-LAST, 0 to 65535"))),
        }
    }
}

/// The ports of a list as pairs.
pub(crate) fn ranges(ports: Option<Vec<PortRange>>) -> Option<Vec<(u16, u16)>> {
    ports.map(|ports| ports.into_iter().map(|PortRange(first, last)| (first, last)).collect())
}
