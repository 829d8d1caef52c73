//! Listening to what the kernel says unasked.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram as StdDatagram;

use ippriv::netlink::{Frame, Frames, Malformed, Notice, address_changes, xfrm_notice};
use ippriv::telescope::LOOKING_OUT;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Mark;
use rustix::io::Errno;
use rustix::net::netlink::{SocketAddrNetlink, XFRM};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// Groups as bits: `XFRMNLGRP_ACQUIRE` 1, `XFRMNLGRP_MAPPING` 8.
const XFRM_GROUPS: u32 = group(1) | group(8);
/// `RTNLGRP_LINK` 1, `_IPV4_IFADDR` 5, `_IPV4_ROUTE` 7, `_IPV6_IFADDR` 9, `_IPV6_ROUTE` 11.
const ROUTE_GROUPS: u32 = group(1) | group(5) | group(7) | group(9) | group(11);

/// `NETLINK_ROUTE`, which is 0.
const ROUTE: Option<Protocol> = None;
/// Octets that wait in the kernel.
const WAITING: usize = 1 << 20;
/// Octets of one datagram.
const DATAGRAM: usize = 32 << 10;

const fn group(number: u32) -> u32 {
    1 << (number - 1)
}

/// Something that the kernel said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// About SAs.
    Xfrm(Notice),
    /// Addresses or routes have changed, in one way or many.
    Routing,
}

/// Listens to SAs.
pub(crate) fn listen_to_xfrm(said: mpsc::Sender<Heard>) -> io::Result<impl Future<Output = ()>> {
    let socket = open(Some(XFRM), XFRM_GROUPS)?;
    Ok(listen(socket, said, |frame| Ok(xfrm_notice(frame)?.map(Heard::Xfrm)), || None))
}

/// Listens to addresses and routes.
pub(crate) fn listen_to_routing(said: mpsc::Sender<Heard>) -> io::Result<impl Future<Output = ()>> {
    let socket = open(ROUTE, ROUTE_GROUPS)?;
    let heard = |frame: &Frame<'_>| Ok(address_changes(frame).then_some(Heard::Routing));
    // What was missed may have been a change.
    Ok(listen(socket, said, heard, || Some(Heard::Routing)))
}

/// The address that this host sends from to the first of `peers` that it has a route to, past the rules that
/// lead to our circuits. Sends nothing.
pub(crate) fn source_towards(peers: &[IpAddr]) -> Option<IpAddr> {
    peers.iter().find_map(|peer| {
        let any: IpAddr = if peer.is_ipv4() { [0; 4].into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        // Whoever may not do this has no circuits either.
        setsockopt(&socket, Mark, &LOOKING_OUT.value).unwrap_or_else(|error| debug!(%error, "no mark"));
        socket.connect(SocketAddr::new(*peer, 500)).ok()?;
        let source = socket.local_addr().ok()?.ip();
        (!source.is_unspecified()).then_some(source)
    })
}

/// A socket without a name of its own kind in tokio: its calls for datagrams fit.
fn open(protocol: Option<Protocol>, groups: u32) -> io::Result<UnixDatagram> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    if set_socket_recv_buffer_size_force(&socket, WAITING).is_err() {
        set_socket_recv_buffer_size(&socket, WAITING)?;
    }
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    UnixDatagram::from_std(StdDatagram::from(socket))
}

async fn listen(
    socket: UnixDatagram,
    said: mpsc::Sender<Heard>,
    read: impl Fn(&Frame<'_>) -> Result<Option<Heard>, Malformed>,
    missed: impl Fn() -> Option<Heard>,
) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let mut heard = Vec::new();
        match socket.recv(&mut buffer).await {
            Ok(length) => {
                for frame in Frames::new(buffer.get(..length).unwrap_or_default()) {
                    match frame.and_then(|frame| read(&frame)) {
                        Ok(item) => heard.extend(item),
                        Err(error) => warn!(%error, "the kernel said something malformed"),
                    }
                }
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {
                debug!("the kernel said more than fits its queue");
                heard.extend(missed());
            }
            Err(error) => {
                warn!(%error, "no longer listening to the kernel");
                return;
            }
        }
        // Many changes at once are one.
        heard.dedup();
        for item in heard {
            if said.send(item).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_ourselves_starts_at_ourselves() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(source_towards(&[loopback]), Some(loopback));
        assert_eq!(source_towards(&[]), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn routing_can_be_listened_to() {
        let (said, _heard) = mpsc::channel(1);
        drop(listen_to_routing(said).unwrap());
    }
}
