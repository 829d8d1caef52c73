//! What the owner decides beforehand: algorithms, lifetimes, limits, keys, and whom to serve.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::crypto::{PublicKey, SigningKey};
use super::event::{AddressRequest, Path};
use super::proposal::{EspOffer, IkeOffer};
use super::wire::{Id, TrafficSelector};
use crate::secret::KeyMaterial;

/// Settings of a whole [`super::Endpoint`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// The algorithms we offer and accept.
    pub proposals: Proposals,
    /// How long SAs live.
    pub lifetimes: Lifetimes,
    /// How requests are repeated before a connection stands. RFC 7296 §2.4 leaves it to us.
    pub connecting: Retransmission,
    /// How requests are repeated after that.
    pub established: Retransmission,
    /// Bounds on connections that are not authenticated yet.
    pub half_open: HalfOpen,
    /// Who we are when we answer; without it every IKE_AUTH of a client is refused.
    pub credentials: Option<Arc<Credentials>>,
    /// Whom we serve.
    pub peers: PeerTable,
    /// The largest IKE datagram we send before fragmenting (RFC 7383), in octets of UDP payload.
    pub datagram: usize,
}

/// Algorithms, best first.
#[derive(Debug, Clone, Default)]
pub struct Proposals {
    /// Of IKE SAs. Additional key exchanges take place in IKE_INTERMEDIATE, and in IKE_FOLLOWUP_KE when an
    /// IKE SA that had them is replaced (RFC 9370).
    pub ike: IkeOffer,
    /// Of child SAs. Its key exchanges are for further child SAs and for rekeying; additional ones are offered
    /// where the IKE SA has them.
    pub esp: EspOffer,
}

/// How long SAs live. Rekeying starts up to a tenth earlier, at random, so that neither the two ends nor the
/// thousand clients of a relay do it at once (RFC 7296 §2.8).
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// When an IKE SA gets new keys.
    pub ike_soft: Duration,
    /// When an IKE SA is given up because that did not work.
    pub ike_hard: Duration,
    /// When a child SA is replaced.
    pub child_soft: Duration,
    /// When a child SA is deleted because that did not work.
    pub child_hard: Duration,
    /// How long a replaced child SA still receives, for packets that were overtaken.
    pub linger: Duration,
    /// Silence of the peer after which its liveness is checked (RFC 7296 §2.4); never when `None`.
    pub probe: Option<Duration>,
    /// How long a connection may be without child SA before it is closed.
    pub childless: Duration,
}

/// Retransmission of requests: after `first`, then doubling up to `most`, each time up to a fifth later at
/// random.
#[derive(Debug, Clone, Copy)]
pub struct Retransmission {
    /// Time before the first repetition.
    pub first: Duration,
    /// The longest time between two.
    pub most: Duration,
    /// How often a request is sent at all.
    pub attempts: u8,
}

/// Bounds on half-open connections: those whose initiator has not shown who it is.
#[derive(Debug, Clone, Copy)]
pub struct HalfOpen {
    /// From this many on, initiators have to return a cookie before anything is computed for them
    /// (RFC 7296 §2.6).
    pub cookies_from: usize,
    /// The most in all; further initiators are ignored.
    pub total: usize,
    /// The most from one prefix (/24 or /56); further initiators in it are ignored.
    pub per_prefix: usize,
    /// How long each may take.
    pub patience: Duration,
}

/// An identity and the Ed25519 key that proves it.
pub struct Credentials {
    /// What we call ourselves.
    pub identity: Id,
    /// The key.
    pub key: SigningKey,
}

/// Whom a responder serves.
#[derive(Debug, Clone, Default)]
pub struct PeerTable {
    /// Keys of the peers that sign, by identity.
    pub keys: BTreeMap<Id, PublicKey>,
    /// Secrets shared with one peer each, by its identity: for peers that cannot check our key or we theirs.
    /// Towards them we prove ourselves with it too.
    pub secrets: BTreeMap<Id, KeyMaterial>,
    /// What is done about the others.
    pub anonymous: Anonymous,
}

/// Clients that show no identity. A relay serves them and learns nothing; they insist on its signature.
#[derive(Debug, Clone, Default)]
pub struct Anonymous {
    /// Whether NULL authentication is accepted (RFC 7619).
    pub null: bool,
    /// The secret everyone knows, for clients that cannot do that.
    pub published_secret: Option<KeyMaterial>,
}

/// Who we say we are when we initiate.
#[derive(Debug, Clone)]
pub enum OwnAuth {
    /// Nobody: NULL authentication with ID_NULL (RFC 7619 §2.1).
    Null,
    /// Nobody, towards peers that cannot do that: a secret everyone knows and an identity that is random for
    /// each connection.
    PublishedSecret(KeyMaterial),
    /// Ourselves, by signature.
    Signature(Arc<Credentials>),
    /// Ourselves, by a secret that nobody has but the two of us. The peer has to show it too; its key is not
    /// looked at.
    SharedSecret {
        /// What we call ourselves.
        identity: Id,
        /// The secret.
        secret: KeyMaterial,
    },
}

/// When ESP goes into UDP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encapsulate {
    /// When a NAT is on the path (RFC 7296 §2.23).
    #[default]
    BehindNat,
    /// Always, as if there were one; for networks that drop ESP.
    Always,
}

/// A connection to set up.
#[derive(Debug, Clone)]
pub struct Connect {
    /// Where IKE_SA_INIT goes.
    pub path: Path,
    /// Where to go on when a NAT is found: port 4500 on both ends (RFC 7296 §2.23). `None` stays on `path`.
    pub float: Option<Path>,
    /// When ESP goes into UDP.
    pub encapsulate: Encapsulate,
    /// Whom we expect.
    pub peer: Id,
    /// The key it has to sign with, unless there is a secret of the two ([`OwnAuth::SharedSecret`]).
    pub peer_key: PublicKey,
    /// Who we are.
    pub own: OwnAuth,
    /// Addresses to ask for. With this the local selectors are narrowed to what we are given.
    pub request: Option<AddressRequest>,
    /// Our side of the traffic (TSi).
    pub local: Vec<TrafficSelector>,
    /// The peer's side of the traffic (TSr).
    pub remote: Vec<TrafficSelector>,
    /// The largest datagram on this path instead of [`Settings::datagram`].
    pub datagram: Option<usize>,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self {
            ike_soft: hours(4),
            ike_hard: hours(5),
            child_soft: hours(1),
            child_hard: Duration::from_secs(80 * 60),
            linger: Duration::from_secs(5),
            probe: Some(Duration::from_secs(60)),
            childless: Duration::from_secs(30),
        }
    }
}

impl Default for Settings {
    /// Everything but credentials and peers: such an endpoint can initiate and serves nobody.
    fn default() -> Self {
        Self {
            proposals: Proposals::default(),
            lifetimes: Lifetimes::default(),
            connecting: Retransmission::CONNECTING,
            established: Retransmission::ESTABLISHED,
            half_open: HalfOpen::default(),
            credentials: None,
            peers: PeerTable::default(),
            datagram: 1200,
        }
    }
}

impl Retransmission {
    /// For setting up: after 0.5 s, 1 s, and then every 2 s, 22 s in all. Somebody waits for it, and through three
    /// layers with a loss of 5 % on every link more than one exchange in three fails.
    pub const CONNECTING: Self =
        Self { first: Duration::from_millis(500), most: Duration::from_secs(2), attempts: 12 };
    /// For a connection that stands: a dozen times over several minutes (RFC 7296 §2.4).
    pub const ESTABLISHED: Self =
        Self { first: Duration::from_millis(500), most: Duration::from_secs(30), attempts: 12 };

    /// As [`Self::CONNECTING`], but for this long before the peer counts as dead, or up to a fifth longer.
    #[must_use]
    pub fn lasting(time: Duration) -> Self {
        let mut policy = Self { attempts: 0, ..Self::CONNECTING };
        let mut waited = Duration::ZERO;
        while waited < time && policy.attempts < u8::MAX {
            waited += policy.wait(policy.attempts);
            policy.attempts += 1;
        }
        policy
    }

    /// How long a request is repeated in all, but for chance.
    #[must_use]
    pub fn total(&self) -> Duration {
        (0..self.attempts).map(|sent| self.wait(sent)).sum()
    }

    /// Time to the next repetition when this many came before, but for chance.
    pub(super) fn wait(&self, sent: u8) -> Duration {
        self.first.saturating_mul(1 << sent.min(16)).min(self.most)
    }
}

impl Default for HalfOpen {
    fn default() -> Self {
        Self { cookies_from: 256, total: 8192, per_prefix: 1024, patience: Duration::from_secs(30) }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", super::reason::shown(&self.identity))
    }
}
