//! Questions and answers without a socket: what a batch or a dump still waits for.

use super::message::{Frames, Message, Refusal, Reply};
use super::{Dump, Malformed};

/// Requests sent at once, and what became of each.
pub struct Batch {
    first: u32,
    results: Vec<Result<(), Refusal>>,
    /// The position of the request whose answer comes last.
    last: usize,
    /// Whether a refusal of the first request is the only answer.
    opens: bool,
    answered: bool,
}

impl Batch {
    /// Numbers `messages` from `first` on, and asks for an answer to the last only: the kernel reports
    /// refusals in any case, and before that answer.
    #[must_use]
    pub fn new(messages: &mut [Message], first: u32) -> Self {
        let last = messages.len().wrapping_sub(1);
        Self::awaiting(messages, first, last, false)
    }

    /// The same for a transaction of nfnetlink, whose first and last message are its beginning and its end:
    /// all is carried out or nothing. The kernel answers to the changes between them after the end, and to
    /// the end itself only since Linux 6.10. What it refuses as a whole it refuses in the name of the
    /// beginning.
    #[must_use]
    pub fn transaction(messages: &mut [Message], first: u32) -> Self {
        let last = messages.len().wrapping_sub(2);
        Self::awaiting(messages, first, last, true)
    }

    fn awaiting(messages: &mut [Message], first: u32, last: usize, opens: bool) -> Self {
        let mut sequence = first;
        for message in messages.iter_mut() {
            message.set_sequence(sequence);
            sequence = sequence.wrapping_add(1);
        }
        let awaited = messages.get_mut(last);
        let answered = awaited.is_none();
        if let Some(message) = awaited {
            message.ask_for_ack();
        }
        Self { first, results: vec![Ok(()); messages.len()], last, opens, answered }
    }

    /// Takes in a datagram from the kernel.
    ///
    /// # Errors
    /// [`Malformed`] when it is no netlink message.
    pub fn feed(&mut self, datagram: &[u8]) -> Result<(), Malformed> {
        for frame in Frames::new(datagram) {
            let frame = frame?;
            let position = usize::try_from(frame.sequence.wrapping_sub(self.first)).unwrap_or(usize::MAX);
            // An answer to a request of someone else, or to one given up before.
            let Some(result) = self.results.get_mut(position) else { continue };
            match frame.reply()? {
                Reply::Refused(refusal) => {
                    *result = Err(refusal);
                    self.answered |= self.opens && position == 0;
                }
                Reply::Done => {}
                Reply::Object { .. } | Reply::Nothing => continue,
            }
            self.answered |= position == self.last;
        }
        Ok(())
    }

    /// Whether the last request was answered, and so all.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.answered
    }

    /// What became of each request, in order.
    #[must_use]
    pub fn into_results(self) -> Vec<Result<(), Refusal>> {
        self.results
    }
}

/// How far a dump has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    More,
    /// All is there.
    Complete,
    /// Objects changed meanwhile, so some may be missing or twice here: ask again (`NLM_F_DUMP_INTR`).
    Interrupted,
}

/// The answers to a dump so far.
pub struct Answers<'a, D: Dump> {
    dump: &'a D,
    sequence: u32,
    items: Vec<D::Item>,
    interrupted: bool,
}

impl<'a, D: Dump> Answers<'a, D> {
    /// No answers yet to the request with this number.
    #[must_use]
    pub const fn new(dump: &'a D, sequence: u32) -> Self {
        Self { dump, sequence, items: Vec::new(), interrupted: false }
    }

    /// Takes in a datagram from the kernel.
    ///
    /// # Errors
    /// [`Unanswered`] when the kernel refuses, or its answer cannot be read.
    pub fn feed(&mut self, datagram: &[u8]) -> Result<Progress, Unanswered> {
        for frame in Frames::new(datagram) {
            let frame = frame?;
            if frame.sequence != self.sequence {
                continue;
            }
            self.interrupted |= frame.interrupted();
            let more = match frame.reply()? {
                Reply::Object { kind, payload, more } => {
                    if kind == D::ANSWER {
                        self.items.push(self.dump.parse(payload)?);
                    }
                    more
                }
                Reply::Refused(refusal) => return Err(Unanswered::Refused(refusal)),
                Reply::Done => false,
                Reply::Nothing => true,
            };
            if !more {
                return Ok(if self.interrupted { Progress::Interrupted } else { Progress::Complete });
            }
        }
        Ok(Progress::More)
    }

    /// The objects.
    #[must_use]
    pub fn into_items(self) -> Vec<D::Item> {
        self.items
    }
}

/// Why there is no answer to a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// The kernel refused.
    Refused(Refusal),
    /// Its answer could not be read.
    Malformed(Malformed),
}

impl From<Malformed> for Unanswered {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::attr::Writer;
    use super::super::message::answer;
    use super::super::{LinkDump, LinkEntry};
    use super::*;

    const MULTI: u16 = 2;
    const DUMP_INTR: u16 = 0x10;

    fn verdict(sequence: u32, errno: i32) -> Vec<u8> {
        answer(2, 0x100, sequence, |writer| {
            writer.bytes(&(-errno).to_ne_bytes());
            writer.u32(16);
            writer.zeros(12);
        })
    }

    fn link(sequence: u32, flags: u16, index: u8) -> Vec<u8> {
        answer(LinkDump::ANSWER, MULTI | flags, sequence, |writer: &mut Writer| {
            writer.bytes(&[0, 0, 0, 0, index, 0, 0, 0]);
            writer.zeros(8);
        })
    }

    fn done(sequence: u32) -> Vec<u8> {
        answer(3, MULTI, sequence, |writer| writer.u32(0))
    }

    #[test]
    fn refusals_find_their_requests() {
        let mut messages = vec![LinkDump.request(), LinkDump.request(), LinkDump.request()];
        let mut batch = Batch::new(&mut messages, u32::MAX);
        let sequence = |message: &Message| message.as_bytes()[8..12].to_vec();
        assert_eq!(sequence(&messages[1]), [0; 4]);
        let acks: Vec<_> = messages.iter().map(|message| message.as_bytes()[6] & 4 != 0).collect();
        assert_eq!(acks, [false, false, true]);

        batch.feed(&verdict(7, 1)).unwrap();
        batch.feed(&[verdict(0, 17), verdict(u32::MAX, 3)].concat()).unwrap();
        assert!(!batch.is_answered());
        batch.feed(&verdict(1, 0)).unwrap();
        assert!(batch.is_answered());
        let errnos: Vec<_> = batch
            .into_results()
            .into_iter()
            .map(|result| result.err().map(|refusal| refusal.errno))
            .collect();
        assert_eq!(errnos, [Some(3), Some(17), None]);
    }

    #[test]
    fn the_last_refusal_is_an_answer() {
        let mut batch = Batch::new(&mut [LinkDump.request()], 5);
        batch.feed(&verdict(5, 17)).unwrap();
        assert!(batch.is_answered());
        assert!(Batch::new(&mut [], 5).is_answered());
    }

    #[test]
    fn a_transaction_is_answered_by_its_last_change_or_refused_as_a_whole() {
        let messages = || [LinkDump.request(), LinkDump.request(), LinkDump.request(), LinkDump.request()];
        let mut sent = messages();
        let mut batch = Batch::transaction(&mut sent, 5);
        let acks = sent.each_ref().map(|message| message.as_bytes()[6] & 4 != 0);
        assert_eq!(acks, [false, false, true, false]);
        batch.feed(&verdict(6, 2)).unwrap();
        assert!(!batch.is_answered());
        batch.feed(&verdict(7, 0)).unwrap();
        assert!(batch.is_answered());
        assert_eq!(batch.into_results().iter().filter(|result| result.is_err()).count(), 1);

        let mut batch = Batch::transaction(&mut messages(), 5);
        batch.feed(&verdict(5, 1)).unwrap();
        assert!(batch.is_answered());
        assert!(batch.into_results()[0].is_err());
    }

    #[test]
    fn a_dump_ends_with_done_and_leaves_out_the_answers_to_others() {
        let mut answers = Answers::new(&LinkDump, 5);
        assert_eq!(answers.feed(&[link(5, 0, 1), link(4, 0, 2)].concat()), Ok(Progress::More));
        assert_eq!(answers.feed(&link(5, 0, 3)), Ok(Progress::More));
        assert_eq!(answers.feed(&done(5)), Ok(Progress::Complete));
        let expected = [1, 3].map(|index| LinkEntry { index, name: None, if_id: None, ours: None });
        assert_eq!(answers.into_items(), expected);
    }

    #[test]
    fn a_dump_that_raced_with_a_change_says_so_at_its_end() {
        let mut answers = Answers::new(&LinkDump, 5);
        assert_eq!(answers.feed(&link(5, DUMP_INTR, 1)), Ok(Progress::More));
        assert_eq!(answers.feed(&link(5, 0, 2)), Ok(Progress::More));
        assert_eq!(answers.feed(&done(5)), Ok(Progress::Interrupted));
    }

    #[test]
    fn a_refused_dump_is_an_error() {
        let refused = Answers::new(&LinkDump, 5).feed(&verdict(5, 1));
        assert_eq!(refused, Err(Unanswered::Refused(Refusal { errno: 1, text: None, offset: None })));
    }
}
