//! ESP and IKE on one port (RFC 3948): the marker, and the socket option that makes the kernel take ESP out.

use std::io;
use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt::SetStruct};

/// What an IKE message on port 4500 begins with (RFC 3948 §2.2): no ESP packet has SPI 0.
const MARKER: [u8; 4] = [0; 4];
/// `UDP_ENCAP_ESPINUDP` of `include/uapi/linux/udp.h`.
const ESP_IN_UDP: libc::c_int = 2;

#[derive(Clone, Copy)]
struct UdpEncapsulation;

// The macro's own `unsafe` calls setsockopt with the address and size of an int, which is what the option
// takes; rustix and socket2 do not know the option.
nix::setsockopt_impl!(
    UdpEncapsulation,
    libc::IPPROTO_UDP,
    libc::UDP_ENCAP,
    libc::c_int,
    SetStruct<'_, libc::c_int>
);

/// From now on the kernel takes ESP packets out of what arrives at `socket`, and keepalives.
pub(super) fn take_esp(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, UdpEncapsulation, &ESP_IN_UDP)?)
}

/// The datagram for a message.
pub(super) fn mark(message: &[u8]) -> Vec<u8> {
    [&MARKER, message].concat()
}

/// The message in a datagram, unless it is none.
pub(super) fn unmark(datagram: &[u8]) -> Option<&[u8]> {
    datagram.strip_prefix(&MARKER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_marker_is_a_message() {
        assert_eq!(mark(b"ike"), b"\0\0\0\0ike");
        assert_eq!(unmark(b"\0\0\0\0ike"), Some(&b"ike"[..]));
        assert_eq!(unmark(b"\xff"), None, "a keepalive");
        assert_eq!(unmark(b"\0\0\0"), None);
        assert_eq!(unmark(b"\xc0\0\0\x01esp"), None);
    }
}
