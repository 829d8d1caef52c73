//! What is tested without scenarios: the sources, and what `cargo test` runs on the host and in the lab.

use std::process::{Command, Stdio};
use std::time::Duration;

use ippriv_lab::runner::{self, Choice, Clock, Job, Streams};
use ippriv_lab::system;

use super::{Tally, mark};
use crate::cmd::cargo;

/// Format, lints and docs, each one test.
pub(super) fn checks() -> Tally {
    let mut tally = Tally::default();
    for (name, arguments, variable) in [
        ("format", &["fmt", "--all", "--check"][..], None),
        ("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"], None),
        (
            "docs",
            &["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"],
            Some(("RUSTDOCFLAGS", "-D warnings")),
        ),
    ] {
        println!("── {name}: cargo {}", arguments.join(" "));
        let mut command = cargo::command();
        command.args(arguments).stdin(Stdio::null());
        if let Some((name, value)) = variable {
            command.env(name, value);
        }
        let pass = command.status().is_ok_and(|status| status.success());
        println!("{} {name}", mark(pass));
        tally.add(Tally::of(pass));
    }
    tally
}

/// Runs the tests of all packages on the host, then those that are marked as needing the lab inside it.
pub(super) fn cargo_tests() -> Result<Tally, Box<dyn std::error::Error>> {
    println!("── tests on this host: cargo test --workspace --no-fail-fast");
    let mut command = cargo::command();
    command.args(["test", "--workspace", "--no-fail-fast", "--quiet"]).stdin(Stdio::null());
    let (text, success) = cargo::watched(&mut command)?;
    let mut tally = Tally::default();
    for line in text.lines() {
        tally.add(result_line(line).unwrap_or_default());
    }
    if !success && tally.failed == 0 {
        println!("{} cargo test ended without a result", mark(false));
        tally.add(Tally::of(false));
    }
    println!("── tests in the lab: those marked as ignored on this host");
    for program in cargo::test_programs()? {
        let list = Command::new(&program).args(["--ignored", "--list", "--format", "terse"]).output()?;
        if list.stdout.is_empty() {
            continue;
        }
        let mut job = Job::new([program.as_os_str()]);
        job.argv.extend(["--ignored", "--test-threads=1"].map(Into::into));
        job.env.insert("PATH".into(), system::search_path());
        job.cwd = std::env::current_dir()?;
        job.limit = Duration::from_secs(300);
        job.streams = Streams::Capture;
        let finished = runner::choose(Choice::Uml, Clock::Real)?.run(&job)?;
        let text = String::from_utf8_lossy(&finished.stdout).into_owned();
        print!("{text}{}", String::from_utf8_lossy(&finished.stderr));
        let results: Vec<Tally> = text.lines().filter_map(result_line).collect();
        for result in &results {
            tally.passed += result.passed;
            tally.failed += result.failed;
            // They were counted as skipped on the host.
            tally.skipped = tally.skipped.saturating_sub(result.passed + result.failed);
        }
        if results.is_empty() {
            tally.add(Tally::of(false));
        }
    }
    Ok(tally)
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn result_line(line: &str) -> Option<Tally> {
    let counts = line.trim().strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| {
        let part = counts.split("; ").find_map(|part| part.strip_suffix(word));
        part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    Some(Tally { passed: count("passed"), failed: count("failed"), skipped: count("ignored") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_of_a_test_program_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(result_line(line), Some(Tally { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(result_line("test foo ... ok"), None);
    }
}
