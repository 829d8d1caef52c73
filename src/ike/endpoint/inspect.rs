//! What the owner may know of a connection, and how it drops one without a word.

use std::fmt;

use super::Endpoint;
use crate::ike::crypto::IkeSuite;
use crate::ike::event::SaHandle;
use crate::ike::reason::CloseReason;
use crate::ike::sa::Sa;
use crate::ike::wire::IkeSpi;

/// A connection in short, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The initiator's SPI.
    pub initiator_spi: IkeSpi,
    /// The responder's SPI.
    pub responder_spi: IkeSpi,
    /// The algorithms.
    pub suite: IkeSuite,
}

impl Endpoint {
    /// A connection that is established, in short.
    #[must_use]
    pub fn summary(&self, handle: SaHandle) -> Option<Summary> {
        let Sa::Established(sa) = &self.sas.get(&handle)?.sa else { return None };
        let ike = sa.current_sa()?;
        Some(Summary {
            initiator_spi: ike.initiator_spi,
            responder_spi: ike.responder_spi,
            suite: ike.suite.clone(),
        })
    }

    /// Whether a request of ours is not answered yet, so that it is open whether the peer is alive.
    #[must_use]
    pub fn awaits_answer(&self, handle: SaHandle) -> bool {
        self.unanswered.contains(&handle)
    }

    /// All connections of which [`Self::awaits_answer`] is true.
    pub fn unanswered(&self) -> impl Iterator<Item = SaHandle> + '_ {
        self.unanswered.iter().copied()
    }

    /// Drops a connection without telling the peer, or the owner: for one whose way to the peer is gone.
    pub fn forget(&mut self, handle: SaHandle) {
        let before = self.output.len();
        self.with(handle, |sa, cx| match sa {
            Sa::Established(sa) => sa.end(cx, CloseReason::Local),
            Sa::Connecting(_) | Sa::Accepting(_) | Sa::Gone(_) | Sa::Closed => sa.close(cx),
        });
        self.output.truncate(before);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({} connections)", self.sas.len())
    }
}
