use std::path::{Path, PathBuf};

use clap::Args;
use ippriv::network::UnixTime;
use ippriv::policy::FileKind;
use serde::Serialize;

use crate::file::Text;
use crate::network;
use crate::{Failed, output};

/// Check a file; needs no privileges and looks at no kernel
#[derive(Args)]
pub(crate) struct Check {
    /// A policy, a network document, a cipher policy, or a file with static keys (of mode 0600)
    file: PathBuf,
    /// The time to check a policy's network document for, in RFC 3339 [default: now]
    #[arg(long)]
    at: Option<UnixTime>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Checked<'a> {
    file: &'a Path,
    kind: &'a str,
    found: String,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let file = Text::read(&self.file)?;
        let (kind, found) = match FileKind::of(&file.text) {
            FileKind::Static => ("static", format!("{} kernel objects", file.config()?.desired.state.len())),
            FileKind::Policy => ("policy", network::check::policy(&file, self.at)?),
            FileKind::Ciphers => ("ciphers", network::check::ciphers(&file)?),
            FileKind::Network => ("network", network::check::document(&file)?),
        };
        Ok(if self.json {
            output::json(&Checked { file: &self.file, kind, found })
        } else {
            output::text(&format!("{}: good, {found}\n", self.file.display()))
        }?)
    }
}
