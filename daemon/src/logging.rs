//! The log: lines on standard error, for people or machines.
//!
//! Levels: ERROR, it cannot go on; WARN, something does not work that should; INFO, what a person who follows
//! the log wants to see; DEBUG, everyday detail and the only level that shows a peer's address; TRACE, each
//! message. No level shows a key.

use std::io;

use ippriv::control::{Event, Level, Private};
use tracing::level_filters::LevelFilter;
use tracing::{debug, info, warn};

/// How lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts to write what is of `level` or above.
pub fn start(level: LevelFilter, format: Format) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(level >= LevelFilter::DEBUG);
    match format {
        Format::Text => builder.init(),
        Format::Json => builder.json().flatten_event(true).init(),
    }
}

/// Logs an event of the core. Its serial form shows no client; at DEBUG, and only here, a client's address is
/// added.
pub(crate) fn event(event: &Event) {
    let text = serde_json::to_string(event).unwrap_or_else(|error| error.to_string());
    match event.level() {
        Level::Warn => warn!(target: "ipprivd::event", "{text}"),
        Level::Info => info!(target: "ipprivd::event", "{text}"),
        Level::Debug => match peer(event) {
            Some(peer) => debug!(target: "ipprivd::event", peer, "{text}"),
            None => debug!(target: "ipprivd::event", "{text}"),
        },
    }
}

/// The address of the client or peer that an event is about.
fn peer(event: &Event) -> Option<String> {
    match event {
        Event::RelayCircuitUp { peer, .. } => shown(peer),
        Event::RelayPeerMoved { peer, .. } | Event::HandshakeRefused { peer, .. } => shown(peer),
        _ => None,
    }
}

fn shown<T: ToString>(private: &Private<T>) -> Option<String> {
    private.expose().map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What would be logged at `level`.
    fn logged(level: LevelFilter, of: &Event) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(octets);
                Ok(octets.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || event(of));
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_client_s_address_is_logged_at_debug_and_not_above() {
        let peer = Private::new("198.51.100.7:4500".parse().unwrap());
        let refused = Event::HandshakeRefused { peer, reason: "no proposal chosen".to_owned() };
        assert!(logged(LevelFilter::DEBUG, &refused).contains("198.51.100.7"));
        for level in [LevelFilter::INFO, LevelFilter::WARN] {
            assert!(!logged(level, &refused).contains("198.51.100.7"), "{level}");
        }
    }

    #[test]
    fn what_should_work_and_does_not_is_a_warning() {
        let down = Event::OverlayDown { relay: "b".to_owned(), reason: "no answer".to_owned() };
        let line = logged(LevelFilter::WARN, &down);
        assert!(
            line.contains("WARN") && line.contains("overlay_down") && line.contains("no answer"),
            "{line}"
        );
    }
}
