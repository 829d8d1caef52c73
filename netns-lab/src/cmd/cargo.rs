//! Cargo, for building and testing the workspace we are part of.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use ippriv_lab::program;

/// The cargo that started us, or the one in the search path; it works in the workspace's folder.
pub(crate) fn command() -> Command {
    #[expect(clippy::disallowed_methods, reason = "cargo says in the environment where it is")]
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace());
    command
}

/// The folder of the workspace this program was built from.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// Builds the `ippriv` command and the daemon beside this program, with the same profile.
pub(crate) fn build_commands() -> Result<(), Box<dyn Error>> {
    let path = program::path()?;
    let release = path.parent().is_some_and(|dir| dir.ends_with("release"));
    let mut command = command();
    command
        .args(["build", "--quiet", "--package", "ippriv-cli", "--package", "ipprivd"])
        .stdin(Stdio::null());
    if release {
        command.arg("--release");
    }
    if command.status()?.success() { Ok(()) } else { Err("cannot build ippriv; cargo says why above".into()) }
}

/// Runs this very command line again with the release profile, and ends as that ends.
pub(crate) fn again_optimised() -> Result<ExitCode, Box<dyn Error>> {
    let mut command = command();
    command.args(["run", "--quiet", "--release", "--package", program::NAME, "--bin", program::NAME, "--"]);
    let status = command.args(std::env::args_os().skip(1)).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Runs a command to its end, shows its output as it comes, and gives its standard output and success.
pub(crate) fn watched(command: &mut Command) -> Result<(String, bool), Box<dyn Error>> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if !line.trim().is_empty() && !line.starts_with("running ") {
                println!("{line}");
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok((text, child.wait()?.success()))
}

/// The paths of all test programs of the workspace.
pub(crate) fn test_programs() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut command = command();
    command.args(["test", "--workspace", "--no-run", "--quiet", "--message-format=json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut text)?;
    }
    if !child.wait()?.success() {
        return Err("cannot build the tests; cargo says why above".into());
    }
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let tests = messages.filter(|message| message["profile"]["test"] == true);
    Ok(tests.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect())
}
