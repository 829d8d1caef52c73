//! Making sockets, and knowing those that an earlier daemon made.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use ippriv::id::LinkName;
use ippriv::node::Binding;
use nix::sys::socket::{getsockopt, setsockopt, sockopt::BindToDevice};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_freebind, set_ip_mtu_discover, set_ipv6_freebind,
    set_ipv6_mtu_discover, set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with};
use tracing::warn;

use super::encapsulation;

/// Octets that wait in the kernel: some thousand handshakes, for a relay that has just come back.
const WAITING: usize = 4 << 20;

/// A socket that the service manager kept while no daemon ran.
pub(super) struct Inherited {
    pub(super) name: String,
    pub(super) socket: UdpSocket,
    address: SocketAddr,
    link: Option<LinkName>,
}

impl Inherited {
    /// Whether it is what `binding` asks for.
    pub(super) fn is(&self, binding: &Binding) -> bool {
        let address = (self.address.ip(), self.address.port());
        address == (binding.address, binding.port) && self.link == binding.link
    }
}

/// What of `kept` are UDP sockets.
pub(super) fn inherited(kept: Vec<(String, OwnedFd)>) -> Vec<Inherited> {
    let look = |(name, fd): (String, OwnedFd)| {
        let socket = UdpSocket::from(fd);
        let found = (|| {
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, device(&socket)?))
        })();
        match found {
            Ok((address, link)) => Some(Inherited { name, socket, address, link }),
            Err(error) => {
                let error: io::Error = error;
                warn!(name, %error, "the service manager kept something that is no socket of ours");
                None
            }
        }
    };
    kept.into_iter().filter_map(look).collect()
}

fn device(socket: &UdpSocket) -> io::Result<Option<LinkName>> {
    let name = getsockopt(socket, BindToDevice)?;
    match name.to_str() {
        Some("") | None => Ok(None),
        Some(name) => name.parse().map(Some).map_err(io::Error::other),
    }
}

/// Opens a socket.
pub(super) fn open(binding: &Binding) -> io::Result<UdpSocket> {
    let family = match binding.address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    // An IKE message larger than the path has to be cut by IP rather than lost: without DF (RFC 7296 §2).
    match binding.address {
        IpAddr::V4(_) => {
            set_ip_freebind(&socket, true)?;
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
        }
        IpAddr::V6(_) => {
            set_ipv6_v6only(&socket, true)?;
            set_ipv6_freebind(&socket, true)?;
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DONT)?;
        }
    }
    if let Some(link) = &binding.link {
        setsockopt(&socket, BindToDevice, &link.as_str().into())?;
    }
    if set_socket_recv_buffer_size_force(&socket, WAITING).is_err() {
        set_socket_recv_buffer_size(&socket, WAITING)?;
    }
    if binding.encapsulates() {
        encapsulation::take_esp(&socket)?;
    }
    bind(&socket, &SocketAddr::new(binding.address, binding.port))?;
    Ok(UdpSocket::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_known_again_by_address_and_device() {
        let loopback = Binding { address: "127.0.0.1".parse().unwrap(), port: 0, link: None };
        let bound = Binding { link: Some("lo".parse().unwrap()), ..loopback.clone() };
        let (plain, device) = (open(&loopback).unwrap(), open(&bound).unwrap());
        let of = |binding: &Binding, socket: &UdpSocket| {
            let port = socket.local_addr().unwrap().port();
            Binding { port, ..binding.clone() }
        };
        let (loopback, bound) = (of(&loopback, &plain), of(&bound, &device));
        let kept = inherited(vec![("plain".to_owned(), plain.into()), ("device".to_owned(), device.into())]);
        assert!(kept[0].is(&loopback) && !kept[0].is(&bound));
        assert!(kept[1].is(&bound) && !kept[1].is(&loopback));
        assert!(!kept[1].is(&Binding { link: None, ..bound }));
    }

    #[test]
    fn what_is_no_socket_is_not_taken_over() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(inherited(vec![("file".to_owned(), file.into())]).is_empty());
    }

    #[test]
    fn the_option_for_esp_is_one_that_the_kernel_knows() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Err(error) = encapsulation::take_esp(&socket) {
            // A kernel without XFRM has the option, but nothing to take ESP out with.
            assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOPROTOOPT.raw_os_error()));
        }
    }
}
