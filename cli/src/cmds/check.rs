use std::path::PathBuf;

use clap::Args;
use ippriv::policy::FileKind;

use crate::file::Text;
use crate::network;
use crate::{Failed, output};

/// Check a file; needs no privileges and looks at no kernel
#[derive(Args)]
pub(crate) struct Check {
    /// A policy, a network document, a cipher policy, or a file with static keys (of mode 0600)
    file: PathBuf,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let file = Text::read(&self.file)?;
        let found = match FileKind::of(&file.text) {
            FileKind::Static => format!("{} kernel objects", file.config()?.desired.state.len()),
            FileKind::Policy => network::check::policy(&file)?,
            FileKind::Ciphers => network::check::ciphers(&file)?,
            FileKind::Network => network::check::document(&file)?,
        };
        Ok(output::text(&format!("{}: good, {found}\n", self.file.display()))?)
    }
}
