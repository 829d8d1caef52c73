//! From bytes to headers. Total: whatever the bytes are, the result is what could be understood of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::packet::{Echo, Esp, Fragment, Ip, Packet, Quote, Transport};
use super::pcap::Record;
use crate::topology::Mac;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ESP: u8 = 50;
const ICMPV6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;

/// ESP in UDP, and IKE once NAT was found (RFC 3948).
const NAT_TRAVERSAL_PORT: u16 = 4500;

impl Packet {
    /// Understands a captured frame as far as possible.
    #[must_use]
    pub fn decode(record: &Record<'_>) -> Self {
        let mut bytes = Bytes { rest: record.bytes, quoted: false };
        let macs = bytes.take::<6>().zip(bytes.take::<6>()).map(|(to, from)| [Mac(from), Mac(to)]);
        let ip = match bytes.u16() {
            Some(ETHERTYPE_IPV4) => ipv4(bytes),
            Some(ETHERTYPE_IPV6) => ipv6(bytes),
            _ => None,
        };
        Self { time: record.time, length: record.length, macs, ip }
    }
}

/// The bytes not yet understood.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    rest: &'a [u8],
    /// Whether this is a packet that another one quotes. No ICMP error is about an ICMP error (RFC 1122, section
    /// 3.2.2), so what looks like a quote within a quote is none: forged packets cannot nest any deeper.
    quoted: bool,
}

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }

    /// The packet that starts here, if it may be a quoted one.
    fn quote(self, of: impl FnOnce(Self) -> Option<Ip>) -> Option<Ip> {
        if self.quoted { None } else { of(Self { quoted: true, ..self }) }
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}

fn ipv4(mut bytes: Bytes<'_>) -> Option<Ip> {
    let version_and_length = bytes.u8()?;
    let options = usize::from(version_and_length & 0xf).checked_sub(5)? * 4;
    if version_and_length >> 4 != 4 {
        return None;
    }
    let class = bytes.u8()?;
    let total_length = bytes.u16()?;
    let id = bytes.u16()?;
    let flags = bytes.u16()?;
    let hop_limit = bytes.u8()?;
    let protocol = bytes.u8()?;
    bytes.skip(2)?;
    let source = Ipv4Addr::from(bytes.take::<4>()?);
    let destination = Ipv4Addr::from(bytes.take::<4>()?);

    let piece = Fragment { id: id.into(), offset: (flags & 0x1fff) * 8, more: flags & 0x2000 != 0 };
    let fragment = (piece.more || piece.offset != 0).then_some(piece);
    let transport = match bytes.skip(options) {
        Some(()) => transport(protocol, fragment, bytes),
        None => Transport::Truncated,
    };
    Some(Ip {
        source: source.into(),
        destination: destination.into(),
        dscp: class >> 2,
        ecn: class & 3,
        hop_limit,
        total_length: total_length.into(),
        dont_fragment: flags & 0x4000 != 0,
        fragment,
        protocol,
        transport,
    })
}

fn ipv6(mut bytes: Bytes<'_>) -> Option<Ip> {
    let word = bytes.u32()?;
    if word >> 28 != 6 {
        return None;
    }
    let payload_length = bytes.u16()?;
    let mut protocol = bytes.u8()?;
    let hop_limit = bytes.u8()?;
    let source = Ipv6Addr::from(bytes.take::<16>()?);
    let destination = Ipv6Addr::from(bytes.take::<16>()?);

    let mut fragment = None;
    let transport = loop {
        let later = fragment.is_some_and(|piece: Fragment| piece.offset != 0);
        if later || !matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
            break transport(protocol, fragment, bytes);
        }
        match extension(protocol, &mut bytes) {
            Some((next, piece)) => {
                protocol = next;
                fragment = piece.or(fragment);
            }
            None => break Transport::Truncated,
        }
    };
    Some(Ip {
        source: source.into(),
        destination: destination.into(),
        dscp: (word >> 22 & 0x3f) as u8,
        ecn: (word >> 20 & 3) as u8,
        hop_limit,
        total_length: u32::from(payload_length) + 40,
        dont_fragment: true,
        fragment,
        protocol,
        transport,
    })
}

/// Steps over an IPv6 extension header (RFC 8200, section 4): the next header, and what a fragment header says.
fn extension(protocol: u8, bytes: &mut Bytes<'_>) -> Option<(u8, Option<Fragment>)> {
    let next = bytes.u8()?;
    let length = bytes.u8()?;
    if protocol != FRAGMENT {
        bytes.skip(usize::from(length) * 8 + 6)?;
        return Some((next, None));
    }
    let position = bytes.u16()?;
    let id = bytes.u32()?;
    Some((next, Some(Fragment { id, offset: position & 0xfff8, more: position & 1 != 0 })))
}

fn transport(protocol: u8, fragment: Option<Fragment>, bytes: Bytes<'_>) -> Transport {
    if fragment.is_some_and(|piece| piece.offset != 0) {
        return Transport::LaterFragment;
    }
    let header = match protocol {
        ESP => esp(bytes).map(Transport::Esp),
        UDP => udp(bytes),
        TCP => tcp(bytes),
        ICMP => icmp(bytes),
        ICMPV6 => icmpv6(bytes),
        _ => Some(Transport::Other),
    };
    header.unwrap_or(Transport::Truncated)
}

fn esp(mut bytes: Bytes<'_>) -> Option<Esp> {
    Some(Esp { spi: bytes.u32()?, sequence: bytes.u32()? })
}

fn udp(mut bytes: Bytes<'_>) -> Option<Transport> {
    let (source, destination) = (bytes.u16()?, bytes.u16()?);
    bytes.skip(4)?;
    let esp = (source == NAT_TRAVERSAL_PORT || destination == NAT_TRAVERSAL_PORT)
        .then(|| esp(bytes))
        .flatten()
        // Four zero bytes in its place announce IKE.
        .filter(|esp| esp.spi != 0);
    Some(Transport::Udp { source, destination, esp })
}

fn tcp(mut bytes: Bytes<'_>) -> Option<Transport> {
    Some(Transport::Tcp { source: bytes.u16()?, destination: bytes.u16()? })
}

/// RFC 792; the MTU is RFC 1191's.
fn icmp(mut bytes: Bytes<'_>) -> Option<Transport> {
    let (kind, code) = (bytes.u8()?, bytes.u8()?);
    bytes.skip(2)?;
    let echo = matches!(kind, 0 | 8).then(|| echo(bytes)).flatten();
    let word = bytes.u32()?;
    let quote = matches!(kind, 3 | 4 | 5 | 11 | 12).then(|| bytes.quote(ipv4)).flatten().map(|packet| {
        let mtu = (kind == 3 && code == 4).then_some(word & 0xffff);
        Quote { mtu, packet: Box::new(packet) }
    });
    Some(Transport::Icmp { kind, code, echo, quote })
}

/// RFC 4443.
fn icmpv6(mut bytes: Bytes<'_>) -> Option<Transport> {
    let (kind, code) = (bytes.u8()?, bytes.u8()?);
    bytes.skip(2)?;
    let echo = matches!(kind, 128 | 129).then(|| echo(bytes)).flatten();
    let word = bytes.u32()?;
    let quote = matches!(kind, 1..=4).then(|| bytes.quote(ipv6)).flatten().map(|packet| {
        let mtu = (kind == 2).then_some(word);
        Quote { mtu, packet: Box::new(packet) }
    });
    Some(Transport::Icmp { kind, code, echo, quote })
}

fn echo(mut bytes: Bytes<'_>) -> Option<Echo> {
    Some(Echo { id: bytes.u16()?, sequence: bytes.u16()? })
}

#[cfg(test)]
mod tests;
