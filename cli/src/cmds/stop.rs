use clap::Args;

use crate::Failed;
use crate::daemon::Daemon;

/// Stop the daemon; the kernel goes on forwarding, and the next daemon takes over
#[derive(Args)]
pub(crate) struct Stop {
    /// Say goodbye to peers and remove everything: circuits, overlays, and the kill switch
    #[arg(long)]
    flush: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Stop {
    pub(crate) fn run(self) -> Result<(), Failed> {
        Ok(self.daemon.post(&format!("/v1/stop?flush={}", self.flush), &())?)
    }
}
