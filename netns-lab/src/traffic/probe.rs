//! Small messages at a steady pace over a connection of their own, each echoed: what interactive traffic feels.
//!
//! A message is sent at its time whether or not those before it came back, so that a stall is seen by all messages
//! that fall into it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TrafficError;
use super::chunks::{self, Chunks};
use super::clock::{Window, monotonic, sleep_until, until};
use super::connect::{Tuning, Via};
use super::socket::{Tried, seconds, timed_out};
use super::spread::Spread;
use super::stream::{Order, Shape, Task, begin};

const BLOCK: usize = 64 * 1024;

/// A probe.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    pub(super) via: Via,
    #[command(flatten)]
    pub(super) window: Window,
    /// Seconds from one message to the next.
    #[arg(long, default_value_t = 0.1)]
    pub(super) interval: f64,
    /// Octets of a message.
    #[arg(long, default_value_t = 1024)]
    pub(super) size: u32,
    /// Seconds after the window in which an echo still counts.
    #[arg(long, default_value_t = 10.0)]
    pub(super) patience: f64,
    /// The stream-serve.
    pub(super) address: SocketAddr,
}

/// What became of the messages that were sent while the window was open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Sent.
    pub sent: u64,
    /// Not back in time.
    pub lost: u64,
    /// From sending to the echo, in milliseconds.
    pub round_trip_ms: Spread,
}

/// Sends until the window closes, and waits for the last echoes.
pub(super) fn run(args: &ProbeArgs) -> Result<ProbeReport, TrafficError> {
    let probing = || format!("probe {}", args.address);
    let interval = seconds("--interval", args.interval)?;
    if interval < Duration::from_millis(1) {
        let expected = "at least a millisecond";
        return Err(TrafficError::Argument { name: "--interval", found: format!("{interval:?}"), expected });
    }
    let shape = Shape { chunk: args.size.max(chunks::STAMP as u32), answer_every: 0, bin_ms: 0 };
    let tuning = Tuning::default();
    let order = Order { task: Task::Echo, flow: 0, shape, window: args.window, tuning: tuning.clone() };
    let stream = begin(&args.via, args.address, &tuning, &order)?;
    let end = args.window.closes.saturating_add(seconds("--patience", args.patience)?.as_nanos() as u64);
    // The sender may be late, but leaves none out: what is to come back is known before.
    let sent = args.window.length().as_nanos().div_ceil(interval.as_nanos()) as u64;
    let mut sender = stream.try_clone().tried(probing)?;
    let round_trips = thread::scope(|scope| {
        scope.spawn(|| send(&mut sender, &order, interval));
        let received = receive(&stream, &order, end, sent);
        // Ends the other thread, should it hang.
        let _ = stream.shutdown(Shutdown::Both);
        received
    })
    .tried(probing)?;
    Ok(ProbeReport {
        sent,
        lost: sent.saturating_sub(round_trips.len() as u64),
        round_trip_ms: Spread::of(round_trips),
    })
}

/// Sends each message at its time; those before the window warm the path.
fn send(stream: &mut TcpStream, order: &Order, interval: Duration) {
    let interval = interval.as_nanos() as u64;
    let mut message = vec![0x5a; order.shape.chunk as usize];
    let mut due =
        order.window.opens - (order.window.opens - monotonic().min(order.window.opens)) / interval * interval;
    while due < order.window.closes {
        sleep_until(due);
        chunks::stamp(&mut message, due);
        // Messages that cannot be sent any more are lost ones.
        let _ = stream.write_all(&message);
        due += interval;
    }
}

/// Receives echoes until all have come or the clock shows `end`: the round trips of what was sent in the window.
fn receive(mut stream: &TcpStream, order: &Order, end: u64, sent: u64) -> io::Result<Vec<f64>> {
    let mut chunks = Chunks::new(order.shape.chunk as usize);
    let mut block = vec![0; BLOCK];
    let mut round_trips = Vec::new();
    loop {
        let closed = until(order.window.closes).is_zero();
        let all = closed && round_trips.len() as u64 == sent;
        let left = until(if closed { end } else { order.window.closes });
        if all || (closed && left.is_zero()) {
            return Ok(round_trips);
        }
        stream.set_read_timeout(Some(left.max(Duration::from_micros(1))))?;
        match stream.read(&mut block) {
            Err(error) if timed_out(&error) || error.kind() == io::ErrorKind::Interrupted => {}
            // What did not come back by now never will.
            Err(_) | Ok(0) => {
                sleep_until(order.window.closes);
                return Ok(round_trips);
            }
            Ok(length) => {
                let now = monotonic();
                let stamps = chunks.take(&block[..length]).filter(|stamp| order.window.holds(*stamp));
                round_trips.extend(stamps.map(|stamp| (now.saturating_sub(stamp) / 1000) as f64 / 1e3));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn args(address: SocketAddr) -> ProbeArgs {
        ProbeArgs {
            via: Via::default(),
            window: Window::after(Duration::from_secs(1), Duration::from_millis(100)),
            interval: 0.01,
            size: 100,
            patience: 20.0,
            address,
        }
    }

    /// Echoes what `keep` says of all that comes.
    fn server(keep: impl Fn(usize) -> bool + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            while byte != [b'\n'] {
                stream.read_exact(&mut byte).unwrap();
            }
            let mut message = [0; 100];
            for number in 0.. {
                if stream.read_exact(&mut message).is_err() {
                    return;
                }
                if keep(number) {
                    stream.write_all(&message).unwrap();
                }
            }
        });
        address
    }

    #[test]
    fn every_message_of_the_window_comes_back() {
        let report = run(&args(server(|_| true))).unwrap();
        assert_eq!((report.sent, report.lost, report.round_trip_ms.count), (10, 0, 10));
    }

    #[test]
    fn what_does_not_come_back_is_lost() {
        let args = ProbeArgs { patience: 1.0, ..args(server(|number| number < 3)) };
        let start = args.window.closes;
        let report = run(&args).unwrap();
        assert!(report.lost >= 7 && report.sent == 10, "{report:?}");
        assert!(monotonic() >= start + 1_000_000_000, "it was waited for");
    }

    #[test]
    fn a_pace_that_is_none_is_refused() {
        let error = run(&ProbeArgs { interval: 0.0, ..args("127.0.0.1:9".parse().unwrap()) }).unwrap_err();
        assert_eq!(error.to_string(), "--interval: found 0ns, expected at least a millisecond");
    }
}
