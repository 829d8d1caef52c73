//! A page as a browser gets it: the document, then its objects over several connections that stay open.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use super::TrafficError;
use super::connect::{Tuning, Via, open};
use super::http::Connection;
use super::socket::{Tried, millis, now, seconds};

/// A page.
#[derive(Clone, Debug, PartialEq, clap::Args)]
pub struct PageArgs {
    #[command(flatten)]
    pub(super) via: Via,
    #[command(flatten)]
    pub(super) tuning: Tuning,
    /// Bytes of the document.
    #[arg(long)]
    pub(super) html: u64,
    /// Bytes of each object, in the order they are asked for.
    #[arg(long, value_delimiter = ',')]
    pub(super) objects: Vec<u64>,
    /// Connections at once.
    #[arg(long, default_value_t = 6)]
    pub(super) connections: usize,
    /// Gives up when nothing arrives on a connection for that many seconds.
    #[arg(long, default_value_t = 120.0)]
    pub(super) timeout: f64,
    /// The http-serve.
    pub(super) address: SocketAddr,
}

/// How a page arrived; times are from before the first connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageReport {
    /// To the first byte of the document.
    pub ttfb_ms: f64,
    /// To its last.
    pub html_ms: f64,
    /// To the last byte of the last object.
    pub page_ms: f64,
    /// Content received.
    pub bytes: u64,
}

/// Gets the document over one connection, then the objects over all.
pub(super) fn get(args: &PageArgs) -> Result<PageReport, TrafficError> {
    let start = now();
    let mut first = connect(args)?;
    let html = first.fetch(args.html)?;
    let html_ms = millis(start.elapsed());
    let next = &AtomicUsize::new(0);
    let others = args.connections.min(args.objects.len()).saturating_sub(1);
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..others).map(|_| scope.spawn(|| objects(args, &mut connect(args)?, next))).collect();
        objects(args, &mut first, next)?;
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().try_for_each(join)
    })?;
    Ok(PageReport {
        ttfb_ms: millis(html.first - start),
        html_ms,
        page_ms: millis(start.elapsed()),
        bytes: args.html + args.objects.iter().sum::<u64>(),
    })
}

fn connect(args: &PageArgs) -> Result<Connection, TrafficError> {
    let stream = open(&args.via, args.address, &args.tuning)?;
    let timeout = seconds("--timeout", args.timeout)?;
    stream.set_read_timeout(Some(timeout)).tried(|| format!("set a timeout of {timeout:?}"))?;
    Ok(Connection::new(stream, args.address))
}

/// Gets objects that nobody else gets, until there are no more.
fn objects(args: &PageArgs, connection: &mut Connection, next: &AtomicUsize) -> Result<(), TrafficError> {
    while let Some(length) = args.objects.get(next.fetch_add(1, Ordering::Relaxed)) {
        connection.fetch(*length)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::http;

    #[test]
    fn all_objects_come_over_few_connections() {
        let address = http::tests::server();
        let args = PageArgs {
            via: Via::default(),
            tuning: Tuning::default(),
            html: 5000,
            objects: (1..=30).map(|k| k * 1000).collect(),
            connections: 6,
            timeout: 10.0,
            address,
        };
        let report = get(&args).unwrap();
        assert_eq!(report.bytes, 5000 + 465_000);
        assert!(report.ttfb_ms <= report.html_ms && report.html_ms <= report.page_ms, "{report:?}");
        let report = get(&PageArgs { objects: Vec::new(), ..args }).unwrap();
        assert_eq!(report.bytes, 5000);
    }
}
