//! One machine of a built network: what it is called there, and running things on it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};

use super::process::{Background, Output, Program, RawOutput};
use super::{Counted, Net, NetError, RUN_FOLDER, commands, counted, create_folder, in_namespace};
use crate::topology::{End, NodeId, Relay, Role};

/// How often, and how many times, a fresh link is asked for its carrier.
const CARRIER_POLL: Duration = Duration::from_millis(100);
const CARRIER_POLLS: u32 = 50;

/// A node of a built network.
#[derive(Clone, Copy, Debug)]
pub struct Node<'net> {
    net: &'net Net,
    pub(super) id: NodeId,
}

impl<'net> Node<'net> {
    pub(super) fn new(net: &'net Net, id: NodeId) -> Self {
        Self { net, id }
    }

    /// Its name, which is that of its namespace too.
    #[must_use]
    pub fn name(&self) -> &'net str {
        &self.data().name
    }

    /// Its entry in the topology.
    #[must_use]
    pub fn data(&self) -> &'net crate::topology::Node {
        self.net.data(self.id)
    }

    /// Its ends of links, in the topology's order; the first is its uplink.
    pub fn interfaces(&self) -> impl Iterator<Item = &'net End> {
        self.net.topology.ends_of(self.id).map(|(_, here, _)| here)
    }

    /// Its address on its first link; every node of a checked topology has one.
    #[must_use]
    pub fn address4(&self) -> Ipv4Addr {
        self.interfaces().next().map_or(Ipv4Addr::LOCALHOST, |end| end.address4.addr())
    }

    /// Its IPv6 address on its first link.
    #[must_use]
    pub fn address6(&self) -> Ipv6Addr {
        self.interfaces().next().map_or(Ipv6Addr::LOCALHOST, |end| end.address6.addr())
    }

    /// What it offers, if it is a relay.
    #[must_use]
    pub fn relay(&self) -> Option<&'net Relay> {
        match &self.data().role {
            Role::Relay(relay) => Some(relay),
            _ => None,
        }
    }

    /// The addresses it hands out, if it is a relay.
    #[must_use]
    pub fn pool(&self) -> Option<Ipv4Net> {
        self.relay().map(|relay| relay.pool)
    }

    /// The IPv6 addresses it hands out, if it is a relay that does.
    #[must_use]
    pub fn pool6(&self) -> Option<Ipv6Net> {
        self.relay().and_then(|relay| relay.pool6)
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    ///
    /// It could not be started or did not succeed; the error has the command, the exit code and stderr.
    pub fn run(&self, argv: &[&str]) -> Result<Output, NetError> {
        self.program(argv).run_checked()
    }

    /// The same with something on standard input.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn run_with(&self, argv: &[&str], input: &str) -> Result<Output, NetError> {
        self.program(argv).input(input.to_owned()).run_checked()
    }

    /// Runs a program to its end, whatever that is.
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn try_run(&self, argv: &[&str]) -> Result<RawOutput, NetError> {
        self.program(argv).run()
    }

    /// Starts a program that is killed when the returned value is dropped.
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn spawn(&self, argv: &[&str]) -> Result<Background, NetError> {
        create_folder(&self.folder())?;
        self.program(argv).spawn(&self.folder())
    }

    /// The same with an open file as the program's standard input.
    ///
    /// # Errors
    ///
    /// It could not be started.
    pub fn spawn_given(&self, argv: &[&str], file: OwnedFd) -> Result<Background, NetError> {
        create_folder(&self.folder())?;
        self.program(argv).given(file).spawn(&self.folder())
    }

    /// Runs a closure in the node's namespace, on a thread of its own.
    ///
    /// # Errors
    ///
    /// The namespace could not be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetError> {
        in_namespace(self.name(), work)
    }

    /// What its interfaces counted, by name, those of no link among them.
    ///
    /// # Errors
    ///
    /// The namespace could not be entered, or the kernel's table not be read.
    pub fn counted(&self) -> Result<BTreeMap<String, Counted>, NetError> {
        self.enter(counted::read)?
    }

    /// Where the node's files are kept while the lab runs.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        Path::new(RUN_FOLDER).join(self.name())
    }

    /// Writes a file into the node's folder, for its owner only, and says where it is.
    ///
    /// # Errors
    ///
    /// It could not be written.
    pub fn write_file(&self, name: &str, content: &[u8]) -> Result<PathBuf, NetError> {
        create_folder(&self.folder())?;
        let path = self.folder().join(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(content))
            .map_err(|source| NetError::File { path: path.clone(), source })?;
        Ok(path)
    }

    pub(super) fn set_sysctls(&self, settings: &[(&str, &str)]) -> Result<(), NetError> {
        // `/proc/sys/net` shows the namespace of the thread that looks.
        self.enter(|| {
            for (name, value) in settings {
                let path = Path::new("/proc/sys").join(name);
                fs::write(&path, value).map_err(|source| NetError::File { path, source })?;
            }
            Ok(())
        })?
    }

    pub(super) fn set_up(&self) -> Result<(), NetError> {
        let topology = &self.net.topology;
        for end in self.interfaces() {
            self.run(&[&["ethtool", "-K", &end.interface], &commands::OFFLOADS_OFF[..]].concat())?;
        }
        self.run_with(&["ip", "-batch", "-"], &commands::interfaces(topology, self.id))?;
        self.run_with(&["tc", "-batch", "-"], &commands::queues(topology, self.id))?;
        if let Some(outside) = self.data().role.masquerades(topology, self.id) {
            self.run_with(&["nft", "-f", "-"], &commands::masquerade(&outside))?;
        }
        Ok(())
    }

    /// The kernel looks at carriers once a second only (linkwatch), the last of a node's links may wait for that.
    pub(super) fn wait_until_running(&self) -> Result<(), NetError> {
        for _ in 0..CARRIER_POLLS {
            if !self.run(&["ip", "-brief", "link", "show", "up"])?.stdout.contains("NO-CARRIER") {
                return Ok(());
            }
            thread::sleep(CARRIER_POLL);
        }
        Err(NetError::NoCarrier { node: self.name().to_owned() })
    }

    fn program(&self, argv: &[&str]) -> Program {
        let (program, arguments) = argv.split_first().unwrap_or((&"", &[]));
        Program::new(Some(self.name()), program).args(arguments)
    }
}
