//! `cargo lab exec`: one program in the lab.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Read},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use ippriv_lab::runner::{self, Job, Streams};

use super::machine::Machine;
use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Machine,
    /// Wall time after which the program is ended: 90s, 5m, 2h.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    limit: Duration,
    /// Memory of the guest in MiB.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    memory: u32,
    /// A directory the program may write to, as $LAB_OUT; made when it is not there.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Add to the program's environment.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// Read standard input to its end and give it to the program.
    #[arg(long, conflicts_with = "terminal")]
    stdin: bool,
    /// Give the program this terminal.
    #[arg(long)]
    terminal: bool,
    /// Answer output lines `@cpu-mark NAME` with the CPU time of the lab kernel, listed at the end.
    #[arg(long)]
    cpu_marks: bool,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

pub(crate) fn run(args: Args) -> Outcome {
    let clock = args.machine.clock();
    let runner = runner::choose(args.machine.runner, clock)?;
    let mut job = Job::new(args.program);
    job.env = args.env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    job.cwd = std::env::current_dir()?;
    job.clock = clock;
    job.limit = args.limit;
    job.memory_mib = args.memory;
    job.cpu_marks = args.cpu_marks;
    job.streams = if args.terminal { Streams::Terminal } else { Streams::Inherit };
    if args.terminal && !io::stdin().is_terminal() {
        return Err("--terminal: standard input is not a terminal".into());
    }
    if args.stdin {
        io::stdin().read_to_end(&mut job.stdin)?;
    }
    if let Some(dir) = args.out {
        std::fs::create_dir_all(&dir)?;
        job.out_dir = Some(dir);
    }
    let finished = runner.run(&job)?;
    for (name, time) in finished.cpu_marks {
        eprintln!("cpu mark {name}: {:.6} s", time.as_secs_f64());
    }
    Ok(u8::try_from(finished.code).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Reads a number of seconds, minutes or hours: `90s`, `1.5m`, `2h`, `30`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    let seconds = number.parse::<f64>().map_err(|_| "expected a time such as 90s, 5m or 2h".to_owned())?;
    Duration::try_from_secs_f64(seconds * unit).map_err(|error| error.to_string())
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
        for text in ["", "s", "-1s", "soon"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
