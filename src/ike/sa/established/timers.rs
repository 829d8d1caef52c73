//! What happens when time passes.

use super::tasks::Task;
use super::{Established, Standing};
use crate::ike::event::ChildId;
use crate::ike::reason::CloseReason;
use crate::ike::sa::child::ChildState;
use crate::ike::sa::{Cx, Sa};
use crate::time::Instant;

impl Established {
    pub(in crate::ike::sa) fn deadline(&self) -> Option<Instant> {
        let mut earliest = self.closing.as_ref().map_or(self.hard, |closing| closing.by);
        let mut consider = |at: Instant| earliest = earliest.min(at);
        for member in &self.generations {
            if let Some(sent) = &member.sa.in_flight {
                consider(sent.retry.deadline());
            }
            if let Standing::Superseded(until) = member.standing {
                consider(until);
            }
        }
        for child in &self.children {
            match child.state {
                ChildState::Live => consider(child.soft.min(child.hard)),
                ChildState::Replaced { .. } | ChildState::Lingering => consider(child.hard),
                ChildState::Installing | ChildState::Deleting { .. } => {}
            }
        }
        if let Some(unconfirmed) = &self.unconfirmed {
            consider(unconfirmed.until);
        }
        if let Some(awaited) = &self.awaited {
            consider(awaited.until);
        }
        if self.closing.is_none() {
            consider(self.soft);
            consider(self.childless_end);
            consider(self.probe_at);
        }
        Some(earliest)
    }

    pub(in crate::ike::sa) fn timeout(mut self: Box<Self>, cx: &mut Cx<'_>) -> Sa {
        let result = self.tick(cx);
        self.settle(cx, result)
    }

    fn tick(&mut self, cx: &mut Cx<'_>) -> Result<(), CloseReason> {
        self.retransmit(cx)?;
        let over = |member: &super::Member| matches!(member.standing, Standing::Superseded(until) if until <= cx.now);
        let over: Vec<_> =
            self.generations.iter().filter(|member| over(member)).map(|member| member.sa.own_spi()).collect();
        for spi in over {
            self.drop_generation(cx, spi);
        }
        if self.unconfirmed.is_some_and(|response| response.until <= cx.now) {
            self.acknowledged(cx);
        }
        if self.awaited.as_ref().is_some_and(|awaited| awaited.until <= cx.now) {
            self.forget_awaited(cx);
        }
        self.child_timers(cx);
        match &self.closing {
            Some(closing) if closing.by <= cx.now => return Err(closing.reason.clone()),
            Some(_) => return Ok(()),
            None => {}
        }
        if self.hard <= cx.now {
            return self.begin_close(cx, CloseReason::Expired);
        }
        if self.childless_end <= cx.now {
            return self.begin_close(cx, CloseReason::Childless);
        }
        if self.soft <= cx.now {
            self.soft = self.hard;
            self.ask(Task::RekeyIke(None));
        }
        if self.probe_at <= cx.now {
            let busy = self.current().is_some_and(|member| member.sa.in_flight.is_some());
            self.heard(cx);
            if !busy {
                self.ask(Task::Probe);
            }
        }
        Ok(())
    }

    fn retransmit(&mut self, cx: &mut Cx<'_>) -> Result<(), CloseReason> {
        let path = self.path;
        let mut silent = Vec::new();
        for member in &mut self.generations {
            let Some(sent) = &mut member.sa.in_flight else { continue };
            if sent.retry.fire(cx, &cx.settings.established, path).is_err() {
                if member.standing == Standing::Current {
                    let reason = CloseReason::Unresponsive(sent.purpose.step());
                    return Err(self.closing.take().map_or(reason, |closing| closing.reason));
                }
                silent.push(member.sa.own_spi());
            }
        }
        for spi in silent {
            self.drop_generation(cx, spi);
        }
        Ok(())
    }

    fn child_timers(&mut self, cx: &mut Cx<'_>) {
        let ids: Vec<ChildId> = self.children.iter().map(|child| child.id).collect();
        for id in ids {
            let Some(child) = self.child_mut(id) else { continue };
            match child.state {
                ChildState::Lingering if child.hard <= cx.now => self.drop_child(cx, id),
                ChildState::Live | ChildState::Replaced { .. } if child.hard <= cx.now => {
                    self.delete_child(cx, id, None);
                }
                ChildState::Live if child.soft <= cx.now => {
                    child.soft = child.hard;
                    self.ask(Task::RekeyChild(id, None));
                }
                ChildState::Live
                | ChildState::Lingering
                | ChildState::Replaced { .. }
                | ChildState::Installing
                | ChildState::Deleting { .. } => {}
            }
        }
    }

    /// The peer's kernel is there, whatever became of its daemon (RFC 7296 §2.4): nor is our request given up that
    /// it does not answer. One that ends the connection is, for nothing comes through what is ending.
    pub(in crate::ike) fn traffic_seen(&mut self, cx: &Cx<'_>) {
        if self.closing.is_some() {
            return;
        }
        self.heard(cx);
        if let Some(sent) = self.current().and_then(|member| member.sa.in_flight.as_mut()) {
            sent.retry.renew(cx.now, &cx.settings.established);
        }
    }

    /// The peer is alive: the next check of that is due after a silence.
    pub(in crate::ike) fn heard(&mut self, cx: &Cx<'_>) {
        self.probe_at = match cx.settings.lifetimes.probe {
            Some(silence) => cx.now + silence,
            None => FAR,
        };
    }
}

/// Never.
pub(in crate::ike::sa) const FAR: Instant = Instant::from_epoch(std::time::Duration::MAX);
