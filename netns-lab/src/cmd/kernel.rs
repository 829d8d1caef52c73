//! `cargo lab kernel`: the kernel that labs run in.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use ippriv_lab::kernel::{self, probe};
use serde::Serialize;

use crate::Outcome;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say what the running kernel can do, and whether a lab kernel is there.
    Info {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Build the lab kernel, unless it is there: minutes, 3 GB of scratch space in the cache.
    Build {
        /// A kernel source to take instead of the distribution's: linux-X.Y.tar.xz, linux-source-X.Y.tar.xz, or
        /// Debian's package of it.
        #[arg(long, value_name = "FILE")]
        source: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the path of the lab kernel.
    Path {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Built {
    version: String,
    path: PathBuf,
}

#[derive(Serialize)]
struct Info {
    running: Vec<probe::Capability>,
    native: bool,
    lab_kernel: Option<Built>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Info { json } => info(*json)?,
        Verb::Build { source, json } => print_built(&kernel::build(source.as_deref())?, *json)?,
        Verb::Path { json } => print_built(&kernel::cached()?, *json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn built(kernel: &kernel::Kernel) -> Built {
    Built { version: kernel.version().to_string(), path: kernel.path() }
}

fn print_built(kernel: &kernel::Kernel, json: bool) -> Result<(), serde_json::Error> {
    if json {
        println!("{}", serde_json::to_string_pretty(&built(kernel))?);
    } else {
        println!("{}", kernel.path().display());
    }
    Ok(())
}

fn info(json: bool) -> Result<(), Box<dyn std::error::Error>> {
    let running = probe::running_kernel();
    let lab_kernel = match kernel::cached() {
        Ok(kernel) => Some(built(&kernel)),
        Err(kernel::KernelError::NotBuilt(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let native = running.iter().all(|capability| capability.present);
    let info = Info { running, native, lab_kernel };
    if json {
        println!("{}", serde_json::to_string_pretty(&info)?);
        return Ok(());
    }
    println!("running kernel: {} run the lab natively", if native { "can" } else { "cannot" });
    for capability in &info.running {
        println!("  {:3} {}", if capability.present { "yes" } else { "no" }, capability.name);
        println!("      tried: {}", capability.tried);
        if let Some(answer) = &capability.answer {
            println!("      answer: {answer}");
        }
    }
    match &info.lab_kernel {
        Some(built) => println!("lab kernel: {} at {}", built.version, built.path.display()),
        None => println!("lab kernel: none; run `cargo lab kernel build`"),
    }
    Ok(())
}
