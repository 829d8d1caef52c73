//! `ippriv key`: private keys of relays and operators, in files and nowhere else.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use ippriv::entropy::Seeded;
use ippriv::network::{BadKeyFile, Name, PrivateKey, Purpose};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::file::Text;
use crate::{Failed, output};

/// Make and show keys of relays and operators
#[derive(Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    New(New),
    Show(Show),
}

/// Make a key, write it to a new file of mode 0600, and print its public half
#[derive(Args)]
struct New {
    /// The file to make; one that exists is never replaced
    #[arg(long)]
    out: PathBuf,
    /// The name of the relay or operator, for a comment in the file
    #[arg(long)]
    name: Option<Name>,
    /// What the key is for, for a comment in the file
    #[arg(long = "for", value_enum, default_value_t = For::Relay)]
    purpose: For,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Print the public half of a key
#[derive(Args)]
struct Show {
    /// A file with a private key, of mode 0600
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum For {
    Relay,
    Operator,
}

/// Why a key is not made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("{}: cannot be made: {error}", path.display())]
    NotMade { path: PathBuf, error: io::Error },
    #[error("{}: {error}", path.display())]
    Bad { path: PathBuf, error: BadKeyFile },
    #[error("no randomness from the kernel: {0}")]
    Randomness(io::Error),
}

#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    public_key: String,
}

impl Key {
    pub(crate) fn run(self) -> Result<(), Failed> {
        match self.command {
            Command::New(new) => new.run(),
            Command::Show(show) => report(&show.file, &read(&show.file)?, show.json),
        }
    }
}

impl New {
    fn run(self) -> Result<(), Failed> {
        let bad = |error| KeyError::Bad { path: self.out.clone(), error };
        let key = PrivateKey::generate(&mut Seeded::new(*seed()?)).map_err(bad)?;
        let purpose = match self.purpose {
            For::Relay => Purpose::Identity,
            For::Operator => Purpose::Operator,
        };
        let text = key.to_pem(purpose, self.name.as_ref());
        let made = write_new(&self.out, text.as_bytes());
        made.map_err(|error| KeyError::NotMade { path: self.out.clone(), error })?;
        report(&self.out, &key, self.json)
    }
}

/// Reads a key file that nobody else can read.
pub(crate) fn read(path: &Path) -> Result<PrivateKey, Failed> {
    let file = Text::read(path)?.unexposed()?;
    let key = PrivateKey::from_pem(&file.text);
    Ok(key.map_err(|error| KeyError::Bad { path: path.to_owned(), error })?)
}

fn seed() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    // Up to 256 octets come whole or not at all (getrandom(2)).
    match getrandom(&mut *seed, GetRandomFlags::empty()) {
        Ok(32) => Ok(seed),
        Ok(_) => Err(KeyError::Randomness(io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(KeyError::Randomness(error.into())),
    }
}

/// Makes a file that nobody else can read, and does not leave half of it behind.
fn write_new(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(octets).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}

fn report(file: &Path, key: &PrivateKey, json: bool) -> Result<(), Failed> {
    let public_key = key.public().to_string();
    Ok(if json {
        output::json(&Report { file, public_key })
    } else {
        output::text(&format!("{public_key}\n"))
    }?)
}
