//! Stamped chunks over TCP, as thrulay sends them: their receiver computes goodput and one-way delays while a window
//! of time is open. And echoes, for probes.
//!
//! The client orders with one line of JSON what a connection is to be. `get`: the server sends until the connection
//! is gone. `put`: the client sends, and the server answers with a few octets now and then. `echo`: what comes goes
//! back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

use super::TrafficError;
use super::chunks::{self, Chunks};
use super::clock::{Window, monotonic, sleep_until, until};
use super::connect::{Tuning, Via, open_until};
use super::load::Direction;
use super::socket::{Tried, listen, mbit_per_second, timed_out};
use super::spread::Spread;

const BLOCK: usize = 64 * 1024;
/// More than that is no order.
const ORDER_MAX: u64 = 1024;
/// Octets of an answer to chunks that were put.
const ANSWER: usize = 16;
/// The most that a connection is waited for once the window has closed.
const LATE: Duration = Duration::from_millis(10);

/// What a connection is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    pub(super) task: Task,
    /// Which of the client's flows it is, from 0.
    pub(super) flow: u16,
    pub(super) shape: Shape,
    pub(super) window: Window,
    pub(super) tuning: Tuning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Task {
    Get,
    Put,
    Echo,
}

/// How payload is cut, and counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Octets of a chunk.
    #[arg(long, default_value_t = 1024)]
    pub chunk: u32,
    /// After how many chunks that were put the server answers; 0 for never.
    #[arg(long, default_value_t = 8)]
    pub answer_every: u32,
    /// Length of the bins that goodput over time is counted in, in milliseconds; 0 for none.
    #[arg(long, default_value_t = 0)]
    pub bin_ms: u32,
}

/// The flows of a client.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct StreamArgs {
    #[command(flatten)]
    pub(super) via: Via,
    #[command(flatten)]
    pub(super) tuning: Tuning,
    #[command(flatten)]
    pub(super) shape: Shape,
    #[command(flatten)]
    pub(super) window: Window,
    /// Flows at once.
    #[arg(long, default_value_t = 1)]
    pub(super) flows: u16,
    /// Reports the delay of every chunk that arrived here.
    #[arg(long)]
    pub(super) raw: bool,
    /// The stream-serve.
    pub(super) address: SocketAddr,
    /// Which way the payload goes.
    pub(super) direction: Direction,
}

/// What the flows carried while the window was open, as their receiver saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Payload of all flows, per second.
    pub mbit_s: f64,
    /// Payload of all flows.
    pub bytes: u64,
    /// Payload of each flow, in Mbit/s.
    pub flows: Vec<f64>,
    /// One-way delay of the chunks that arrived, in milliseconds.
    pub delay_ms: Spread,
    /// All of them, if that was wanted.
    pub delays_ms: Vec<f64>,
    /// Payload of all flows over time, in Mbit/s.
    pub bins: Vec<f64>,
    /// Flows that ended before the window closed.
    pub ended: u16,
}

/// What arrived of one flow.
#[derive(Debug)]
struct Tally {
    flow: u16,
    window: Window,
    bin: u64,
    answer_every: u64,
    chunks: Chunks,
    whole: u64,
    bytes: u64,
    delays_ms: Vec<f64>,
    bins: Vec<u64>,
    ended: bool,
}

impl Tally {
    fn new(order: &Order) -> Self {
        let bin = order.shape.bin().as_nanos() as u64;
        let bins = if bin == 0 { 0 } else { (order.window.length().as_nanos() as u64).div_ceil(bin) };
        Self {
            flow: order.flow,
            window: order.window,
            bin,
            answer_every: order.shape.answer_every.into(),
            chunks: Chunks::new(order.shape.chunk as usize),
            whole: 0,
            bytes: 0,
            delays_ms: Vec::new(),
            bins: vec![0; bins as usize],
            ended: false,
        }
    }

    /// Counts bytes that arrived now; how many answers are due to the chunks that they end.
    fn arrived(&mut self, bytes: &[u8], now: u64) -> u64 {
        let counts = self.window.holds(now);
        if counts {
            self.bytes += bytes.len() as u64;
            let bin = (now - self.window.opens).checked_div(self.bin);
            if let Some(bin) = bin.and_then(|at| self.bins.get_mut(at as usize)) {
                *bin += bytes.len() as u64;
            }
        }
        let before = self.whole;
        for stamp in self.chunks.take(bytes) {
            self.whole += 1;
            if counts {
                // To the microsecond.
                self.delays_ms.push((now.saturating_sub(stamp) / 1000) as f64 / 1e3);
            }
        }
        let answers = |chunks: u64| chunks.checked_div(self.answer_every).unwrap_or(0);
        answers(self.whole) - answers(before)
    }
}

/// What arrived of all flows.
#[derive(Debug, Default)]
struct Board(Mutex<Vec<Tally>>);

impl Board {
    fn tallies(&self) -> MutexGuard<'_, Vec<Tally>> {
        // Each tally is whole after every line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, window: Window, bin: Duration, raw: bool) -> StreamReport {
        let mut tallies = std::mem::take(&mut *self.tallies());
        tallies.sort_by_key(|tally| tally.flow);
        let delays_ms: Vec<f64> =
            tallies.iter_mut().flat_map(|tally| std::mem::take(&mut tally.delays_ms)).collect();
        let bytes = tallies.iter().map(|tally| tally.bytes).sum();
        let longest = tallies.iter().map(|tally| tally.bins.len()).max().unwrap_or(0);
        let bin_of = |at: usize| tallies.iter().filter_map(|tally| tally.bins.get(at)).sum();
        StreamReport {
            mbit_s: mbit_per_second(bytes, window.length()),
            bytes,
            flows: tallies.iter().map(|tally| mbit_per_second(tally.bytes, window.length())).collect(),
            bins: (0..longest).map(|at| mbit_per_second(bin_of(at), bin)).collect(),
            ended: tallies.iter().filter(|tally| tally.ended).count() as u16,
            delays_ms: if raw { delays_ms.clone() } else { Vec::new() },
            delay_ms: Spread::of(delays_ms),
        }
    }
}

impl Shape {
    fn bin(&self) -> Duration {
        Duration::from_millis(self.bin_ms.into())
    }
}

/// Serves for good. Once the clock shows `closes`, reports what was put.
pub(super) fn serve(address: SocketAddr, window: Option<Window>, bin_ms: u32) -> Result<(), TrafficError> {
    let listener = listen(address)?;
    let board = Board::default();
    thread::scope(|scope| {
        if let Some(window) = window {
            let board = &board;
            scope.spawn(move || {
                sleep_until(window.closes);
                thread::sleep(LATE);
                super::print(&board.report(window, Duration::from_millis(bin_ms.into()), false))
            });
        }
        serve_on(&listener, &board)
    })
}

fn serve_on(listener: &TcpListener, board: &Board) -> Result<(), TrafficError> {
    thread::scope(|scope| {
        loop {
            let (stream, peer) = listener.accept().tried(|| "accept a connection".to_owned())?;
            scope.spawn(move || {
                if let Err(error) = follow(stream, board) {
                    eprintln!("{peer}: {error}");
                }
            });
        }
    })
}

/// Does what the order at the start of a connection says.
fn follow(mut stream: TcpStream, board: &Board) -> Result<(), TrafficError> {
    let reading = || "read an order".to_owned();
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(BLOCK, stream.try_clone().tried(reading)?);
    (&mut reader).take(ORDER_MAX).read_line(&mut line).tried(reading)?;
    let order: Order = serde_json::from_str(&line).tried(reading)?;
    order.tuning.apply(&stream)?;
    match order.task {
        Task::Get => {
            coalesce(&stream)?;
            send_until_gone(&mut stream, &order.shape);
        }
        Task::Put => receive(&mut reader, &stream, &order, board).tried(|| "receive payload".to_owned())?,
        Task::Echo => {
            // Ends with the connection, however that ends.
            let _ = io::copy(&mut reader, &mut stream);
        }
    }
    Ok(())
}

/// Runs all flows until the window has closed; what arrived here is in the report.
pub(super) fn run(args: &StreamArgs) -> Result<StreamReport, TrafficError> {
    let board = &Board::default();
    thread::scope(|scope| {
        let flows: Vec<_> = (0..args.flows).map(|flow| scope.spawn(move || one(args, flow, board))).collect();
        let join = |flow: thread::ScopedJoinHandle<'_, _>| {
            flow.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        flows.into_iter().try_for_each(join)
    })?;
    Ok(board.report(args.window, args.shape.bin(), args.raw))
}

fn one(args: &StreamArgs, flow: u16, board: &Board) -> Result<(), TrafficError> {
    let talking = || format!("exchange payload with {}", args.address);
    let task = match args.direction {
        Direction::Get => Task::Get,
        Direction::Put => Task::Put,
    };
    // The way to the server may have buffers of its own, which are the client's setting alone.
    let tuning =
        Tuning { buffer: args.tuning.buffer.filter(|_| args.via.socks.is_none()), ..args.tuning.clone() };
    let order = Order { task, flow, shape: args.shape.clone(), window: args.window, tuning };
    let mut stream = begin(&args.via, args.address, &args.tuning, &order)?;
    match task {
        Task::Put => {
            coalesce(&stream)?;
            put(&stream, &order).tried(talking)
        }
        Task::Get | Task::Echo => receive(&mut stream.try_clone().tried(talking)?, &stream, &order, board)
            .and_then(|()| stream.flush())
            .tried(talking),
    }
}

/// Opens a connection before the window does, and orders what it is to be.
pub(super) fn begin(
    via: &Via,
    to: SocketAddr,
    tuning: &Tuning,
    order: &Order,
) -> Result<TcpStream, TrafficError> {
    let ordering = || format!("order from {to}");
    let mut stream = open_until(via, to, tuning, order.window.opens)?;
    let line = serde_json::to_string(order).tried(ordering)? + "\n";
    stream.write_all(line.as_bytes()).tried(ordering)?;
    // What is under way when a flow ends must not disturb what comes after it.
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).tried(ordering)?;
    if monotonic() >= order.window.opens {
        let expected = "to be connected before the window opens";
        return Err(TrafficError::Protocol { found: format!("{to} only reached after that"), expected });
    }
    Ok(stream)
}

/// Has the kernel hold back (Nagle's algorithm) what does not fill a segment while others are under way: chunks are
/// shorter than segments, and cost up to 2 % of a link in headers. Not on a loopback interface, such as to a proxy:
/// its segments may be larger than what may wait unsent, and each would wait for a late acknowledgement.
fn coalesce(stream: &TcpStream) -> Result<(), TrafficError> {
    let naming = || "switch on Nagle's algorithm".to_owned();
    let peer = stream.peer_addr().tried(naming)?;
    stream.set_nodelay(peer.ip().is_loopback()).tried(naming)
}

/// Sends until the window closes, and reads the answers.
fn put(stream: &TcpStream, order: &Order) -> io::Result<()> {
    let (mut payload, mut answers) = (stream.try_clone()?, stream.try_clone()?);
    thread::scope(|scope| {
        scope.spawn(move || send_until_gone(&mut payload, &order.shape));
        scope.spawn(move || io::copy(&mut answers, &mut io::sink()));
        sleep_until(order.window.closes);
        // Ends the other threads, whatever they wait for; fails where the connection is gone already.
        let _ = stream.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Sends payload until the connection ends, which is how a flow ends. A chunk is stamped when there is room for it.
fn send_until_gone(stream: &mut TcpStream, shape: &Shape) {
    let mut chunk = vec![0x5a; shape.chunk.max(chunks::STAMP as u32) as usize];
    loop {
        let ready = poll(&mut [PollFd::new(&*stream, PollFlags::OUT)], None);
        if ready.is_err_and(|error| error != rustix::io::Errno::INTR) {
            return;
        }
        chunks::stamp(&mut chunk, monotonic());
        if stream.write_all(&chunk).is_err() {
            return;
        }
    }
}

/// Receives payload until the window closes or the connection ends.
fn receive(reader: &mut impl Read, stream: &TcpStream, order: &Order, board: &Board) -> io::Result<()> {
    let at = {
        let mut tallies = board.tallies();
        tallies.push(Tally::new(order));
        tallies.len() - 1
    };
    let mut block = vec![0; BLOCK];
    loop {
        let left = until(order.window.closes);
        if left.is_zero() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        let length = match reader.read(&mut block) {
            Err(error) if timed_out(&error) || error.kind() == io::ErrorKind::Interrupted => continue,
            // An end within the window is a result, not a failure.
            Err(_) | Ok(0) => {
                if let Some(tally) = board.tallies().get_mut(at) {
                    tally.ended = until(order.window.closes) > Duration::ZERO;
                }
                return Ok(());
            }
            Ok(length) => length,
        };
        let answers = {
            let now = monotonic();
            let mut tallies = board.tallies();
            tallies.get_mut(at).map_or(0, |tally| tally.arrived(&block[..length], now))
        };
        if order.task == Task::Put {
            for _ in 0..answers {
                // A client that is gone needs no answer.
                let _ = (&*stream).write_all(&[0; ANSWER]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(300);

    /// A server whose report is that of its board.
    fn server() -> (SocketAddr, &'static Board) {
        let board: &'static Board = Box::leak(Box::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || serve_on(&listener, board));
        (address, board)
    }

    fn args(address: SocketAddr, direction: Direction) -> StreamArgs {
        StreamArgs {
            via: Via { bind: Some("127.0.0.9".parse().unwrap()), ..Via::default() },
            tuning: Tuning { cc: Some("cubic".to_owned()), notsent_lowat: Some(4096), buffer: None },
            shape: Shape { chunk: 1024, answer_every: 8, bin_ms: 100 },
            window: Window::after(Duration::from_secs(1), WINDOW),
            flows: 3,
            raw: true,
            address,
            direction,
        }
    }

    fn is_sane(report: &StreamReport) {
        assert_eq!((report.flows.len(), report.ended, report.bins.len()), (3, 0, 3), "{report:?}");
        let expected = report.bytes as f64 * 8.0 / WINDOW.as_secs_f64() / 1e6;
        assert!((report.mbit_s - expected).abs() < 1e-3, "{report:?}");
        let chunks = report.delay_ms.count;
        assert!(chunks > 0 && chunks.abs_diff(report.bytes / 1024) <= 6, "{report:?}");
        assert!(report.delay_ms.p50 <= report.delay_ms.p99, "{report:?}");
    }

    #[test]
    fn the_receiver_counts_in_both_directions() {
        let (address, board) = server();
        let report = run(&args(address, Direction::Get)).unwrap();
        assert_eq!(report.delays_ms.len() as u64, report.delay_ms.count);
        is_sane(&report);
        let put = args(address, Direction::Put);
        assert_eq!(run(&put).unwrap().bytes, 0, "the client received nothing");
        thread::sleep(LATE);
        is_sane(&board.report(put.window, put.shape.bin(), false));
    }

    #[test]
    fn bytes_count_when_they_arrive_in_the_window() {
        const MS: u64 = 1_000_000;
        let window = Window { opens: 1000 * MS, closes: 1100 * MS };
        let shape = Shape { chunk: 100, answer_every: 2, bin_ms: 50 };
        let order = Order { task: Task::Put, flow: 0, shape, window, tuning: Tuning::default() };
        let mut tally = Tally::new(&order);
        let mut chunk = [0x5a; 100];
        chunks::stamp(&mut chunk, 990 * MS);
        assert_eq!(tally.arrived(&chunk, 999 * MS), 0, "too early");
        assert_eq!(tally.arrived(&chunk[..60], 1000 * MS), 0);
        assert_eq!(tally.arrived(&chunk[60..], 1070 * MS), 1, "the second chunk is whole");
        assert_eq!(tally.arrived(&chunk[..7], 1099 * MS), 0);
        assert_eq!(tally.arrived(&chunk, 1100 * MS), 0, "too late");
        assert_eq!((tally.bytes, tally.delays_ms, tally.bins), (107, vec![80.0], vec![60, 47]));
    }

    #[test]
    fn a_flow_that_breaks_off_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            BufReader::new(stream).read_line(&mut String::new()).unwrap();
        });
        let report = run(&StreamArgs { flows: 1, ..args(address, Direction::Get) }).unwrap();
        assert_eq!((report.bytes, report.ended), (0, 1));
    }

    #[test]
    fn a_window_that_is_open_already_is_refused() {
        let (address, _) = server();
        let window = Window { opens: 0, closes: 1 };
        let error = run(&StreamArgs { window, ..args(address, Direction::Get) }).unwrap_err().to_string();
        assert!(error.ends_with("expected to be connected before the window opens"), "{error}");
    }

    #[test]
    fn unknown_congestion_control_is_refused() {
        let (address, _) = server();
        let mut args = args(address, Direction::Get);
        args.tuning.cc = Some("warp".to_owned());
        args.window = Window::after(Duration::from_millis(20), WINDOW);
        let error = run(&args).unwrap_err().to_string();
        assert!(error.starts_with("use congestion control warp: "), "{error}");
    }
}
