use clap::{Args, Subcommand};
use ippriv::control::{Rekey as Wanted, RekeyTarget, RekeyWhat};
use ippriv::network::Name;
use ippriv::telescope::CircuitNumber;

use crate::Failed;
use crate::daemon::Daemon;

/// Give SAs new keys before they are due
#[derive(Args)]
pub(crate) struct Rekey {
    #[command(subcommand)]
    target: Target,
    /// The IKE SA instead of the ESP SAs
    #[arg(long, global = true)]
    ike: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Subcommand)]
enum Target {
    /// A layer of a circuit
    Circuit {
        /// The circuit's number
        #[arg(value_parser = number)]
        circuit: CircuitNumber,
        /// The layer: 1 ends at the entry
        hop: u8,
    },
    /// An overlay
    Overlay {
        /// The neighbour
        relay: Name,
    },
}

impl Rekey {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let target = match self.target {
            Target::Circuit { circuit, hop } => RekeyTarget::Circuit { circuit, hop },
            Target::Overlay { relay } => RekeyTarget::Overlay { relay: relay.to_string() },
        };
        let what = if self.ike { RekeyWhat::Ike } else { RekeyWhat::Child };
        Ok(self.daemon.post("/v1/rekey", &Wanted { target, what })?)
    }
}

fn number(text: &str) -> Result<CircuitNumber, String> {
    let number = text.parse::<u32>().map_err(|error| error.to_string())?;
    CircuitNumber::try_from(number).map_err(|error| error.to_string())
}
