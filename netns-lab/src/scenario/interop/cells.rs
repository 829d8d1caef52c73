//! What is to be tried of other people's daemons, and what is known beforehand not to work.

use ippriv::network::Software;
use serde::{Deserialize, Serialize};

/// Where somebody else's daemon is in a network of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The first relay of our client's circuit.
    Entry,
    /// A relay between.
    Middle,
    /// The last relay of our client's circuit.
    Exit,
    /// The other end of the overlay tunnel of a relay of ours.
    Neighbour,
    /// The client of relays of ours.
    Client,
}

/// What is tried there. "Us" are our client and our relays, "them" somebody else's daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It comes up.
    Opens,
    /// It carries packets, and nothing is bare on any link.
    Traffic,
    /// The same of IPv6 inside.
    Ipv6,
    /// We replace the ESP SAs, without loss.
    ChildByUs,
    /// They do.
    ChildByThem,
    /// We replace the IKE SA.
    IkeByUs,
    /// They do.
    IkeByThem,
    /// One asks whether the other is there, and is answered.
    Liveness,
    /// We delete it, and they forget it.
    DeleteByUs,
    /// They delete it, and we notice.
    DeleteByThem,
    /// We demand a cookie (RFC 7296 section 2.6).
    CookieByUs,
    /// They do.
    CookieByThem,
    /// We want another group than they guessed (RFC 7296 section 1.2).
    KeByUs,
    /// They want another than we did.
    KeByThem,
    /// Fragments both ways (RFC 7383).
    Fragments,
    /// In a network with relays of ours, strongSwan's and libreswan's.
    Mixed,
    /// Among their own kind, configured by our export, without any program of ours.
    Stock,
}

/// A cell of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Place {
    /// The daemon.
    pub daemon: Software,
    /// Where it is.
    pub role: Role,
    /// What is tried.
    pub what: What,
}

impl Role {
    /// All, in the order of the matrix.
    pub const ALL: [Self; 5] = [Self::Entry, Self::Middle, Self::Exit, Self::Neighbour, Self::Client];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Middle => "middle",
            Self::Exit => "exit",
            Self::Neighbour => "neighbour",
            Self::Client => "client",
        }
    }

    /// Whether it is a relay of a circuit of our client's.
    #[must_use]
    pub const fn is_hop(self) -> bool {
        matches!(self, Self::Entry | Self::Middle | Self::Exit)
    }
}

impl What {
    /// All, in the order of the matrix.
    pub const ALL: [Self; 17] = [
        Self::Opens,
        Self::Traffic,
        Self::Ipv6,
        Self::ChildByUs,
        Self::ChildByThem,
        Self::IkeByUs,
        Self::IkeByThem,
        Self::Liveness,
        Self::DeleteByUs,
        Self::DeleteByThem,
        Self::CookieByUs,
        Self::CookieByThem,
        Self::KeByUs,
        Self::KeByThem,
        Self::Fragments,
        Self::Mixed,
        Self::Stock,
    ];

    /// Two short words for the head of a column.
    pub(super) const fn heading(self) -> [&'static str; 2] {
        match self {
            Self::Opens => ["", "opens"],
            Self::Traffic => ["", "data"],
            Self::Ipv6 => ["", "IPv6"],
            Self::ChildByUs => ["child", "us"],
            Self::ChildByThem => ["child", "them"],
            Self::IkeByUs => ["IKE", "us"],
            Self::IkeByThem => ["IKE", "them"],
            Self::Liveness => ["", "DPD"],
            Self::DeleteByUs => ["delete", "us"],
            Self::DeleteByThem => ["delete", "them"],
            Self::CookieByUs => ["cookie", "us"],
            Self::CookieByThem => ["cookie", "them"],
            Self::KeByUs => ["KE", "us"],
            Self::KeByThem => ["KE", "them"],
            Self::Fragments => ["", "frags"],
            Self::Mixed => ["", "mixed"],
            Self::Stock => ["", "stock"],
        }
    }
}

impl Place {
    /// A cell.
    #[must_use]
    pub const fn new(daemon: Software, role: Role, what: What) -> Self {
        Self { daemon, role, what }
    }

    /// Every cell, row by row.
    pub fn all() -> impl Iterator<Item = Self> {
        let rows = [Software::Strongswan, Software::Libreswan]
            .into_iter()
            .flat_map(|daemon| Role::ALL.map(|role| (daemon, role)));
        rows.flat_map(|(daemon, role)| What::ALL.map(|what| Self::new(daemon, role, what)))
    }

    /// Why there is nothing to try, whatever the daemon.
    #[must_use]
    pub const fn moot(self) -> Option<&'static str> {
        match (self.role, self.what) {
            (Role::Entry | Role::Middle | Role::Neighbour, What::Ipv6) => {
                Some("addresses inside a circuit are those that its exit gives")
            }
            (Role::Entry | Role::Middle | Role::Exit, What::CookieByUs | What::KeByUs) => {
                Some("our client begins, and asks nobody for that")
            }
            (Role::Client, What::CookieByThem | What::KeByThem) => {
                Some("their client begins, and asks nobody for that")
            }
            _ => None,
        }
    }

    /// Why the daemon cannot do that. Scenarios show it: for such cells, verdicts are on the refusal.
    #[must_use]
    pub const fn impossible(self) -> Option<&'static str> {
        match (self.daemon, self.role, self.what) {
            (Software::Libreswan, Role::Exit, What::Ipv6) => {
                Some("libreswan gives a client a single address, of IPv4")
            }
            // These come before anybody's key is looked at.
            (Software::Libreswan, Role::Client, What::CookieByUs | What::KeByUs | What::Stock) => None,
            (Software::Libreswan, Role::Client, _) => {
                Some("libreswan does not announce Ed25519 (RFC 8420), and our relays have no other keys")
            }
            _ => None,
        }
    }
}
