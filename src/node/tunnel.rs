//! The ESP SAs of one tunnel, while IKE replaces them one by one.

use serde::{Deserialize, Serialize};

use crate::id::Spi;
use crate::ike::{ChildId, ChildKeys, Outbound, SaHandle};
use crate::secret::KeyMaterial;
use crate::suite::{SequenceNumbers, Suite};
use crate::telescope::{SaKeys, TunnelKeys};

/// Both directions of one child SA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Child {
    sa: SaHandle,
    id: ChildId,
    inbound: Spi,
    #[serde(with = "crate::secret::in_journal")]
    inbound_key: KeyMaterial,
    outbound: Spi,
    #[serde(with = "crate::secret::in_journal")]
    outbound_key: KeyMaterial,
    ready: bool,
}

impl Child {
    fn new(sa: SaHandle, keys: &ChildKeys) -> Self {
        Self {
            sa,
            id: keys.child,
            inbound: keys.inbound_keys.spi,
            inbound_key: keys.inbound_keys.key.clone(),
            outbound: keys.outbound_keys.spi,
            outbound_key: keys.outbound_keys.key.clone(),
            ready: keys.outbound == Outbound::Now,
        }
    }
}

/// The child SAs of a tunnel, oldest first. We receive through all of them, and send through the newest that
/// the peer is known to have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tunnel {
    suite: Option<(Suite, SequenceNumbers)>,
    children: Vec<Child>,
    rekeyed: u64,
}

impl Tunnel {
    /// Whether a child SA can be added: all of a tunnel have one suite.
    pub(super) fn accepts(&self, keys: &ChildKeys) -> bool {
        self.children.is_empty() || self.suite == Some((keys.suite, keys.sequence_numbers))
    }

    /// Whether a child SA is there already, as one is that was being installed when the daemon died.
    pub(super) fn has(&self, sa: SaHandle, id: ChildId) -> bool {
        self.children.iter().any(|child| child.sa == sa && child.id == id)
    }

    /// Adds a child SA of a suite that is accepted.
    pub(super) fn add(&mut self, sa: SaHandle, keys: &ChildKeys) {
        if self.has(sa, keys.child) {
            return;
        }
        if self.children.is_empty() {
            self.suite = Some((keys.suite, keys.sequence_numbers));
        } else {
            self.rekeyed += 1;
        }
        self.children.push(Child::new(sa, keys));
    }

    /// Adds a child SA of a suite that is accepted, as if it were the oldest: we receive through it, and send
    /// through the others.
    pub(super) fn add_behind(&mut self, sa: SaHandle, keys: &ChildKeys) {
        if !self.has(sa, keys.child) {
            self.children.insert(0, Child::new(sa, keys));
        }
    }

    /// Sends through the child SAs of this connection from now on, as if they were the newest.
    pub(super) fn prefer(&mut self, sa: SaHandle) {
        self.children.sort_by_key(|child| child.sa == sa);
    }

    /// The peer has this child SA as well.
    pub(super) fn ready(&mut self, sa: SaHandle, id: ChildId) {
        if let Some(child) = self.children.iter_mut().find(|child| child.sa == sa && child.id == id) {
            child.ready = true;
        }
    }

    /// Removes a child SA.
    pub(super) fn remove(&mut self, sa: SaHandle, id: ChildId) {
        self.children.retain(|child| child.sa != sa || child.id != id);
    }

    /// Removes every child SA of a connection.
    pub(super) fn remove_all(&mut self, sa: SaHandle) {
        self.children.retain(|child| child.sa != sa);
    }

    /// Removes every child SA of other connections than this one.
    pub(super) fn keep_only(&mut self, sa: SaHandle) {
        self.children.retain(|child| child.sa == sa);
    }

    /// Holds the child SAs that the engine took over after a restart and no others: it knows what became of
    /// them up to the last message.
    pub(super) fn taken_over(&mut self, sa: SaHandle, children: &[ChildKeys]) {
        self.children.clear();
        let rekeyed = self.rekeyed;
        for keys in children {
            self.add(sa, keys);
        }
        self.rekeyed = rekeyed;
    }

    /// The SPIs that we receive through over a connection.
    pub(super) fn inbound(&self, sa: SaHandle) -> impl Iterator<Item = Spi> + Clone {
        self.children.iter().filter(move |child| child.sa == sa).map(|child| child.inbound)
    }

    /// The name of the child SA in use.
    pub(super) fn in_use(&self) -> Option<ChildId> {
        self.sending().map(|child| child.id)
    }

    /// How often its keys were replaced.
    pub(super) const fn rekeyed(&self) -> u64 {
        self.rekeyed
    }

    /// Keys for the kernel, or `None` without any child SA.
    pub(super) fn keys(&self) -> Option<TunnelKeys> {
        let sending = self.sending()?;
        let (suite, sequence) = self.suite?;
        Some(TunnelKeys {
            suite,
            sequence,
            out: SaKeys { spi: sending.outbound, key: sending.outbound_key.clone() },
            r#in: self
                .children
                .iter()
                .map(|child| SaKeys { spi: child.inbound, key: child.inbound_key.clone() })
                .collect(),
        })
    }

    fn sending(&self) -> Option<&Child> {
        self.children.iter().rev().find(|child| child.ready).or_else(|| self.children.first())
    }
}
