use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::Args;
use ipnet::{Ipv4Net, Ipv6Net};
use ippriv::network::{
    ClientAuth, ExitSummary, IdentityKey, Name, Neighbours, PublishedPsk, Relay, Role, Software, Weight, edit,
};

use super::atomic::Change;
use super::{NetworkError, show};
use crate::Failed;
use crate::file::Text;

/// Add a relay to a document; one that is signed becomes the next edition, to be signed again
#[derive(Args)]
pub(super) struct Add {
    /// The document
    file: PathBuf,
    /// The relay's name
    #[arg(long)]
    name: Name,
    /// Its public IPv4 address
    #[arg(long)]
    address: Ipv4Addr,
    /// Its public IPv6 address
    #[arg(long)]
    address6: Option<Ipv6Addr>,
    /// Its public key, as `ippriv key show` prints it; ecdsa-p256:, ecdsa-p384: and rsa: for other software
    #[arg(long)]
    identity: IdentityKey,
    /// What runs there: ippriv, strongswan or libreswan
    #[arg(long, default_value = "ippriv", value_parser = software)]
    software: Software,
    /// A pre-shared key that everybody may know, for software without anonymous clients
    #[arg(long)]
    published_psk: Option<String>,
    /// The IPv4 addresses it hands out
    #[arg(long)]
    pool: Ipv4Net,
    /// The IPv6 addresses it hands out
    #[arg(long)]
    pool6: Option<Ipv6Net>,
    /// Where it may be in a circuit: entry, middle or exit; commas between
    #[arg(long, value_delimiter = ',', required = true, value_parser = role)]
    roles: Vec<Role>,
    /// TCP ports that leave at an exit, such as 80,443,8000-8999; `none` for none [default: all]
    #[arg(long, value_parser = ports)]
    tcp_ports: Option<Ports>,
    /// UDP ports that leave at an exit [default: all]
    #[arg(long, value_parser = ports)]
    udp_ports: Option<Ports>,
    /// Who runs it
    #[arg(long)]
    operator: Option<Name>,
    /// How often it is chosen, compared with others
    #[arg(long, default_value = "1", value_parser = weight)]
    weight: Weight,
    /// The relays it keeps tunnels with; commas between [default: all]
    #[arg(long, value_delimiter = ',')]
    neighbours: Option<Vec<Name>>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Ranges of ports.
#[derive(Clone)]
struct Ports(Vec<(u16, u16)>);

impl Add {
    pub(super) fn run(self) -> Result<(), Failed> {
        let file = self.file.clone();
        let json = self.json;
        let change = Change::begin(&file)?;
        let text = Text::read(change.path())?.text;
        let relay = self.relay()?;
        let changed = edit::add_relay(&text, relay);
        let changed =
            changed.map_err(|error| NetworkError::Edit { path: file.clone(), error: Box::new(error) })?;
        change.finish(&changed)?;
        show::changed(&file, super::read(&file)?.document(), "relay added", json)
    }

    fn relay(self) -> Result<Relay, NetworkError> {
        let roles: BTreeSet<Role> = self.roles.into_iter().collect();
        let ports = |ports: Option<Ports>| ports.map(|Ports(ranges)| ranges);
        let summary = ExitSummary { tcp_ports: ports(self.tcp_ports), udp_ports: ports(self.udp_ports) };
        let said = summary != ExitSummary::default();
        let clients = match self.published_psk.map(PublishedPsk::try_from).transpose() {
            Ok(psk) => psk.map_or(ClientAuth::Anonymous, ClientAuth::Psk),
            Err(error) => return Err(NetworkError::Psk(error)),
        };
        Ok(Relay {
            name: self.name,
            address: self.address,
            address6: self.address6,
            identity: self.identity,
            software: self.software,
            clients,
            pool: self.pool,
            pool6: self.pool6,
            exit: (said || roles.contains(&Role::Exit)).then_some(summary),
            roles,
            operator: self.operator,
            weight: self.weight,
            neighbours: self
                .neighbours
                .map_or(Neighbours::All, |names| Neighbours::Only(names.into_iter().collect())),
        })
    }
}

fn role(text: &str) -> Result<Role, String> {
    let mut roles = [Role::Entry, Role::Middle, Role::Exit].into_iter();
    roles.find(|role| role.name() == text).ok_or_else(|| "expected entry, middle or exit".into())
}

fn software(text: &str) -> Result<Software, String> {
    let mut known = [Software::Ippriv, Software::Strongswan, Software::Libreswan].into_iter();
    known.find(|known| known.name() == text).ok_or_else(|| "expected ippriv, strongswan or libreswan".into())
}

fn weight(text: &str) -> Result<Weight, String> {
    let number: u32 = text.parse().map_err(|_| "expected 0 to 1000000".to_owned())?;
    Weight::try_from(number).map_err(|error| error.to_string())
}

fn ports(text: &str) -> Result<Ports, String> {
    if text == "none" {
        return Ok(Ports(Vec::new()));
    }
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        (first <= last).then_some((first, last))
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    ranges.map(Ports).ok_or_else(|| "expected ports or FIRST-LAST with commas between, or none".into())
}
