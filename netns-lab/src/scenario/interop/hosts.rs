//! Networks where some relays run `ipprivd` and others somebody else's daemon.

use std::collections::BTreeMap;
use std::error::Error;
use std::thread;
use std::time::Duration;

use ippriv::network::{ClientAuth, Relay, Software};
use serde_json::Value;

use super::cells::What;
use crate::daemons::{self, Daemons};
use crate::foreign::relays::{self, ForeignHost, Pending, Relays};
use crate::foreign::{Daemon, File, ForeignError, IkeSa, KeyKind};
use crate::net::Net;

/// How long overlays may take: the first attempts find nobody.
const OVERLAYS: Duration = Duration::from_secs(60);
/// How long a rekeying may take.
const REKEY: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// What a kernel holds and has dropped.
const KERNEL: &str = "awk '$2 > 0' /proc/net/xfrm_stat; ip -o -s xfrm state list nokeys; ip -o xfrm policy; \
                      ip -s link; nft list ruleset; ip rule; ip route show table all";

/// Running relays of all kinds.
pub(super) struct Hosts<'net> {
    pub(super) daemons: Daemons<'net>,
    pub(super) foreign: Relays<'net>,
    net: &'net Net,
}

/// Which of a relay's connections.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    /// That of the client.
    Clients,
    /// The overlay with this neighbour.
    Overlay(&'a str),
}

/// What of a connection is replaced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// The ESP SAs.
    Child,
    /// The IKE SA.
    Ike,
}

/// An overlay as our relay shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overlay {
    pub(super) state: String,
    /// The SPIs of its IKE SA.
    pub(super) ike: String,
}

impl Part {
    pub(super) const ALL: [Self; 2] = [Self::Child, Self::Ike];

    pub(super) const fn by_us(self) -> What {
        match self {
            Self::Child => What::ChildByUs,
            Self::Ike => What::IkeByUs,
        }
    }

    pub(super) const fn by_them(self) -> What {
        match self {
            Self::Child => What::ChildByThem,
            Self::Ike => What::IkeByThem,
        }
    }
}

impl<'net> Hosts<'net> {
    /// Starts all relays, each the neighbour of every other, and waits for their overlays. `plan` says what else
    /// is to be in the files of our own, what follows is the kind of key that
    /// libreswan has, and what files others have besides.
    pub(super) fn start(
        net: &'net Net,
        software: &[(&str, Software)],
        clients: &ClientAuth,
        mut plan: daemons::Plan,
        (libreswan, settings): (KeyKind, &[(Software, File)]),
    ) -> Result<Self, Box<dyn Error>> {
        let pending = Pending::prepare(net, software, clients, libreswan)?;
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
        let clients = clients.clone();
        let plan = relays::Plan { software, clients, overlays: &pairs, ours: &ours, settings };
        let foreign = pending.start(net, &plan)?;
        let hosts = Self { daemons, foreign, net };
        if !hosts.daemons.wait_overlays(OVERLAYS)? {
            let mut said = String::from("overlays are not up\n");
            for relay in &ours {
                said += &hosts.daemons.ippriv(relay.name.as_str(), &["overlay", "list"])?;
            }
            return Err((said + &hosts.logs(&[])?).into());
        }
        Ok(hosts)
    }

    /// Has a host of ours begin to replace them.
    pub(super) fn rekey(&self, host: &str, words: &[&str], part: Part) -> Result<(), Box<dyn Error>> {
        let ike: &[&str] = match part {
            Part::Child => &[],
            Part::Ike => &["--ike"],
        };
        self.daemons.ippriv(host, &[words, ike].concat())?;
        Ok(())
    }

    /// The number of the client's open circuit.
    pub(super) fn circuit_number(&self) -> Result<u64, Box<dyn Error>> {
        let circuits = self.daemons.circuits("client")?;
        let open = circuits.iter().find(|circuit| circuit["state"] == "open");
        let number = open.and_then(|circuit| circuit["number"].as_u64());
        Ok(number.ok_or_else(|| format!("found no open circuit, expected one: {circuits:?}"))?)
    }

    /// Waits until the client has no circuit any more, not even one that is taken down.
    pub(super) fn wait_for_no_circuit(&self) -> Result<(), Box<dyn Error>> {
        for _ in 0..OVERLAYS.as_millis() / POLL.as_millis() {
            if self.daemons.circuits("client")?.is_empty() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Err(format!("found {:?}, expected no circuit", self.daemons.circuits("client")?).into())
    }

    /// The overlays of our relays, by relay and neighbour.
    pub(super) fn overlays(&self) -> Result<BTreeMap<(String, String), Overlay>, Box<dyn Error>> {
        let mut overlays = BTreeMap::new();
        for relay in self.daemons.relays().iter().filter(|relay| relay.software == Software::Ippriv) {
            for overlay in self.daemons.list(relay.name.as_str(), "overlay")? {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let key = (relay.name.to_string(), text(&overlay["relay"]));
                let sa = &overlay["sa"];
                let ike = format!("{}-{}", text(&sa["ike_initiator"]), text(&sa["ike_responder"]));
                overlays.insert(key, Overlay { state: text(&overlay["state"]), ike });
            }
        }
        Ok(overlays)
    }

    /// Waits until the overlays of our relays are as they should; `false` when they are not in time.
    pub(super) fn wait_for_overlays(
        &self,
        good: impl Fn(&BTreeMap<(String, String), Overlay>) -> bool,
    ) -> Result<bool, Box<dyn Error>> {
        for _ in 0..OVERLAYS.as_millis() / POLL.as_millis() {
            if good(&self.overlays()?) {
                return Ok(true);
            }
            thread::sleep(POLL);
        }
        Ok(false)
    }

    /// What all daemons have said.
    pub(super) fn logs(&self, clients: &[&str]) -> Result<String, Box<dyn Error>> {
        let mut text = self.foreign.logs()?;
        for host in self.foreign.iter() {
            let node = self.net.node(host.relay.name.as_str())?;
            text +=
                &format!("── kernel of {}\n{}", host.relay.name, node.try_run(&["sh", "-c", KERNEL])?.stdout);
        }
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
    part: Part,
    act: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<Result<(), String>, Box<dyn Error>> {
    let before = numbers(host, which, part)?;
    if let Err(error) = act() {
        return Ok(Err(error.to_string()));
    }
    let mut now = Vec::new();
    for _ in 0..REKEY.as_millis() / POLL.as_millis() {
        now = numbers(host, which, part)?;
        if !now.is_empty() && !now.iter().any(|number| before.contains(number)) {
            return Ok(Ok(()));
        }
        thread::sleep(POLL);
    }
    Ok(Err(format!("found {now:x?}, expected others than {before:x?}")))
}

/// Has the relay's own daemon begin to replace them.
pub(super) fn rekey(host: &ForeignHost<'_>, which: Which<'_>, part: Part) -> Result<(), ForeignError> {
    let name = connection(host, which);
    match (&host.daemon, part) {
        (Daemon::StrongSwan(daemon), Part::Child) => {
            let child = match which {
                Which::Clients => "telescope",
                Which::Overlay(_) => "overlay",
            };
            daemon.swanctl(&["--rekey", "--ike", &name, "--child", child]).map(drop)
        }
        (Daemon::StrongSwan(daemon), Part::Ike) => daemon.rekey_ike(&name),
        (Daemon::Libreswan(daemon), Part::Child) => daemon.rekey_child(&name),
        (Daemon::Libreswan(daemon), Part::Ike) => daemon.rekey_ike(&name),
    }
}

/// Has the relay's own daemon delete the IKE SA of a connection: the latest, for it may not know of the death of
/// others.
pub(super) fn delete(host: &ForeignHost<'_>, which: Which<'_>) -> Result<(), Box<dyn Error>> {
    let number = latest(host, which)?.ok_or("found no IKE SA to delete, expected one")?;
    match &host.daemon {
        Daemon::StrongSwan(daemon) => daemon.delete(number)?,
        Daemon::Libreswan(daemon) => daemon.delete(number)?,
    }
    Ok(())
}

/// The daemon's number for the latest IKE SA of a connection that stands.
pub(super) fn latest(host: &ForeignHost<'_>, which: Which<'_>) -> Result<Option<u32>, ForeignError> {
    let name = connection(host, which);
    let sas = host.daemon.sas()?;
    let standing = sas.iter().filter(|sa| sa.connection == name && sa.established && !sa.children.is_empty());
    Ok(standing.map(|sa| sa.number).max())
}

/// Waits until a relay's daemon no longer has an IKE SA; whether it has not.
pub(super) fn wait_until_gone(host: &ForeignHost<'_>, number: u32) -> Result<bool, ForeignError> {
    for _ in 0..REKEY.as_millis() / POLL.as_millis() {
        if !host.daemon.sas()?.iter().any(|sa| sa.number == number && sa.established) {
            return Ok(true);
        }
        thread::sleep(POLL);
    }
    Ok(false)
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

fn numbers(host: &ForeignHost<'_>, which: Which<'_>, part: Part) -> Result<Vec<u32>, ForeignError> {
    let name = connection(host, which);
    let sas = host.daemon.sas()?;
    let of = |sa: &&IkeSa| sa.connection == name && sa.established && !sa.children.is_empty();
    let found = sas.iter().filter(of);
    Ok(match part {
        Part::Ike => found.map(|sa| sa.number).collect(),
        Part::Child => found
            .flat_map(|sa| sa.children.iter().filter(|child| child.installed))
            .map(|child| child.spi_in)
            .collect(),
    })
}
