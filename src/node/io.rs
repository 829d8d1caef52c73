//! What goes into a node and what comes out of it.

use std::net::{IpAddr, SocketAddr};

use zeroize::Zeroizing;

use super::key_log::KeyLine;
use crate::control::{Command, Event, Reply};
use crate::id::{LinkName, ProcessId};
use crate::ike::SocketId;
use crate::plan::{Op, OpError, Outcome};
use crate::state::{Link, SaId};
use crate::telescope::CircuitNumber;

/// Names a group of kernel operations, so that their outcome finds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// Names a command, so that its answer finds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// What a UDP socket for IKE is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its address.
    pub address: IpAddr,
    /// Its port: 500, or 4500 for UDP encapsulation (RFC 3948).
    pub port: u16,
    /// The interface it sends and receives through and no other (`SO_BINDTODEVICE`): a layer's IKE never
    /// leaves outside the layers around it.
    pub link: Option<LinkName>,
}

impl Binding {
    /// Whether the kernel takes ESP out of this socket (`UDP_ENCAP_ESPINUDP`), and IKE messages on it have
    /// four octets of zeros before them (RFC 3948 §2.2). The shell adds and removes these octets.
    #[must_use]
    pub const fn encapsulates(&self) -> bool {
        self.port == 4500
    }
}

/// What happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// An IKE message arrived.
    Datagram {
        /// The socket it arrived at.
        socket: SocketId,
        /// Where it came from.
        remote: SocketAddr,
        /// The message, without non-ESP marker.
        octets: &'a [u8],
    },
    /// The outcomes of an [`Output::Kernel`], one for each operation.
    Kernel {
        /// Whose outcomes.
        id: OpId,
        /// The outcomes, in the operations' order.
        outcomes: Vec<Outcome>,
    },
    /// A socket could not be opened; [`Output::Open`] succeeds silently.
    NotOpened {
        /// Which.
        socket: SocketId,
        /// The system's error number.
        errno: i32,
    },
    /// The kernel saw a peer behind NAT move (`XFRM_MSG_MAPPING`).
    Mapping {
        /// The inbound SA its packets came through.
        sa: SaId,
        /// Where they come from now.
        remote: SocketAddr,
    },
    /// The kernel has a packet for a policy that lacks an SA (`XFRM_MSG_ACQUIRE`).
    Acquire {
        /// The peer of the missing tunnel.
        peer: IpAddr,
    },
    /// The client's own address is another now, or none.
    AddressChanged(Option<IpAddr>),
    /// The outcome of an [`Output::Lend`].
    Lent {
        /// Who asked for it.
        id: CommandId,
        /// The circuit.
        circuit: CircuitNumber,
        /// Whether its interface is in the other namespace now; else it is nowhere.
        result: Result<(), OpError>,
    },
    /// A process of an [`Output::Watch`] is no more.
    ProcessEnded(ProcessId),
    /// The answer to an [`Output::Count`]: how many packets came through each SA so far. Those that are not there
    /// are left out.
    Counted(Vec<(SaId, u64)>),
    /// Somebody asks for something.
    Command(CommandId, Command),
}

/// What is to happen outside, in this order.
#[derive(Debug)]
pub enum Output {
    /// Open a socket.
    Open(SocketId, Binding),
    /// Close a socket.
    Close(SocketId),
    /// Send an IKE message.
    Transmit {
        /// Through which socket.
        socket: SocketId,
        /// Where to.
        remote: SocketAddr,
        /// The message, without non-ESP marker.
        octets: Vec<u8>,
    },
    /// Change the kernel's state: operations in order, stop at the first that fails. Answer with
    /// [`Input::Kernel`] before any later output is carried out.
    Kernel {
        /// To be repeated in the answer.
        id: OpId,
        /// What to do.
        ops: Vec<Op>,
    },
    /// Remember for the time after a restart; a later record of the same key replaces it. It has to be
    /// safe before any later output is carried out.
    Journal(Record),
    /// Write keys where somebody may read traffic with them; comes only after [`super::Node::danger_log_keys`].
    KeyLog(KeyLine),
    /// Make an interface and move it to the network namespace of a process, where it is called what the
    /// circuit's interface is called here. Answer with [`Input::Lent`].
    Lend {
        /// To be repeated in the answer.
        id: CommandId,
        /// To be repeated in the answer.
        circuit: CircuitNumber,
        /// The interface, by the name it has until it is there.
        link: Link,
        /// The process, which is not in this namespace.
        process: ProcessId,
    },
    /// Say with [`Input::ProcessEnded`] when a process ends, at once if there is none.
    Watch(ProcessId),
    /// Say with [`Input::Counted`] how many packets the kernel let in through each of these SAs.
    Count(Vec<SaId>),
    /// Something that people and programs may want to know.
    Event(Event),
    /// The answer to a command.
    Reply(CommandId, Reply),
}

/// A record of the journal. It may hold keys: it is never written where it survives a reboot, and nobody but
/// root reads it.
pub struct Record {
    /// What it is about.
    pub key: String,
    /// What to remember, or `None` to forget it.
    pub value: Option<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let octets = self.value.as_ref().map(|value| value.len());
        f.debug_struct("Record").field("key", &self.key).field("octets", &octets).finish()
    }
}
