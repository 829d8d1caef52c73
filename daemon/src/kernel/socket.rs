//! Netlink sockets: batches of requests and dumps, blocking.

use std::io::{self, IoSlice};
use std::time::Duration;

use ippriv::netlink::{Channel, Dump, Frames, Malformed, Message, Refusal, Reply};
use ippriv::plan::OpError;
use netlink_sys::protocols::{NETLINK_ROUTE, NETLINK_XFRM};
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
    #[error("{0}: expected a kernel with CONFIG_XFRM_USER and CONFIG_XFRM_INTERFACE, and root")]
    Unavailable(io::Error),
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
    #[error("{}", refused(.0.clone()))]
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
            Self::Refused(refusal) => refused(refusal),
            Self::TimedOut => OpError::TimedOut(u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX)),
            other => OpError::Tool(other.to_string()),
        }
    }
}

fn refused(Refusal { errno, text, offset: _ }: Refusal) -> OpError {
    OpError::Refused { errno, text }
}

/// A socket to the kernel.
pub(super) struct Socket {
    socket: RawSocket,
    sequence: u32,
    /// Wiped when dropped: an answer may hold keys.
    buffer: Zeroizing<Vec<u8>>,
}

impl Socket {
    /// Opens a socket in the caller's network namespace.
    pub(super) fn open(channel: Channel) -> Result<Self, SocketError> {
        let protocol = match channel {
            Channel::Xfrm => NETLINK_XFRM,
            Channel::Route => NETLINK_ROUTE,
        };
        let mut socket = RawSocket::new(protocol).map_err(SocketError::Unavailable)?;
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
        Ok(Self { socket, sequence: 0, buffer: Zeroizing::new(vec![0; DATAGRAM]) })
    }

    /// The number of the interface called `name`.
    pub(super) fn link_index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.socket, name)?)
    }

    /// Sends `messages` at once and tells what became of each. Only the last one asks for an answer; the
    /// kernel reports refusals in any case, and before it.
    pub(super) fn batch(
        &mut self,
        messages: &mut [Message],
    ) -> Result<Vec<Result<(), OpError>>, SocketError> {
        let mut results = vec![Ok(()); messages.len()];
        let first = self.sequence.wrapping_add(1);
        for message in messages.iter_mut() {
            self.sequence = self.sequence.wrapping_add(1);
            message.set_sequence(self.sequence);
        }
        let last = self.sequence;
        let Some(final_message) = messages.last_mut() else { return Ok(results) };
        final_message.ask_for_ack();
        self.send(messages)?;

        let mut answered = false;
        while !answered {
            let length = self.receive()?;
            for frame in Frames::new(&self.buffer[..length]) {
                let frame = frame?;
                let position = usize::try_from(frame.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                let Some(result) = results.get_mut(position) else { continue };
                match frame.reply()? {
                    Reply::Refused(refusal) => *result = Err(refused(refusal)),
                    Reply::Done => {}
                    Reply::Object { .. } | Reply::Nothing => continue,
                }
                answered |= frame.sequence == last;
            }
        }
        Ok(results)
    }

    /// Everything that `dump` asks for.
    pub(super) fn dump<D: Dump>(&mut self, dump: &D) -> Result<Vec<D::Item>, SocketError> {
        for _ in 0..ATTEMPTS {
            if let Some(items) = self.try_dump(dump)? {
                return Ok(items);
            }
        }
        Err(SocketError::Interrupted)
    }

    /// `None` when objects changed during the dump, so that some may be missing.
    fn try_dump<D: Dump>(&mut self, dump: &D) -> Result<Option<Vec<D::Item>>, SocketError> {
        let mut request = dump.request();
        self.sequence = self.sequence.wrapping_add(1);
        request.set_sequence(self.sequence);
        self.send(std::slice::from_ref(&request))?;

        let mut items = Vec::new();
        let mut interrupted = false;
        loop {
            let length = self.receive()?;
            for frame in Frames::new(&self.buffer[..length]) {
                let frame = frame?;
                if frame.sequence != self.sequence {
                    continue;
                }
                interrupted |= frame.interrupted();
                let more = match frame.reply()? {
                    Reply::Object { kind, payload, more } => {
                        if kind == D::ANSWER {
                            items.push(dump.parse(payload)?);
                        }
                        more
                    }
                    Reply::Refused(refusal) => return Err(SocketError::Refused(refusal)),
                    Reply::Done => false,
                    Reply::Nothing => true,
                };
                if !more {
                    return Ok((!interrupted).then_some(items));
                }
            }
        }
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
