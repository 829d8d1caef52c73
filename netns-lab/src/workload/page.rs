//! A page as a browser gets it: paper 003, Fig. 8 and 9.
//!
//! One document, then its objects over six connections that stay open (HTTP/1.1 without pipelining), each request of
//! 400 octets. Every page has connections of its own; names are not looked up. Time runs from before the first
//! connection.
//!
//! Bytes on the wire are what interfaces count, Ethernet headers included, from before a page until a second after
//! it: what the client's uplink received (`wire_rx`) and sent (`wire_tx`), and what all links together delivered
//! (`wire_all`). Whatever a system sends when nobody asks it to is among them.

use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::profiles::Profile;
use super::stage::{Counters, report_within, words};
use super::stream::pinned;
use super::{Arena, Outcome, Sample};
use crate::traffic::{Direction, PageReport};

const PORT: u16 = 8080;
/// Until the last acknowledgement has crossed the network.
const SETTLE: Duration = Duration::from_secs(1);

/// What can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which page.
    pub profile: Profile,
    /// The circuit, by its place in the experiment's list.
    pub circuit: usize,
    /// How many pages, one after the other.
    pub repeats: u32,
    /// Seconds between them.
    pub pause_s: f64,
    /// Connections at once.
    pub connections: u16,
    /// Seconds without any byte after which a page has failed.
    pub timeout_s: f64,
    /// Congestion control of the client's own sockets; the server has the kernel's default.
    pub host_cc: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            circuit: 0,
            repeats: 5,
            pause_s: 3.0,
            connections: 6,
            timeout_s: 120.0,
            host_cc: None,
        }
    }
}

pub(super) fn run(settings: &Settings, arena: Arena<'_>) -> Outcome<Vec<Sample>> {
    let at = settings.circuit;
    pinned(arena, at, Direction::Get)?;
    let pause = Duration::try_from_secs_f64(settings.pause_s)?;
    let (html, objects) = settings.profile.sizes();
    // However slow, a page whose bytes keep coming has this long for each request.
    let patience = Duration::try_from_secs_f64(settings.timeout_s)?.saturating_mul(objects.len() as u32 + 1);
    let _server = arena.serve(&[at], PORT, &words(&["http-serve"]))?;
    let sizes: Vec<String> = objects.iter().map(ToString::to_string).collect();
    let mut argv = words(&["page", "--html", &html.to_string(), "--objects", &sizes.join(",")]);
    argv.extend(words(&["--connections", &settings.connections.to_string()]));
    argv.extend(words(&["--timeout", &settings.timeout_s.to_string()]));
    argv.extend(settings.host_cc.iter().flat_map(|name| words(&["--cc", name])));

    let client = &arena.circuit(at)?.0.client;
    let mut pages: Vec<(PageReport, Counters)> = Vec::new();
    let mut failed = 0;
    for number in 0..settings.repeats {
        if number > 0 {
            thread::sleep(pause);
        }
        let before = Counters::read(arena.net, client)?;
        let page = report_within(arena.spawn(at, PORT, &argv, &[])?, patience);
        thread::sleep(SETTLE);
        let wire = Counters::read(arena.net, client)?.since(&before);
        match page {
            Ok(page) => pages.push((page, wire)),
            Err(error) => {
                eprintln!("page {number}: {error}");
                failed += 1;
            }
        }
    }
    let of = |value: fn(&(PageReport, Counters)) -> f64| -> Vec<f64> { pages.iter().map(value).collect() };
    let mut samples = Vec::new();
    samples.extend(Sample::each("page", "ttfb", "s", &of(|(page, _)| seconds(page.ttfb_ms))));
    samples.extend(Sample::each("page", "html", "s", &of(|(page, _)| seconds(page.html_ms))));
    samples.extend(Sample::each("page", "page_time", "s", &of(|(page, _)| seconds(page.page_ms))));
    samples.extend(Sample::each("page", "wire_rx", "B", &of(|(_, wire)| wire.received as f64)));
    samples.extend(Sample::each("page", "wire_tx", "B", &of(|(_, wire)| wire.sent as f64)));
    samples.extend(Sample::each("page", "wire_all", "B", &of(|(_, wire)| wire.everywhere as f64)));
    samples.push(Sample::count("page", "pages", pages.len() as u64));
    samples.push(Sample::count("page", "failed", failed));
    Ok(samples)
}

/// Of milliseconds, to the microsecond.
fn seconds(millis: f64) -> f64 {
    (millis * 1e3).round() / 1e6
}
