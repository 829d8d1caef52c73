//! What observers see: of each link, the streams of packets anybody there can tell apart.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::capture::{Ip, LinkCapture, Transport};

/// What an observer of one link sees.
#[derive(Debug, Deserialize, Serialize)]
pub struct LinkView {
    /// The link.
    pub link: String,
    /// The streams of packets on it.
    pub streams: Vec<Stream>,
}

/// Packets that look alike: same ends, same protocol, same SPI.
#[derive(Debug, Deserialize, Serialize)]
pub struct Stream {
    /// Their source.
    pub source: IpAddr,
    /// Their destination.
    pub destination: IpAddr,
    /// `ESP`, `TCP`, `UDP`, `ICMP` or a number.
    pub protocol: String,
    /// The SPI, of ESP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spi: Option<u32>,
    /// Whether that SPI belongs to a layer of a circuit, to an overlay, or is none.
    pub belongs_to: Owner,
    /// How many packets there are.
    pub packets: usize,
    /// The smallest, in octets of IP.
    pub smallest: u32,
    /// The largest, in octets of IP.
    pub largest: u32,
}

/// What a stream is part of, as only we can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// A layer of a circuit.
    Layer,
    /// An overlay tunnel between relays.
    Overlay,
    /// IKE, which is encrypted but for its first messages.
    Ike,
    /// Nobody: it is in clear.
    Clear,
}

/// Somebody who could look, and which ends they could learn.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Knower {
    /// A host, or a link between routers.
    pub who: String,
    /// Whether the client's address passed there.
    pub client: bool,
    /// Whether the server's address passed there.
    pub server: bool,
}

/// What one capture shows; `overlays` are the SPIs of overlay tunnels.
pub(super) fn view(capture: &LinkCapture, overlays: &BTreeSet<u32>) -> LinkView {
    let mut streams: BTreeMap<(IpAddr, IpAddr, String, Option<u32>), Stream> = BTreeMap::new();
    for ip in capture.ip() {
        let spi = ip.esp().map(|esp| esp.spi);
        let key = (ip.source, ip.destination, protocol(ip), spi);
        let stream = streams.entry(key.clone()).or_insert_with(|| Stream {
            source: ip.source,
            destination: ip.destination,
            protocol: key.2,
            spi,
            belongs_to: owner(ip, overlays),
            packets: 0,
            smallest: u32::MAX,
            largest: 0,
        });
        stream.packets += 1;
        stream.smallest = stream.smallest.min(ip.total_length);
        stream.largest = stream.largest.max(ip.total_length);
    }
    LinkView { link: capture.link.clone(), streams: streams.into_values().collect() }
}

fn owner(ip: &Ip, overlays: &BTreeSet<u32>) -> Owner {
    match (ip.esp(), &ip.transport) {
        (Some(esp), _) if overlays.contains(&esp.spi) => Owner::Overlay,
        (Some(_), _) => Owner::Layer,
        (None, Transport::Udp { destination: 500 | 4500, .. }) => Owner::Ike,
        (None, _) => Owner::Clear,
    }
}

fn protocol(ip: &Ip) -> String {
    match ip.transport {
        Transport::Esp(_) => "ESP".to_owned(),
        Transport::Tcp { .. } => "TCP".to_owned(),
        Transport::Udp { destination: 500 | 4500, .. } => "IKE".to_owned(),
        Transport::Udp { .. } => "UDP".to_owned(),
        Transport::Icmp { .. } => "ICMP".to_owned(),
        Transport::LaterFragment | Transport::Other | Transport::Truncated => ip.protocol.to_string(),
    }
}

/// Which of the ends' addresses passed a link, in whatever header.
pub(super) fn knower(
    who: &str,
    capture: &LinkCapture,
    client: &BTreeSet<IpAddr>,
    server: &BTreeSet<IpAddr>,
) -> Knower {
    let seen = capture.addresses();
    Knower { who: who.to_owned(), client: !seen.is_disjoint(client), server: !seen.is_disjoint(server) }
}
