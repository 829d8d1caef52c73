//! Many clients at once, one for each circuit: those of the papers on PCTCP (000) and KIST (002).
//!
//! Bulk clients download 5 MiB again and again without a pause, web clients 320 KiB with pauses of 1 to 30 s that
//! are drawn, evenly, from the point's seed. Each download has a connection of its own. Those count that begin while
//! the window is open; what has not ended when it closes is counted as `unfinished`: times of downloads alone flatter
//! whoever lets the slow ones hang.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stage::{report, window_arguments, words};
use super::stream::pinned;
use super::{Arena, Outcome, Sample};
use crate::traffic::{Direction, Download, DownloadsReport, Window, sleep_until};

const PORT: u16 = 8080;

/// What can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many of the circuits, from the first on, are bulk clients'.
    pub bulk: usize,
    /// The same as a share of all circuits, rounded; on top of `bulk`.
    pub bulk_share: f64,
    /// Octets of a web client's download.
    pub web_bytes: u64,
    /// Octets of a bulk client's.
    pub bulk_bytes: u64,
    /// Seconds of a web client's shortest pause.
    pub pause_min_s: f64,
    /// Seconds of its longest.
    pub pause_max_s: f64,
    /// Seconds that clients are at it before the window opens.
    pub warmup_s: f64,
    /// Seconds that it is open.
    pub seconds: f64,
    /// Congestion control of the clients' own sockets; servers have the kernel's default.
    pub host_cc: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bulk: 0,
            bulk_share: 0.0,
            web_bytes: 320 << 10,
            bulk_bytes: 5 << 20,
            pause_min_s: 1.0,
            pause_max_s: 30.0,
            warmup_s: 30.0,
            seconds: 100.0,
            host_cc: None,
        }
    }
}

impl Settings {
    fn bulk_clients(&self, circuits: usize) -> usize {
        let share = (self.bulk_share.clamp(0.0, 1.0) * circuits as f64).round() as usize;
        (self.bulk + share).min(circuits)
    }
}

pub(super) fn run(settings: &Settings, arena: Arena<'_>) -> Outcome<Vec<Sample>> {
    let circuits: Vec<usize> = (0..arena.circuits.len()).collect();
    let bulk = settings.bulk_clients(circuits.len());
    for at in &circuits {
        pinned(arena, *at, Direction::Get)?;
    }
    let _servers = arena.serve(&circuits, PORT, &words(&["http-serve"]))?;
    let warmup = Duration::try_from_secs_f64(settings.warmup_s)?;
    let window = Window::after(warmup, Duration::try_from_secs_f64(settings.seconds)?);
    let mut clients = Vec::new();
    for at in circuits {
        let mut argv = [words(&["downloads"]), window_arguments(window)].concat();
        if at < bulk {
            argv.extend(words(&["--bytes", &settings.bulk_bytes.to_string()]));
        } else {
            argv.extend(words(&["--bytes", &settings.web_bytes.to_string()]));
            argv.extend(words(&["--pause-min", &settings.pause_min_s.to_string()]));
            argv.extend(words(&["--pause-max", &settings.pause_max_s.to_string()]));
        }
        let seed = arena.seed.wrapping_mul(1_000_003).wrapping_add(at as u64);
        argv.extend(words(&["--seed", &seed.to_string()]));
        argv.extend(settings.host_cc.iter().flat_map(|name| words(&["--cc", name])));
        clients.push(arena.spawn(at, PORT, &argv, &[])?);
    }
    sleep_until(window.closes);
    let reports = clients.into_iter().map(report).collect::<Outcome<Vec<DownloadsReport>>>()?;
    let (bulk, web) = reports.split_at(bulk);
    let mut samples = samples("web", settings.web_bytes, settings.seconds, web);
    samples.extend(self::samples("bulk", settings.bulk_bytes, settings.seconds, bulk));
    Ok(samples)
}

/// Of `web` or `bulk`; none where there are no such clients.
fn samples(of: &str, bytes: u64, seconds: f64, clients: &[DownloadsReport]) -> Vec<Sample> {
    if clients.is_empty() {
        return Vec::new();
    }
    let done: Vec<Download> = clients.iter().flat_map(|client| client.done.clone()).collect();
    let values = |value: fn(&Download) -> f64| -> Vec<f64> { done.iter().map(value).collect() };
    let unfinished: Vec<f64> = clients.iter().filter_map(|client| client.unfinished_s).collect();
    let mut samples = Sample::each(of, "ttfb", "s", &values(|download| download.ttfb_s));
    samples.extend(Sample::each(of, "ttlb", "s", &values(|download| download.ttlb_s)));
    samples.push(Sample::count(of, "downloads", done.len() as u64));
    samples.push(Sample::count(of, "unfinished", unfinished.len() as u64));
    samples.extend(unfinished.iter().map(|age| Sample::new(of, "unfinished_age", "each", "s", *age)));
    samples.push(Sample::count(of, "failed", clients.iter().map(|client| client.failed).sum()));
    let goodput = (done.len() as u64 * bytes * 8) as f64 / seconds / 1e6;
    samples.push(Sample::new(of, "goodput", "sum", "Mbit/s", goodput));
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_clients_are_a_number_or_a_share() {
        let settings = |bulk, bulk_share| Settings { bulk, bulk_share, ..Settings::default() };
        assert_eq!(settings(2, 0.0).bulk_clients(40), 2);
        assert_eq!(settings(0, 0.05).bulk_clients(40), 2);
        assert_eq!(settings(0, 0.1).bulk_clients(25), 3);
        assert_eq!(settings(9, 9.0).bulk_clients(4), 4);
    }

    #[test]
    fn unfinished_downloads_are_not_lost() {
        let done = vec![Download { ttfb_s: 1.0, ttlb_s: 2.0 }, Download { ttfb_s: 2.0, ttlb_s: 6.0 }];
        let clients = [
            DownloadsReport { done, unfinished_s: None, failed: 1 },
            DownloadsReport { done: Vec::new(), unfinished_s: Some(9.5), failed: 0 },
        ];
        let samples = samples("web", 1_000_000, 8.0, &clients);
        let value = |what: &str, stat: &str| {
            samples
                .iter()
                .find(|sample| sample.what == what && sample.stat == stat)
                .map(|sample| sample.value)
        };
        assert_eq!(value("ttlb", "mean"), Some(4.0));
        assert_eq!(value("downloads", "count"), Some(2.0));
        assert_eq!(value("unfinished", "count"), Some(1.0));
        assert_eq!(value("unfinished_age", "each"), Some(9.5));
        assert_eq!(value("failed", "count"), Some(1.0));
        assert_eq!(value("goodput", "sum"), Some(2.0));
    }
}
