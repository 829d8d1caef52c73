use clap::{Args, Subcommand};
use ippriv::control::Status;

use crate::daemon::Daemon;
use crate::{Failed, output};

/// For labs: look into what nobody is to see
#[derive(Args)]
pub(crate) struct Debug {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Say where the daemon writes its keys, as a profile of Wireshark's, and how to read a capture with it
    Keylog {
        #[command(flatten)]
        daemon: Daemon,
    },
}

impl Debug {
    pub(crate) fn run(self) -> Result<(), Failed> {
        let What::Keylog { daemon } = self.what;
        let status: Status = daemon.get("/v1/status")?;
        let place = status.key_log.ok_or(Failed::NoKeyLog)?;
        Ok(output::text(&shown(&place))?)
    }
}

fn shown(place: &str) -> String {
    format!(
        "every key of this daemon is in {place}: whoever has it reads its traffic\n\
         WIRESHARK_CONFIG_DIR={place} tshark -o esp.enable_encryption_decode:TRUE -r FILE.pcap\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_place() {
        assert!(shown("/run/keys").contains("\nWIRESHARK_CONFIG_DIR=/run/keys tshark "));
    }
}
