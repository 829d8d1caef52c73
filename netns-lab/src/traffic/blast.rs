//! Numbered datagrams at a steady pace, and a count of what became of them: for loss while keys change.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::TrafficError;
use super::socket::{Tried, connect_udp, millis, now, serve_udp};

/// The number of a datagram and how many there are, in front of each.
const HEAD: usize = 16;
/// The most datagrams that are counted one by one.
const COUNT_MAX: u64 = 10_000_000;

/// What was sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BlastReport {
    /// Datagrams the kernel took.
    pub sent: u64,
    /// Datagrams it refused, for want of a route, a policy, a buffer.
    pub refused: u64,
    /// From the first to the last.
    pub seconds: f64,
}

/// What arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SinkReport {
    /// Datagrams there should be; 0 if none told.
    pub expected: u64,
    /// Different ones that arrived.
    pub received: u64,
    /// Those that did not.
    pub lost: u64,
    /// The longest run of them.
    pub longest_loss: u64,
    /// Those that arrived after one with a higher number.
    pub reordered: u64,
    /// Further copies.
    pub duplicates: u64,
    /// From the first arrival to the last.
    pub seconds: f64,
}

/// Sends all datagrams, each at its time, late or refused ones included.
pub(super) fn blast(
    from: Option<IpAddr>,
    to: SocketAddr,
    count: u64,
    size: u16,
    interval: Duration,
) -> Result<BlastReport, TrafficError> {
    if usize::from(size) < HEAD {
        let expected = "at least 16, for the number";
        return Err(TrafficError::Argument { name: "--size", found: size.to_string(), expected });
    }
    if count > COUNT_MAX {
        let expected = "at most 10000000";
        return Err(TrafficError::Argument { name: "--count", found: count.to_string(), expected });
    }
    let socket = connect_udp(from, to)?;
    let mut datagram = vec![0x5a; usize::from(size)];
    datagram[8..HEAD].copy_from_slice(&count.to_be_bytes());
    let start = now();
    let (mut sent, mut refused) = (0, 0);
    for number in 0..count {
        let due = interval.mul_f64(number as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        match socket.send(&datagram) {
            Ok(_) => sent += 1,
            Err(_) => refused += 1,
        }
    }
    Ok(BlastReport { sent, refused, seconds: millis(start.elapsed()) / 1e3 })
}

/// Counts until nothing came for `idle`, or nothing at all for `first`.
pub(super) fn sink(address: SocketAddr, first: Duration, idle: Duration) -> Result<SinkReport, TrafficError> {
    sink_on(&serve_udp(address)?, first, idle)
}

fn sink_on(socket: &UdpSocket, first: Duration, idle: Duration) -> Result<SinkReport, TrafficError> {
    let mut tally = Tally::default();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let (mut start, mut last) = (None, None);
    loop {
        let patience = if start.is_none() { first } else { idle };
        socket.set_read_timeout(Some(patience)).tried(|| "wait for datagrams".to_owned())?;
        let Ok(length) = socket.recv(&mut buffer) else { break };
        let Some((head, _)) = buffer[..length].split_first_chunk::<HEAD>() else { continue };
        let [number, count] = [0, 8].map(|at| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&head[at..at + 8]);
            u64::from_be_bytes(bytes)
        });
        if number < count && count <= COUNT_MAX {
            tally.arrived(number, count);
            start = start.or(Some(now()));
            last = Some(now());
        }
    }
    let span = start.zip(last).map_or(Duration::ZERO, |(start, last)| last - start);
    Ok(SinkReport { seconds: millis(span) / 1e3, ..tally.report() })
}

/// Which numbers arrived.
#[derive(Default)]
struct Tally {
    seen: Vec<bool>,
    highest: u64,
    reordered: u64,
    duplicates: u64,
}

impl Tally {
    fn arrived(&mut self, number: u64, count: u64) {
        if self.seen.len() < count as usize {
            self.seen.resize(count as usize, false);
        }
        if std::mem::replace(&mut self.seen[number as usize], true) {
            self.duplicates += 1;
        } else if number < self.highest {
            self.reordered += 1;
        }
        self.highest = self.highest.max(number);
    }

    fn report(&self) -> SinkReport {
        let expected = self.seen.len() as u64;
        let received = self.seen.iter().filter(|seen| **seen).count() as u64;
        let longest = self.seen.split(|seen| *seen).map(<[bool]>::len).max();
        SinkReport {
            expected,
            received,
            lost: expected - received,
            longest_loss: longest.unwrap_or(0) as u64,
            reordered: self.reordered,
            duplicates: self.duplicates,
            seconds: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_disorder_and_copies_are_told_apart() {
        let mut tally = Tally::default();
        for number in [0, 1, 4, 3, 3, 9] {
            tally.arrived(number, 12);
        }
        let expected = SinkReport {
            expected: 12,
            received: 5,
            lost: 7,
            longest_loss: 4,
            reordered: 1,
            duplicates: 1,
            seconds: 0.0,
        };
        assert_eq!(tally.report(), expected);
    }

    #[test]
    fn what_is_sent_arrives_at_its_pace() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let sink =
            thread::spawn(move || sink_on(&socket, Duration::from_secs(5), Duration::from_millis(300)));
        let sent =
            blast(Some("127.0.0.9".parse().unwrap()), address, 50, 100, Duration::from_millis(2)).unwrap();
        assert_eq!((sent.sent, sent.refused), (50, 0));
        assert!(sent.seconds >= 0.098, "{sent:?}");
        let report = sink.join().unwrap().unwrap();
        assert_eq!((report.expected, report.received, report.lost), (50, 50, 0));
    }

    #[test]
    fn a_sink_that_nothing_reaches_says_so() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[0; 40], socket.local_addr().unwrap()).unwrap();
        let report = sink_on(&socket, Duration::from_millis(50), Duration::from_secs(9)).unwrap();
        assert_eq!(report, SinkReport::default());
    }

    #[test]
    fn datagrams_must_hold_their_number() {
        let to = "127.0.0.1:9".parse().unwrap();
        let error = blast(None, to, 1, 15, Duration::ZERO).unwrap_err().to_string();
        assert_eq!(error, "--size: found 15, expected at least 16, for the number");
    }
}
