use clap::Args;
use ippriv::report;
use ippriv::state::State;
use ipprivd::kernel::{Kernel as _, LinuxKernel};

use crate::{Failed, output};

/// Show the circuits and overlays that this host's kernel holds
#[derive(Args)]
pub(crate) struct Status {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let current = LinuxKernel.dump(&State::default())?;
        let status = report::Status::new(&current.owned);
        Ok(if self.json { output::json(&status) } else { output::text(&status.to_string()) }?)
    }
}
