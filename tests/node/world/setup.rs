//! Networks and policies for worlds.

use std::fmt::Write as _;

use ippriv::network::{Network, PrivateKey, Trust};
use ippriv::policy::Policy;

/// What a world is like; the default is one client of relays that do everything.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u8,
    pub(crate) relays: u8,
    pub(crate) clients: u8,
    /// The address in the clients' policies; `None` is each one's own.
    pub(crate) address: Option<&'static str>,
    /// Lines of YAML below `circuits:`.
    pub(crate) circuits: String,
    /// More lines of each client's section.
    pub(crate) client: String,
    /// More lines of each relay's section.
    pub(crate) relay: String,
    /// What leaves at each relay: a map of YAML.
    pub(crate) exit: &'static str,
    /// Length of the prefix of the relays' pools.
    pub(crate) pool: u8,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 0,
            relays: 3,
            clients: 1,
            address: None,
            circuits: String::new(),
            client: String::new(),
            relay: String::new(),
            exit: "{}",
            pool: 16,
        }
    }
}

/// A circuit of the policy through these relays, which carries everything.
pub(crate) fn circuit(hops: &str) -> String {
    format!("    - name: c\n      hops: [{hops}]\n      traffic: [0.0.0.0/0]\n")
}

/// The private key of a relay; 99 is the operator's.
pub(crate) fn key(number: u8) -> PrivateKey {
    PrivateKey::from_seed([number; 32].into()).unwrap()
}

/// The name of a relay.
pub(crate) fn relay(number: u8) -> String {
    format!("relay-{}", char::from(b'a' + number - 1))
}

/// The name of a client's host.
pub(crate) fn client(number: u8) -> String {
    if number == 1 { "client".to_owned() } else { format!("client-{number}") }
}

/// The address of a client.
pub(crate) fn client_address(number: u8) -> String {
    format!("198.18.0.{}", number + 1)
}

impl Setup {
    /// A network of relays `relay-a`, `relay-b`, … at 198.18.N.2 with pools 10.(64+N).0.0.
    pub(crate) fn network(&self, serial: u64) -> Network {
        let operator = key(99);
        let mut text = format!(
            "network: test\nserial: {serial}\nvalid_from: 2026-01-01T00:00:00Z\n\
             valid_until: 2027-01-01T00:00:00Z\noperators:\n  op: {}\nthreshold: 1\nrelays:\n",
            operator.public()
        );
        for number in 1..=self.relays {
            let (name, key) = (relay(number), key(number).public());
            writeln!(
                text,
                "  - name: {name}\n    address: 198.18.{number}.2\n    identity: {key}\n    \
                 pool: 10.{}.0.0/{}\n    roles: [entry, middle, exit]\n    exit: {{}}",
                64 + number,
                self.pool
            )
            .unwrap();
        }
        let document = Network::parse(&text).unwrap().document().clone();
        let signature = operator.sign(&document, "op".parse().unwrap());
        let text = ippriv::network::edit::add_signature(&text, &signature).unwrap();
        let trust = Trust::new([("op".parse().unwrap(), operator.public())].into(), 1).unwrap();
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        Network::parse(&text).unwrap().verify(&trust, now, None).unwrap()
    }

    /// Takes the circuits away.
    pub(crate) fn without_circuits(&mut self) {
        self.circuits.clear();
    }

    pub(crate) fn relay_policy(&self, number: u8) -> Policy {
        let Self { relay: more, exit, .. } = self;
        policy(&format!("relay:\n  name: {}\n  identity: id\n  exit: {exit}\n{more}", relay(number)))
    }

    pub(crate) fn client_policy(&self, number: u8) -> Policy {
        let address = self.address.map_or_else(|| client_address(number), str::to_owned);
        let Self { client: more, circuits, .. } = self;
        policy(&format!(
            "client:\n  address: {address}\n  kill_switch: true\n{more}  circuits:{}\n{circuits}",
            if circuits.is_empty() { " []" } else { "" }
        ))
    }
}

/// A policy with these roles.
fn policy(roles: &str) -> Policy {
    let head =
        format!("network: net.yaml\ntrust:\n  operators: {{ op: {} }}\n  threshold: 1\n", key(99).public());
    Policy::parse(&(head + roles)).unwrap()
}
