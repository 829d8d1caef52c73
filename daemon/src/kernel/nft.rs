//! nftables through the program `nft`, one transaction per call.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use ippriv::nft::{self, Unreadable};
use ippriv::ownership::NFT_TABLE;
use ippriv::plan::{Object, Op, OpError};
use ippriv::state::NftTable;

/// Reads the script from its standard input. Unlike `-`, this does without `/dev/stdin`.
const STANDARD_INPUT: &str = "/proc/self/fd/0";

/// Why nftables could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program is not there.
    #[error("program nft not found: install the package nftables")]
    Missing,
    /// It could not be run.
    #[error("cannot run nft: {0}")]
    Io(#[from] io::Error),
    /// It refused.
    #[error("nft: {0}")]
    Refused(String),
    /// Its output could not be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// The table, if there is one. Who wants none needs no `nft` to be told that there is none.
pub(super) fn read(desired: Option<&NftTable>) -> Result<Option<NftTable>, NftError> {
    let text = match list(&["-s", "-a"]) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(None),
        Err(NftError::Missing) if desired.is_none() => return Ok(None),
        Err(error) => return Err(error),
    };
    match list(&["-j"])? {
        Some(json) => Ok(Some(nft::parse(&json, &text, desired)?)),
        None => Ok(None),
    }
}

/// The listing of the table, or `None` when there is no table.
fn list(options: &[&str]) -> Result<Option<String>, NftError> {
    let output = run(options.iter().copied().chain(["list", "table", "inet", NFT_TABLE]), "")?;
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    match refusal(&output) {
        text if text.contains("No such file or directory") => Ok(None),
        text => Err(NftError::Refused(text)),
    }
}

/// Carries out an operation on the table.
pub(super) fn execute(op: &Op) -> Result<(), OpError> {
    let script = match op {
        Op::Create(Object::Nft(table)) => nft::create(table),
        Op::Replace { new: Object::Nft(table), .. } => nft::replace(table),
        _ => Ok(nft::delete()),
    };
    let tool = |error: &dyn std::error::Error| OpError::Tool(error.to_string());
    let script = script.map_err(|error| tool(&error))?;
    apply(&script).map_err(|error| tool(&error))
}

fn apply(script: &str) -> Result<(), NftError> {
    let output = run(["-f", STANDARD_INPUT], script)?;
    if output.status.success() { Ok(()) } else { Err(NftError::Refused(refusal(&output))) }
}

fn run<'a>(arguments: impl IntoIterator<Item = &'a str>, input: &str) -> Result<Output, NftError> {
    run_program("nft", arguments, input)
}

fn run_program<'a>(
    program: &str,
    arguments: impl IntoIterator<Item = &'a str>,
    input: &str,
) -> Result<Output, NftError> {
    let child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NftError::Missing),
        child => child?,
    };
    if let Some(mut standard_input) = child.stdin.take() {
        // A program that stops reading says why on its standard error.
        match standard_input.write_all(input.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
    }
    Ok(child.wait_with_output()?)
}

/// What it said on its standard error, or its exit status when it said nothing.
fn refusal(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if text.is_empty() { output.status.to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_with_its_package() {
        let error = run_program("no-such-program-nft", ["list"], "").unwrap_err();
        assert_eq!(error.to_string(), "program nft not found: install the package nftables");
    }

    #[test]
    fn what_a_program_says_before_it_fails_is_kept() {
        let output = run_program("sh", ["-c", "cat >&2; exit 3"], "no such set").unwrap();
        assert_eq!(refusal(&output), "no such set");
        let output = run_program("sh", ["-c", "exit 3"], &"x".repeat(1 << 20)).unwrap();
        assert_eq!(refusal(&output), "exit status: 3");
    }
}
