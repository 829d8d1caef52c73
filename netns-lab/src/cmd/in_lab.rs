//! What the lab's program does inside the lab. Not for users.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use ippriv_lab::{bench, demo, experiment, scenario, soak, systems};

use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Demo,
    Scenario {
        name: String,
    },
    Bench {
        name: String,
    },
    Soak {
        settings: String,
    },
    Digest,
    TorBootstrap {
        blueprint: String,
    },
    Point,
    Open {
        file: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        What::Demo => {
            println!("{}", serde_json::to_string(&demo::in_lab()?)?);
            Ok(ExitCode::SUCCESS)
        }
        What::Scenario { name } => {
            if scenario::in_lab(&name)? {
                Ok(ExitCode::SUCCESS)
            } else {
                Err(format!("no scenario {name}").into())
            }
        }
        What::Point => {
            experiment::in_lab().map_err(|error| -> Box<dyn std::error::Error> { error })?;
            Ok(ExitCode::SUCCESS)
        }
        What::Open { file, command } => super::up::in_lab(&file, &command),
        What::Digest => {
            println!("{}", scenario::digest()?);
            Ok(ExitCode::SUCCESS)
        }
        What::TorBootstrap { blueprint } => {
            systems::tor::bootstrap_in_lab(&blueprint)?;
            Ok(ExitCode::SUCCESS)
        }
        What::Soak { settings } => {
            soak::in_lab(&serde_json::from_str(&settings)?)?;
            Ok(ExitCode::SUCCESS)
        }
        What::Bench { name } => {
            bench::in_lab(&name)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
