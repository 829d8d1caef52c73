use clap::{Args, Subcommand};
use ippriv::control::{OverlayState, OverlayView};

use crate::daemon::Daemon;
use crate::table::{age, table};
use crate::{Failed, output};

/// List this relay's overlays to its neighbours
#[derive(Args)]
pub(crate) struct Overlay {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(List),
}

/// List all overlays
#[derive(Args)]
struct List {
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Overlay {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let Command::List(List { daemon, json }) = self.command;
        let overlays: Vec<OverlayView> = daemon.get("/v1/overlays")?;
        Ok(if json { output::json(&overlays) } else { output::text(&listed(&overlays)) }?)
    }
}

fn listed(overlays: &[OverlayView]) -> String {
    let row = |overlay: &OverlayView| {
        let state = match overlay.state {
            OverlayState::Up => "up",
            OverlayState::Connecting => "connecting",
            OverlayState::Down => "down",
        };
        let dash = || "-".to_owned();
        [
            overlay.relay.clone(),
            overlay.address.to_string(),
            state.to_owned(),
            age(overlay.age_s),
            overlay.link.clone().unwrap_or_else(dash),
            overlay.sa.as_ref().map_or_else(dash, |sa| sa.esp_suite.clone()),
            overlay.reason.clone().unwrap_or_else(dash),
        ]
    };
    let rows: Vec<_> = overlays.iter().map(row).collect();
    table(["NEIGHBOUR", "ADDRESS", "STATE", "SINCE", "LINK", "ESP", "REASON"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_that_is_down_says_why() {
        let overlay = concat!(
            r#"{"relay":"b","address":"192.0.2.2","state":"down","link":null,"age_s":3,"#,
            r#""reason":"no answer"}"#,
        );
        let text = listed(&[serde_json::from_str(overlay).unwrap()]);
        assert_eq!(text.lines().nth(1), Some("b          192.0.2.2  down   3s     -     -    no answer"));
    }
}
