use std::process::Command;
use std::time::Duration;

use super::super::pcap;
use super::*;

const CLIENT: [u8; 4] = [198, 18, 5, 2];
const SERVER: [u8; 4] = [198, 18, 9, 2];
const CLIENT6: &str = "2001:db8:5::2";
const SERVER6: &str = "2001:db8:9::2";

fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 1];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet: class 0xb9 (DSCP 46, ECN 1), TTL 61, id 0x1234.
fn v4(flags: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0xb9];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(flags.to_be_bytes());
    packet.extend([61, protocol, 0, 0]);
    packet.extend(CLIENT);
    packet.extend(SERVER);
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv6 packet: class 0xb9, hop limit 61.
fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x6b, 0x90, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 61]);
    packet.extend(CLIENT6.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(SERVER6.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    packet
}

fn udp_header(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend([source, destination, 8 + payload.len() as u16, 0].map(u16::to_be_bytes).concat());
    header.extend(payload);
    header
}

const ESP_HEADER: [u8; 12] = [0xc0, 0, 0, 1, 0, 0, 0, 7, 9, 9, 9, 9];

/// One of each, with a word that tcpdump must print about it.
fn samples() -> Vec<(Vec<u8>, &'static str)> {
    let esp4 = v4(0x4000, 50, &ESP_HEADER);
    let too_big4 = [&[3, 4, 0, 0, 0, 0, 5, 120][..], &esp4].concat();
    let too_big6 = [&[2, 0, 0, 0, 0, 0, 5, 120][..], &v6(50, &ESP_HEADER)].concat();
    let tcp = [0, 80, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0];
    let fragment6 = [&[17, 0, 0, 1, 0, 0, 0, 42][..], &udp_header(53, 9, &[1; 8])].concat();
    let options6 = [&[50, 0, 1, 4, 0, 0, 0, 0][..], &ESP_HEADER].concat();
    vec![
        (frame(0x0800, &esp4), "ESP(spi=0xc0000001,seq=0x7)"),
        (frame(0x86dd, &v6(50, &ESP_HEADER)), "ESP(spi=0xc0000001,seq=0x7)"),
        (frame(0x0800, &v4(0, 17, &udp_header(5353, 9, b"x"))), "198.18.5.2.5353 > 198.18.9.2.9"),
        (
            frame(0x0800, &v4(0, 17, &udp_header(4500, 40000, &ESP_HEADER))),
            "UDP-encap: ESP(spi=0xc0000001,seq=0x7)",
        ),
        (frame(0x0800, &v4(0, 17, &udp_header(4500, 4500, &[0; 40]))), "NONESP-encap"),
        (frame(0x0800, &v4(0x4000, 6, &tcp)), "198.18.5.2.80 > 198.18.9.2.8080"),
        (frame(0x0800, &v4(0, 1, &[8, 0, 0, 0, 0x11, 0x22, 0, 3])), "ICMP echo request, id 4386, seq 3"),
        (frame(0x0800, &v4(0, 1, &too_big4)), "need to frag (mtu 1400)"),
        (frame(0x86dd, &v6(58, &too_big6)), "packet too big, mtu 1400"),
        (frame(0x86dd, &v6(58, &[129, 0, 0, 0, 0x11, 0x22, 0, 3])), "ICMP6, echo reply, id 4386, seq 3"),
        (frame(0x0800, &v4(0x2000, 17, &udp_header(53, 9, &[1; 8]))), "flags [+]"),
        (frame(0x0800, &v4(0x0003, 17, &[0xff; 8])), "offset 24"),
        (frame(0x86dd, &v6(44, &fragment6)), "frag (0x0000002a:0|16)"),
        (frame(0x86dd, &v6(60, &options6)), "DSTOPT"),
        (frame(0x0800, &v4(0, 132, &[0; 12])), "SCTP"),
        (frame(0x0806, &[0; 28]), "ARP"),
    ]
}

fn decode(bytes: &[u8]) -> Packet {
    Packet::decode(&Record { time: Duration::ZERO, length: bytes.len() as u32, bytes })
}

fn ip(bytes: &[u8]) -> Ip {
    decode(bytes).ip.unwrap()
}

#[test]
fn the_ip_header_is_read_in_both_families() {
    for (bytes, total) in
        [(frame(0x0800, &v4(0x4000, 50, &ESP_HEADER)), 32), (frame(0x86dd, &v6(50, &ESP_HEADER)), 52)]
    {
        let ip = ip(&bytes);
        assert_eq!((ip.dscp, ip.ecn, ip.hop_limit, ip.protocol), (46, 1, 61, 50));
        assert_eq!((ip.total_length, ip.dont_fragment, ip.fragment), (total, true, None));
        assert_eq!(ip.esp(), Some(Esp { spi: 0xc000_0001, sequence: 7 }));
    }
    let both = ip(&frame(0x86dd, &v6(50, &ESP_HEADER)));
    assert_eq!((both.source.to_string(), both.destination.to_string()), (CLIENT6.into(), SERVER6.into()));
    assert!(!ip(&frame(0x0800, &v4(0, 50, &ESP_HEADER))).dont_fragment);
}

#[test]
fn the_sender_on_the_link_comes_first() {
    let macs = decode(&frame(0x0806, &[])).macs.unwrap();
    assert_eq!(macs.map(|mac| mac.to_string()), ["02:00:00:00:01:01", "02:00:00:00:01:02"]);
}

#[test]
fn ike_is_not_taken_for_esp() {
    assert_eq!(ip(&frame(0x0800, &v4(0, 17, &udp_header(4500, 4500, &[0; 40])))).esp(), None);
    assert_eq!(ip(&frame(0x0800, &v4(0, 17, &udp_header(500, 500, &ESP_HEADER)))).esp(), None);
    assert!(ip(&frame(0x0800, &v4(0, 17, &udp_header(4500, 9, &ESP_HEADER)))).esp().is_some());
}

#[test]
fn quotes_are_read_once() {
    let esp = v4(0, 50, &ESP_HEADER);
    let error = |about: &[u8]| v4(0, 1, &[&[3, 4, 0, 0, 0, 0, 5, 120][..], about].concat());
    let once = decode(&frame(0x0800, &error(&esp)));
    assert_eq!(once.headers().map(|ip| ip.protocol).collect::<Vec<_>>(), [1, 50]);
    let Transport::Icmp { quote: Some(quote), .. } = &once.ip.as_ref().unwrap().transport else {
        panic!("{once:?}")
    };
    assert_eq!(quote.mtu, Some(1400));

    let deep = (0..2000).fold(esp, |about, _| error(&about));
    assert_eq!(decode(&frame(0x0800, &deep)).headers().count(), 2);
}

#[test]
fn a_quote_of_eight_bytes_has_the_esp_header() {
    let esp = v4(0, 50, &ESP_HEADER[..8]);
    let bytes = frame(0x0800, &v4(0, 1, &[&[3, 4, 0, 0, 0, 0, 5, 120][..], &esp].concat()));
    let spis: Vec<_> = decode(&bytes).headers().filter_map(Ip::esp).map(|esp| esp.spi).collect();
    assert_eq!(spis, [0xc000_0001]);
}

#[test]
fn pieces_are_told_from_whole_packets() {
    let first = ip(&frame(0x0800, &v4(0x2000, 17, &udp_header(53, 9, &[1; 8]))));
    assert_eq!(first.fragment, Some(Fragment { id: 0x1234, offset: 0, more: true }));
    assert!(matches!(first.transport, Transport::Udp { source: 53, .. }));
    let last = ip(&frame(0x0800, &v4(0x0003, 17, &[0xff; 8])));
    assert_eq!(last.fragment, Some(Fragment { id: 0x1234, offset: 24, more: false }));
    assert_eq!(last.transport, Transport::LaterFragment);
}

#[test]
fn no_bytes_whatever_make_it_panic() {
    for (frame, _) in samples() {
        for length in 0..=frame.len() {
            decode(&frame[..length]);
        }
        for position in 0..frame.len() {
            for value in [0, 1, 4, 0x0f, 0x40, 0x4f, 0x60, 0x7f, 0x80, 0xff] {
                let mut bent = frame.clone();
                bent[position] = value;
                decode(&bent);
            }
        }
    }
    let mut state = 1_u32;
    for _ in 0..20_000 {
        let mut noise = frame(if state & 1 == 0 { 0x0800 } else { 0x86dd }, &[]);
        for _ in 0..state % 120 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.push((state >> 24) as u8);
        }
        state = state.wrapping_add(1);
        if let Some(first) = noise.get_mut(14) {
            *first = if state & 1 == 0 { 0x45 } else { 0x60 };
        }
        decode(&noise);
    }
}

/// Needs tcpdump, as the lab does.
#[test]
fn tcpdump_agrees() {
    let samples = samples();
    let frames: Vec<Vec<u8>> = samples.iter().map(|(frame, _)| frame.clone()).collect();
    let path = std::env::temp_dir().join(format!("ippriv-decode-{}.pcap", std::process::id()));
    std::fs::write(&path, pcap::tests::write(&frames)).unwrap();
    let output = Command::new("tcpdump").args(["-n", "-v", "-tt", "-r"]).arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();

    let text = String::from_utf8_lossy(&output.stdout);
    let mut told: Vec<String> = Vec::new();
    for line in text.lines() {
        match told.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(line),
            _ => told.push(line.to_owned()),
        }
    }
    assert_eq!(told.len(), samples.len(), "{text}");
    for ((bytes, word), line) in samples.iter().zip(&told) {
        assert!(line.contains(word), "{word}: {line}");
        let Some(ip) = decode(bytes).ip else {
            assert!(line.contains("ARP"), "{line}");
            continue;
        };
        let addresses = [ip.source, ip.destination].map(|address| address.to_string());
        assert!(addresses.iter().all(|address| line.contains(address)), "{addresses:?}: {line}");
        match ip.source.is_ipv4() {
            true => {
                let header = format!("(tos 0xb9,CE, ttl {},", ip.hop_limit).replace(",CE", ",ECT(1)");
                assert!(line.contains(&header), "{header}: {line}");
                let (outer, length) = line.split_once("length ").unwrap();
                assert!(length.starts_with(&format!("{})", ip.total_length)), "{line}");
                assert_eq!(outer.contains("flags [DF]"), ip.dont_fragment, "{line}");
            }
            false => {
                assert!(line.contains(&format!("hlim {},", ip.hop_limit)), "{line}");
                assert!(line.contains(&format!("payload length: {})", ip.total_length - 40)), "{line}");
            }
        }
        // Of the first piece of an IPv6 packet it prints the ports elsewhere.
        if let Transport::Udp { source, destination, .. } | Transport::Tcp { source, destination } =
            ip.transport
            && (ip.fragment.is_none() || ip.source.is_ipv4())
        {
            let (from, to) =
                (format!("{}.{source} >", ip.source), format!("{}.{destination}", ip.destination));
            assert!(line.contains(&from) && line.contains(&to), "{from} {to}: {line}");
        }
    }
}
