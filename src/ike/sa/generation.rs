//! One IKE SA in the sense of RFC 7296: keys, SPIs, and the windows of message IDs in both directions.

use super::Cx;
use super::established::InFlight;
use super::reassembly::{self, Piece, Reassembly};
use crate::ike::crypto::{
    IkeSuite, KeySchedule, Nonces, Opened, Outgoing, Role, SharedSecret, protect, unprotect,
};
use crate::ike::event::Path;
use crate::ike::wire::{
    Body, Direction, Exchange, Flags, Header, IkeSpi, Malformed, MessageId, Packet, Payload, PayloadType,
    decode_payloads,
};

/// One IKE SA. Windows have size 1 (RFC 7296 §2.3): one request of each side at a time.
#[derive(Debug)]
pub(in crate::ike) struct Generation {
    pub(in crate::ike) initiator_spi: IkeSpi,
    pub(in crate::ike) responder_spi: IkeSpi,
    /// Our part in this SA, which need not be the one in the connection.
    pub(in crate::ike) role: Role,
    pub(in crate::ike) suite: IkeSuite,
    pub(in crate::ike) keys: KeySchedule,
    /// The keys of the last request, when they were others.
    before: Option<KeySchedule>,
    /// The largest datagram, when the peer puts fragments together.
    pub(in crate::ike) limit: Option<usize>,
    pub(super) outgoing: Outgoing,
    pub(super) next_request: MessageId,
    /// Our request that is not answered yet.
    pub(in crate::ike) in_flight: Option<Box<InFlight>>,
    /// The request we wait for from the peer.
    pub(super) expected: MessageId,
    pub(super) inbox: Inbox,
    /// Our response to the request before.
    pub(super) response: Vec<Vec<u8>>,
    partial_request: Option<Box<Reassembly>>,
    partial_response: Option<Box<Reassembly>>,
}

/// What became of the peer's current request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ike) enum Inbox {
    /// It has not come yet.
    Waiting,
    /// It came, and the owner has not yet said what to answer.
    Held,
}

/// A message that authenticates and has its turn.
#[derive(Debug)]
pub(in crate::ike) struct Message {
    pub(in crate::ike) header: Header,
    pub(in crate::ike) first: PayloadType,
    pub(in crate::ike) plain: Vec<u8>,
}

impl Message {
    pub(in crate::ike) fn payloads(&self) -> Result<Vec<Payload>, Malformed> {
        decode_payloads(self.first, &self.plain)
    }
}

impl Generation {
    /// An SA whose first protected request has the ID `first`: 1 after IKE_SA_INIT, 0 after rekeying
    /// (RFC 7296 §2.18).
    pub(in crate::ike) fn new(
        (initiator_spi, responder_spi): (IkeSpi, IkeSpi),
        role: Role,
        suite: IkeSuite,
        keys: KeySchedule,
        first: MessageId,
        limit: Option<usize>,
    ) -> Self {
        let (next_request, expected) = match role {
            Role::Initiator => (first, MessageId::ZERO),
            Role::Responder => (MessageId::ZERO, first),
        };
        Self {
            initiator_spi,
            responder_spi,
            role,
            suite,
            outgoing: keys.outgoing(role),
            keys,
            before: None,
            limit,
            next_request,
            in_flight: None,
            expected,
            inbox: Inbox::Waiting,
            response: Vec::new(),
            partial_request: None,
            partial_response: None,
        }
    }

    pub(in crate::ike) const fn own_spi(&self) -> IkeSpi {
        match self.role {
            Role::Initiator => self.initiator_spi,
            Role::Responder => self.responder_spi,
        }
    }

    /// Replaces the keys after an additional key exchange (RFC 9370 §2.2.2); the nonces are those of
    /// IKE_SA_INIT.
    pub(in crate::ike) fn mix_in(&mut self, nonces: Nonces<'_>, secret: &SharedSecret) {
        let keys = self.keys.updated(nonces, secret, self.initiator_spi, self.responder_spi);
        self.outgoing = keys.outgoing(self.role);
        self.before = Some(std::mem::replace(&mut self.keys, keys));
    }

    /// The header of our next request.
    pub(in crate::ike) fn next_header(&mut self, exchange: Exchange) -> Header {
        let message_id = self.next_request;
        self.next_request = message_id.next().unwrap_or(message_id);
        Header {
            initiator_spi: self.initiator_spi,
            responder_spi: self.responder_spi,
            exchange,
            flags: Flags { initiator: self.role == Role::Initiator, response: false },
            message_id,
        }
    }

    pub(in crate::ike) fn seal(
        &mut self,
        cx: &mut Cx<'_>,
        header: &Header,
        payloads: &[Payload],
    ) -> Vec<Vec<u8>> {
        cx.changed = true;
        protect(&mut self.outgoing, header, payloads, self.limit)
    }

    /// Answers the request with `header`, and remembers the answer for repetitions.
    pub(in crate::ike) fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        path: Path,
        header: &Header,
        payloads: &[Payload],
    ) {
        let datagrams = self.seal(cx, &header.reply(), payloads);
        self.before = None;
        for datagram in &datagrams {
            cx.transmit(path, datagram.clone());
        }
        self.response = datagrams;
        self.response.shrink_to_fit();
        self.expected = self.expected.next().unwrap_or(self.expected);
        self.inbox = Inbox::Waiting;
    }

    /// Opens a packet that is ours and whose turn it is. Repetitions of the last request get the last
    /// response once more; everything else is dropped.
    pub(in crate::ike) fn hear(
        &mut self,
        cx: &mut Cx<'_>,
        path: Path,
        awaited: Option<MessageId>,
        packet: &Packet<'_>,
    ) -> Option<Message> {
        let header = packet.header;
        let from_initiator = self.role == Role::Responder;
        if header.flags.initiator != from_initiator
            || (header.initiator_spi, header.responder_spi) != (self.initiator_spi, self.responder_spi)
        {
            return None;
        }
        let direction = header.direction();
        let repeated = match direction {
            Direction::Request if header.message_id == self.expected => {
                if self.inbox == Inbox::Held {
                    return None;
                }
                false
            }
            // RFC 7296 §2.1: a repeated request gets the response that is remembered.
            Direction::Request if header.message_id.next() == Some(self.expected) => true,
            Direction::Response if awaited == Some(header.message_id) => false,
            Direction::Request | Direction::Response => return None,
        };
        if matches!(packet.body, Body::Clear(_)) {
            return None;
        }
        let keys = if repeated { self.before.as_ref().unwrap_or(&self.keys) } else { &self.keys };
        let opened = unprotect(&keys.incoming(self.role), packet).ok()?;
        if repeated {
            cx.repeated = true;
            // RFC 7383 §2.6.1: only the first fragment of a repetition is answered.
            if matches!(opened, Opened::Whole { .. } | Opened::Fragment { number: 1, .. }) {
                for datagram in &self.response {
                    cx.transmit(path, datagram.clone());
                }
            }
            return None;
        }
        let (first, plain) = match opened {
            Opened::Whole { first, plain } => (first, plain),
            Opened::Fragment { number, total, first, plain } => {
                let slot = match direction {
                    Direction::Request => &mut self.partial_request,
                    Direction::Response => &mut self.partial_response,
                };
                let id = header.message_id;
                reassembly::add(slot, Piece { id, number, total, first, plain })?
            }
        };
        match direction {
            Direction::Request => self.partial_request = None,
            Direction::Response => self.partial_response = None,
        }
        cx.changed = true;
        Some(Message { header, first, plain })
    }
}
