//! What TCP carries: bytes counted by the receiver while a window of time is open.
//!
//! The client orders with one line of JSON what a flow is to be. `get`: the server sends until the connection is
//! gone, the client counts. `put`: the client sends, the server counts and answers with the count. The window
//! opens `warmup` after the order was given, or received.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

use super::TrafficError;
use super::socket::{Tried, connect_tcp, listen, mbit_per_second, now, timed_out};

const BLOCK: usize = 64 * 1024;
/// More than that is no order.
const ORDER_MAX: u64 = 1024;
/// How long after the window the count may take to arrive, on a path full of payload.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which way the payload goes, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the client.
    Get,
    /// To the server.
    Put,
}

/// What a flow is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    pub(super) direction: Direction,
    pub(super) warmup: Duration,
    pub(super) window: Duration,
    pub(super) cc: Option<String>,
}

/// What the flows carried within the window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// Payload of all flows, per second.
    pub mbit_s: f64,
    /// Payload of all flows.
    pub bytes: u64,
    /// Length of the window.
    pub seconds: f64,
    /// Payload of each flow, in Mbit/s.
    pub flows: Vec<f64>,
}

/// Serves for good.
pub(super) fn serve(address: SocketAddr) -> Result<(), TrafficError> {
    serve_on(&listen(address)?)
}

fn serve_on(listener: &TcpListener) -> Result<(), TrafficError> {
    loop {
        let (stream, peer) = listener.accept().tried(|| "accept a connection".to_owned())?;
        thread::spawn(move || {
            if let Err(error) = follow(stream) {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

/// Does what the order at the start of a connection says.
fn follow(mut stream: TcpStream) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(BLOCK, stream.try_clone()?);
    (&mut reader).take(ORDER_MAX).read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    match order.direction {
        Direction::Get => {
            if let Some(name) = &order.cc {
                sockopt::set_tcp_congestion(&stream, name)?;
            }
            send_until_gone(&mut stream);
            Ok(())
        }
        Direction::Put => {
            let bytes = count(&mut reader, &stream, &order)?;
            stream.write_all(&bytes.to_be_bytes())?;
            // Payload still under way must not reset the connection before the count has arrived.
            stream.set_read_timeout(Some(PATIENCE))?;
            let _ = io::copy(&mut reader, &mut io::sink());
            Ok(())
        }
    }
}

/// Runs all flows at once.
pub(super) fn load(
    from: Option<IpAddr>,
    to: SocketAddr,
    flows: u16,
    order: &Order,
) -> Result<LoadReport, TrafficError> {
    let counts = thread::scope(|scope| {
        let flows: Vec<_> = (0..flows).map(|_| scope.spawn(|| flow(from, to, order))).collect();
        let join = |flow: thread::ScopedJoinHandle<'_, _>| {
            flow.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        flows.into_iter().map(join).collect::<Result<Vec<u64>, _>>()
    })?;
    let bytes = counts.iter().sum();
    Ok(LoadReport {
        mbit_s: mbit_per_second(bytes, order.window),
        bytes,
        seconds: order.window.as_secs_f64(),
        flows: counts.into_iter().map(|bytes| mbit_per_second(bytes, order.window)).collect(),
    })
}

fn flow(from: Option<IpAddr>, to: SocketAddr, order: &Order) -> Result<u64, TrafficError> {
    let talking = || format!("exchange payload with {to}");
    let sender = order.cc.as_deref().filter(|_| order.direction == Direction::Put);
    let mut stream = connect_tcp(from, to, sender)?;
    let line = serde_json::to_string(order).tried(talking)?;
    writeln!(stream, "{line}").tried(talking)?;
    match order.direction {
        Direction::Get => count(&mut &stream, &stream, order).tried(talking),
        Direction::Put => put(&stream, order).tried(talking),
    }
}

/// Sends on one thread until the other has received the count.
fn put(stream: &TcpStream, order: &Order) -> io::Result<u64> {
    let mut payload = stream.try_clone()?;
    let limit = order.warmup.saturating_add(order.window).saturating_add(PATIENCE);
    stream.set_read_timeout(Some(limit))?;
    // What is not sent when the flow ends must not disturb what comes after it.
    sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    thread::scope(|scope| {
        scope.spawn(move || send_until_gone(&mut payload));
        let (mut reader, mut count) = (stream, [0; 8]);
        let received = reader.read_exact(&mut count);
        // Ends the other thread, whatever it is waiting for; fails where the connection is gone already.
        let _ = stream.shutdown(Shutdown::Both);
        received.map(|()| u64::from_be_bytes(count))
    })
}

/// Sends payload until the connection ends, which is how a flow ends.
fn send_until_gone(stream: &mut TcpStream) {
    let block = [0x5a; BLOCK];
    while stream.write_all(&block).is_ok() {}
}

/// Counts payload that arrives while the window is open; returns when it closes, or the connection does.
fn count(reader: &mut impl Read, stream: &TcpStream, order: &Order) -> io::Result<u64> {
    let start = now();
    let end = order.warmup.saturating_add(order.window);
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    loop {
        let left = end.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(bytes);
        }
        stream.set_read_timeout(Some(left))?;
        let length = match reader.read(&mut block) {
            Ok(0) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "found its end within the window"));
            }
            Ok(length) => length,
            Err(error) if timed_out(&error) => continue,
            Err(error) => return Err(error),
        };
        let age = start.elapsed();
        if age >= order.warmup && age < end {
            bytes += length as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || serve_on(&listener));
        address
    }

    fn order(direction: Direction) -> Order {
        let (warmup, window) = (Duration::from_millis(20), Duration::from_millis(80));
        Order { direction, warmup, window, cc: Some("cubic".to_owned()) }
    }

    #[test]
    fn both_directions_carry_payload() {
        let address = server();
        for direction in [Direction::Get, Direction::Put] {
            let report = load(Some("127.0.0.9".parse().unwrap()), address, 3, &order(direction)).unwrap();
            assert_eq!(report.flows.len(), 3);
            assert!(report.flows.iter().all(|rate| *rate > 0.0), "{report:?}");
            assert!((report.mbit_s - report.bytes as f64 * 8.0 / 0.08 / 1e6).abs() < 1e-3);
        }
    }

    #[test]
    fn bytes_outside_the_window_do_not_count() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[0; 1000]).unwrap();
            thread::sleep(Duration::from_millis(300));
            stream.write_all(&[0; 7]).unwrap();
            thread::sleep(Duration::from_secs(5));
        });
        let order = Order {
            direction: Direction::Get,
            warmup: Duration::from_millis(150),
            window: Duration::from_secs(1),
            cc: None,
        };
        assert_eq!(load(None, address, 1, &order).unwrap().bytes, 7);
    }

    #[test]
    fn unknown_congestion_control_is_refused() {
        let order = Order { cc: Some("warp".to_owned()), ..order(Direction::Put) };
        let error = load(None, server(), 1, &order).unwrap_err().to_string();
        assert!(error.starts_with("use congestion control warp: "), "{error}");
    }
}
