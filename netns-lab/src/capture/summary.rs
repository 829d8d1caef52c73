//! Questions tests ask about captures.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Ip, LinkCapture, Packet};

/// Which way a packet went on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the first end to the second.
    Forward,
    /// From the second end to the first.
    Backward,
}

impl LinkCapture {
    /// Which way a packet of this link went; `None` if neither end sent it.
    #[must_use]
    pub fn direction(&self, packet: &Packet) -> Option<Direction> {
        let [from, _] = packet.macs?;
        match self.ends {
            [first, _] if first == from => Some(Direction::Forward),
            [_, second] if second == from => Some(Direction::Backward),
            _ => None,
        }
    }

    /// The IP packets, without what they quote.
    pub fn ip(&self) -> impl Iterator<Item = &Ip> {
        self.packets.iter().filter_map(|packet| packet.ip.as_ref())
    }

    /// Every address that an observer of the link can read, those in quoted packets included.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.headers().flat_map(|ip| [ip.source, ip.destination]).collect()
    }

    /// Every security parameters index that an observer can read, those in quoted packets included.
    #[must_use]
    pub fn spis(&self) -> BTreeSet<u32> {
        self.headers().filter_map(|ip| ip.esp().map(|esp| esp.spi)).collect()
    }

    /// How many IP packets there are of each length.
    #[must_use]
    pub fn sizes(&self) -> BTreeMap<u32, usize> {
        let mut sizes = BTreeMap::new();
        for ip in self.ip() {
            *sizes.entry(ip.total_length).or_default() += 1;
        }
        sizes
    }

    /// How many IP packets are like that.
    #[must_use]
    pub fn count(&self, like: impl Fn(&Ip) -> bool) -> usize {
        self.ip().filter(|ip| like(ip)).count()
    }

    /// Every IP header that can be read.
    fn headers(&self) -> impl Iterator<Item = &Ip> {
        self.packets.iter().flat_map(Packet::headers)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::capture::{Echo, Esp, Quote, Transport};
    use crate::topology::Mac;

    const ENDS: [Mac; 2] = [Mac([2, 0, 0, 0, 1, 1]), Mac([2, 0, 0, 0, 1, 2])];

    fn ip(source: &str, transport: Transport) -> Ip {
        Ip {
            source: source.parse().unwrap(),
            destination: "192.0.2.9".parse().unwrap(),
            dscp: 0,
            ecn: 0,
            hop_limit: 64,
            total_length: 100,
            dont_fragment: false,
            fragment: None,
            protocol: 50,
            transport,
        }
    }

    fn capture(packets: Vec<(Mac, Ip)>) -> LinkCapture {
        let packet = |(from, ip)| Packet {
            time: std::time::Duration::ZERO,
            length: 114,
            macs: Some([from, ENDS[1]]),
            ip: Some(ip),
        };
        let packets = packets.into_iter().map(packet).collect();
        LinkCapture { link: "a-b".to_owned(), ends: ENDS, path: PathBuf::new(), packets, missed: 0 }
    }

    #[test]
    fn quotes_give_away_addresses_and_spis() {
        let esp = ip("192.0.2.1", Transport::Esp(Esp { spi: 0x700, sequence: 1 }));
        let quote = Some(Quote { mtu: None, packet: Box::new(esp) });
        let error = ip("192.0.2.2", Transport::Icmp { kind: 3, code: 4, echo: None, quote });
        let capture = capture(vec![(ENDS[0], error)]);
        let addresses: Vec<String> = capture.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.1", "192.0.2.2", "192.0.2.9"]);
        assert_eq!(capture.spis().into_iter().collect::<Vec<_>>(), [0x700]);
        assert_eq!(capture.count(|ip| ip.esp().is_some()), 0, "the quote is no packet of its own");
    }

    #[test]
    fn packets_are_counted_by_size_and_direction() {
        let ping = |sequence| Transport::Icmp {
            kind: 8,
            code: 0,
            echo: Some(Echo { id: 1, sequence }),
            quote: None,
        };
        let other = Mac([9; 6]);
        let froms = [ENDS[0], ENDS[1], other];
        let capture = capture(froms.map(|from| (from, ip("192.0.2.1", ping(1)))).into());
        assert_eq!(capture.sizes(), BTreeMap::from([(100, 3)]));
        let directions: Vec<_> = capture.packets.iter().map(|packet| capture.direction(packet)).collect();
        assert_eq!(directions, [Some(Direction::Forward), Some(Direction::Backward), None]);
    }
}
