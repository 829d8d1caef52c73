//! A steady stream of numbered datagrams through a circuit and back, and a daemon's network under it.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Lab, Outcome};
use crate::scenario::LabError;

/// Bytes of a datagram, its number first.
const SIZE: usize = 200;
/// Longer than any datagram is under way.
const IDLE: Duration = Duration::from_millis(500);
/// Every 2 ms a datagram: 500 a second.
pub(super) const PACE: Duration = Duration::from_millis(2);

/// Datagrams under way: the server sends each back.
pub(super) struct Flow {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    server: JoinHandle<BTreeSet<u64>>,
    client: JoinHandle<BTreeSet<u64>>,
}

/// What became of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) sent: u64,
    /// Different ones at the server.
    pub(super) up: u64,
    /// Different ones back at the client.
    pub(super) down: u64,
    /// The first that did not come back.
    pub(super) missing: Vec<u64>,
}

impl Flow {
    /// Starts to send from a client to the server, one datagram each `pace`.
    pub(super) fn start(lab: &Lab, client: &str, port: u16, pace: Duration) -> Outcome<Self> {
        let address = lab.address4("server")?;
        let server = lab.net.node("server")?.enter(|| UdpSocket::bind((address, port)))??;
        let client = lab.net.node(client)?.enter(|| UdpSocket::bind("0.0.0.0:0"))??;
        client.connect((address, port))?;
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(IDLE))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let [of_sender, of_server, of_client] = [(); 3].map(|()| Arc::clone(&stop));
        let sending = client.try_clone()?;
        let sender = thread::spawn(move || {
            let mut datagram = [0x5a; SIZE];
            let mut number = 0_u64;
            while !of_sender.load(Ordering::Relaxed) {
                datagram[..8].copy_from_slice(&number.to_be_bytes());
                // One that the kernel refuses is lost as well, and counted so.
                let _ = sending.send(&datagram);
                number += 1;
                thread::sleep(pace);
            }
            number
        });
        Ok(Self {
            stop,
            sender,
            server: thread::spawn(move || received(&server, true, &of_server)),
            client: thread::spawn(move || received(&client, false, &of_client)),
        })
    }

    /// Stops sending, waits for the last datagrams, and counts.
    pub(super) fn finish(self) -> Outcome<Carried> {
        let panicked = |_| "a thread of the flow panicked";
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().map_err(panicked)?;
        let up = self.server.join().map_err(panicked)?;
        let down = self.client.join().map_err(panicked)?;
        let missing = (0..sent).filter(|number| !down.contains(number)).take(5).collect();
        Ok(Carried { sent, up: up.len() as u64, down: down.len() as u64, missing })
    }
}

impl Carried {
    /// Whether every datagram came and went.
    pub(super) fn whole(&self) -> bool {
        self.sent > 0 && self.up == self.sent && self.down == self.sent
    }
}

impl std::fmt::Display for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sent, up, down, missing } = self;
        write!(f, "{sent} sent, {up} at the server, {down} back")?;
        if missing.is_empty() { Ok(()) } else { write!(f, ", first lost {missing:?}") }
    }
}

/// The numbers that arrive, until the sender has stopped and nothing comes any more.
fn received(socket: &UdpSocket, answer: bool, stop: &AtomicBool) -> BTreeSet<u64> {
    let (mut buffer, mut numbers) = ([0; SIZE], BTreeSet::new());
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                if let Some(head) = buffer[..length].first_chunk() {
                    numbers.insert(u64::from_be_bytes(*head));
                }
                if answer {
                    // One that is refused is missed by the client.
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
            Err(_) if stop.load(Ordering::Relaxed) => return numbers,
            Err(_) => {}
        }
    }
}

/// The SPIs of all ESP SAs in a node's kernel.
pub(super) fn spis(lab: &Lab, node: &str) -> Result<BTreeSet<String>, LabError> {
    let listing = lab.on(node, &["ip", "xfrm", "state", "list", "nokeys"])?;
    let words = |line: &str| {
        let spi = line.trim().strip_prefix("proto esp spi ")?;
        spi.split(' ').next().map(str::to_owned)
    };
    Ok(listing.lines().filter_map(words).collect())
}
