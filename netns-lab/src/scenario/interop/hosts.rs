//! Networks where some relays run `ipprivd` and others somebody else's daemon.

use std::error::Error;
use std::thread;
use std::time::Duration;

use ippriv::network::{ClientAuth, Relay, Software};

use crate::daemons::{self, Daemons};
use crate::foreign::relays::{self, ForeignHost, Pending, Relays};
use crate::foreign::{Daemon, ForeignError, IkeSa};
use crate::net::Net;

/// How long overlays may take: the first attempts find nobody.
const OVERLAYS: Duration = Duration::from_secs(60);
/// How long a rekeying may take.
const REKEY: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Running relays of all kinds.
pub(super) struct Hosts<'net> {
    pub(super) daemons: Daemons<'net>,
    pub(super) foreign: Relays<'net>,
}

/// Which of a relay's connections.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    /// That of the client.
    Clients,
    /// The overlay with this neighbour.
    Overlay(&'a str),
}

/// What is replaced.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// The ESP SAs.
    Child,
    /// The IKE SA.
    Ike,
}

impl<'net> Hosts<'net> {
    /// Starts all relays, each the neighbour of every other, and waits for their overlays. `plan` says what else
    /// is to be in the files of our own.
    pub(super) fn start(
        net: &'net Net,
        software: &[(&str, Software)],
        clients: &ClientAuth,
        mut plan: daemons::Plan,
    ) -> Result<Self, Box<dyn Error>> {
        let pending = Pending::prepare(net, software, clients)?;
        let foreign = |relay: &Relay| (relay.software, relay.identity.clone(), relay.clients.clone());
        plan.foreign = pending.relays().map(|relay| (relay.name.to_string(), foreign(relay))).collect();
        let pairs: Vec<(&str, &str)> = software
            .iter()
            .enumerate()
            .flat_map(|(place, (left, _))| software[place + 1..].iter().map(|(right, _)| (*left, *right)))
            .collect();
        for (left, right) in &pairs {
            for (own, other) in [(left, right), (right, left)] {
                let kind =
                    |name: &str| software.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
                if kind(own) == Some(Software::Ippriv) && kind(other) == Some(Software::Libreswan) {
                    let secret = relays::pair_psk_text(left, right);
                    plan.secrets.insert(((*own).to_owned(), (*other).to_owned()), secret);
                }
            }
        }
        let mut daemons = Daemons::prepare(net, &plan)?;
        let ours: Vec<Relay> =
            daemons.relays().iter().filter(|relay| relay.software == Software::Ippriv).cloned().collect();
        for relay in &ours {
            daemons.start(relay.name.as_str())?;
        }
        let plan = relays::Plan { software, clients: clients.clone(), overlays: &pairs, ours: &ours };
        let foreign = pending.start(net, &plan)?;
        let hosts = Self { daemons, foreign };
        if !hosts.daemons.wait_overlays(OVERLAYS)? {
            let mut said = String::from("overlays are not up\n");
            for relay in &ours {
                said += &hosts.daemons.ippriv(relay.name.as_str(), &["overlay", "list"])?;
            }
            return Err((said + &hosts.logs(&[])?).into());
        }
        Ok(hosts)
    }

    /// What all daemons have said.
    pub(super) fn logs(&self, clients: &[&str]) -> Result<String, Box<dyn Error>> {
        let mut text = self.foreign.logs()?;
        let ours = self.daemons.relays().iter().filter(|relay| relay.software == Software::Ippriv);
        for name in ours.map(|relay| relay.name.as_str()).chain(clients.iter().copied()) {
            text += &format!("── log of {name}\n{}", self.daemons.log(name)?);
        }
        Ok(text)
    }
}

/// Does something that ought to replace SAs of a connection, and waits until a relay has others than before.
pub(super) fn replaces(
    host: &ForeignHost<'_>,
    which: Which<'_>,
    what: What,
    act: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<Result<(), String>, Box<dyn Error>> {
    let before = numbers(host, which, what)?;
    if let Err(error) = act() {
        return Ok(Err(error.to_string()));
    }
    let mut now = Vec::new();
    for _ in 0..REKEY.as_millis() / POLL.as_millis() {
        now = numbers(host, which, what)?;
        if !now.is_empty() && !now.iter().any(|number| before.contains(number)) {
            return Ok(Ok(()));
        }
        thread::sleep(POLL);
    }
    Ok(Err(format!("found {now:x?}, expected others than {before:x?}")))
}

/// Has the relay's own daemon begin to replace them.
pub(super) fn rekey(host: &ForeignHost<'_>, which: Which<'_>, what: What) -> Result<(), ForeignError> {
    let name = connection(host, which);
    match (&host.daemon, what) {
        (Daemon::StrongSwan(daemon), What::Child) => {
            let child = match which {
                Which::Clients => "telescope",
                Which::Overlay(_) => "overlay",
            };
            daemon.swanctl(&["--rekey", "--ike", &name, "--child", child]).map(drop)
        }
        (Daemon::StrongSwan(daemon), What::Ike) => daemon.rekey_ike(&name),
        (Daemon::Libreswan(daemon), What::Child) => daemon.rekey_child(&name),
        (Daemon::Libreswan(daemon), What::Ike) => daemon.rekey_ike(&name),
    }
}

fn connection(host: &ForeignHost<'_>, which: Which<'_>) -> String {
    let prefix = match host.daemon {
        Daemon::StrongSwan(_) => "",
        Daemon::Libreswan(_) => "ippriv-",
    };
    match which {
        Which::Clients => format!("{prefix}clients"),
        Which::Overlay(neighbour) => format!("{prefix}overlay-{neighbour}"),
    }
}

fn numbers(host: &ForeignHost<'_>, which: Which<'_>, what: What) -> Result<Vec<u32>, ForeignError> {
    let name = connection(host, which);
    let sas = host.daemon.sas()?;
    let of = |sa: &&IkeSa| sa.connection == name && sa.established && !sa.children.is_empty();
    let found = sas.iter().filter(of);
    Ok(match what {
        What::Ike => found.map(|sa| sa.number).collect(),
        What::Child => found
            .flat_map(|sa| sa.children.iter().filter(|child| child.installed))
            .map(|child| child.spi_in)
            .collect(),
    })
}
