//! Sockets with a source address of choice, and the clock.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use super::TrafficError;

/// Names what was tried, for errors.
pub(super) trait Tried<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, TrafficError>;
}

impl<T, E: Into<io::Error>> Tried<T> for Result<T, E> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, TrafficError> {
        self.map_err(|error| TrafficError::Socket { what: what(), source: error.into() })
    }
}

/// The clock everything is measured by.
#[expect(
    clippy::disallowed_methods,
    reason = "measuring the time that traffic takes is what these programs do"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The longest span that makes sense, in seconds; sums and products of such do not overflow.
const SPAN_MAX: f64 = 1e6;

/// Reads a number of seconds.
pub(super) fn seconds(name: &'static str, value: f64) -> Result<Duration, TrafficError> {
    let span = Some(value).filter(|value| *value <= SPAN_MAX);
    span.and_then(|value| Duration::try_from_secs_f64(value).ok()).ok_or_else(|| TrafficError::Argument {
        name,
        found: format!("{value} seconds"),
        expected: "0 to 1000000 seconds",
    })
}

/// Milliseconds, to the microsecond.
pub(super) fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e3
}

/// Mbit/s, to the bit.
pub(super) fn mbit_per_second(bytes: u64, span: Duration) -> f64 {
    let rate = bytes as f64 * 8.0 / span.as_secs_f64();
    if rate.is_finite() { rate.round() / 1e6 } else { 0.0 }
}

/// Listens, and says so.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, TrafficError> {
    let listener = TcpListener::bind(address).tried(|| format!("listen on {address}"))?;
    announce(&listener.local_addr());
    Ok(listener)
}

/// Opens a UDP server, and says so.
pub(super) fn serve_udp(address: SocketAddr) -> Result<UdpSocket, TrafficError> {
    let socket = UdpSocket::bind(address).tried(|| format!("listen on {address}"))?;
    announce(&socket.local_addr());
    Ok(socket)
}

fn announce(address: &io::Result<SocketAddr>) {
    if let Ok(address) = address {
        println!("listening on {address}");
    }
}

/// Opens a TCP connection from an address of choice, with a congestion control of choice.
pub(super) fn connect_tcp(
    from: Option<IpAddr>,
    to: SocketAddr,
    congestion_control: Option<&str>,
) -> Result<TcpStream, TrafficError> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .tried(|| "open a TCP socket".to_owned())?;
    if let Some(from) = from {
        bind(&socket, &SocketAddr::new(from, 0)).tried(|| format!("bind to {from}"))?;
    }
    if let Some(name) = congestion_control {
        sockopt::set_tcp_congestion(&socket, name).tried(|| format!("use congestion control {name}"))?;
    }
    connect(&socket, &to).tried(|| format!("connect to {to}"))?;
    Ok(TcpStream::from(socket))
}

/// Opens a UDP socket that talks to one address only, from an address of choice.
pub(super) fn connect_udp(from: Option<IpAddr>, to: SocketAddr) -> Result<UdpSocket, TrafficError> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = SocketAddr::new(from.unwrap_or(any), 0);
    let socket = UdpSocket::bind(from).tried(|| format!("bind to {from}"))?;
    socket.connect(to).tried(|| format!("connect to {to}"))?;
    Ok(socket)
}

/// Whether a read ended because its time was over.
pub(super) fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_neither_negative_nor_endless() {
        assert_eq!(seconds("--idle", 0.25).unwrap(), Duration::from_millis(250));
        for value in [-1.0, f64::NAN, f64::INFINITY, 1e7] {
            assert!(seconds("--idle", value).is_err(), "{value}");
        }
        let error = seconds("--pps", f64::INFINITY).unwrap_err().to_string();
        assert_eq!(error, "--pps: found inf seconds, expected 0 to 1000000 seconds");
    }

    #[test]
    fn rates_are_finite() {
        assert_eq!(mbit_per_second(1_250_000, Duration::from_secs(2)), 5.0);
        assert_eq!(mbit_per_second(1, Duration::ZERO), 0.0);
    }
}
