//! A call: datagrams at a steady pace in both directions, each side judging what it hears.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TrafficError;
use super::clock::{Window, monotonic, sleep_until, until};
use super::socket::{Tried, connect_udp, seconds, serve_udp};
use super::spread::Spread;

/// The number of a datagram and when it was sent, in front of each.
const HEAD: usize = 16;
/// The number of those that only say where the caller is.
const HELLO: u64 = u64::MAX;
const HELLO_INTERVAL: Duration = Duration::from_millis(100);
/// How long after the window datagrams may come that were sent in it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How both sides talk.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct CallArgs {
    #[command(flatten)]
    pub(super) window: Window,
    /// Datagrams per second.
    #[arg(long, default_value_t = 50.0)]
    pub(super) pps: f64,
    /// Octets of payload in each: 20 ms of G.711 and an RTP header.
    #[arg(long, default_value_t = 172)]
    pub(super) size: u16,
    /// Milliseconds after which a datagram is of no use any more.
    #[arg(long, default_value_t = 150.0)]
    pub(super) late_ms: f64,
}

/// What one side heard of what the other sent while the window was open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallReport {
    /// Sent by the other side.
    pub expected: u64,
    /// Heard.
    pub received: u64,
    /// Heard, but too late to be of use.
    pub late: u64,
    /// One-way delay, in milliseconds.
    pub delay_ms: Spread,
    /// The estimate of RFC 3550 section 6.4.1, its mean over all datagrams, in milliseconds.
    pub jitter_ms: f64,
}

/// Waits for a caller and talks with it.
pub(super) fn serve(address: SocketAddr, args: &CallArgs) -> Result<CallReport, TrafficError> {
    answer(&serve_udp(address)?, args)
}

fn answer(socket: &UdpSocket, args: &CallArgs) -> Result<CallReport, TrafficError> {
    let waiting = || "wait for a caller".to_owned();
    let patience = until(args.window.closes).max(Duration::from_micros(1));
    socket.set_read_timeout(Some(patience)).tried(waiting)?;
    let (_, caller) = socket.recv_from(&mut [0; HEAD]).tried(waiting)?;
    socket.connect(caller).tried(waiting)?;
    talk(socket, args)
}

/// Calls and talks.
pub(super) fn call(
    from: Option<IpAddr>,
    to: SocketAddr,
    args: &CallArgs,
) -> Result<CallReport, TrafficError> {
    let socket = connect_udp(from, to)?;
    let mut hello = vec![0; usize::from(args.size).max(HEAD)];
    hello[..8].copy_from_slice(&HELLO.to_be_bytes());
    while until(args.window.opens) > HELLO_INTERVAL {
        // One that is refused is like one that is lost.
        let _ = socket.send(&hello);
        thread::sleep(HELLO_INTERVAL);
    }
    talk(&socket, args)
}

fn talk(socket: &UdpSocket, args: &CallArgs) -> Result<CallReport, TrafficError> {
    let interval = seconds("--pps", 1.0 / args.pps)?.max(Duration::from_micros(1)).as_nanos() as u64;
    let count = (args.window.length().as_nanos() as u64).div_ceil(interval);
    let mut heard = Heard::new(count, args.late_ms);
    thread::scope(|scope| {
        scope.spawn(|| say(socket, args, interval, count));
        let end = args.window.closes.saturating_add(PATIENCE.as_nanos() as u64);
        let mut datagram = [0; 2048];
        loop {
            let left = until(end);
            if left.is_zero() || heard.all() {
                return Ok(());
            }
            socket.set_read_timeout(Some(left)).tried(|| "listen to the other side".to_owned())?;
            // An error about an earlier datagram is none about this socket.
            let Ok(length) = socket.recv(&mut datagram) else { continue };
            let Some((head, _)) = datagram[..length].split_first_chunk::<HEAD>() else { continue };
            let [number, sent] = [0, 8].map(|at| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&head[at..at + 8]);
                u64::from_be_bytes(bytes)
            });
            heard.arrived(number, sent, monotonic());
        }
    })?;
    Ok(heard.report())
}

/// Sends every datagram at its time, whether or not the kernel takes it.
fn say(socket: &UdpSocket, args: &CallArgs, interval: u64, count: u64) {
    let mut datagram = vec![0x5a; usize::from(args.size).max(HEAD)];
    for number in 0..count {
        sleep_until(args.window.opens + number * interval);
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        datagram[8..HEAD].copy_from_slice(&monotonic().to_be_bytes());
        let _ = socket.send(&datagram);
    }
}

/// What was heard so far.
struct Heard {
    seen: Vec<bool>,
    late_ms: f64,
    late: u64,
    delays_ms: Vec<f64>,
    jitter_ms: f64,
    jitters_ms: f64,
}

impl Heard {
    fn new(count: u64, late_ms: f64) -> Self {
        let seen = vec![false; count as usize];
        Self { seen, late_ms, late: 0, delays_ms: Vec::new(), jitter_ms: 0.0, jitters_ms: 0.0 }
    }

    /// Counts a datagram once; others than those of the window not at all.
    fn arrived(&mut self, number: u64, sent: u64, now: u64) {
        let Some(seen) = usize::try_from(number).ok().and_then(|at| self.seen.get_mut(at)) else { return };
        if std::mem::replace(seen, true) {
            return;
        }
        // To the microsecond.
        let delay = (now.saturating_sub(sent) / 1000) as f64 / 1e3;
        self.late += u64::from(delay > self.late_ms);
        if let Some(before) = self.delays_ms.last() {
            self.jitter_ms += ((delay - before).abs() - self.jitter_ms) / 16.0;
            self.jitters_ms += self.jitter_ms;
        }
        self.delays_ms.push(delay);
    }

    fn all(&self) -> bool {
        self.delays_ms.len() == self.seen.len()
    }

    fn report(self) -> CallReport {
        let received = self.delays_ms.len() as u64;
        let jitter = self.jitters_ms / received.saturating_sub(1).max(1) as f64;
        CallReport {
            expected: self.seen.len() as u64,
            received,
            late: self.late,
            delay_ms: Spread::of(self.delays_ms),
            // To the microsecond.
            jitter_ms: (jitter * 1e3).round() / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn loss_lateness_and_jitter_are_those_of_what_was_heard() {
        let mut heard = Heard::new(5, 150.0);
        for (number, sent, now) in
            [(0, 0, 20), (1, 20, 40), (1, 20, 41), (3, 60, 96), (4, 80, 231), (9, 0, 1)]
        {
            heard.arrived(number, sent * MS, now * MS);
        }
        assert!(!heard.all());
        let report = heard.report();
        assert_eq!((report.expected, report.received, report.late), (5, 4, 1));
        assert_eq!((report.delay_ms.p50, report.delay_ms.max), (Some(20.0), Some(151.0)));
        // Differences of 0, 16 and 115 ms: estimates of 0, 1 and 1 + 114/16 ms.
        assert_eq!(report.jitter_ms, 3.042);
    }

    #[test]
    fn both_sides_hear_each_other() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        let window = Window::after(Duration::from_secs(1), Duration::from_millis(100));
        let args = CallArgs { window, pps: 100.0, size: 172, late_ms: 150.0 };
        let there = args.clone();
        let server = thread::spawn(move || answer(&socket, &there));
        let here = call(Some("127.0.0.9".parse().unwrap()), to, &args).unwrap();
        let there = server.join().unwrap().unwrap();
        assert_eq!((here.expected, here.received), (10, 10));
        assert_eq!((there.expected, there.received), (10, 10));
    }

    #[test]
    fn a_call_that_nobody_answers_ends() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let window = Window::after(Duration::from_millis(10), Duration::from_millis(20));
        let args = CallArgs { window, pps: 100.0, size: 16, late_ms: 150.0 };
        assert_eq!(call(None, free, &args).unwrap().received, 0);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(answer(&socket, &args).is_err());
    }
}
