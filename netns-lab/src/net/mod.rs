//! Builds a topology in the running kernel: a network namespace per node, a veth pair per link.
//!
//! Needs root, iproute2, ethtool and nftables; meant for the lab kernel, where nothing else is disturbed. What is
//! built depends on the topology alone: names, addresses, hardware addresses, routes, neighbours.
//!
//! Processes are started, and namespaces entered, from a thread that joined the namespace: unlike
//! `ip netns exec` that takes no extra process, but leaves `/sys` as it is.

mod commands;
mod counted;
mod node;
mod process;
mod selftest;

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::topology::{End, Link, NodeId, Role, Topology};

pub(crate) use commands::queue;
pub use counted::Counted;
pub use node::Node;
pub use process::{Background, Output, RawOutput};
pub use selftest::{SelftestError, selftest};

use process::Program;

/// Where files of the running lab are kept; a tmpfs in the lab kernel.
pub(crate) const RUN_FOLDER: &str = "/run/lab";
/// How long membership reports of fresh interfaces may take to cross their link.
const SETTLE: Duration = Duration::from_millis(100);
/// Where iproute2 keeps its named network namespaces.
const NETNS_FOLDER: &str = "/run/netns";

/// A built topology; dropping it removes its namespaces and with them all links.
#[derive(Debug)]
pub struct Net {
    topology: Topology,
}

/// What could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No such node.
    #[error("found no node `{name}`, expected one of {}", known.join(", "))]
    UnknownNode {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// No such link.
    #[error("found no link `{name}`, expected one of {}", known.join(", "))]
    UnknownLink {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A namespace of a node's name is there already.
    #[error("found a network namespace `{node}`, expected none: is another lab running?")]
    Exists {
        /// The node.
        node: String,
    },
    /// A link did not come up.
    #[error("{node}: found a link without carrier after 5 s, expected all of them up")]
    NoCarrier {
        /// One of its nodes.
        node: String,
    },
    /// A program could not be started at all.
    #[error("{node}: `{command}` could not be started: {source}")]
    NotStarted {
        /// Where.
        node: String,
        /// What.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{node}: `{command}` ended with {status}, expected success: {}", stderr.trim_end())]
    Failed {
        /// Where.
        node: String,
        /// What.
        command: String,
        /// Exit code or signal.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// A program in the background did not say or do what was waited for.
    #[error("{node}: `{command}`: found {found}, expected {expected}")]
    Unexpected {
        /// Where.
        node: String,
        /// What.
        command: String,
        /// What it did.
        found: String,
        /// What was waited for.
        expected: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A namespace could not be entered.
    #[error("{node}: the network namespace could not be entered: {source}")]
    Namespace {
        /// The node.
        node: String,
        /// Why.
        source: io::Error,
    },
}

impl Net {
    /// Builds all of it.
    ///
    /// # Errors
    ///
    /// The first thing that failed; what was built until then is removed again.
    pub fn build(topology: &Topology) -> Result<Self, NetError> {
        create_folder(Path::new(RUN_FOLDER))?;
        if let Some(taken) =
            topology.nodes.iter().find(|node| Path::new(NETNS_FOLDER).join(&node.name).exists())
        {
            return Err(NetError::Exists { node: taken.name.clone() });
        }
        let net = Self { topology: topology.clone() };
        root("ip").args(&["-batch", "-"]).input(commands::namespaces(topology)).run_checked()?;
        for node in net.nodes() {
            node.set_sysctls(&commands::sysctls(&node.data().role))?;
        }
        root("ip").args(&["-batch", "-"]).input(commands::cables(topology)).run_checked()?;
        for node in net.nodes() {
            node.set_up()?;
        }
        for node in net.nodes() {
            node.wait_until_running()?;
        }
        thread::sleep(SETTLE);
        Ok(net)
    }

    /// The network as it was described.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The node of this name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn node(&self, name: &str) -> Result<Node<'_>, NetError> {
        self.topology.find(name).map(|id| Node::new(self, id)).ok_or_else(|| NetError::UnknownNode {
            name: name.to_owned(),
            known: self.topology.nodes.iter().map(|node| node.name.clone()).collect(),
        })
    }

    /// All nodes in the topology's order.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.topology.node_ids().map(|id| Node::new(self, id))
    }

    /// The relays in the topology's order.
    pub fn relays(&self) -> impl Iterator<Item = Node<'_>> {
        self.topology.relays().map(|(id, _)| Node::new(self, id))
    }

    /// All links in the topology's order.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.topology.links
    }

    /// The link of this name, which is `FIRST-SECOND`.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn link(&self, name: &str) -> Result<&Link, NetError> {
        self.links().iter().find(|link| link.name == name).ok_or_else(|| NetError::UnknownLink {
            name: name.to_owned(),
            known: self.links().iter().map(|link| link.name.clone()).collect(),
        })
    }

    /// The node an end belongs to.
    #[must_use]
    pub fn node_at(&self, end: &End) -> Node<'_> {
        Node::new(self, end.node)
    }

    pub(crate) fn data(&self, id: NodeId) -> &crate::topology::Node {
        self.topology.node(id)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // Best effort: whoever drops a network has no use for the news that half of it is gone already.
        let removal = commands::removal(&self.topology);
        let _ = root("ip").args(&["-force", "-batch", "-"]).input(removal).run();
    }
}

/// Runs something in the network namespace of this name, on a thread of its own.
///
/// # Errors
///
/// There is no such namespace, or no right to enter it.
///
/// # Panics
///
/// With the panic of `work`.
pub fn in_namespace<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, NetError> {
    let enter = || -> io::Result<()> {
        let namespace = File::open(Path::new(NETNS_FOLDER).join(name))?;
        Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
    };
    let worker = || enter().map(|()| work());
    let result = thread::scope(|scope| scope.spawn(worker).join());
    match result {
        Ok(result) => result.map_err(|source| NetError::Namespace { node: name.to_owned(), source }),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Starts a program outside of all nodes, with its output going to files in `folder`.
///
/// # Errors
///
/// It could not be started.
pub(crate) fn spawn_in_lab(argv: &[&str], folder: &Path) -> Result<Background, NetError> {
    let (program, arguments) = argv.split_first().unwrap_or((&"", &[]));
    root(program).args(arguments).spawn(folder)
}

fn root(program: &str) -> Program {
    Program::new(None, program)
}

pub(crate) fn create_folder(path: &Path) -> Result<(), NetError> {
    fs::create_dir_all(path).map_err(|source| NetError::File { path: path.to_owned(), source })
}

impl Role {
    /// The interface whose traffic is masqueraded, if any.
    fn masquerades(&self, topology: &Topology, node: NodeId) -> Option<String> {
        match self {
            Self::Nat { outside } => topology
                .ends_of(node)
                .find(|(link, ..)| link == outside)
                .map(|(_, here, _)| here.interface.clone()),
            _ => None,
        }
    }
}
