use std::path::PathBuf;

use clap::Args;
use ippriv::report;

use crate::{Failed, file, output};

/// Explain in words and a picture what a file builds
#[derive(Args)]
pub(crate) struct Explain {
    /// File with static keys, of mode 0600 and with `lab: true`
    file: PathBuf,
}

impl Explain {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let config = file::read(&self.file)?;
        Ok(output::text(&report::explain(&config.host, &config.desired))?)
    }
}
