use std::path::PathBuf;

use clap::Args;
use ippriv::report::PlanReport;
use ipprivd::driver;
use ipprivd::kernel::LinuxKernel;

use crate::{Failed, file, output};

/// Show what `apply` would change in the kernel, and change nothing
#[derive(Args)]
pub(crate) struct Plan {
    /// File with static keys, of mode 0600 and with `lab: true`
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let config = file::read(&self.file)?;
        let mut kernel = LinuxKernel;
        let planned = driver::plan(&mut kernel, config.desired.state)?;
        let report = PlanReport::new(&planned.plan);
        Ok(if self.json { output::json(&report) } else { output::text(&report.to_string()) }?)
    }
}
