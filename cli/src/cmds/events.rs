use clap::Args;
use serde_json::{Map, Value};

use crate::daemon::Daemon;
use crate::{Failed, output};

/// Show what the daemon has seen happen, or what happens from now on
#[derive(Args)]
pub(crate) struct Events {
    /// Show what happens from now on, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Print a JSON object for each event
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Events {
    pub(crate) fn run(self) -> Result<(), Failed> {
        self.daemon.lines(&format!("/v1/events?follow={}", self.follow), |line| {
            let line = String::from_utf8_lossy(line);
            Ok(output::text(&if self.json { format!("{line}\n") } else { shown(&line) })?)
        })
    }
}

/// An event of any version in a line: time, kind, and what else it says.
fn shown(line: &str) -> String {
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(line) else { return format!("{line}\n") };
    let word = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut text = format!("{} {}", word("time"), word("event"));
    for (name, value) in &fields {
        if matches!(name.as_str(), "time" | "sequence" | "event") || value.is_null() {
            continue;
        }
        // A string of JSON is shown with its quotes only when it has spaces.
        let shown = match value.as_str() {
            Some(plain) if !plain.is_empty() && !plain.contains([' ', '\n', '"']) => plain.to_owned(),
            _ => value.to_string(),
        };
        text.push_str(&format!(" {name}={shown}"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_what_it_says() {
        let line = concat!(
            r#"{"time":"2026-11-21T12:00:00.000Z","sequence":4,"event":"circuit_failed","circuit":2,"#,
            r#""hop":null,"reason":"no answer"}"#,
        );
        assert_eq!(shown(line), "2026-11-21T12:00:00.000Z circuit_failed circuit=2 reason=\"no answer\"\n");
        assert_eq!(shown("garbage"), "garbage\n");
    }
}
