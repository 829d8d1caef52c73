//! What the lab's program does inside the lab. Not for users.

use std::process::ExitCode;

use ippriv_lab::{demo, scenario};

use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Demo,
    Scenario { name: String },
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
    }
}
