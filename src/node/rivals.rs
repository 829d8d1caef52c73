//! Two connections to one neighbour, because both ends opened one at the same moment.
//!
//! Both are let stand up. The one that the designated end opened stays ([`super::overlay::Known::opens`]). Its
//! opener sends through it at once, for the other end had it first; the other end a little later. By the time the
//! opener deletes the second one, nothing has come through it for seconds, and so no packet is lost.

use std::time::Duration;

use super::kernel::Part;
use super::overlay::{Overlay, Phase};
use super::{Node, Then};
use crate::ike::SaHandle;
use crate::telescope::NeighbourNumber;
use crate::time::Instant;

/// How long the end that did not open the connection that stays goes on sending through the other one: until the
/// opener has it for sure, or has given up.
const SETTLING: Duration = Duration::from_secs(5);
/// A connection that is younger than this has not been forgotten by the neighbour: a second one is a coincidence.
const YOUNG: Duration = Duration::from_secs(30);

/// The second connection to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rival {
    /// Ours, while the neighbour's stands already.
    Connecting(SaHandle),
    /// It stands as well.
    Up {
        sa: SaHandle,
        /// When we send through the one that stays.
        switch: Option<Instant>,
        /// When we delete it, if that is ours to do.
        delete: Option<Instant>,
    },
}

impl Rival {
    pub(super) const fn sa(self) -> SaHandle {
        match self {
            Self::Connecting(sa) | Self::Up { sa, .. } => sa,
        }
    }

    pub(super) fn next_timeout(self) -> Option<Instant> {
        match self {
            Self::Connecting(_) => None,
            Self::Up { switch, delete, .. } => switch.into_iter().chain(delete).min(),
        }
    }
}

impl Overlay {
    /// Whether a connection other than the one that stands, or is being opened, is as young as that one.
    pub(super) fn is_rival(&self, sa: SaHandle, now: Instant) -> bool {
        match self.phase {
            Phase::Connecting(first) => first != sa,
            Phase::Up(first) => {
                first != sa && (now - self.since < YOUNG || self.rival.is_some_and(|rival| rival.sa() == sa))
            }
            Phase::Down(_) => false,
        }
    }

    /// A rival stands.
    pub(super) fn rival_established(&mut self, sa: SaHandle, now: Instant) {
        let first = match self.phase {
            Phase::Up(first) => first,
            Phase::Connecting(first) => {
                self.phase = Phase::Up(sa);
                self.rival = Some(Rival::Connecting(first));
                return;
            }
            Phase::Down(_) => return self.phase = Phase::Up(sa),
        };
        let stays_first = (self.opened == Some(first)) == self.opens;
        let (stays, goes) = if stays_first { (first, sa) } else { (sa, first) };
        self.phase = Phase::Up(stays);
        let (switch, delete) =
            if self.opens { (now, Some(now + 3 * SETTLING)) } else { (now + SETTLING, None) };
        self.rival = Some(Rival::Up { sa: goes, switch: Some(switch), delete });
    }

    /// A connection is over; `true` when the other one takes its place, or it was the second.
    pub(super) fn outlived(&mut self, sa: SaHandle) -> bool {
        let Some(rival) = self.rival else { return false };
        if rival.sa() == sa {
            self.rival = None;
            return true;
        }
        if self.phase != Phase::Up(sa) && self.phase != Phase::Connecting(sa) {
            return false;
        }
        self.rival = None;
        self.phase = match rival {
            Rival::Connecting(sa) => Phase::Connecting(sa),
            Rival::Up { sa, .. } => Phase::Up(sa),
        };
        matches!(rival, Rival::Up { .. })
    }
}

impl Node {
    /// Does what is due about second connections.
    pub(super) fn settle_overlays(&mut self) {
        let numbers: Vec<NeighbourNumber> = self.overlays.iter().map(|overlay| overlay.number).collect();
        for number in numbers {
            self.settle_overlay(number);
        }
    }

    pub(super) fn settle_overlay(&mut self, number: NeighbourNumber) {
        let now = self.now;
        let due = |at: &mut Instant| *at <= now;
        let Some(overlay) = self.overlays.get_mut(number) else { return };
        let (Phase::Up(stays), Some(Rival::Up { sa, switch, delete })) = (overlay.phase, &mut overlay.rival)
        else {
            return;
        };
        let goes = *sa;
        if switch.take_if(due).is_some() {
            overlay.tunnel.prefer(stays);
            self.kernel.push(Part::Base, Then::Nothing);
        }
        if delete.take_if(due).is_some() {
            self.ike.close(now, goes);
        }
    }
}
