//! Repeating a request until it is answered (RFC 7296 §2.1, §2.4).

use serde::{Deserialize, Serialize};

use super::Cx;
use crate::entropy::Entropy;
use crate::ike::event::Path;
use crate::ike::settings::Retransmission;
use crate::time::Instant;

/// A request on its way, octet by octet: repetitions must be identical (RFC 7296 §2.1).
#[derive(Debug)]
pub(in crate::ike) struct Retry {
    datagrams: Vec<Vec<u8>>,
    sent: u8,
    at: Instant,
    /// It is not given up before.
    patient: Instant,
}

/// A [`Retry`] in a snapshot.
#[derive(Serialize, Deserialize)]
pub(in crate::ike) struct SavedRetry {
    datagrams: Vec<super::super::snapshot::Octets>,
}

/// Nobody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ike) struct GaveUp;

impl Retry {
    /// Sends for the first time.
    pub(in crate::ike) fn start(
        cx: &mut Cx<'_>,
        policy: &Retransmission,
        path: Path,
        datagrams: Vec<Vec<u8>>,
    ) -> Self {
        let mut retry = Self { datagrams, sent: 0, at: cx.now, patient: cx.now };
        retry.send(cx, policy, path);
        retry
    }

    /// When [`Self::fire`] has something to do.
    pub(in crate::ike) const fn deadline(&self) -> Instant {
        self.at
    }

    /// Sends again if it is time.
    ///
    /// # Errors
    /// [`GaveUp`] after the last attempt was given its time, and all of it has passed since [`Self::renew`].
    pub(in crate::ike) fn fire(
        &mut self,
        cx: &mut Cx<'_>,
        policy: &Retransmission,
        path: Path,
    ) -> Result<(), GaveUp> {
        if cx.now < self.at {
            return Ok(());
        }
        if self.sent >= policy.attempts && self.patient <= cx.now {
            return Err(GaveUp);
        }
        self.send(cx, policy, path);
        Ok(())
    }

    /// The peer is there although it does not answer: it has as long again as it had at first. The request goes on
    /// as rarely as it does by now.
    pub(in crate::ike) fn renew(&mut self, now: Instant, policy: &Retransmission) {
        self.patient = now + policy.total();
    }

    fn send(&mut self, cx: &mut Cx<'_>, policy: &Retransmission, path: Path) {
        for datagram in &self.datagrams {
            cx.transmit(path, datagram.clone());
        }
        let wait = policy.wait(self.sent);
        let fifth = u64::try_from(wait.as_micros() / 5).unwrap_or(u64::MAX);
        let jitter = std::time::Duration::from_micros(cx.entropy.below(fifth));
        self.at = cx.now + wait + jitter;
        self.sent = self.sent.saturating_add(1);
    }

    pub(in crate::ike) fn save(&self) -> SavedRetry {
        SavedRetry { datagrams: self.datagrams.iter().map(|datagram| datagram.clone().into()).collect() }
    }

    /// Goes on after a restart: the first repetition is due at once.
    pub(in crate::ike) fn restore(saved: SavedRetry, now: Instant) -> Self {
        let datagrams = saved.datagrams.into_iter().map(Into::into).collect();
        Self { datagrams, sent: 0, at: now, patient: now }
    }
}
