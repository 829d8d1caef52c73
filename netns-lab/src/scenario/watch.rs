//! What nobody on the way may see, and traffic both ways to look at meanwhile.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use ippriv::telescope::Host;

use super::{Lab, LabError};
use crate::capture::{Ip, LinkCapture};
use crate::deal::OVERLAY_SPIS;
use crate::net::NetError;

/// Datagrams from each end in each family, and pings of each family, in one exchange.
const COUNT: u32 = 2;
/// Between them.
const PACE: Duration = Duration::from_millis(20);
/// Longer than a datagram takes to the other end.
const SETTLE: Duration = Duration::from_millis(150);

/// What is secret in a lab with one server, and where it may be seen all the same.
#[derive(Debug)]
pub(super) struct Secrets {
    clients: Vec<IpAddr>,
    server: Vec<IpAddr>,
    pools: Vec<IpNet>,
    first_layer: BTreeSet<u32>,
    client_links: BTreeSet<String>,
    server_links: BTreeSet<String>,
}

/// A header that should not have been readable where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leak {
    /// When, since 1970.
    pub(super) time: Duration,
    link: String,
    what: &'static str,
    header: String,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: {}", self.what, self.link, self.header)
    }
}

impl Secrets {
    /// The clients' addresses and first layers may be seen on `client_links`, the server's addresses on
    /// `server_links`, the relays' pools and the other layers nowhere.
    pub(super) fn new(
        lab: &Lab,
        clients: &[&str],
        client_links: &[&str],
        server_links: &[&str],
    ) -> Result<Self, LabError> {
        let both = |name| -> Result<Vec<IpAddr>, LabError> {
            Ok(vec![lab.address4(name)?.into(), lab.address6(name)?.into()])
        };
        let names = |links: &[&str]| links.iter().map(ToString::to_string).collect();
        let pools = lab.net.relays().flat_map(|relay| {
            [relay.pool().map(IpNet::V4), relay.pool6().map(IpNet::V6)].into_iter().flatten()
        });
        let mut secrets = Self {
            clients: clients.iter().map(|client| both(client)).collect::<Result<Vec<_>, _>>()?.concat(),
            server: both("server")?,
            pools: pools.collect(),
            first_layer: BTreeSet::new(),
            client_links: names(client_links),
            server_links: names(server_links),
        };
        for client in clients {
            secrets.allow_first_layer(lab.deal.hosts.get(*client));
        }
        Ok(secrets)
    }

    /// Adds the SPIs of the first layers of a client as it is now.
    pub(super) fn allow_first_layer(&mut self, client: Option<&Host>) {
        let circuits = client.and_then(|host| host.client.as_ref()).map(|client| &client.circuits);
        let entries = circuits.into_iter().flatten().filter_map(|circuit| circuit.hops.first());
        let sas = entries.flat_map(|hop| std::iter::once(&hop.keys.out).chain(&hop.keys.r#in));
        self.first_layer.extend(sas.map(|sa| sa.spi.get()));
    }

    /// Everything secret in these captures.
    pub(super) fn leaks(&self, captures: &[LinkCapture]) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for capture in captures {
            for packet in &capture.packets {
                for header in packet.headers() {
                    leaks.extend(self.secret(&capture.link, header).map(|what| Leak {
                        time: packet.time,
                        link: capture.link.clone(),
                        what,
                        header: header.to_string(),
                    }));
                }
            }
        }
        leaks
    }

    fn secret(&self, link: &str, header: &Ip) -> Option<&'static str> {
        let ends = [header.source, header.destination];
        let shows = |secret: &[IpAddr]| ends.iter().any(|end| secret.contains(end));
        let near_client = self.client_links.contains(link);
        let layer = header.esp().is_some_and(|esp| {
            esp.spi < OVERLAY_SPIS && !(near_client && self.first_layer.contains(&esp.spi))
        });
        if ends.iter().any(|end| self.pools.iter().any(|pool| pool.contains(end))) {
            Some("a pool address")
        } else if layer {
            Some("the SPI of a layer")
        } else if shows(&self.server) && !self.server_links.contains(link) {
            Some("the server before the exit")
        } else if shows(&self.clients) && !near_client {
            Some("a client beyond the entry")
        } else {
            None
        }
    }
}

/// The lab's clock, which captures are stamped by.
#[expect(clippy::disallowed_methods, reason = "packets in captures bear the time of this clock")]
pub(super) fn clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A client and a server that both send to each other of their own accord, in IPv4 and IPv6.
#[derive(Debug)]
pub(super) struct Talk {
    name: String,
    client: [UdpSocket; 2],
    targets: [IpAddr; 2],
    server: UdpSocket,
    seen: [Option<SocketAddr>; 2],
}

/// What of an exchange arrived, IPv4 and IPv6 together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Pings answered.
    pub(super) pings: u32,
    /// Datagrams of the client that the server has.
    pub(super) up: u32,
    /// Datagrams of the server that the client has.
    pub(super) down: u32,
}

impl Heard {
    /// All of it.
    pub(super) const ALL: Self = Self { pings: 2 * COUNT, up: 2 * COUNT, down: 2 * COUNT };
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pings, up, down } = self;
        f.write_str(match *self {
            Self { pings: 0, up: 0, down: 0 } => "stopped",
            Self::ALL => "went on",
            _ => "went on in part",
        })?;
        let all = 2 * COUNT;
        write!(f, ": {pings}/{all} pings, {up}/{all} datagrams up, {down}/{all} down")
    }
}

impl Talk {
    /// Opens the sockets: connected ones of the client, whose addresses are chosen now, and the server's.
    pub(super) fn new(lab: &Lab, name: &str) -> Result<Self, LabError> {
        let targets = [lab.address4("server")?.into(), lab.address6("server")?.into()];
        let bind = |address: &'static str| move || socket(address);
        let failed = |source| NetError::NotStarted {
            node: format!("{name} or server"),
            command: "a UDP socket".into(),
            source,
        };
        let (client, server) = (lab.net.node(name)?, lab.net.node("server")?);
        let sockets = [client.enter(bind("0.0.0.0:0"))?, client.enter(bind("[::]:0"))?];
        let [v4, v6] = sockets.map(|socket| socket.map_err(failed));
        let talk = Self {
            name: name.to_owned(),
            client: [v4?, v6?],
            targets,
            server: server.enter(|| socket("[::]:0"))?.map_err(failed)?,
            seen: [None; 2],
        };
        let port = talk.server.local_addr().map_err(failed)?.port();
        for (socket, target) in talk.client.iter().zip(talk.targets) {
            socket.connect((target, port)).map_err(failed)?;
        }
        Ok(talk)
    }

    /// Has the server hear from the client, so that it knows where to send to.
    pub(super) fn greet(&mut self) {
        self.send_up();
        thread::sleep(SETTLE);
        self.drain();
    }

    /// Refused datagrams do not arrive, which is what is counted.
    fn send_up(&self) {
        for socket in &self.client {
            let _ = socket.send(b"up");
        }
    }

    /// Some pings and datagrams from both ends; the server sends to where it last heard the client from.
    pub(super) fn exchange(&mut self, lab: &Lab) -> Result<Heard, LabError> {
        self.drain();
        let mut heard = Heard::default();
        let targets = self.targets.map(|target| target.to_string());
        let count = COUNT.to_string();
        let node = lab.net.node(&self.name)?;
        let ping = |target| node.spawn(&["ping", "-n", "-c", &count, "-i", "0.02", "-W", "0.3", target]);
        let pings = [ping(&targets[0])?, ping(&targets[1])?];
        for _ in 0..COUNT {
            self.send_up();
            for seen in self.seen.into_iter().flatten() {
                let _ = self.server.send_to(b"down", seen);
            }
            thread::sleep(PACE);
        }
        thread::sleep(SETTLE);
        (heard.up, heard.down) = self.drain();
        for ping in pings {
            let said = ping.wait(Duration::from_secs(5))?.stdout;
            let received = said.split(", ").find_map(|part| part.strip_suffix(" received"));
            heard.pings += received.and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
        }
        Ok(heard)
    }

    /// What waits at the server and at the client.
    fn drain(&mut self) -> (u32, u32) {
        let mut buffer = [0; 64];
        let (mut up, mut down) = (0, 0);
        while let Ok((_, from)) = self.server.recv_from(&mut buffer) {
            let family = usize::from(from.ip().to_canonical().is_ipv6());
            self.seen[family] = Some(from);
            up += 1;
        }
        for socket in &self.client {
            loop {
                match socket.recv(&mut buffer) {
                    Ok(_) => down += 1,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP error about a datagram sent before; more may wait behind it.
                    Err(_) => {}
                }
            }
        }
        (up, down)
    }
}

fn socket(address: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
