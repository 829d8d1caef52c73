//! One change to the kernel, and its undoing.

use std::fmt;

use crate::state::{Address, Link, NftTable, Policy, Route, Rule, Sa, Sysctl};

/// A kernel object of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// An xfrm interface.
    Link(Link),
    /// A security association.
    Sa(Sa),
    /// A security policy.
    Policy(Policy),
    /// An address.
    Address(Address),
    /// A route.
    Route(Route),
    /// A routing rule.
    Rule(Rule),
    /// The nftables table.
    Nft(NftTable),
    /// A setting of an interface.
    Sysctl(Sysctl),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(link) => write!(f, "link {} if_id {}", link.name, link.if_id),
            Self::Sa(sa) => write!(f, "sa {}", sa.id),
            Self::Policy(policy) => write!(f, "policy {}", policy.id),
            Self::Address(address) => write!(f, "address {}", address.id),
            Self::Route(route) => write!(f, "route {}", route.id),
            Self::Rule(rule) => write!(f, "rule {rule}"),
            Self::Nft(_) => f.write_str("nftables table inet ippriv"),
            Self::Sysctl(sysctl) => write!(f, "sysctl {}={}", sysctl.path, sysctl.value),
        }
    }
}

/// One operation on the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes an object that must not exist yet. (For a sysctl: sets it on an interface made before.)
    Create(Object),
    /// Changes an object in place; both have the same identity.
    Replace {
        /// As it is.
        old: Object,
        /// As it shall be.
        new: Object,
    },
    /// Removes an object that must exist. (For a sysctl: nothing, it goes with its interface.)
    Delete(Object),
}

impl Op {
    /// The operation that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        match self {
            Self::Create(object) => Self::Delete(object.clone()),
            Self::Replace { old, new } => Self::Replace { old: new.clone(), new: old.clone() },
            Self::Delete(object) => Self::Create(object.clone()),
        }
    }

    /// Whether it only takes something away, so that nothing that is wanted depends on it.
    #[must_use]
    pub fn only_removes(&self) -> bool {
        match self {
            Self::Create(_) => false,
            Self::Replace { old: Object::Nft(old), new: Object::Nft(new) } => old
                .changes_in_place(new)
                .is_some_and(|changes| changes.iter().all(|change| change.add.is_empty())),
            Self::Replace { .. } => false,
            Self::Delete(_) => true,
        }
    }

    /// The object that is left, or removed.
    #[must_use]
    pub const fn object(&self) -> &Object {
        match self {
            Self::Create(object) | Self::Delete(object) | Self::Replace { new: object, .. } => object,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            Self::Create(_) => "create",
            Self::Replace { .. } => "replace",
            Self::Delete(_) => "delete",
        };
        write!(f, "{verb} {}", self.object())
    }
}

/// Why the kernel refused an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The kernel answered with an error number.
    #[error("{}{}", errno_name(*errno), text.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        /// The positive error number.
        errno: i32,
        /// The kernel's own words (`NLMSGERR_ATTR_MSG`), if it said any.
        text: Option<String>,
    },
    /// A program or file that stands between us and the kernel failed.
    #[error("{0}")]
    Tool(String),
    /// No answer came in time.
    #[error("no answer from the kernel within {0} ms")]
    TimedOut(u64),
}

fn errno_name(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// It was refused, and changed nothing.
    Failed(OpError),
    /// An earlier one failed, so it was not tried.
    NotTried,
}
