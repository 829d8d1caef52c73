//! Another policy and another network document while circuits live, and the end of a node.

use super::client::Stage;
use super::kernel::Part;
use super::overlay::Keeping;
use super::{Files, Node, NodeRefused, Then, start};
use crate::control::Reloaded;
use crate::network::Network;
use crate::policy::Policy;

impl Node {
    /// Goes by another policy and network document. What lives goes on; what is different holds for what
    /// comes. On an error nothing has changed.
    ///
    /// # Errors
    /// [`NodeRefused`] when the policy does not go with the network or the files.
    pub fn reload(
        &mut self,
        now: crate::time::Instant,
        old: &Policy,
        policy: &Policy,
        files: Files,
        network: Network,
    ) -> Result<Reloaded, NodeRefused> {
        self.now = self.now.max(now);
        // all that can fail comes first
        let credentials = start::credentials(policy, files.identity, &network)?.map(std::sync::Arc::new);
        let settings =
            start::settings(policy, (&files.ciphers, &files.secrets), &network, credentials.clone())?;
        let mut reloaded = Reloaded::default();
        if old.relay.is_some() != policy.relay.is_some() || old.client.is_some() != policy.client.is_some() {
            reloaded.restart.push("roles: a role is added or removed at the next start".to_owned());
        }
        if let (Some(relay), Some(before)) = (&policy.relay, &old.relay) {
            if relay.name != before.name {
                reloaded.restart.push(format!("relay.name: {} at the next start", relay.name));
            }
            if (relay.limits, &relay.exit) != (before.limits, &before.exit) {
                reloaded.changes.push("relay: limits or exit policy".to_owned());
            }
            if let Some(role) = &mut self.relay {
                let leaving = relay.exit.as_ref().map(|exit| exit.leaving.clone());
                role.reload(leaving.filter(|_| before.exit.is_some()), relay.limits);
                role.name_servers(relay.exit.as_ref());
            }
            if relay.exit.is_some() != before.exit.is_some() {
                reloaded
                    .restart
                    .push("relay.exit: begins or ends to be an exit at the next start".to_owned());
            }
            if let Some(credentials) = credentials {
                let tfc_padding = relay.overlay.tfc_padding;
                let keeping = Keeping { credentials, secrets: files.secrets, tfc_padding };
                self.overlays.configure(keeping, relay.overlay.neighbours);
            }
        }
        if network.serial() != self.network.serial() {
            reloaded.changes.push(format!("network document: serial {}", network.serial()));
        }
        self.ike.set_settings(settings);
        self.network = network;
        if let Some(relay) = policy.relay.as_ref().filter(|_| self.relay.is_some()) {
            self.renew_neighbours(relay, &mut reloaded);
        }
        if let (Some(client), Some(before)) = (&policy.client, &old.client) {
            self.renew_circuits(client, before, &mut reloaded);
        }
        self.kernel.push(Part::Base, Then::Nothing);
        Ok(reloaded)
    }

    /// Neighbours that came or went with the network document.
    fn renew_neighbours(&mut self, relay: &crate::policy::Relay, reloaded: &mut Reloaded) {
        let Some(own) = self.network.relay(relay.name.as_str()) else { return };
        let wanted: Vec<_> =
            self.network.neighbours(own).map(|other| (other.name.clone(), other.clone())).collect();
        let gone: Vec<_> = self
            .overlays
            .iter()
            .filter(|overlay| {
                !wanted.iter().any(|(name, relay)| {
                    *name == overlay.name
                        && std::net::IpAddr::V4(relay.address) == overlay.address
                        && start::public_key(&relay.identity).as_ref() == Some(overlay.key())
                })
            })
            .map(|overlay| (overlay.number, overlay.name.clone()))
            .collect();
        for (number, name) in gone {
            if let Some(sa) = self.overlays.connection_of(number) {
                self.forget(sa);
                self.purposes.remove(&sa);
                self.ike.close(self.now, sa);
            }
            self.overlays.remove(number);
            self.journal_neighbour(&name, None);
            reloaded.changes.push(format!("neighbour {name} is gone"));
        }
        for (name, other) in wanted {
            if !self.overlays.iter().any(|overlay| overlay.name == name) {
                reloaded.changes.push(format!("neighbour {name} is new"));
                self.add_neighbour(&relay.name, &other);
            }
        }
        self.overlays.start(self.now);
    }

    /// Circuits of the policy that came or went; one whose description is another now is built anew.
    fn renew_circuits(
        &mut self,
        client: &crate::policy::Client,
        before: &crate::policy::Client,
        reloaded: &mut Reloaded,
    ) {
        let Some(role) = &mut self.client else { return };
        role.reload(client);
        if (client.address, client.path_mtu) != (before.address, before.path_mtu) {
            reloaded.restart.push("client: address or path_mtu at the next start".to_owned());
        }
        let gone: Vec<_> = role
            .circuits()
            .values()
            .filter(|circuit| circuit.lasting() && !client.circuits.contains(&circuit.spec))
            .map(|circuit| circuit.number)
            .collect();
        let kept: Vec<_> = role
            .circuits()
            .values()
            .filter(|circuit| !gone.contains(&circuit.number))
            .map(|circuit| circuit.spec.clone())
            .collect();
        for number in gone {
            reloaded.changes.push(format!("circuit {number} is closed"));
            self.close_for_good(number);
        }
        let now = self.now;
        for spec in client.circuits.iter().filter(|spec| !kept.contains(spec)) {
            reloaded.changes.push(format!("circuit {} is new", spec.name));
            if let Some(role) = &mut self.client {
                role.add(spec.clone(), now);
            }
        }
        self.start_circuits();
    }

    /// Ends everything orderly: peers are told. Once [`Self::is_idle`], the kernel need hold nothing.
    pub fn flush(&mut self, now: crate::time::Instant) {
        self.now = self.now.max(now);
        self.stopping = true;
        let circuits: Vec<_> = self.client.iter().flat_map(|role| role.circuits().keys().copied()).collect();
        for number in circuits {
            self.close_for_good(number);
        }
        let own = |purpose: &super::Purpose| !matches!(purpose, super::Purpose::Hop(..));
        let sas: Vec<_> =
            self.purposes.iter().filter(|(_, purpose)| own(purpose)).map(|(sa, _)| *sa).collect();
        for sa in sas {
            self.ike.close(self.now, sa);
        }
    }

    /// Whether nothing is left that a peer could be told.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let circuits = self.client.iter().flat_map(|role| role.circuits().values());
        self.purposes.is_empty()
            && self.kernel.is_idle()
            && circuits.into_iter().all(|circuit| matches!(circuit.stage, Stage::Idle(_)))
    }
}
