//! Netlink sockets: batches of requests and dumps, blocking.

use std::io::{self, IoSlice};
use std::time::Duration;

use ippriv::netlink::{Answers, Batch, Channel, Dump, Malformed, Message, Progress, Refusal, Unanswered};
use ippriv::plan::OpError;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM};
use netlink_sys::{Socket as RawSocket, SocketAddr};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Timeout, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force, set_socket_timeout,
};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use zeroize::Zeroizing;

/// The most requests sent at once: their refusals, should all be refused, fit any receive buffer.
pub(super) const BATCH: usize = 64;
/// How long to wait for an answer. The kernel answers in the system call that sends, but for locks.
const PATIENCE: Duration = Duration::from_secs(5);
/// Octets for one datagram; the kernel fills at most 32 KiB with a dump.
const DATAGRAM: usize = 64 << 10;
/// Octets of socket buffers, to hold what one batch sends and gets back.
const BUFFERS: usize = 4 << 20;
/// How often to ask again when objects change during a dump.
const ATTEMPTS: usize = 20;

/// Why there is no answer, or what it is.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// This kernel has no such socket.
    #[error("cannot open a socket to {channel}: {error}")]
    Unavailable {
        /// To what part of the kernel, and how that is called in its configuration.
        channel: &'static str,
        /// What it says.
        error: io::Error,
    },
    /// Sending or receiving failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No answer came in time.
    #[error("no answer within {} ms", PATIENCE.as_millis())]
    TimedOut,
    /// The kernel answered something else than netlink.
    #[error("malformed answer: {0}")]
    Malformed(#[from] Malformed),
    /// The kernel refused.
    #[error("{}", OpError::from(.0.clone()))]
    Refused(Refusal),
    /// Objects kept changing.
    #[error("objects changed during each of {ATTEMPTS} dumps")]
    Interrupted,
}

impl From<Errno> for SocketError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::AGAIN => Self::TimedOut,
            errno => Self::Io(errno.into()),
        }
    }
}

impl SocketError {
    /// The same as the outcome of an operation.
    pub(super) fn into_op_error(self) -> OpError {
        match self {
            Self::Refused(refusal) => refusal.into(),
            Self::TimedOut => OpError::TimedOut(u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX)),
            other => OpError::Tool(other.to_string()),
        }
    }
}

impl From<Unanswered> for SocketError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Refused(refusal) => Self::Refused(refusal),
            Unanswered::Malformed(malformed) => Self::Malformed(malformed),
        }
    }
}

/// A socket to the kernel.
pub(super) struct Socket {
    socket: RawSocket,
    next_sequence: u32,
    /// Wiped when dropped: an answer may hold keys.
    buffer: Zeroizing<Vec<u8>>,
}

impl Socket {
    /// Opens a socket in the caller's network namespace.
    pub(super) fn open(channel: Channel) -> Result<Self, SocketError> {
        let (protocol, name) = match channel {
            Channel::Xfrm => (NETLINK_XFRM, "XFRM (CONFIG_XFRM_USER)"),
            Channel::Route => (NETLINK_ROUTE, "routing"),
            Channel::Netfilter => (NETLINK_NETFILTER, "nftables (CONFIG_NF_TABLES)"),
        };
        let mut socket =
            RawSocket::new(protocol).map_err(|error| SocketError::Unavailable { channel: name, error })?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Without this the kernel would echo requests, and with them keys, in its errors.
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        if channel == Channel::Route {
            socket.set_netlink_get_strict_chk(true)?;
        }
        if set_socket_recv_buffer_size_force(&socket, BUFFERS).is_err() {
            set_socket_recv_buffer_size(&socket, BUFFERS)?;
        }
        if set_socket_send_buffer_size_force(&socket, BUFFERS).is_err() {
            set_socket_send_buffer_size(&socket, BUFFERS)?;
        }
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, next_sequence: 1, buffer: Zeroizing::new(vec![0; DATAGRAM]) })
    }

    /// The number of the interface called `name`.
    pub(super) fn link_index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.socket, name)?)
    }

    /// Sends `messages` at once and tells what became of each.
    pub(super) fn batch(
        &mut self,
        messages: &mut [Message],
    ) -> Result<Vec<Result<(), OpError>>, SocketError> {
        let batch = Batch::new(messages, self.next_sequence);
        let results = self.answers(batch, messages)?;
        Ok(results.into_iter().map(|result| result.map_err(OpError::from)).collect())
    }

    /// Sends the `messages` of one transaction, which is carried out as a whole or not at all.
    pub(super) fn transaction(&mut self, messages: &mut [Message]) -> Result<(), SocketError> {
        let batch = Batch::transaction(messages, self.next_sequence);
        let results = self.answers(batch, messages)?;
        results.into_iter().collect::<Result<(), _>>().map_err(SocketError::Refused)
    }

    fn answers(
        &mut self,
        mut batch: Batch,
        messages: &[Message],
    ) -> Result<Vec<Result<(), Refusal>>, SocketError> {
        let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        self.next_sequence = self.next_sequence.wrapping_add(count);
        self.send(messages)?;
        while !batch.is_answered() {
            let length = self.receive()?;
            batch.feed(&self.buffer[..length])?;
        }
        Ok(batch.into_results())
    }

    /// Everything that `dump` asks for.
    pub(super) fn dump<D: Dump>(&mut self, dump: &D) -> Result<Vec<D::Item>, SocketError> {
        for _ in 0..ATTEMPTS {
            let mut request = dump.request();
            request.set_sequence(self.next_sequence);
            let mut answers = Answers::new(dump, self.next_sequence);
            self.next_sequence = self.next_sequence.wrapping_add(1);
            self.send(std::slice::from_ref(&request))?;
            loop {
                let length = self.receive()?;
                match answers.feed(&self.buffer[..length])? {
                    Progress::More => {}
                    Progress::Complete => return Ok(answers.into_items()),
                    Progress::Interrupted => break,
                }
            }
        }
        Err(SocketError::Interrupted)
    }

    fn send(&self, messages: &[Message]) -> Result<(), SocketError> {
        let slices: Vec<_> = messages.iter().map(|message| IoSlice::new(message.as_bytes())).collect();
        let mut control = SendAncillaryBuffer::default();
        sendmsg(&self.socket, &slices, &mut control, SendFlags::empty())?;
        Ok(())
    }

    /// Receives one datagram into the buffer; its length.
    fn receive(&mut self) -> Result<usize, SocketError> {
        loop {
            match recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((_, length)) if length > self.buffer.len() => {
                    let expected = self.buffer.len();
                    return Err(Malformed { what: "datagram", found: length, expected }.into());
                }
                Ok((length, _)) => return Ok(length),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
