//! Small programs that make and measure traffic, run on the nodes of a lab as hidden subcommands.
//!
//! Servers print `listening on ADDRESS` and run until killed; clients print one line of JSON. All block or sleep:
//! in virtual time a program that spins never ends.

mod blast;
mod call;
mod chunks;
mod clock;
mod connect;
mod downloads;
mod exchange;
mod http;
mod limit;
mod load;
mod page;
mod probe;
mod socket;
mod spread;
mod stream;
mod tunnel;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

pub use blast::{BlastReport, SinkReport};
pub use call::{CallArgs, CallReport};
pub use clock::{Window, monotonic, sleep_until};
pub use connect::{Tuning, Via};
pub use downloads::{Download, DownloadsArgs, DownloadsReport};
pub use exchange::AskReport;
pub use http::GetReport;
pub use limit::{TCP_HEADERS, tcp_limit};
pub use load::{Direction, LoadReport};
pub use page::{PageArgs, PageReport};
pub use probe::{ProbeArgs, ProbeReport};
pub use spread::{Spread, fairness, percentile};
pub use stream::{Shape, StreamArgs, StreamReport};

/// A traffic program with its arguments.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Tool {
    /// Serves GET /BYTES.
    HttpServe {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Fetches one URL.
    HttpGet {
        /// Source address.
        #[arg(long)]
        bind: Option<IpAddr>,
        /// Gives up when nothing arrives for that many seconds.
        #[arg(long, default_value_t = 60.0)]
        timeout: f64,
        /// `http://ADDRESS[:PORT]/BYTES`.
        url: String,
    },
    /// Answers the questions of udp-ask.
    UdpEcho {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Asks small questions with larger answers, one after the other.
    UdpAsk {
        /// Source address.
        #[arg(long)]
        bind: Option<IpAddr>,
        /// Bytes of an answer.
        #[arg(long, default_value_t = 400)]
        answer: u16,
        /// Seconds to wait for an answer.
        #[arg(long, default_value_t = 1.0)]
        timeout: f64,
        /// Whom to ask.
        address: SocketAddr,
        /// How many questions.
        count: u32,
    },
    /// Sends to or receives from tcp-load.
    TcpServe {
        /// Where to listen.
        address: SocketAddr,
    },
    /// Measures what TCP flows carry, at their receiver.
    TcpLoad {
        /// Source address.
        #[arg(long)]
        bind: Option<IpAddr>,
        /// Flows at once.
        #[arg(long, default_value_t = 1)]
        flows: u16,
        /// Length of the measurement.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// Seconds before it.
        #[arg(long, default_value_t = 0.0)]
        warmup: f64,
        /// Congestion control of the sender, whichever side that is.
        #[arg(long)]
        cc: Option<String>,
        /// The tcp-serve.
        address: SocketAddr,
        /// Which way the payload goes.
        direction: Direction,
    },
    /// Sends to or receives from stream, and echoes for probe.
    StreamServe {
        /// From when on what is put counts, on the clock of all nodes.
        #[arg(long, requires = "closes")]
        opens: Option<u64>,
        /// Until when; it is reported then.
        #[arg(long, requires = "opens")]
        closes: Option<u64>,
        /// Length of the bins of that report, in milliseconds; 0 for none.
        #[arg(long, default_value_t = 0)]
        bin_ms: u32,
        /// Where to listen.
        address: SocketAddr,
    },
    /// Carries stamped chunks; their receiver measures goodput and one-way delay.
    Stream(StreamArgs),
    /// Sends small messages at a steady pace, and measures when their echoes come.
    Probe(ProbeArgs),
    /// Gets a page from http-serve as a browser does.
    Page(PageArgs),
    /// Downloads from http-serve again and again, with pauses.
    Downloads(DownloadsArgs),
    /// Waits for call and talks with it.
    CallServe {
        /// How to talk.
        #[command(flatten)]
        args: CallArgs,
        /// Where to listen.
        address: SocketAddr,
    },
    /// Talks with call-serve: datagrams at a steady pace both ways.
    Call {
        /// Source address.
        #[arg(long)]
        bind: Option<IpAddr>,
        /// How to talk.
        #[command(flatten)]
        args: CallArgs,
        /// The call-serve.
        address: SocketAddr,
    },
    /// Sends numbered datagrams at a steady pace.
    UdpBlast {
        /// Source address.
        #[arg(long)]
        bind: Option<IpAddr>,
        /// How many.
        #[arg(long)]
        count: u64,
        /// Bytes of payload in each.
        #[arg(long, default_value_t = 200)]
        size: u16,
        /// Per second.
        #[arg(long, default_value_t = 100.0)]
        pps: f64,
        /// The udp-sink.
        address: SocketAddr,
    },
    /// Counts the datagrams of udp-blast until they stop.
    UdpSink {
        /// Seconds to wait for the first one.
        #[arg(long, default_value_t = 60.0)]
        first: f64,
        /// Seconds without any that end the count.
        #[arg(long, default_value_t = 2.0)]
        idle: f64,
        /// Where to listen.
        address: SocketAddr,
    },
    /// The end of a tunnel of TCP that is connected to.
    TunServe {
        /// Congestion control of what it sends.
        #[arg(long)]
        cc: Option<String>,
        /// The TUN device.
        device: String,
        /// Where to listen.
        address: SocketAddr,
    },
    /// The end of a tunnel of TCP that connects.
    TunConnect {
        /// Congestion control of what it sends.
        #[arg(long)]
        cc: Option<String>,
        /// The TUN device.
        device: String,
        /// The tun-serve.
        address: SocketAddr,
    },
}

/// What can go wrong with a traffic program.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// A socket did not do as asked.
    #[error("{what}: {source}")]
    Socket {
        /// What was asked of it.
        what: String,
        /// What happened.
        source: io::Error,
    },
    /// An argument makes no sense.
    #[error("{name}: found {found}, expected {expected}")]
    Argument {
        /// Which.
        name: &'static str,
        /// What it is.
        found: String,
        /// What it could be.
        expected: &'static str,
    },
    /// The other side does not speak the protocol.
    #[error("found {found}, expected {expected}")]
    Protocol {
        /// What it said.
        found: String,
        /// What it should have said.
        expected: &'static str,
    },
}

/// Runs the traffic program of this name; `None` if there is none.
///
/// Reports go to standard output, errors to standard error with exit code 1, or 2 for bad arguments.
#[must_use]
pub fn dispatch(name: &str, arguments: &[String]) -> Option<ExitCode> {
    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        tool: Tool,
    }

    if !Tool::has_subcommand(name) {
        return None;
    }
    let line = ["traffic", name].into_iter().chain(arguments.iter().map(String::as_str));
    let tool = match Line::try_parse_from(line) {
        Ok(Line { tool }) => tool,
        Err(error) => {
            eprint!("{error}");
            return Some(ExitCode::from(2));
        }
    };
    Some(match tool.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    })
}

impl Tool {
    /// Runs the program: a server for good, a client until it has printed its report.
    ///
    /// # Errors
    ///
    /// A socket failed, or an argument makes no sense.
    pub fn run(self) -> Result<(), TrafficError> {
        match self {
            Self::HttpServe { address } => http::serve(address),
            Self::HttpGet { bind, timeout, url } => {
                print(&http::get(bind, socket::seconds("--timeout", timeout)?, &url)?)
            }
            Self::UdpEcho { address } => exchange::answer(address),
            Self::UdpAsk { bind, answer, timeout, address, count } => {
                let timeout = socket::seconds("--timeout", timeout)?;
                print(&exchange::ask(bind, address, count, answer, timeout)?)
            }
            Self::TcpServe { address } => load::serve(address),
            Self::TcpLoad { bind, flows, seconds, warmup, cc, address, direction } => {
                let window = socket::seconds("--seconds", seconds)?;
                let warmup = socket::seconds("--warmup", warmup)?;
                print(&load::load(bind, address, flows, &load::Order { direction, warmup, window, cc })?)
            }
            Self::StreamServe { opens, closes, bin_ms, address } => {
                let window = opens.zip(closes).map(|(opens, closes)| Window { opens, closes });
                stream::serve(address, window, bin_ms)
            }
            Self::Stream(args) => print(&stream::run(&args)?),
            Self::Probe(args) => print(&probe::run(&args)?),
            Self::Page(args) => print(&page::get(&args)?),
            Self::Downloads(args) => print(&downloads::run(&args)?),
            Self::CallServe { args, address } => print(&call::serve(address, &args)?),
            Self::Call { bind, args, address } => print(&call::call(bind, address, &args)?),
            Self::UdpBlast { bind, count, size, pps, address } => {
                let interval = socket::seconds("--pps", 1.0 / pps)?;
                print(&blast::blast(bind, address, count, size, interval)?)
            }
            Self::TunServe { cc, device, address } => tunnel::serve(&device, address, cc.as_deref()),
            Self::TunConnect { cc, device, address } => tunnel::connect(&device, address, cc.as_deref()),
            Self::UdpSink { first, idle, address } => {
                let (first, idle) = (socket::seconds("--first", first)?, socket::seconds("--idle", idle)?);
                print(&blast::sink(address, first, idle)?)
            }
        }
    }
}

fn print(report: &impl Serialize) -> Result<(), TrafficError> {
    let report = serde_json::to_string(report).map_err(|error| TrafficError::Socket {
        what: "write the report".to_owned(),
        source: error.into(),
    })?;
    println!("{report}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_traffic_programs_are_dispatched() {
        assert!(dispatch("no-such-tool", &[]).is_none());
        let arguments = ["--pps".to_owned()];
        assert_eq!(dispatch("udp-blast", &arguments), Some(ExitCode::from(2)));
    }

    #[test]
    fn command_lines_are_read_as_documented() {
        #[derive(Debug, Parser)]
        struct Line {
            #[command(subcommand)]
            tool: Tool,
        }
        let tool = |line: &str| Line::try_parse_from(line.split(' ')).unwrap().tool;
        let address: SocketAddr = "[2001:db8::1]:5".parse().unwrap();
        assert_eq!(tool("x udp-echo [2001:db8::1]:5"), Tool::UdpEcho { address });
        let serve = Tool::StreamServe { opens: None, closes: None, bin_ms: 0, address };
        assert_eq!(tool("x stream-serve [2001:db8::1]:5"), serve);
        let serve = Tool::StreamServe { opens: Some(1), closes: Some(2), bin_ms: 0, address };
        assert_eq!(tool("x stream-serve --opens 1 --closes 2 [2001:db8::1]:5"), serve);
        let load = tool("x tcp-load --bind ::1 [2001:db8::1]:5 put --flows 3 --seconds 1.5 --cc bbr");
        let expected = Tool::TcpLoad {
            bind: Some("::1".parse().unwrap()),
            flows: 3,
            seconds: 1.5,
            warmup: 0.0,
            cc: Some("bbr".to_owned()),
            address,
            direction: Direction::Put,
        };
        assert_eq!(load, expected);
    }
}
