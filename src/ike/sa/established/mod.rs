//! A connection whose ends have authenticated each other: everything after IKE_AUTH.
//!
//! Requests of ours wait in a queue ([`tasks`]) and go out one at a time. The peer's are answered at once
//! ([`requests`]) but for those that make a child SA, which are held until the owner has installed it
//! ([`held`]). What the answers to ours lead to is in [`answers`]; [`rekey`] replaces the IKE SA, [`children`]
//! keeps the child SAs; [`followup`] makes the further key exchanges of both.

mod answers;
mod children;
mod followup;
mod held;
mod rekey;
mod requests;
mod saved;
mod tasks;
mod timers;

use std::collections::VecDeque;
use std::net::SocketAddr;

pub(in crate::ike::sa) use held::{Held, Stage, Wanted, other_ke};
pub(in crate::ike::sa) use requests::critical;
pub(in crate::ike) use saved::SavedSa;
pub(super) use tasks::{InFlight, Purpose, Task};
pub(super) use timers::FAR;

use super::child::{Child, Ephemeral};
use super::generation::Generation;
use super::{Cx, Sa};
use crate::id::Spi;
use crate::ike::event::{ChildId, EspPorts, Event, Path, PeerAuthenticated};
use crate::ike::reason::CloseReason;
use crate::ike::wire::{Direction, IkeSpi, Packet};
use crate::time::Instant;
use followup::Awaited;

/// The connection.
#[derive(Debug)]
pub(in crate::ike) struct Established {
    pub(super) path: Path,
    pub(super) peer: PeerAuthenticated,
    pub(super) nat: Nat,
    /// The IKE SAs: one, and while it is replaced the others.
    pub(super) generations: Vec<Member>,
    pub(super) children: Vec<Child>,
    pub(super) next_child: u32,
    pub(super) queue: VecDeque<Task>,
    /// A request of the peer that waits for the owner.
    pub(super) held: Option<Box<Held>>,
    /// An SA that the peer may have after further key exchanges.
    pub(super) awaited: Option<Box<Awaited>>,
    /// A child SA of our own request that waits for the owner.
    pub(super) installing: Option<Box<Installing>>,
    /// When to ask whether the peer is alive.
    pub(super) probe_at: Instant,
    /// From when on packets of child SAs may say that the peer has moved.
    pub(super) follows_at: Instant,
    pub(super) soft: Instant,
    pub(super) hard: Instant,
    /// When it ends if no child SA comes.
    pub(super) childless_end: Instant,
    /// Since when the peer answers `TEMPORARY_FAILURE`.
    pub(super) put_off: Option<Instant>,
    pub(super) closing: Option<Closing>,
    /// The response that the peer may lack.
    pub(super) unconfirmed: Option<Unconfirmed>,
    /// The IKE SA by which the peer has ended it.
    pub(super) farewell: Option<IkeSpi>,
}

/// An IKE SA and its place among those of the connection.
#[derive(Debug)]
pub(in crate::ike) struct Member {
    pub(super) sa: Generation,
    pub(super) standing: Standing,
}

/// The place of an IKE SA among those of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ike) enum Standing {
    /// New requests go through it.
    Current,
    /// The peer has made it while we were making another one; the nonces will tell which one stays.
    Candidate,
    /// Another one has taken its place and the peer will delete it, or it is dropped at this time.
    Superseded(Instant),
    /// We have asked the peer to delete it.
    Closing,
}

/// Who is behind a NAT (RFC 7296 §2.23).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::ike) struct Nat {
    pub(in crate::ike) here: Translated,
    pub(in crate::ike) there: Translated,
}

/// Whether a NAT changes an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::ike) enum Translated {
    /// It does.
    Yes,
    /// It does not.
    #[default]
    No,
}

/// A child SA we asked for and the peer agreed to, while the owner installs it.
#[derive(Debug)]
pub(in crate::ike) struct Installing {
    pub(super) child: ChildId,
    pub(super) replaces: Option<ChildId>,
    /// Which of both children goes when the peer has made one too.
    pub(super) outcome: Outcome,
}

/// How a rekeying ended for the SA we made (RFC 7296 §2.8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::ike) enum Outcome {
    /// It is the first of the connection, without which there is no use in it.
    First,
    /// It stands by itself.
    Alone,
    /// The peer's has the lowest nonce and will be deleted by the peer.
    Won(ChildId),
    /// Ours has the lowest nonce: we delete it.
    Lost(ChildId),
}

/// A response by which something came to be that both ends should have. It has no use to ask anything about
/// that before the peer has the response.
#[derive(Debug, Clone, Copy)]
pub(in crate::ike) struct Unconfirmed {
    /// With a window of one, the next request through this IKE SA says that it has.
    pub(super) through: IkeSpi,
    /// So does one through the IKE SA that came to be.
    pub(super) or: IkeSpi,
    /// Without repetitions of its request, it has at this time.
    pub(super) until: Instant,
}

/// We want it to end.
#[derive(Debug)]
pub(in crate::ike) struct Closing {
    pub(super) reason: CloseReason,
    /// When to stop waiting for the peer's consent.
    pub(super) by: Instant,
}

/// An IKE SA that we asked for.
#[derive(Debug)]
pub(in crate::ike) struct IkeOffer {
    pub(super) spi: IkeSpi,
    pub(super) nonce: Vec<u8>,
    pub(super) ke: Ephemeral,
    /// The lower nonce of the exchange by which the peer replaced the IKE SA meanwhile (RFC 7296 §2.8.2).
    pub(super) collision: Option<Vec<u8>>,
}

impl Nat {
    /// ESP goes into UDP when there is a NAT at either end.
    pub(in crate::ike) fn encapsulation(self, path: Path) -> Option<EspPorts> {
        (self != Self::default()).then_some(EspPorts { local: path.local.port(), remote: path.remote.port() })
    }
}

impl Established {
    pub(super) fn new(
        cx: &mut Cx<'_>,
        sa: Generation,
        path: Path,
        peer: PeerAuthenticated,
        nat: Nat,
    ) -> Box<Self> {
        cx.changed = true;
        let lifetimes = cx.settings.lifetimes;
        Box::new(Self {
            path,
            peer,
            nat,
            generations: vec![Member { sa, standing: Standing::Current }],
            children: Vec::new(),
            next_child: FIRST_CHILD.0 + 1,
            queue: VecDeque::new(),
            held: None,
            awaited: None,
            installing: None,
            probe_at: lifetimes.probe.map_or(FAR, |silence| cx.now + silence),
            follows_at: cx.now,
            soft: super::child::earlier(cx, lifetimes.ike_soft),
            hard: cx.now + lifetimes.ike_hard,
            childless_end: cx.now + lifetimes.childless,
            put_off: None,
            closing: None,
            unconfirmed: None,
            farewell: None,
        })
    }

    pub(super) fn datagram(mut self: Box<Self>, cx: &mut Cx<'_>, path: Path, packet: &Packet<'_>) -> Sa {
        let spis = (packet.header.initiator_spi, packet.header.responder_spi);
        let Some(member) = self
            .generations
            .iter_mut()
            .find(|member| (member.sa.initiator_spi, member.sa.responder_spi) == spis)
        else {
            return Sa::Established(self);
        };
        let spi = member.sa.own_spi();
        let awaited = member.sa.in_flight.as_ref().map(|sent| sent.id);
        let Some(message) = member.sa.hear(cx, path, awaited, packet) else {
            if let Some(unconfirmed) = self.unconfirmed.as_mut().filter(|_| cx.repeated) {
                unconfirmed.until = cx.now + CONFIRMED;
            }
            return Sa::Established(self);
        };
        self.heard(cx);
        self.follow(cx, path);
        let result = match message.header.direction() {
            Direction::Request => self.request(cx, spi, path, &message),
            Direction::Response => self.answer(cx, spi, &message),
        };
        self.settle(cx, result)
    }

    /// Goes on after a step, or ends.
    pub(super) fn settle(mut self: Box<Self>, cx: &mut Cx<'_>, result: Result<(), CloseReason>) -> Sa {
        match result.and_then(|()| self.pump(cx)) {
            Ok(()) => {
                self.note_childless(cx);
                Sa::Established(self)
            }
            Err(reason) => self.end(cx, reason),
        }
    }

    /// RFC 7296 §2.23: who is not behind a NAT sends to where the last authentic packet came from, when its
    /// sender is behind one.
    fn follow(&mut self, cx: &mut Cx<'_>, path: Path) {
        if path != self.path && self.nat == (Nat { here: Translated::No, there: Translated::Yes }) {
            self.path = path;
            cx.changed = true;
            cx.event(Event::PathChanged(path));
        }
    }

    /// The same of a packet that the kernel let in through one of the child SAs. Followed once a second at most:
    /// a peer that sends from many places at once is to keep nobody busy, and one that has moved goes on sending.
    pub(in crate::ike) fn packet_from(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        spi: Spi,
        remote: SocketAddr,
    ) -> Sa {
        if self.follows_at > cx.now || remote == self.path.remote {
            return Sa::Established(self);
        }
        self.follows_at = cx.now + FOLLOWING;
        // Who sends through a child SA has got the response that made it: we need not wait to hear so.
        let newest = self.children.last().is_some_and(|child| child.inbound.spi == spi);
        if newest && self.unconfirmed.is_some_and(|response| response.through == response.or) {
            self.acknowledged(cx);
        }
        self.follow(cx, Path { remote, ..self.path });
        self.settle(cx, Ok(()))
    }

    /// The owner's sockets have changed.
    pub(in crate::ike) fn migrate(&mut self, cx: &mut Cx<'_>, path: Path) {
        self.path = path;
        cx.changed = true;
    }

    pub(in crate::ike) const fn peer(&self) -> &PeerAuthenticated {
        &self.peer
    }

    pub(in crate::ike) const fn path(&self) -> Path {
        self.path
    }

    /// The IKE SA with this SPI of ours.
    pub(super) fn member(&mut self, spi: IkeSpi) -> Option<&mut Member> {
        self.generations.iter_mut().find(|member| member.sa.own_spi() == spi)
    }

    /// The IKE SA for new requests.
    pub(super) fn current(&mut self) -> Option<&mut Member> {
        self.generations.iter_mut().find(|member| member.standing == Standing::Current)
    }

    /// The same, to look at.
    pub(in crate::ike) fn current_sa(&self) -> Option<&Generation> {
        self.generations.iter().find(|member| member.standing == Standing::Current).map(|member| &member.sa)
    }

    /// Whether a request of ours through the current IKE SA is not answered yet.
    pub(in crate::ike) fn awaits_answer(&self) -> bool {
        self.current_sa().is_some_and(|sa| sa.in_flight.is_some())
    }

    /// Starts to end it: the children go at once, the IKE SA when the peer has heard of it.
    pub(super) fn close(mut self: Box<Self>, cx: &mut Cx<'_>) -> Sa {
        let result = self.begin_close(cx, CloseReason::Local);
        self.settle(cx, result)
    }

    pub(super) fn begin_close(&mut self, cx: &mut Cx<'_>, reason: CloseReason) -> Result<(), CloseReason> {
        if self.closing.is_some() {
            return Ok(());
        }
        cx.changed = true;
        self.queue.clear();
        self.held = None;
        self.installing = None;
        self.forget_awaited(cx);
        self.drop_children(cx);
        self.closing = Some(Closing { reason, by: cx.now + CLOSING });
        self.queue.push_back(Task::Close);
        Ok(())
    }

    /// Ends it at once.
    pub(in crate::ike) fn end(mut self: Box<Self>, cx: &mut Cx<'_>, reason: CloseReason) -> Sa {
        self.drop_children(cx);
        self.forget_awaited(cx);
        let mut last = None;
        for member in &mut self.generations {
            if let Some(sent) = member.sa.in_flight.take() {
                sent.purpose.release(cx);
            }
        }
        for member in std::mem::take(&mut self.generations) {
            match member.sa.own_spi() {
                spi if self.farewell == Some(spi) => last = Some(member.sa),
                spi => cx.release_ike(spi),
            }
        }
        cx.event(Event::Closed(reason));
        match last {
            Some(sa) => Sa::Gone(Box::new(Gone { sa, until: cx.now + CONFIRMED })),
            None => Sa::Closed,
        }
    }
}

/// What is left of a connection that the peer has deleted: the answer to that, in case it has to be repeated.
#[derive(Debug)]
pub(in crate::ike) struct Gone {
    sa: Generation,
    until: Instant,
}

impl Gone {
    pub(super) fn datagram(mut self: Box<Self>, cx: &mut Cx<'_>, path: Path, packet: &Packet<'_>) -> Sa {
        self.sa.hear(cx, path, None, packet);
        Sa::Gone(self)
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.until
    }

    pub(super) fn timeout(self: Box<Self>, cx: &mut Cx<'_>) -> Sa {
        if cx.now < self.until {
            return Sa::Gone(self);
        }
        cx.release_ike(self.sa.own_spi());
        Sa::Closed
    }
}

/// After this long without repetition of a request the peer has got the response: longer than anyone waits
/// before repeating it.
const CONFIRMED: std::time::Duration = std::time::Duration::from_secs(40);

/// Between two times that packets of child SAs say that the peer has moved.
const FOLLOWING: std::time::Duration = std::time::Duration::from_secs(1);

/// The number of the child SA of IKE_AUTH.
pub(super) const FIRST_CHILD: ChildId = ChildId(1);

/// How long we try to tell the peer that the connection ends.
const CLOSING: std::time::Duration = std::time::Duration::from_secs(10);
