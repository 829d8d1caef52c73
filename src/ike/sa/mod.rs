//! One connection: an IKE SA with its children, and the IKE SAs that take its place when it is rekeyed.
//!
//! A connection is a value that knows nothing of the others. What it needs from outside comes as a [`Cx`].

mod accepting;
mod auth;
mod child;
mod config;
mod connecting;
mod contents;
mod established;
mod generation;
mod init;
mod reassembly;
mod retry;
mod selectors;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

pub(super) use accepting::{Accepting, Refused};
pub(super) use connecting::Connecting;
pub(super) use contents::Contents;
pub(super) use established::{Established, Gone, SavedSa};
pub(super) use generation::Generation;

use super::event::{Event, Output, Path, SaHandle};
use super::reason::CloseReason;
use super::settings::Settings;
use super::wire::{IkeSpi, Packet};
use crate::entropy::{Entropy, Seeded};
use crate::id::Spi;
use crate::time::Instant;

/// What a connection works with for the length of one call.
pub(super) struct Cx<'a> {
    pub(super) now: Instant,
    pub(super) handle: SaHandle,
    pub(super) settings: &'a Settings,
    pub(super) entropy: &'a mut Seeded,
    pub(super) spis: &'a mut Spis,
    pub(super) out: &'a mut Vec<Output>,
    /// Whether the snapshot of the connection differs from before.
    pub(super) changed: bool,
    /// Whether the peer has repeated a request, and so has not got our response.
    pub(super) repeated: bool,
}

/// The SPIs in use on this host.
#[derive(Debug, Default)]
pub(super) struct Spis {
    ike: BTreeMap<IkeSpi, SaHandle>,
    esp: BTreeMap<Spi, SaHandle>,
}

/// How far a connection is.
pub(super) enum Sa {
    /// We are the initiator and the peer is not authenticated yet.
    Connecting(Box<Connecting>),
    /// We are the responder and the peer is not authenticated yet.
    Accepting(Box<Accepting>),
    /// Both are.
    Established(Box<Established>),
    /// It is over, but for the last answer.
    Gone(Box<Gone>),
    /// It is over.
    Closed,
}

impl Sa {
    pub(super) fn datagram(self, cx: &mut Cx<'_>, path: Path, octets: &[u8], packet: &Packet<'_>) -> Self {
        match self {
            Self::Connecting(sa) => sa.datagram(cx, path, octets, packet),
            Self::Accepting(sa) => sa.datagram(cx, path, packet),
            Self::Established(sa) => sa.datagram(cx, path, packet),
            Self::Gone(sa) => sa.datagram(cx, path, packet),
            Self::Closed => self,
        }
    }

    pub(super) fn timeout(self, cx: &mut Cx<'_>) -> Self {
        match self {
            Self::Connecting(sa) => sa.timeout(cx),
            Self::Accepting(sa) => sa.timeout(cx),
            Self::Established(sa) => sa.timeout(cx),
            Self::Gone(sa) => sa.timeout(cx),
            Self::Closed => self,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Connecting(sa) => Some(sa.deadline()),
            Self::Accepting(sa) => Some(sa.deadline()),
            Self::Established(sa) => sa.deadline(),
            Self::Gone(sa) => Some(sa.deadline()),
            Self::Closed => None,
        }
    }

    /// Ends it by our own command: at once when nothing stands yet, else by telling the peer.
    pub(super) fn close(self, cx: &mut Cx<'_>) -> Self {
        match self {
            Self::Connecting(sa) => sa.give_up(cx, CloseReason::Local),
            Self::Accepting(sa) => sa.give_up(cx, CloseReason::Local),
            Self::Established(sa) => sa.close(cx),
            Self::Gone(_) | Self::Closed => self,
        }
    }
}

impl Cx<'_> {
    pub(super) fn transmit(&mut self, path: Path, datagram: Vec<u8>) {
        self.out.push(Output::Transmit { path, datagram });
    }

    pub(super) fn event(&mut self, event: Event) {
        self.out.push(Output::Event(self.handle, event));
    }

    /// An IKE SPI of our own, kept until [`Self::release_ike`].
    pub(super) fn new_ike_spi(&mut self) -> IkeSpi {
        loop {
            let spi = IkeSpi(self.entropy.u64());
            if spi != IkeSpi::ZERO && !self.spis.ike.contains_key(&spi) {
                self.spis.ike.insert(spi, self.handle);
                return spi;
            }
        }
    }

    pub(super) fn release_ike(&mut self, spi: IkeSpi) {
        self.spis.ike.remove(&spi);
    }

    /// An ESP SPI of our own, kept until [`Self::release_esp`].
    pub(super) fn new_esp_spi(&mut self) -> Spi {
        loop {
            let Ok(spi) = Spi::try_from(self.entropy.u32()) else { continue };
            if let Entry::Vacant(free) = self.spis.esp.entry(spi) {
                free.insert(self.handle);
                return spi;
            }
        }
    }

    pub(super) fn release_esp(&mut self, spi: Spi) {
        self.spis.esp.remove(&spi);
    }

    /// Takes SPIs from a snapshot into use.
    pub(super) fn claim(&mut self, ike: &[IkeSpi], esp: &[Spi]) -> bool {
        if ike.iter().any(|spi| self.spis.ike.contains_key(spi))
            || esp.iter().any(|spi| self.spis.esp.contains_key(spi))
        {
            return false;
        }
        self.spis.ike.extend(ike.iter().map(|spi| (*spi, self.handle)));
        self.spis.esp.extend(esp.iter().map(|spi| (*spi, self.handle)));
        true
    }

    /// Random octets that others may see.
    pub(super) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.entropy.public_fill(&mut octets);
        octets
    }
}

impl Spis {
    pub(super) fn find(&self, spi: IkeSpi) -> Option<SaHandle> {
        self.ike.get(&spi).copied()
    }

    /// The connection with the child SA that we receive through by this SPI.
    pub(super) fn find_child(&self, spi: Spi) -> Option<SaHandle> {
        self.esp.get(&spi).copied()
    }
}
