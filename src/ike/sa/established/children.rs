//! The child SAs of a connection: when they are used, replaced and removed (RFC 7296 §1.4.1, §2.8).

use super::timers::FAR;
use super::{Established, Installing, Outcome, Purpose, Task};
use crate::entropy::Entropy;
use crate::ike::event::{Addresses, ChildId, ChildKeys, ChildRefusal, Event};
use crate::ike::reason::CloseReason;
use crate::ike::sa::Cx;
use crate::ike::sa::child::{Child, ChildState, Sending};
use crate::time::Instant;

impl Established {
    pub(super) fn child(&self, id: ChildId) -> Option<&Child> {
        self.children.iter().find(|child| child.id == id)
    }

    pub(super) fn child_mut(&mut self, id: ChildId) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.id == id)
    }

    /// Every child SA that is installed, as at its [`Event::ChildKeys`]; after a restart the owner has to
    /// know them.
    pub(in crate::ike) fn installed(&self) -> impl Iterator<Item = ChildKeys> + '_ {
        let encapsulation = self.nat.encapsulation(self.path);
        let installed = |child: &&Child| child.state != ChildState::Installing;
        let keys = move |child: &Child| child.keys(None, Addresses::default(), encapsulation, self.path);
        self.children.iter().filter(installed).map(keys)
    }

    /// Lets the owner install a child SA of our own request.
    pub(in crate::ike::sa) fn install(
        &mut self,
        cx: &mut Cx<'_>,
        child: Child,
        replaces: Option<ChildId>,
        outcome: Outcome,
        given: Addresses,
    ) {
        let keys = child.keys(replaces, given, self.nat.encapsulation(self.path), self.path);
        self.installing = Some(Box::new(Installing { child: child.id, replaces, outcome }));
        self.children.push(child);
        self.children.shrink_to_fit();
        cx.event(Event::ChildKeys(Box::new(keys)));
    }

    /// The owner's word on [`Event::ChildKeys`].
    pub(in crate::ike) fn child_installed(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        id: ChildId,
        result: Result<(), ChildRefusal>,
    ) -> crate::ike::sa::Sa {
        cx.changed = true;
        let result = match &self.installing {
            Some(installing) if installing.child == id => self.own_child_installed(cx, result),
            Some(_) | None => self.held_child_installed(cx, id, result),
        };
        self.settle(cx, result)
    }

    fn own_child_installed(
        &mut self,
        cx: &mut Cx<'_>,
        result: Result<(), ChildRefusal>,
    ) -> Result<(), CloseReason> {
        let Some(installing) = self.installing.take() else { return Ok(()) };
        let Installing { child: new, replaces, outcome } = *installing;
        if let Err(refusal) = result {
            if outcome == Outcome::First {
                return self.begin_close(cx, CloseReason::ChildNotInstalled(refusal));
            }
            self.delete_child(cx, new, None);
            if let Some(old) = replaces {
                self.retry_child(cx, old);
            }
            return Ok(());
        }
        if let Some(child) = self.child_mut(new) {
            child.state = ChildState::Live;
        }
        match (outcome, replaces) {
            // RFC 7296 §2.8.1: the SA of the exchange with the lowest nonce is closed by who created it.
            (Outcome::Lost(theirs), Some(_)) => self.delete_child(cx, new, Some(theirs)),
            (Outcome::Won(theirs), Some(old)) => {
                if let Some(theirs) = self.child_mut(theirs) {
                    theirs.sending = Sending::Never;
                }
                self.delete_child(cx, old, Some(new));
            }
            // RFC 7296 §2.8: the initiator of the rekeying deletes the old SA.
            (_, Some(old)) => self.delete_child(cx, old, Some(new)),
            (_, None) => {}
        }
        Ok(())
    }

    /// Asks the peer to forget a child SA; `by` has taken its place.
    pub(super) fn delete_child(&mut self, cx: &mut Cx<'_>, id: ChildId, by: Option<ChildId>) {
        let Some(child) = self.child_mut(id) else { return };
        match child.state {
            ChildState::Installing | ChildState::Live => child.state = ChildState::Deleting { by },
            ChildState::Replaced { by: other } => {
                child.state = ChildState::Deleting { by: by.or(Some(other)) };
            }
            ChildState::Deleting { .. } | ChildState::Lingering => return,
        }
        cx.changed = true;
        self.ask(Task::DeleteChild(id));
    }

    /// Both ends agree that a child SA is over. One that was replaced goes on receiving for a while.
    pub(super) fn retire(&mut self, cx: &mut Cx<'_>, id: ChildId) {
        cx.changed = true;
        let linger = cx.settings.lifetimes.linger;
        let until = cx.now + linger;
        let Some(child) = self.child_mut(id) else { return };
        let successor = match child.state {
            ChildState::Replaced { by } | ChildState::Deleting { by: Some(by) } => Some(by),
            ChildState::Installing | ChildState::Live | ChildState::Deleting { by: None } => None,
            ChildState::Lingering => return,
        };
        if successor.is_some() {
            child.state = ChildState::Lingering;
            child.hard = until;
        }
        let redundant = child.sending == Sending::Never;
        // It was to have taken another one's place: that one is back.
        let mut back = Vec::new();
        for other in &mut self.children {
            if other.state == (ChildState::Replaced { by: id }) {
                other.state = ChildState::Live;
                back.push(other.id);
            }
        }
        for other in back {
            self.retry_child(cx, other);
        }
        match successor {
            Some(by) => {
                if !redundant {
                    self.use_child(cx, by);
                }
                if linger.is_zero() {
                    self.drop_child(cx, id);
                }
            }
            None => self.drop_child(cx, id),
        }
    }

    /// Removes one without a word to the peer.
    pub(super) fn drop_child(&mut self, cx: &mut Cx<'_>, id: ChildId) {
        let Some(at) = self.children.iter().position(|child| child.id == id) else { return };
        let child = self.children.remove(at);
        cx.release_esp(child.inbound.spi);
        cx.changed = true;
        if self.installing.as_ref().is_some_and(|installing| installing.child == id) {
            self.installing = None;
        }
        cx.event(Event::ChildGone(id));
    }

    pub(super) fn drop_children(&mut self, cx: &mut Cx<'_>) {
        while let Some(id) = self.children.last().map(|child| child.id) {
            self.drop_child(cx, id);
        }
    }

    /// The owner may send through it from now on, if it was told to wait.
    pub(super) fn use_child(&mut self, cx: &mut Cx<'_>, id: ChildId) {
        if let Some(child) = self.child_mut(id)
            && child.sending == Sending::Waits
        {
            child.sending = Sending::Yes;
            cx.changed = true;
            cx.event(Event::ChildUse(id));
        }
    }

    /// A new request of the peer: with a window of one it has got our last response, and so it has installed
    /// the child SA that the response was about.
    pub(super) fn acknowledged(&mut self, cx: &mut Cx<'_>) {
        self.unconfirmed = None;
        let ready: Vec<ChildId> = self
            .children
            .iter()
            .filter(|child| child.sending == Sending::Waits && child.state != ChildState::Installing)
            .map(|child| child.id)
            .collect();
        for id in ready {
            let by = ChildState::Replaced { by: id };
            let old = self.children.iter().find(|child| child.state == by).map(|child| child.id);
            // While both replace the same SA it is open which one stays.
            if old.is_none_or(|old| !self.rekeys(old)) {
                self.use_child(cx, id);
            }
        }
    }

    /// Whether we are replacing this child SA ourselves.
    pub(super) fn rekeys(&mut self, id: ChildId) -> bool {
        self.installing.as_ref().is_some_and(|installing| installing.replaces == Some(id))
            || self.purpose().and_then(Purpose::child_offer).is_some_and(|offer| offer.replaces == Some(id))
    }

    /// Tries to replace a child SA again in some seconds (RFC 7296 §2.25).
    pub(super) fn retry_child(&mut self, cx: &mut Cx<'_>, id: ChildId) {
        let later = later(cx);
        if let Some(child) = self.child_mut(id) {
            child.soft = later;
        }
    }

    pub(super) fn note_childless(&mut self, cx: &Cx<'_>) {
        let none = self.children.iter().all(|child| child.state == ChildState::Lingering);
        self.childless_end = match self.childless_end {
            _ if !none => FAR,
            FAR => cx.now + cx.settings.lifetimes.childless,
            end => end,
        };
    }
}

/// Two to ten seconds from now.
pub(super) fn later(cx: &mut Cx<'_>) -> Instant {
    cx.now + std::time::Duration::from_millis(2000 + cx.entropy.below(8000))
}
