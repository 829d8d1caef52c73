//! Relays with other people's daemons, configured by our export as an admin would, with overlays between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ippriv::network::export::{Export, ForeignRelay, Neighbour, NeighbourAuth, PairPsk};
use ippriv::network::{
    ClientAuth, Ed25519Key, ExitSummary, IdentityKey, Neighbours, Relay, Role, Software, Weight,
};

use super::{Daemon, File, ForeignError, KeyKind, LibreswanKeys, StrongSwan};
use crate::net::{Net, Node};

/// The key that clients show to strongSwan: everybody knows it.
const PUBLISHED_PSK: &str = "anonymous-anonymous-anonymous-anonymous-anonymous-anonymous-anon";
/// `PrivateKeyInfo` of an Ed25519 key up to the seed (RFC 8410 section 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// How long overlays may take.
const LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(500);

/// Running relays by name.
#[derive(Debug)]
pub struct Relays<'net> {
    running: BTreeMap<String, ForeignHost<'net>>,
}

/// One of them.
#[derive(Debug)]
pub struct ForeignHost<'net> {
    /// Its entry in the network document.
    pub relay: Relay,
    /// Its daemon.
    pub daemon: Daemon<'net>,
    /// What it was configured with.
    pub export: Export,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Nodes and what runs there; those with our own software are left alone.
    pub software: &'a [(&'a str, Software)],
    /// How clients come to relays with libreswan; to strongSwan they come with a published key always.
    pub clients: ClientAuth,
    /// Pairs that keep an overlay tunnel.
    pub overlays: &'a [(&'a str, &'a str)],
    /// Relays with our own software, which may be neighbours.
    pub ours: &'a [Relay],
    /// Files besides those of the export, for all daemons of that kind.
    pub settings: &'a [(Software, File)],
}

/// Relays whose keys are made, and whose daemons do not run yet.
pub struct Pending<'net> {
    prepared: Vec<Prepared<'net>>,
}

/// A relay before its daemon runs.
struct Prepared<'net> {
    node: Node<'net>,
    relay: Relay,
    key: PrivateKey<'net>,
}

enum PrivateKey<'net> {
    Seed([u8; 32]),
    Nss(LibreswanKeys<'net>),
}

impl<'net> Relays<'net> {
    /// Starts the daemons of a plan and waits until the overlays between them are up.
    ///
    /// # Errors
    /// [`ForeignError`] with the log of the daemon that fails.
    pub fn start(net: &'net Net, plan: &Plan<'_>) -> Result<Self, ForeignError> {
        Pending::prepare(net, plan.software, &plan.clients, KeyKind::default())?.start(net, plan)
    }

    /// The relay called `name`.
    ///
    /// # Errors
    /// [`ForeignError::Unknown`] when it is none of these.
    pub fn get(&self, name: &str) -> Result<&ForeignHost<'net>, ForeignError> {
        self.running.get(name).ok_or_else(|| ForeignError::Unknown(name.to_owned()))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ForeignHost<'net>> {
        self.running.values()
    }

    /// What every daemon has said, for people who look for what went wrong.
    ///
    /// # Errors
    /// [`ForeignError`] when a log cannot be read.
    pub fn logs(&self) -> Result<String, ForeignError> {
        let mut text = String::new();
        for host in self.iter() {
            text += &format!("── log of {}\n{}", host.relay.name, host.daemon.log()?);
        }
        Ok(text)
    }

    fn wait_for_overlays(&self, net: &Net, plan: &Plan<'_>) -> Result<(), ForeignError> {
        for (left, right) in plan.overlays {
            let (Ok(left), Ok(right)) = (self.get(left), self.get(right)) else { continue };
            for (here, there) in [(left, right), (right, left)] {
                here.wait_for_tunnel(net, &there.relay)?;
            }
        }
        Ok(())
    }
}

impl<'net> Pending<'net> {
    /// Makes the keys of all relays that do not run our own software.
    ///
    /// # Errors
    /// [`ForeignError`] when a key cannot be made.
    pub fn prepare(
        net: &'net Net,
        software: &[(&str, Software)],
        clients: &ClientAuth,
        libreswan: KeyKind,
    ) -> Result<Self, ForeignError> {
        let mut prepared = Vec::new();
        for (number, (name, software)) in (1..).zip(software) {
            prepared.extend(prepare(net.node(name)?, *software, (number, libreswan), clients)?);
        }
        Ok(Self { prepared })
    }

    /// Their entries in the network document.
    pub fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.prepared.iter().map(|one| &one.relay)
    }

    /// Starts their daemons and waits until the overlays between them are up; the plan's software is not looked at.
    ///
    /// # Errors
    /// [`ForeignError`] with the log of the daemon that fails.
    pub fn start(self, net: &'net Net, plan: &Plan<'_>) -> Result<Relays<'net>, ForeignError> {
        let relays: Vec<Relay> = self.relays().cloned().chain(plan.ours.iter().cloned()).collect();
        let mut running = BTreeMap::new();
        for one in self.prepared {
            let neighbours = neighbours(plan, &relays, &one.relay)?;
            let export = ForeignRelay { relay: &one.relay, neighbours }.export()?;
            let host = one.start(export, plan.settings)?;
            running.insert(host.relay.name.to_string(), host);
        }
        let relays = Relays { running };
        relays.wait_for_overlays(net, plan)?;
        Ok(relays)
    }
}

impl ForeignHost<'_> {
    /// Waits until the overlay tunnel to a neighbour is up, knocking at it: the first of two neighbours to start
    /// finds nobody, and it is the next packet for the other that has it try again.
    ///
    /// # Errors
    /// [`ForeignError::NotReady`] with the daemon's log when it is not.
    pub fn wait_for_tunnel(&self, net: &Net, neighbour: &Relay) -> Result<(), ForeignError> {
        let node = net.node(self.relay.name.as_str())?;
        let interface = self.export.overlays.get(&neighbour.name).map_or("lo", String::as_str);
        for _ in 0..=LIMIT.as_millis() / POLL.as_millis() {
            let up = |sa: &super::IkeSa| {
                let installed = sa.children.iter().any(|child| child.installed);
                sa.established && sa.remote == neighbour.address && installed
            };
            if self.daemon.sas()?.iter().any(up) {
                return Ok(());
            }
            let to = neighbour.address.to_string();
            node.try_run(&["ping", "-n", "-c", "1", "-W", "0.1", "-I", interface, &to])?;
            std::thread::sleep(POLL);
        }
        let said = format!("no tunnel to {}\n{}", neighbour.name, self.daemon.log()?);
        Err(ForeignError::NotReady { node: self.relay.name.to_string(), limit: LIMIT, said })
    }
}

fn prepare<'net>(
    node: Node<'net>,
    software: Software,
    (number, libreswan): (u8, KeyKind),
    clients: &ClientAuth,
) -> Result<Option<Prepared<'net>>, ForeignError> {
    let (key, identity, clients) = match software {
        Software::Ippriv => return Ok(None),
        Software::Strongswan => {
            let seed = [number; 32];
            (PrivateKey::Seed(seed), ed25519(&seed), published()?)
        }
        Software::Libreswan => {
            let keys = LibreswanKeys::generate(node, libreswan)?;
            let public = keys.public().clone();
            (PrivateKey::Nss(keys), Ok(public), clients.clone())
        }
    };
    let identity = identity.map_err(|source| ForeignError::Key {
        node: node.name().to_owned(),
        said: String::new(),
        source,
    })?;
    let relay = entry(node, software, identity, clients)?;
    Ok(Some(Prepared { node, relay, key }))
}

/// Clients show a key that everybody knows.
///
/// # Errors
/// [`ForeignError::PublishedPsk`] when it is none.
pub fn published() -> Result<ClientAuth, ForeignError> {
    Ok(ClientAuth::Psk(PUBLISHED_PSK.to_owned().try_into()?))
}

/// The public key of a seed.
fn ed25519(seed: &[u8; 32]) -> Result<IdentityKey, ippriv::network::BadKey> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed);
    let octets =
        pair.map_or([0; 32], |pair| <[u8; 32]>::try_from(pair.public_key().as_ref()).unwrap_or([0; 32]));
    Ed25519Key::new(octets).map(IdentityKey::Ed25519)
}

/// A relay's entry in the network document, from what the topology says of it.
fn entry(
    node: Node<'_>,
    software: Software,
    identity: IdentityKey,
    clients: ClientAuth,
) -> Result<Relay, ForeignError> {
    let not_a_relay = || ForeignError::Unknown(node.name().to_owned());
    let offer = node.relay().ok_or_else(not_a_relay)?;
    let roles = [Role::Entry, Role::Middle].into_iter().chain(offer.exit.then_some(Role::Exit));
    Ok(Relay {
        name: node.name().parse().map_err(|_| not_a_relay())?,
        address: node.address4(),
        address6: None,
        identity,
        software,
        clients,
        pool: offer.pool,
        // libreswan has no addresses of IPv6 for clients.
        pool6: offer.pool6.filter(|_| offer.exit && software == Software::Strongswan),
        roles: roles.collect::<BTreeSet<_>>(),
        exit: offer.exit.then(ExitSummary::default),
        operator: None,
        weight: Weight::default(),
        neighbours: Neighbours::All,
    })
}

/// The neighbours of `relay`. Two of which one has libreswan and the other an Ed25519 key share a secret.
fn neighbours<'a>(
    plan: &Plan<'_>,
    relays: &'a [Relay],
    relay: &Relay,
) -> Result<Vec<Neighbour<'a>>, ForeignError> {
    let mut found = Vec::new();
    for (left, right) in plan.overlays {
        let other = match () {
            () if relay.name == **left => right,
            () if relay.name == **right => left,
            () => continue,
        };
        let peer = relays.iter().find(|peer| peer.name == **other);
        let peer = peer.ok_or_else(|| ForeignError::Unknown((*other).to_owned()))?;
        let foreign = |one: &Relay, two: &Relay| {
            one.software == Software::Libreswan && matches!(two.identity, IdentityKey::Ed25519(_))
        };
        let auth = if foreign(relay, peer) || foreign(peer, relay) {
            NeighbourAuth::Psk(pair_psk(left, right)?)
        } else {
            NeighbourAuth::Keys
        };
        found.push(Neighbour { relay: peer, auth });
    }
    Ok(found)
}

/// The secret of two neighbours in the lab.
///
/// # Errors
/// [`ForeignError::Psk`] when the names make it too long.
pub fn pair_psk(left: &str, right: &str) -> Result<PairPsk, ForeignError> {
    Ok(PairPsk::try_from(pair_psk_text(left, right))?)
}

/// The same as text, for files.
#[must_use]
pub fn pair_psk_text(left: &str, right: &str) -> String {
    format!("the lab's secret of {left} and {right}, and nobody else's")
}

impl<'net> Prepared<'net> {
    fn start(self, export: Export, settings: &[(Software, File)]) -> Result<ForeignHost<'net>, ForeignError> {
        let software = self.relay.software;
        let mut files: Vec<File> =
            settings.iter().filter(|(kind, _)| *kind == software).map(|(_, file)| file.clone()).collect();
        for file in &export.files {
            if file.path.ends_with("/relay-up") {
                let script = self.node.write_file("relay-up", file.text().as_bytes())?;
                self.node.run(&["sh", &script.to_string_lossy()])?;
            } else if !file.path.starts_with("/etc/systemd/") {
                files.push(File::new(&file.path, file.text()));
            }
        }
        let daemon = match self.key {
            PrivateKey::Seed(seed) => {
                let der = STANDARD.encode([&ED25519_PKCS8[..], &seed].concat());
                let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
                files.push(File::new("/etc/swanctl/private/ippriv.pem", pem));
                Daemon::StrongSwan(StrongSwan::start(self.node, &files)?)
            }
            PrivateKey::Nss(keys) => Daemon::Libreswan(keys.start(&files)?),
        };
        Ok(ForeignHost { relay: self.relay, daemon, export })
    }
}
