use std::path::PathBuf;

use clap::Args;
use ippriv::plan::Ending;
use ippriv::report::{self, PlanReport};
use ippriv::state::State;
use ipprivd::driver;
use ipprivd::event_loop::check_requirements;
use ipprivd::kernel::LinuxKernel;

use crate::{Failed, file, output};

/// Make the kernel hold exactly what a file asks for, verify it, or undo everything
#[derive(Args)]
pub(crate) struct Apply {
    /// File with static keys, of mode 0600 and with `lab: true`; it says all that ippriv does on this host
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let config = file::read(&self.file)?;
        check_requirements(&config.desired.requirements)?;
        apply(config.desired.state, self.json)
    }
}

/// Makes the kernel hold `desired` and says what was done.
pub(super) fn apply(desired: State, json: bool) -> Result<(), Failed> {
    let mut kernel = LinuxKernel;
    let planned = driver::plan(&mut kernel, desired)?;
    let plan = PlanReport::new(&planned.plan);
    match driver::apply(&mut kernel, planned)? {
        Ending::Applied { .. } if json => Ok(output::json(&plan)?),
        Ending::Applied { operations: 0 } => Ok(output::text(&plan.to_string())?),
        Ending::Applied { .. } => Ok(output::text(&format!(
            "applied and verified: {} created, {} changed, {} removed\n",
            plan.create, plan.replace, plan.delete
        ))?),
        Ending::Unwound(failure) => Err(Failed::Unwound(report::failure(&failure))),
    }
}
