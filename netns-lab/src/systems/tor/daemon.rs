//! Running a Tor: the distribution's program, its directory, and what it last said.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::TorError;
use super::control::Control;
use super::torrc::CONTROL;
use crate::bundle::TOR;
use crate::net::{Background, Node, spawn_in_lab};

/// How often a Tor is asked whether it is there yet.
const POLL: Duration = Duration::from_millis(20);
/// How long it may take to be there.
const LIMIT: Duration = Duration::from_secs(120);
/// How many lines of its log an error shows.
const LAST_LINES: usize = 6;

/// Tor as the distribution has it, unpacked.
#[derive(Clone, Debug)]
pub(super) struct Program {
    root: PathBuf,
    libraries: String,
}

impl Program {
    /// Finds it in the lab's cache.
    pub(super) fn find() -> Result<Self, TorError> {
        let root = TOR.root()?;
        // Those that the host lacks came with the bundle.
        let below = root.join("usr/lib");
        let entries = fs::read_dir(&below).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with("-linux-gnu"));
        let mut dirs: Vec<String> = dirs.map(|entry| entry.path().to_string_lossy().into_owned()).collect();
        dirs.sort();
        Ok(Self { libraries: dirs.join(":"), root })
    }

    /// Its version: `0.4.9.11`.
    pub(super) fn version(&self) -> Result<String, TorError> {
        let said = self.run("tor", &["--version"], b"")?;
        let version = said.lines().find_map(|line| line.strip_prefix("Tor version "));
        version.map(|rest| rest.trim_end_matches('.').to_owned()).ok_or(TorError::Version(said))
    }

    /// Runs one of its programs to its end, outside of all nodes, and gives its standard output.
    pub(super) fn run(&self, name: &str, arguments: &[&str], input: &[u8]) -> Result<String, TorError> {
        use std::io::Write as _;
        use std::process::Stdio;

        let argv = self.argv(name, arguments);
        let failed = |said: String| TorError::Program { command: argv.join(" "), said };
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input).map_err(|error| failed(error.to_string()))?;
        }
        let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(failed(format!(
            "{}: {}",
            output.status,
            last_of(&(text(&output.stdout) + &text(&output.stderr)))
        )))
    }

    fn argv(&self, name: &str, arguments: &[&str]) -> Vec<String> {
        let program = self.root.join("usr/bin").join(name).to_string_lossy().into_owned();
        let libraries = format!("LD_LIBRARY_PATH={}", self.libraries);
        let words = ["env".to_owned(), libraries, program].into_iter();
        words.chain(arguments.iter().map(|&word| word.to_owned())).collect()
    }
}

/// A Tor that runs; killed when dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    /// Whose it is, for errors: a node's name.
    pub(super) name: String,
    dir: PathBuf,
    child: Background,
}

impl Daemon {
    /// Starts one with this configuration and data directory, on a node or outside of all.
    pub(super) fn start(
        program: &Program,
        node: Option<Node<'_>>,
        name: &str,
        dir: &Path,
        torrc: &str,
    ) -> Result<Self, TorError> {
        make_private(dir)?;
        let file = dir.with_extension("torrc");
        fs::write(&file, torrc).map_err(TorError::file("write", &file))?;
        let argv = program.argv("tor", &["-f", &file.to_string_lossy()]);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let child = match node {
            Some(node) => node.spawn(&argv)?,
            None => spawn_in_lab(&argv, dir.parent().unwrap_or(dir))?,
        };
        Ok(Self { name: name.to_owned(), dir: dir.to_owned(), child })
    }

    /// A connection to its control port, once it is there.
    pub(super) fn control(&mut self) -> Result<Control, TorError> {
        let path = self.dir.join(CONTROL);
        let mut found = None;
        self.wait_for("it to answer", |_| {
            found = path.exists().then(|| Control::open(&path).ok()).flatten();
            Ok(found.is_some())
        })?;
        found.ok_or_else(|| self.late("it to answer"))
    }

    /// Connects to the control port of one that runs for certain.
    pub(super) fn talk(&self) -> Result<Control, TorError> {
        Control::open(&self.dir.join(CONTROL)).map_err(|source| self.failed(source))
    }

    /// Waits until `done`.
    pub(super) fn wait_for(
        &mut self,
        what: &'static str,
        mut done: impl FnMut(&Self) -> Result<bool, TorError>,
    ) -> Result<(), TorError> {
        for _ in 0..=LIMIT.as_micros() / POLL.as_micros() {
            if let Some(status) = self.child.ended()? {
                return Err(TorError::Ended { node: self.name.clone(), status, said: self.last_lines() });
            }
            if done(self)? {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Err(self.late(what))
    }

    /// Asks it to end, and waits.
    pub(super) fn stop(self) -> Result<(), TorError> {
        Ok(self.child.stop(LIMIT).map(drop)?)
    }

    /// An error of its control port, with its name and log.
    pub(super) fn failed(&self, source: super::ControlError) -> TorError {
        TorError::Control { node: self.name.clone(), source, said: self.last_lines() }
    }

    fn late(&self, what: &'static str) -> TorError {
        TorError::Late { node: self.name.clone(), what, limit: LIMIT, said: self.last_lines() }
    }

    fn last_lines(&self) -> String {
        // Tor logs to standard output, and its dynamic linker complains on standard error.
        last_of(&(self.child.stderr().unwrap_or_default() + &self.child.stdout().unwrap_or_default()))
    }
}

/// Makes a directory as Tor wants it: its owner's only.
pub(super) fn make_private(dir: &Path) -> Result<(), TorError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(TorError::file("make", dir))?;
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(dir, mode).map_err(TorError::file("close", dir))
}

fn last_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
