//! Commands that wait for the core's answer.

use std::collections::BTreeMap;

use ippriv::control::{RefusalCode, Reply};
use ippriv::node::CommandId;
use tokio::sync::oneshot;

/// Commands at a time.
const MOST: usize = 256;

#[derive(Default)]
pub(super) struct Pending {
    next: u64,
    waiting: BTreeMap<CommandId, oneshot::Sender<Reply>>,
}

impl Pending {
    /// A name for a command, unless too many wait, which is answered.
    pub(super) fn add(&mut self, sender: oneshot::Sender<Reply>) -> Option<CommandId> {
        self.waiting.retain(|_, sender| !sender.is_closed());
        if self.waiting.len() >= MOST {
            let refused = Reply::refused(RefusalCode::Unavailable, "too many commands wait: try again");
            drop(sender.send(refused));
            return None;
        }
        self.next += 1;
        let id = CommandId(self.next);
        self.waiting.insert(id, sender);
        Some(id)
    }

    /// Hands an answer to who asked, if they still wait.
    pub(super) fn answer(&mut self, id: CommandId, reply: Reply) {
        if let Some(sender) = self.waiting.remove(&id) {
            drop(sender.send(reply));
        }
    }

    /// The daemon stops.
    pub(super) fn refuse_all(&mut self) {
        for sender in std::mem::take(&mut self.waiting).into_values() {
            drop(sender.send(Reply::refused(RefusalCode::Unavailable, "the daemon is stopping")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_wait_and_who_has_gone_does_not_count() {
        let mut pending = Pending::default();
        let waiting: Vec<_> = (0..MOST)
            .map(|_| {
                let (sender, receiver) = oneshot::channel();
                assert!(pending.add(sender).is_some());
                receiver
            })
            .collect();
        let (sender, mut receiver) = oneshot::channel();
        assert_eq!(pending.add(sender), None);
        assert!(matches!(receiver.try_recv(), Ok(Reply::Refused(_))));
        drop(waiting);
        let (sender, _receiver) = oneshot::channel();
        assert!(pending.add(sender).is_some());
    }
}
