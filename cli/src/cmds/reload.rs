use clap::Args;
use ippriv::control::Reloaded;

use crate::daemon::Daemon;
use crate::{Failed, output};

/// Make the daemon read its policy and network again; circuits that may stay do
#[derive(Args)]
pub(crate) struct Reload {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Reload {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let reloaded: Reloaded = self.daemon.post("/v1/reload", &())?;
        Ok(if self.json { output::json(&reloaded) } else { output::text(&shown(&reloaded)) }?)
    }
}

fn shown(reloaded: &Reloaded) -> String {
    let changes = reloaded.changes.iter().map(|change| format!("{change}\n"));
    let restart = reloaded.restart.iter().map(|change| format!("only after a restart: {change}\n"));
    let text: String = changes.chain(restart).collect();
    if text.is_empty() { "nothing has changed\n".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_told() {
        let both = Reloaded { changes: vec!["serial 3".to_owned()], restart: vec!["socket".to_owned()] };
        assert_eq!(shown(&both), "serial 3\nonly after a restart: socket\n");
        assert_eq!(shown(&Reloaded::default()), "nothing has changed\n");
    }
}
