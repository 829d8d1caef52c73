use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use ippriv::network::export::{Export as Exported, File, ForeignRelay, Neighbour, NeighbourAuth, PairPsk};
use ippriv::network::{Name, Software, linked};
use serde::Serialize;

use super::{NetworkError, read};
use crate::file::Text;
use crate::{Failed, output};

/// Write what makes a host with strongSwan or libreswan a relay of the document
#[derive(Args)]
pub(super) struct Export {
    /// The document
    file: PathBuf,
    /// The relay; the document says which software it runs
    #[arg(long)]
    relay: Name,
    /// Refuse unless the document says that the relay runs this: strongswan or libreswan
    #[arg(long = "for", value_name = "SOFTWARE", value_parser = software)]
    software: Option<Software>,
    /// A folder to make, for the files at the places they go to
    #[arg(long)]
    out: PathBuf,
    /// A file of mode 0600 with the secret that the relay shares with a neighbour; once for each that needs one
    #[arg(long = "psk", value_name = "NEIGHBOUR=FILE")]
    psks: Vec<PskFile>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The software that an export can be for.
fn software(text: &str) -> Result<Software, String> {
    let known = [Software::Strongswan, Software::Libreswan];
    let found = known.into_iter().find(|software| software.name() == text);
    found.ok_or_else(|| "expected strongswan or libreswan".to_owned())
}

#[derive(Clone)]
struct PskFile {
    neighbour: Name,
    path: PathBuf,
}

impl std::str::FromStr for PskFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("expected NEIGHBOUR=FILE")?;
        let neighbour = name.parse().map_err(|error: ippriv::network::NotAName| error.to_string())?;
        Ok(Self { neighbour, path: path.into() })
    }
}

#[derive(Serialize)]
struct Report<'a> {
    folder: &'a Path,
    files: Vec<&'a str>,
    commands: &'a [String],
}

impl Export {
    pub(super) fn run(self) -> Result<(), Failed> {
        let unverified = read(&self.file)?;
        let document = unverified.document();
        let unknown =
            |relay: &Name| NetworkError::UnknownRelay { path: self.file.clone(), relay: relay.clone() };
        let relay = document.relay(self.relay.as_str()).ok_or_else(|| unknown(&self.relay))?;
        if let Some(expected) = self.software.filter(|expected| *expected != relay.software) {
            let (path, relay, found) = (self.file.clone(), self.relay.clone(), relay.software);
            return Err(NetworkError::OtherSoftware { path, relay, found, expected }.into());
        }
        let mut psks = self.secrets()?;
        let linked = document.relays.iter().filter(|other| linked(relay, other));
        let neighbours = linked.map(|relay| Neighbour {
            relay,
            auth: psks.remove(&relay.name).map_or(NeighbourAuth::Keys, NeighbourAuth::Psk),
        });
        let foreign = ForeignRelay { relay, neighbours: neighbours.collect() };
        if let Some(stranger) = psks.keys().next() {
            return Err(unknown(stranger).into());
        }
        let refused = |error| NetworkError::Export { path: self.file.clone(), error: Box::new(error) };
        let exported = foreign.export().map_err(refused)?;
        self.write(&exported)?;
        Ok(self.report(&exported)?)
    }

    fn secrets(&self) -> Result<BTreeMap<Name, PairPsk>, Failed> {
        let mut secrets = BTreeMap::new();
        for PskFile { neighbour, path } in &self.psks {
            let file = Text::read(path)?.unexposed()?;
            let secret = PairPsk::try_from(file.text.trim_end_matches('\n').to_owned());
            let secret = secret.map_err(|error| NetworkError::PairPsk { path: path.clone(), error })?;
            secrets.insert(neighbour.clone(), secret);
        }
        Ok(secrets)
    }

    fn write(&self, exported: &Exported) -> Result<(), NetworkError> {
        let failed = |path: &Path, error| NetworkError::Write { path: path.to_owned(), error };
        let mut folder = fs::DirBuilder::new();
        folder.mode(0o700).create(&self.out).map_err(|error| failed(&self.out, error))?;
        for file in &exported.files {
            let path = self.out.join(file.path.trim_start_matches('/'));
            write(&path, file).map_err(|error| failed(&path, error))?;
        }
        Ok(())
    }

    fn report(&self, exported: &Exported) -> io::Result<()> {
        let files: Vec<&str> = exported.files.iter().map(|file| file.path.as_str()).collect();
        if self.json {
            return output::json(&Report { folder: &self.out, files, commands: &exported.commands });
        }
        let files = files.join("\n  ");
        let commands = exported.commands.join("\n  ");
        let folder = self.out.display();
        output::text(&format!(
            "{folder}: files for the relay:\n  {files}\nand then, as root there:\n  {commands}\n"
        ))
    }
}

/// Makes a file of its mode, whatever the mask, before anything is in it.
fn write(path: &Path, file: &File) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    made.write_all(file.text().as_bytes())?;
    made.set_permissions(fs::Permissions::from_mode(file.access.mode()))?;
    made.sync_all()
}
