//! What passed the links of a built network: one tcpdump per link, read back as [`Packet`]s.
//!
//! A capture is taken at the link's first end, where both directions pass: packets from there after they left
//! their queue, packets from the other end when they arrive. What a queue dropped is in no capture.

mod decode;
mod packet;
mod pcap;
mod summary;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::net::{Background, Net, NetError};
use crate::topology::Mac;

pub use packet::{Echo, Esp, Fragment, Ip, Packet, Quote, Transport};
pub use pcap::{PcapError, Record, read};
pub use summary::Direction;

/// Bytes kept of each packet: headers, and an ICMP error's quote of others.
const SNAP_LENGTH: &str = "200";
/// Bytes kept of each packet: any.
const WHOLE: &str = "65535";
/// How long tcpdump may take to start or to end.
const LIMIT: Duration = Duration::from_secs(10);

/// What tcpdump is given to write down what it has been handed already.
const CATCH_UP: Duration = Duration::from_millis(50);

/// Captures under way.
#[derive(Debug)]
pub struct Captures {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    link: String,
    ends: [Mac; 2],
    path: PathBuf,
    tcpdump: Background,
}

/// What passed one link.
#[derive(Clone, Debug)]
pub struct LinkCapture {
    /// The link's name.
    pub link: String,
    /// The hardware addresses of its two ends.
    pub ends: [Mac; 2],
    /// The capture file, for others to read.
    pub path: PathBuf,
    /// All packets in the order seen.
    pub packets: Vec<Packet>,
    /// Packets that tcpdump was too slow for: with more than none of them, `packets` proves nothing.
    pub missed: u64,
}

/// What can go wrong with captures.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The network has no such link, or tcpdump did not do its work.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The capture file is none.
    #[error("{}: {source}", path.display())]
    Pcap {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PcapError,
    },
    /// tcpdump ended without its final count.
    #[error("{link}: found `{found}`, expected tcpdump's count of dropped packets")]
    NoCount {
        /// The link.
        link: String,
        /// What it said instead.
        found: String,
    },
}

impl Captures {
    /// Starts a capture on each of these links and returns when all of them see packets.
    ///
    /// # Errors
    ///
    /// No such link, or tcpdump does not start.
    pub fn start(net: &Net, links: &[&str]) -> Result<Self, CaptureError> {
        Self::start_with(net, links, SNAP_LENGTH)
    }

    /// The same with all of each packet, for those who can decrypt it.
    ///
    /// # Errors
    ///
    /// No such link, or tcpdump does not start.
    pub fn start_whole(net: &Net, links: &[&str]) -> Result<Self, CaptureError> {
        Self::start_with(net, links, WHOLE)
    }

    fn start_with(net: &Net, links: &[&str], length: &str) -> Result<Self, CaptureError> {
        let mut running = Vec::new();
        for name in links {
            let link = net.link(name)?;
            let [first, second] = &link.ends;
            let node = net.node_at(first);
            let path = node.write_file(&format!("{name}.pcap"), &[])?;
            let file = path.to_string_lossy();
            let tcpdump = node.spawn(&[
                "tcpdump",
                "-Z",
                "root",
                "-n",
                "--immediate-mode",
                "-U",
                "-B",
                "8192",
                "-s",
                length,
                "-i",
                &first.interface,
                "-w",
                &file,
            ])?;
            running.push(Running { link: link.name.clone(), ends: [first.mac, second.mac], path, tcpdump });
        }
        for capture in &mut running {
            capture.tcpdump.wait_for("listening on", LIMIT)?;
        }
        Ok(Self { running })
    }

    /// Starts a capture on every link.
    ///
    /// # Errors
    ///
    /// tcpdump does not start.
    pub fn start_all(net: &Net) -> Result<Self, CaptureError> {
        let links: Vec<&str> = net.links().iter().map(|link| link.name.as_str()).collect();
        Self::start(net, &links)
    }

    /// Ends all captures and reads them, in the order they were asked for.
    ///
    /// Packets still on the link are not waited for. The next capture of a link overwrites its file.
    ///
    /// # Errors
    ///
    /// tcpdump does not end, or left no readable file.
    pub fn stop(self) -> Result<Vec<LinkCapture>, CaptureError> {
        thread::sleep(CATCH_UP);
        for capture in &self.running {
            capture.tcpdump.signal(Signal::INT)?;
        }
        self.running.into_iter().map(Running::finish).collect()
    }
}

impl Running {
    fn finish(self) -> Result<LinkCapture, CaptureError> {
        let Self { link, ends, path, tcpdump } = self;
        let said = tcpdump.wait(LIMIT)?.stderr;
        let missed =
            missed(&said).ok_or_else(|| CaptureError::NoCount { link: link.clone(), found: said.clone() })?;
        let bytes = fs::read(&path).map_err(|source| NetError::File { path: path.clone(), source })?;
        let records = read(&bytes).map_err(|source| CaptureError::Pcap { path: path.clone(), source })?;
        let packets = records.iter().map(Packet::decode).collect();
        Ok(LinkCapture { link, ends, path, packets, missed })
    }
}

/// The number in tcpdump's line `3 packets dropped by kernel`.
fn missed(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.ends_with("dropped by kernel"))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_count_of_missed_packets_is_found() {
        let said = "tcpdump: listening on x\n12 packets captured\n14 packets received by filter\n2 packets dropped by kernel\n";
        assert_eq!(super::missed(said), Some(2));
        assert_eq!(super::missed("tcpdump: x: No such device exists"), None);
    }
}
