//! How programs reach their server: like any host, from an address of choice, or through a SOCKS 5 proxy (RFC 1928).

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt as sockopt_kinds};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use serde::{Deserialize, Serialize};

use super::TrafficError;
use super::clock;
use super::socket::Tried;

/// How long a proxy may take for an answer: longer than Tor looks for another circuit.
const PROXY_PATIENCE: Duration = Duration::from_secs(150);
/// Until the next attempt.
const PAUSE: Duration = Duration::from_secs(1);

/// The way to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Via {
    /// Source address.
    #[arg(long)]
    pub bind: Option<IpAddr>,
    /// SOCKS 5 proxy that connects.
    #[arg(long)]
    pub socks: Option<SocketAddr>,
    /// Name and password told to the proxy; Tor keeps those of different ones on different circuits.
    #[arg(long, requires = "socks")]
    pub socks_user: Option<String>,
}

/// Options of TCP sockets; the kernel's own where not said. Nagle's algorithm is off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// Congestion control.
    #[arg(long)]
    pub cc: Option<String>,
    /// Bytes not yet sent up to which the sender may write (TCP_NOTSENT_LOWAT).
    #[arg(long)]
    pub notsent_lowat: Option<u32>,
    /// Bytes of the send and of the receive buffer (SO_SNDBUF, SO_RCVBUF; the kernel doubles them for its own use).
    #[arg(long)]
    pub buffer: Option<u32>,
}

impl Tuning {
    /// Sets the options.
    pub(super) fn apply(&self, socket: &impl std::os::fd::AsFd) -> Result<(), TrafficError> {
        sockopt::set_tcp_nodelay(socket, true).tried(|| "switch off Nagle's algorithm".to_owned())?;
        if let Some(name) = &self.cc {
            sockopt::set_tcp_congestion(socket, name).tried(|| format!("use congestion control {name}"))?;
        }
        if let Some(bytes) = self.buffer {
            let tried = || format!("set buffers of {bytes} bytes");
            sockopt::set_socket_send_buffer_size(socket, bytes as usize).tried(tried)?;
            sockopt::set_socket_recv_buffer_size(socket, bytes as usize).tried(tried)?;
        }
        if let Some(bytes) = self.notsent_lowat {
            setsockopt(socket, NotsentLowat, &bytes).tried(|| format!("send from {bytes} bytes on"))?;
        }
        Ok(())
    }
}

/// `TCP_NOTSENT_LOWAT` of linux/tcp.h, which no crate of ours knows.
#[derive(Clone, Copy)]
struct NotsentLowat;
nix::setsockopt_impl!(
    NotsentLowat,
    libc::IPPROTO_TCP,
    libc::TCP_NOTSENT_LOWAT,
    u32,
    sockopt_kinds::SetStruct<u32>
);

/// Opens a TCP connection.
///
/// # Errors
/// What the kernel or the proxy refused.
pub(super) fn open(via: &Via, to: SocketAddr, tuning: &Tuning) -> Result<TcpStream, TrafficError> {
    let first = via.socks.unwrap_or(to);
    let family = if first.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .tried(|| "open a TCP socket".to_owned())?;
    if let Some(from) = via.bind {
        bind(&socket, &SocketAddr::new(from, 0)).tried(|| format!("bind to {from}"))?;
    }
    tuning.apply(&socket)?;
    connect(&socket, &first).tried(|| format!("connect to {first}"))?;
    let mut stream = TcpStream::from(socket);
    if via.socks.is_some() {
        let talking = || format!("ask the proxy {first}");
        stream.set_read_timeout(Some(PROXY_PATIENCE)).tried(talking)?;
        ask(&mut stream, to, via.socks_user.as_deref(), first)?;
        stream.set_read_timeout(None).tried(talking)?;
    }
    Ok(stream)
}

/// The same, again and again until it is done or the clock shows `until`.
pub(super) fn open_until(
    via: &Via,
    to: SocketAddr,
    tuning: &Tuning,
    until: u64,
) -> Result<TcpStream, TrafficError> {
    loop {
        match open(via, to, tuning) {
            Err(_) if clock::until(until) > PAUSE => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const IPV6: u8 = 4;

/// RFC 1928, and RFC 1929 where there is a user.
fn ask(
    stream: &mut (impl Read + Write),
    to: SocketAddr,
    user: Option<&str>,
    proxy: SocketAddr,
) -> Result<(), TrafficError> {
    let talking = || format!("ask the proxy {proxy} for {to}");
    let refused = |found: String, expected| TrafficError::Protocol { found, expected };
    let method = if user.is_some() { USER_PASSWORD } else { NO_AUTHENTICATION };
    stream.write_all(&[VERSION, 1, method]).tried(talking)?;
    let mut choice = [0; 2];
    stream.read_exact(&mut choice).tried(talking)?;
    if choice != [VERSION, method] {
        return Err(refused(format!("{choice:?}"), "a SOCKS 5 proxy that takes our way to log in"));
    }
    if let Some(user) = user {
        let bytes = user.as_bytes();
        let length = u8::try_from(bytes.len()).map_err(|_| TrafficError::Argument {
            name: "--socks-user",
            found: format!("{} bytes", bytes.len()),
            expected: "at most 255",
        })?;
        stream.write_all(&[&[1, length], bytes, &[length], bytes].concat()).tried(talking)?;
        let mut status = [0; 2];
        stream.read_exact(&mut status).tried(talking)?;
        if status[1] != 0 {
            return Err(refused(format!("status {}", status[1]), "to be logged in to the proxy"));
        }
    }
    let mut request = vec![VERSION, CONNECT, 0];
    match to.ip() {
        IpAddr::V4(address) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        IpAddr::V6(address) => {
            request.push(IPV6);
            request.extend(address.octets());
        }
    }
    request.extend(to.port().to_be_bytes());
    stream.write_all(&request).tried(talking)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).tried(talking)?;
    if head[..2] != [VERSION, 0] {
        return Err(refused(format!("reply {}", head[1]), "the proxy's reply 0, connected"));
    }
    let rest = if head[3] == IPV6 { 18 } else { 6 };
    stream.read_exact(&mut [0; 18][..rest]).tried(talking)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::TcpListener;

    use super::*;

    /// A connection whose other side reads `heard` bytes and says `say`, in turn.
    fn told(turns: Vec<(usize, Vec<u8>)>) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            for (heard, say) in turns {
                let mut bytes = vec![0; heard];
                stream.read_exact(&mut bytes).unwrap();
                all.extend(bytes);
                stream.write_all(&say).unwrap();
            }
            all
        });
        (address, proxy)
    }

    fn through(proxy: SocketAddr, user: Option<&str>) -> Via {
        Via { bind: None, socks: Some(proxy), socks_user: user.map(str::to_owned) }
    }

    #[test]
    fn a_proxy_is_asked_and_what_follows_is_the_servers() {
        let reply = [&[5, 0, 0, 1, 10, 0, 0, 1, 0, 80][..], b"hello"].concat();
        let (address, proxy) = told(vec![(3, vec![5, 0]), (10, reply)]);
        let to = "192.0.2.7:513".parse().unwrap();
        let mut stream = open(&through(address, None), to, &Tuning::default()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello");
        assert_eq!(proxy.join().unwrap(), [5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 7, 2, 1]);
    }

    #[test]
    fn a_user_is_told_to_the_proxy() {
        let reply = [&[5, 0, 0, 4][..], &[0; 18]].concat();
        let (address, proxy) = told(vec![(3, vec![5, 2]), (7, vec![1, 0]), (22, reply)]);
        let to = "[2001:db8::1]:80".parse().unwrap();
        open(&through(address, Some("c7")), to, &Tuning::default()).unwrap();
        let said = proxy.join().unwrap();
        assert_eq!(said[..10], [5, 1, 2, 1, 2, b'c', b'7', 2, b'c', b'7']);
        assert_eq!(said[10..16], [5, 1, 0, 4, 0x20, 1]);
    }

    #[test]
    fn a_refusal_says_which() {
        let to = "192.0.2.7:80".parse().unwrap();
        let (address, _proxy) = told(vec![(3, vec![5, 0]), (10, vec![5, 6, 0, 1, 0, 0, 0, 0, 0, 0])]);
        let error = open(&through(address, None), to, &Tuning::default()).unwrap_err().to_string();
        assert_eq!(error, "found reply 6, expected the proxy's reply 0, connected");
        let (address, _proxy) = told(vec![(3, vec![5, 255])]);
        let error = open(&through(address, None), to, &Tuning::default()).unwrap_err().to_string();
        assert!(error.starts_with("found [5, 255], expected a SOCKS 5 proxy"), "{error}");
    }

    #[test]
    fn options_are_set_and_wrong_ones_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let tuning = Tuning { cc: Some("cubic".to_owned()), notsent_lowat: Some(4096), buffer: Some(65536) };
        let via = Via { bind: Some("127.0.0.9".parse().unwrap()), ..Via::default() };
        let stream = open(&via, to, &tuning).unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), via.bind.unwrap());
        assert!(stream.nodelay().unwrap());
        assert_eq!(sockopt::socket_send_buffer_size(&stream).unwrap(), 131_072);
        let warp = Tuning { cc: Some("warp".to_owned()), ..tuning };
        let error = open(&via, to, &warp).unwrap_err().to_string();
        assert!(error.starts_with("use congestion control warp: "), "{error}");
    }

    #[test]
    fn attempts_end() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = open_until(&Via::default(), free, &Tuning::default(), 0).unwrap_err();
        let TrafficError::Socket { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    }
}
