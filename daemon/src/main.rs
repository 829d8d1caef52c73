//! `ipprivd`: the daemon of relays and clients.
//!
//! Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ippriv::control::{Refusal, RefusalCode};
use ippriv::node::Node;
use ippriv::policy::{ClientAddress, LogFormat, LogLevel, Policy};
use ipprivd::control::{Access, Hub, Listener};
use ipprivd::event_loop::{Reload, Renewed, Shell, bring_about, check_requirements, run};
use ipprivd::files::{self, Loaded};
use ipprivd::journal::{Journal, Storage};
use ipprivd::kernel::LinuxKernel;
use ipprivd::key_log::KeyLog;
use ipprivd::service::Manager;
use ipprivd::{clock, entropy, logging, privileges};
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};

/// Where the policy is when nobody says otherwise.
const POLICY: &str = "/etc/ippriv/ippriv.yaml";

/// The daemon of ippriv's relays and clients.
#[derive(Parser)]
#[command(name = "ipprivd", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run by a policy until told to stop; the kernel goes on forwarding after that
    Run(Run),
    /// Read a policy and all files it names, say what is wrong, and change nothing
    Check(Check),
}

#[derive(clap::Args)]
struct Check {
    /// The policy
    #[arg(long, default_value = POLICY)]
    policy: PathBuf,
}

#[derive(clap::Args)]
struct Run {
    /// The policy
    #[arg(long, default_value = POLICY)]
    policy: PathBuf,
    /// The least important that is logged, instead of what the policy says: error, warn, info, debug or trace
    #[arg(long)]
    log: Option<LevelFilter>,
    /// Let the runtime directory be on a disk, where its keys outlive a reboot
    #[arg(long, hide = true)]
    danger_journal_on_disk: bool,
    /// Take all randomness from this number: everybody who knows it knows every key
    #[arg(long, hide = true)]
    danger_seed: Option<u64>,
    /// Write every key into this directory, as a profile of Wireshark's: everybody who has it reads all traffic
    #[arg(long, hide = true, value_name = "DIR")]
    danger_keylog: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(arguments) => arguments.run(),
        Command::Check(arguments) => arguments.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ipprivd: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Check {
    fn run(self) -> Result<(), Box<dyn Error>> {
        let Loaded { policy, network, files } = files::load(&self.policy)?;
        // Any seed will do, for nothing of this node is ever sent.
        let node = Node::new(&policy, files, network, [0; 32], &[], clock::now())?;
        check_requirements(&node.desired()?.requirements)?;
        Ok(())
    }
}

impl Run {
    fn run(self) -> Result<(), Box<dyn Error>> {
        let loaded = files::load(&self.policy)?;
        loaded.remember()?;
        let Loaded { policy, network, files } = loaded;
        logging::start(self.log.unwrap_or(level(policy.log.level)), format(policy.log.format));
        let storage = if self.danger_journal_on_disk { Storage::Anywhere } else { Storage::Memory };
        prepare(&policy.runtime_directory)?;
        let (journal, recovered) = Journal::open(&policy.runtime_directory, storage)?;
        if recovered.torn > 0 {
            warn!(octets = recovered.torn, "the journal ended in the middle of a record, which is gone");
        }
        // After the journal, which only one daemon can have, and before privileges go that its group may need.
        let access = policy.control.group.clone().map_or(Access::Root, Access::Group);
        let listener = Listener::open(&policy.control.socket, &access)?;
        privileges::give_up()?;
        let seed = match self.danger_seed {
            Some(number) => {
                warn!("all keys come from a number on the command line: for the lab only");
                entropy::known_seed(number)
            }
            None => entropy::seed()?,
        };
        let now = clock::now();
        let mut node = Node::new(&policy, files, network.clone(), *seed, &recovered.records, now)?;
        let key_log = key_log(self.danger_keylog.as_deref(), &mut node)?;
        drop(recovered);
        let mut kernel = LinuxKernel;
        let desired = node.desired()?;
        check_requirements(&desired.requirements)?;
        bring_about(&mut kernel, desired.state)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let shell = Shell {
                brain: node,
                kernel,
                journal,
                key_log,
                towards: towards(&policy, &network),
                reload: reload(self.policy.clone(), policy),
                manager: Manager::from_environment(),
                hub: Hub::default(),
            };
            info!(version = env!("CARGO_PKG_VERSION"), "serves");
            Ok::<_, Box<dyn Error>>(run(shell, listener).await?)
        })
    }
}

/// The runtime directory, made if it is not there: systemd makes it, people may not. Members of the control
/// group reach the socket through it; what else is there only root can read.
fn prepare(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)
}

/// Opens the key log if there is to be one, and says so.
fn key_log(directory: Option<&Path>, node: &mut Node) -> std::io::Result<Option<KeyLog>> {
    let Some(directory) = directory else { return Ok(None) };
    let log = KeyLog::open(directory)?;
    warn!(directory = %directory.display(), "EVERY KEY IS WRITTEN: all traffic can be read; for the lab only");
    node.danger_log_keys(directory.display().to_string());
    Ok(Some(log))
}

/// Where a client that follows its address looks it up towards: every relay it may enter at.
fn towards(policy: &Policy, network: &ippriv::network::Network) -> Vec<std::net::IpAddr> {
    let follows = policy.client.as_ref().is_some_and(|client| client.address == ClientAddress::Auto);
    let relays = network.relays().iter().filter(|_| follows);
    relays.map(|relay| relay.address.into()).collect()
}

/// Reads everything again; on an error nothing has changed.
fn reload(path: PathBuf, policy: Policy) -> Reload<Node> {
    let mut current = policy;
    Box::new(move |node, now| {
        let refused = |error: &dyn Error| Refusal { code: RefusalCode::Invalid, message: error.to_string() };
        let loaded = files::load(&path).map_err(|error| refused(&error))?;
        loaded.remember().map_err(|error| refused(&error))?;
        let Loaded { policy, network, files } = loaded;
        let towards = towards(&policy, &network);
        let mut reloaded =
            node.reload(now, &current, &policy, files, network).map_err(|error| refused(&error))?;
        if (&policy.control, &policy.log, &policy.runtime_directory)
            != (&current.control, &current.log, &current.runtime_directory)
        {
            reloaded.restart.push("control, log or runtime_directory: at the next start".to_owned());
        }
        current = policy;
        Ok(Renewed { reloaded, towards })
    })
}

const fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

const fn format(format: LogFormat) -> logging::Format {
    match format {
        LogFormat::Text => logging::Format::Text,
        LogFormat::Json => logging::Format::Json,
    }
}
