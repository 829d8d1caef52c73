//! The files of hosts that `ipprivd` runs: keys, the network document, policies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ippriv::entropy::Seeded;
use ippriv::network::{
    ClientAuth, Document, ExitSummary, IdentityKey, Neighbours, Network, PrivateKey, Purpose, Relay, Role,
    Software, UnixTime, Weight, edit,
};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::net::{Net, Node};
use crate::scenario::LabError;

/// The policy, in a host's folder.
pub(super) const POLICY: &str = "policy.yaml";
/// The control socket, in a host's folder.
pub(super) const SOCKET: &str = "control.sock";
/// The directory of keys, in a host's folder.
pub(super) const KEYS: &str = "keys";
/// Where a host's service manager listens, in its folder.
pub(super) const NOTIFY: &str = "notify.sock";
/// The network document, in a host's folder.
pub(super) const NETWORK: &str = "network.yaml";
/// The identity key, in a relay's folder.
const IDENTITY: &str = "identity.key";
/// The operator who signs.
const OPERATOR: &str = "operator";
/// When the document becomes and ceases to be valid: far around any clock of a lab.
const VALID: (u64, u64) = (1_000_000_000, 4_000_000_000);

/// A circuit in a client's policy.
#[derive(Debug, Clone)]
pub struct CircuitPlan {
    /// Whose circuit.
    pub client: String,
    /// What it is called.
    pub name: String,
    /// The relays, entry first.
    pub hops: Vec<String>,
    /// Instead of `hops`: how many relays the daemon chooses.
    pub length: Option<u8>,
    /// Destinations that go through it.
    pub traffic: Vec<String>,
    /// Further lines of its entry, without indentation.
    pub lines: Vec<String>,
}

/// Who does what.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The circuits that policies ask for.
    pub circuits: Vec<CircuitPlan>,
    /// Hosts that are clients without a circuit in their policy.
    pub idle_clients: Vec<String>,
    /// Whether clients have a kill switch.
    pub kill_switch: bool,
    /// Whether ML-KEM is left out.
    pub classical: bool,
    /// Relays that something else than `ipprivd` runs: what the document says of them.
    pub foreign: BTreeMap<String, (Software, IdentityKey, ClientAuth)>,
    /// Secrets that relays with `ipprivd` share with a neighbour, by relay and neighbour.
    pub secrets: BTreeMap<(String, String), String>,
    /// How clients come to relays with `ipprivd`: anonymously if this is not said.
    pub clients: Option<ClientAuth>,
    /// Further lines at the top of every policy.
    pub top_lines: String,
    /// Further lines of every relay's section.
    pub relay_lines: String,
    /// Further lines of every client's section.
    pub client_lines: String,
    /// Whether all keys are written into `keys` in each host's folder.
    pub key_log: bool,
    /// Name servers that the exits tell their clients of.
    pub dns: Vec<String>,
    /// Hosts with a service manager, which keeps sockets open while no daemon runs.
    pub managed: BTreeSet<String>,
    /// Whether clients find out their own address, and follow it.
    pub roaming: bool,
    /// Level of the logs.
    pub log: Option<String>,
}

impl CircuitPlan {
    /// A circuit for all traffic.
    #[must_use]
    pub fn new(client: &str, hops: &[&str]) -> Self {
        Self {
            client: client.to_owned(),
            name: "main".to_owned(),
            hops: hops.iter().map(ToString::to_string).collect(),
            length: None,
            traffic: vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
            lines: Vec::new(),
        }
    }
}

impl Plan {
    /// Circuits, with a kill switch.
    #[must_use]
    pub fn new(circuits: Vec<CircuitPlan>) -> Self {
        Self { circuits, kill_switch: true, ..Self::default() }
    }

    /// The clients, each once.
    pub(super) fn clients(&self) -> impl Iterator<Item = &str> {
        let all: BTreeSet<&str> = self
            .circuits
            .iter()
            .map(|circuit| circuit.client.as_str())
            .chain(self.idle_clients.iter().map(String::as_str))
            .collect();
        all.into_iter()
    }

    /// Whether `ipprivd` runs on a relay.
    pub(super) fn runs(&self, relay: &str) -> bool {
        !self.foreign.contains_key(relay)
    }

    /// The lines of an exit.
    fn exit(&self) -> String {
        let dns: Vec<String> = self.dns.iter().map(|server| format!("\"{server}\"")).collect();
        format!("  exit: {{ dns: [{}] }}\n", dns.join(", "))
    }

    fn client_policy(&self, client: &str, address: std::net::Ipv4Addr) -> String {
        let address = if self.roaming { "auto".to_owned() } else { address.to_string() };
        let mut text = format!("client:\n  address: {address}\n  kill_switch: {}\n", self.kill_switch);
        text.push_str(&self.client_lines);
        let circuits: Vec<_> = self.circuits.iter().filter(|circuit| circuit.client == client).collect();
        if !circuits.is_empty() {
            text.push_str("  circuits:\n");
        }
        for CircuitPlan { name, hops, length, traffic, lines, .. } in circuits {
            let relays = match length {
                Some(length) => format!("length: {length}"),
                None => format!("hops: [{}]", hops.join(", ")),
            };
            let traffic: Vec<String> = traffic.iter().map(|prefix| format!("\"{prefix}\"")).collect();
            let _ =
                writeln!(text, "    - name: {name}\n      {relays}\n      traffic: [{}]", traffic.join(", "));
            for line in lines {
                let _ = writeln!(text, "      {line}");
            }
        }
        text
    }
}

/// The network document, and who signs it.
#[derive(Debug)]
pub(super) struct Published {
    operator: PrivateKey,
    pub(super) document: Document,
}

impl Published {
    /// The document as a file, signed.
    pub(super) fn text(&self) -> Result<String, LabError> {
        let name = OPERATOR.parse().map_err(failed)?;
        let signature = self.operator.sign(&self.document, name);
        let text = edit::add_signature(&self.document.to_yaml(), &signature).map_err(failed)?;
        Network::parse(&text).map_err(failed)?;
        Ok(text)
    }
}

fn key() -> Result<PrivateKey, LabError> {
    let mut seed = [0; 32];
    getrandom(&mut seed, GetRandomFlags::empty()).map_err(|error| LabError::Files(error.to_string()))?;
    PrivateKey::generate(&mut Seeded::new(seed)).map_err(failed)
}

pub(super) fn failed(error: impl std::fmt::Display) -> LabError {
    LabError::Files(error.to_string())
}

/// Writes every host's files.
pub(super) fn write(net: &Net, plan: &Plan) -> Result<Published, LabError> {
    let operator = key()?;
    let mut relays = Vec::new();
    for node in net.relays() {
        let Some(offered) = node.relay() else { continue };
        let (software, identity, clients) = match plan.foreign.get(node.name()) {
            Some(foreign) => foreign.clone(),
            None => {
                let key = key()?;
                let name = node.name().parse().map_err(failed)?;
                let pem = key.to_pem(Purpose::Identity, Some(&name));
                node.write_file(IDENTITY, pem.as_bytes())?;
                let clients = plan.clients.clone().unwrap_or(ClientAuth::Anonymous);
                (Software::Ippriv, IdentityKey::Ed25519(key.public()), clients)
            }
        };
        let mut roles = BTreeSet::from([Role::Entry, Role::Middle]);
        roles.extend(offered.exit.then_some(Role::Exit));
        relays.push(Relay {
            name: node.name().parse().map_err(failed)?,
            address: node.address4(),
            address6: None,
            identity,
            software,
            clients,
            pool: offered.pool,
            // libreswan has no addresses of IPv6 for clients.
            pool6: offered.pool6.filter(|_| offered.exit && software != Software::Libreswan),
            roles,
            exit: offered.exit.then(ExitSummary::default),
            operator: None,
            weight: Weight::default(),
            neighbours: Neighbours::All,
        });
    }
    let document = Document {
        network: "lab".parse().map_err(failed)?,
        serial: 1,
        valid_from: UnixTime::from_seconds(VALID.0),
        valid_until: UnixTime::from_seconds(VALID.1),
        operators: [(OPERATOR.parse().map_err(failed)?, operator.public())].into(),
        threshold: 1,
        relays,
    };
    let published = Published { operator, document };
    let text = published.text()?;
    let operator = published.operator.public();
    let relays: BTreeSet<&str> =
        net.relays().map(|node| node.name()).filter(|name| plan.runs(name)).collect();
    let hosts: BTreeSet<&str> = relays.iter().copied().chain(plan.clients()).collect();
    for host in hosts {
        let node = net.node(host)?;
        node.write_file(NETWORK, text.as_bytes())?;
        let folder = node.folder();
        let folder = folder.to_string_lossy();
        let level = plan.log.as_deref().unwrap_or("info");
        let mut policy = format!(
            "network: {NETWORK}\ntrust:\n  operators: {{ {OPERATOR}: \"{operator}\" }}\n  threshold: 1\n\
             control: {{ socket: {folder}/{SOCKET} }}\nlog: {{ level: {level} }}\n\
             runtime_directory: {folder}\nstate_directory: {folder}/state\n",
        );
        policy.push_str(&plan.top_lines);
        if plan.classical {
            policy.push_str("ciphers:\n  default: { post_quantum: false }\n");
        }
        if relays.contains(host) {
            let exit = if node.relay().is_some_and(|relay| relay.exit) { plan.exit() } else { String::new() };
            let _ =
                write!(policy, "relay:\n  name: {host}\n  identity: {IDENTITY}\n{exit}{}", plan.relay_lines);
            policy.push_str(&secrets(node, plan)?);
        }
        if plan.clients().any(|client| client == host) {
            policy.push_str(&plan.client_policy(host, node.address4()));
        }
        node.write_file(POLICY, policy.as_bytes())?;
    }
    Ok(published)
}

/// Writes the secrets a relay shares with neighbours, and the lines of its policy that name the files.
fn secrets(node: Node<'_>, plan: &Plan) -> Result<String, LabError> {
    let mut lines = String::new();
    for ((relay, neighbour), secret) in &plan.secrets {
        if relay == node.name() {
            node.write_file(&format!("{neighbour}.psk"), format!("{secret}\n").as_bytes())?;
            let _ = writeln!(lines, "      {neighbour}: {neighbour}.psk");
        }
    }
    Ok(if lines.is_empty() { lines } else { format!("  overlay:\n    psk:\n{lines}") })
}
