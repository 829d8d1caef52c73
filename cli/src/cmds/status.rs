use clap::Args;
use ippriv::control::{Role, Status as Daemons};
use ippriv::report;
use ippriv::state::State;
use ipprivd::kernel::{Kernel as _, LinuxKernel};

use crate::daemon::Daemon;
use crate::table::{age, list};
use crate::{Failed, output};

/// Show how the daemon is, or what circuits and overlays this host's kernel holds
#[derive(Args)]
pub(crate) struct Status {
    /// Ask the kernel instead of the daemon: what it holds, whoever built it
    #[arg(long)]
    kernel: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Status {
    pub(crate) fn run(self) -> Result<(), Failed> {
        if self.kernel {
            let current = LinuxKernel.dump(&State::default())?;
            let status = report::Status::new(&current.owned);
            return Ok(if self.json { output::json(&status) } else { output::text(&status.to_string()) }?);
        }
        let status: Daemons = self.daemon.get("/v1/status")?;
        Ok(if self.json { output::json(&status) } else { output::text(&shown(&status)) }?)
    }
}

fn shown(status: &Daemons) -> String {
    let roles = status.roles.iter().map(|role| match role {
        Role::Client => "client",
        Role::Relay => "relay",
        Role::Exit => "exit",
    });
    let network = &status.network;
    let mut text = format!(
        "ipprivd {}: {}, up {}\nnetwork {}: serial {}, {} relays, valid until {}\n",
        status.version,
        list(roles, ", "),
        age(status.uptime_s),
        network.name,
        network.serial,
        network.relays,
        network.valid_until,
    );
    if let Some(circuits) = &status.circuits {
        let kill_switch = if circuits.kill_switch { "on" } else { "off" };
        text.push_str(&format!(
            "circuits: {} open, {} building; kill switch {kill_switch}\n",
            circuits.open, circuits.building
        ));
    }
    if let Some(relay) = &status.relay {
        text.push_str(&format!(
            "relay {}: {} layers, {} handshakes, {} of {} overlays up\n",
            relay.name, relay.layers, relay.half_open, relay.overlays_up, relay.overlays
        ));
    }
    for warning in &status.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_few_lines() {
        let status = concat!(
            r#"{"version":"0.1.0","uptime_s":5,"roles":["client","relay"],"#,
            r#""network":{"name":"five","serial":2,"valid_until":"2027-01-01T00:00:00Z","relays":5},"#,
            r#""circuits":{"open":1,"building":0,"kill_switch":true},"#,
            r#""relay":{"name":"a","layers":3,"leases":4,"half_open":1,"overlays_up":1,"overlays":2},"#,
            r#""warnings":["the clock is off"]}"#,
        );
        assert_eq!(
            shown(&serde_json::from_str(status).unwrap()),
            "ipprivd 0.1.0: client, relay, up 5s\n\
             network five: serial 2, 5 relays, valid until 2027-01-01T00:00:00Z\n\
             circuits: 1 open, 0 building; kill switch on\n\
             relay a: 3 layers, 1 handshakes, 1 of 2 overlays up\n\
             warning: the clock is off\n"
        );
    }
}
