//! One download after the other, each on a connection of its own, with pauses drawn from a seed: the web and bulk
//! clients of the papers on PCTCP and KIST.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TrafficError;
use super::clock::{Window, monotonic, sleep_until, until};
use super::connect::{Tuning, Via, open};
use super::http::Connection;
use super::socket::{Tried, now, seconds};

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A client.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct DownloadsArgs {
    #[command(flatten)]
    pub(super) via: Via,
    #[command(flatten)]
    pub(super) tuning: Tuning,
    #[command(flatten)]
    pub(super) window: Window,
    /// Bytes of a download.
    #[arg(long)]
    pub(super) bytes: u64,
    /// Seconds of the shortest pause.
    #[arg(long, default_value_t = 0.0)]
    pub(super) pause_min: f64,
    /// Seconds of the longest pause.
    #[arg(long, default_value_t = 0.0)]
    pub(super) pause_max: f64,
    /// What pauses are drawn from.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// The http-serve.
    pub(super) address: SocketAddr,
}

/// What became of the downloads that began while the window was open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DownloadsReport {
    /// Those that ended, in order.
    pub done: Vec<Download>,
    /// Seconds for which the one went on that was under way when the window closed.
    pub unfinished_s: Option<f64>,
    /// Those that could not begin, or broke off.
    pub failed: u64,
}

/// A download; times are from before the connection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Download {
    /// To the first byte.
    pub ttfb_s: f64,
    /// To the last.
    pub ttlb_s: f64,
}

/// Begins at once and goes on until the window closes.
pub(super) fn run(args: &DownloadsArgs) -> Result<DownloadsReport, TrafficError> {
    let pauses = [("--pause-min", args.pause_min), ("--pause-max", args.pause_max)];
    for (name, value) in pauses {
        seconds(name, value)?;
    }
    let report = Arc::new(Mutex::new((DownloadsReport::default(), None)));
    // What hangs when the window closes ends with the program.
    let (theirs, args) = (Arc::clone(&report), args.clone());
    let window = args.window;
    thread::spawn(move || one_after_the_other(&args, &theirs));
    sleep_until(window.closes);
    let (report, began) = report.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let unfinished = began.filter(|began| window.holds(*began));
    let unfinished_s = unfinished.map(|began| (window.closes - began) as f64 / 1e9);
    Ok(DownloadsReport { unfinished_s, ..report })
}

/// A report in the making, and when the download that is under way began.
type Progress = Mutex<(DownloadsReport, Option<u64>)>;

fn one_after_the_other(args: &DownloadsArgs, progress: &Progress) {
    let mut dice = Dice(args.seed);
    // Clients do not begin all at once.
    thread::sleep(Duration::from_secs_f64(dice.between(0.0, args.pause_max)));
    loop {
        let began = monotonic();
        progress.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(began);
        let outcome = download(args);
        let ended = monotonic();
        {
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.1 = None;
            if args.window.holds(began) && args.window.closes > ended {
                match &outcome {
                    Ok(download) => progress.0.done.push(*download),
                    Err(_) => progress.0.failed += 1,
                }
            }
        }
        if outcome.is_err() {
            thread::sleep(RETRY);
        }
        thread::sleep(Duration::from_secs_f64(dice.between(args.pause_min, args.pause_max)));
    }
}

fn download(args: &DownloadsArgs) -> Result<Download, TrafficError> {
    let start = now();
    let stream = open(&args.via, args.address, &args.tuning)?;
    let patience = until(args.window.closes).saturating_add(RETRY);
    stream.set_read_timeout(Some(patience)).tried(|| format!("set a timeout of {patience:?}"))?;
    let response = Connection::new(stream, args.address).fetch(args.bytes)?;
    let span = start.elapsed();
    Ok(Download { ttfb_s: micros(response.first - start), ttlb_s: micros(span) })
}

/// Seconds, to the microsecond.
fn micros(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e6
}

/// A source of choices: SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn between(&mut self, least: f64, most: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        least + (most - least).max(0.0) * ((bits >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::traffic::http;

    fn args(address: SocketAddr) -> DownloadsArgs {
        DownloadsArgs {
            via: Via::default(),
            tuning: Tuning::default(),
            window: Window::after(Duration::from_millis(50), Duration::from_millis(800)),
            bytes: 20_000,
            pause_min: 0.005,
            pause_max: 0.02,
            seed: 3,
            address,
        }
    }

    #[test]
    fn downloads_follow_each_other() {
        let mut args = args(http::tests::server());
        args.window = Window { opens: 0, closes: monotonic() + 2_000_000_000 };
        let report = run(&args).unwrap();
        assert!(report.done.len() > 2 && report.failed == 0, "{report:?}");
        assert!(report.done.iter().all(|done| done.ttfb_s <= done.ttlb_s && done.ttlb_s < 2.0), "{report:?}");
    }

    #[test]
    fn what_does_not_end_is_counted_and_not_lost() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut args = args(silent.local_addr().unwrap());
        args.window.opens = monotonic();
        let report = run(&args).unwrap();
        assert!(report.unfinished_s > Some(0.0), "{report:?}");
        assert!(report.done.is_empty() && report.failed == 0, "{report:?}");
    }

    #[test]
    fn nobody_there_is_a_failure() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut args = args(free);
        args.window.opens = monotonic();
        let report = run(&args).unwrap();
        assert!(report.failed == 1 && report.done.is_empty(), "{report:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let draw = |seed| {
            let mut dice = Dice(seed);
            [0; 1000].map(|_| dice.between(1.0, 30.0))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mean = draw(1).iter().sum::<f64>() / 1000.0;
        assert!(
            (14.5..16.5).contains(&mean) && draw(1).iter().all(|pause| (1.0..30.0).contains(pause)),
            "{mean}"
        );
    }
}
