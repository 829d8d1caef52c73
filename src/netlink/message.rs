//! Whole netlink messages, and the answers the kernel itself gives (`man 7 netlink`).

use std::fmt;

use super::attr::{Attributes, Malformed, Reader, Writer, text};
use crate::plan::OpError;

pub(super) const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
pub(super) const DUMP: u16 = 0x300;
pub(super) const REPLACE: u16 = 0x100;
pub(super) const EXCL: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;

const MULTI: u16 = 0x2;
const DUMP_INTR: u16 = 0x10;
const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;

const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const HEADER: usize = 16;
const FLAGS_AT: usize = 6;
const SEQUENCE_AT: usize = 8;
/// Room for most messages; an SA with keys has up to 450 octets.
const CAPACITY: usize = 512;

/// `NLMSGERR_ATTR_MSG` and `NLMSGERR_ATTR_OFFS`.
const ERROR_TEXT: u16 = 1;
const ERROR_OFFSET: u16 = 2;

/// A request to the kernel. Its octets may hold keys, so they are wiped and never printed.
#[derive(Clone)]
pub struct Message {
    kind: u16,
    flags: u16,
    writer: Writer,
}

impl Message {
    /// A message of type `kind` whose payload `write` appends. `NLM_F_REQUEST` is added to `flags`.
    pub(super) fn new(kind: u16, flags: u16, write: impl FnOnce(&mut Writer)) -> Self {
        let flags = flags | REQUEST;
        let mut writer = Writer::new(CAPACITY);
        writer.u32(0);
        writer.u16(kind);
        writer.u16(flags);
        writer.zeros(HEADER - SEQUENCE_AT);
        write(&mut writer);
        let length = u32::try_from(writer.as_bytes().len()).unwrap_or(u32::MAX);
        writer.patch(0, &length.to_ne_bytes());
        Self { kind, flags, writer }
    }

    /// Its type, such as `XFRM_MSG_NEWSA`.
    #[must_use]
    pub const fn kind(&self) -> u16 {
        self.kind
    }

    /// Sets the number the kernel answers with.
    pub fn set_sequence(&mut self, sequence: u32) {
        self.writer.patch(SEQUENCE_AT, &sequence.to_ne_bytes());
    }

    /// Asks for an answer even when all went well (`NLM_F_ACK`).
    pub fn ask_for_ack(&mut self) {
        self.flags |= ACK;
        self.writer.patch(FLAGS_AT, &self.flags.to_ne_bytes());
    }

    /// The octets to send. Their number is a multiple of 4, so messages can be sent in a row.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.writer.as_bytes()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:#x}, {} octets)", self.kind, self.as_bytes().len())
    }
}

/// A message from the kernel.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The sequence number of the request it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// Why the kernel refused a request, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The positive error number.
    pub errno: i32,
    /// `NLMSGERR_ATTR_MSG`: what is wrong.
    pub text: Option<String>,
    /// `NLMSGERR_ATTR_OFFS`: where in the request the attribute at fault starts.
    pub offset: Option<u32>,
}

impl From<Refusal> for OpError {
    fn from(Refusal { errno, text, offset: _ }: Refusal) -> Self {
        Self::Refused { errno, text }
    }
}

/// What a message from the kernel says.
#[derive(Clone)]
pub enum Reply<'a> {
    /// The request was carried out.
    Done,
    /// It was not.
    Refused(Refusal),
    /// One of the objects asked for.
    Object {
        /// The type of the message.
        kind: u16,
        /// What follows the header.
        payload: &'a [u8],
        /// Whether more messages follow, the last being [`Reply::Done`].
        more: bool,
    },
    /// Nothing.
    Nothing,
}

impl<'a> Frame<'a> {
    /// Whether objects changed during this dump, so that some may be missing (`NLM_F_DUMP_INTR`).
    #[must_use]
    pub const fn interrupted(&self) -> bool {
        self.flags & DUMP_INTR != 0
    }

    /// What it says.
    ///
    /// # Errors
    /// [`Malformed`] when an error message ends too early.
    pub fn reply(&self) -> Result<Reply<'a>, Malformed> {
        match self.kind {
            NOOP => Ok(Reply::Nothing),
            DONE if self.payload.is_empty() => Ok(Reply::Done),
            ERROR | DONE => self.verdict(),
            kind => Ok(Reply::Object { kind, payload: self.payload, more: self.flags & MULTI != 0 }),
        }
    }

    /// `struct nlmsgerr`, or the same without the request's header at the end of a dump.
    fn verdict(&self) -> Result<Reply<'a>, Malformed> {
        let mut reader = Reader::new("error message", self.payload);
        let code = i32::from_ne_bytes(reader.array()?);
        if code == 0 {
            return Ok(Reply::Done);
        }
        if self.kind == ERROR {
            let request = usize::try_from(reader.u32()?).unwrap_or(usize::MAX).max(HEADER);
            let echoed = if self.flags & CAPPED != 0 { HEADER } else { request.next_multiple_of(4) };
            reader.slice(echoed - 4)?;
        }
        let mut refusal = Refusal { errno: code.saturating_neg(), text: None, offset: None };
        if self.flags & ACK_TLVS != 0 {
            for attribute in Attributes::new(reader.rest()) {
                let attribute = attribute?;
                match attribute.kind {
                    ERROR_TEXT => refusal.text = text(attribute.content).map(str::to_owned),
                    ERROR_OFFSET => refusal.offset = Some(attribute.u32()?),
                    _ => {}
                }
            }
        }
        Ok(Reply::Refused(refusal))
    }
}

/// The messages in one datagram; after an error there are no more.
pub struct Frames<'a>(&'a [u8]);

impl<'a> Frames<'a> {
    /// The messages in `datagram`.
    #[must_use]
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }

    fn read(&mut self) -> Result<Frame<'a>, Malformed> {
        let mut reader = Reader::new("netlink message", std::mem::take(&mut self.0));
        let length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        let (kind, flags, sequence) = (reader.u16()?, reader.u16()?, reader.u32()?);
        reader.u32()?;
        let Some(payload) = length.checked_sub(HEADER) else {
            return Err(Malformed { what: "netlink message length", found: length, expected: HEADER });
        };
        let payload = reader.slice(payload)?;
        let padding = length.next_multiple_of(4) - length;
        self.0 = reader.rest().get(padding..).unwrap_or_default();
        Ok(Frame { kind, flags, sequence, payload })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.read())
    }
}

/// A message as the kernel sends it, for tests.
#[cfg(test)]
pub(super) fn answer(kind: u16, flags: u16, sequence: u32, payload: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut message = Message::new(kind, 0, payload);
    message.writer.patch(FLAGS_AT, &flags.to_ne_bytes());
    message.set_sequence(sequence);
    message.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> Refusal {
        match Frames::new(bytes).next().unwrap().unwrap().reply().unwrap() {
            Reply::Refused(refusal) => refusal,
            _ => panic!("no refusal"),
        }
    }

    #[test]
    fn an_error_is_read_with_the_kernels_words() {
        for (flags, echoed) in [(CAPPED | ACK_TLVS, 0), (ACK_TLVS, 20)] {
            let bytes = answer(ERROR, flags, 9, |writer| {
                writer.bytes(&(-17_i32).to_ne_bytes());
                writer.u32(36);
                writer.zeros(12 + echoed);
                writer.attribute_text(ERROR_TEXT, "exists");
                writer.attribute_u32(ERROR_OFFSET, 20);
            });
            let expected = Refusal { errno: 17, text: Some("exists".into()), offset: Some(20) };
            assert_eq!(refusal(&bytes), expected);
        }
    }

    #[test]
    fn the_end_of_a_dump_may_be_an_error() {
        let bytes = answer(DONE, 0, 9, |writer| writer.bytes(&(-2_i32).to_ne_bytes()));
        assert_eq!(refusal(&bytes).errno, 2);
        let bytes = answer(DONE, DUMP_INTR, 9, |writer| writer.u32(0));
        let frame = Frames::new(&bytes).next().unwrap().unwrap();
        assert!(frame.interrupted());
        assert!(matches!(frame.reply(), Ok(Reply::Done)));
    }

    #[test]
    fn truncation_anywhere_is_an_error_or_an_end_but_no_panic() {
        let whole = answer(ERROR, CAPPED | ACK_TLVS, 9, |writer| {
            writer.bytes(&(-17_i32).to_ne_bytes());
            writer.u32(36);
            writer.zeros(12);
            writer.attribute_text(ERROR_TEXT, "exists");
        });
        for end in 0..whole.len() {
            assert!(Frames::new(&whole[..end]).all(|frame| frame.is_err()), "{end}");
        }
    }

    #[test]
    fn debug_shows_no_octet_of_the_payload() {
        let message = Message::new(0x10, CREATE, |writer| writer.bytes(&[0xab; 32]));
        assert_eq!(format!("{message:?}"), "Message(0x10, 48 octets)");
    }
}
