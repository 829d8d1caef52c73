use std::path::PathBuf;

use clap::Args;

use crate::{Failed, file, output};

/// Check a file; needs no privileges and looks at no kernel
#[derive(Args)]
pub(crate) struct Check {
    /// File with static keys, of mode 0600 and with `lab: true`
    file: PathBuf,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let config = file::read(&self.file)?;
        let objects = config.desired.state.len();
        Ok(output::text(&format!("{}: good, {objects} kernel objects\n", self.file.display()))?)
    }
}
