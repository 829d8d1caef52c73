//! Telescopes: our own daemons, or keys dealt out beforehand.

use std::net::IpAddr;

use ippriv::id::Mtu;
use ippriv::suite::Suite;
use serde::{Deserialize, Serialize};

use super::{Outcome, Place, Running, Way};
use crate::deal::{Deal, Wish};

/// Where keys come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keying {
    /// `ipprivd` on every host.
    #[default]
    Ike,
    /// Dealt out by the lab, as `ippriv apply` takes them.
    Static,
}

/// What can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where keys come from.
    pub keying: Keying,
    /// The suite of every layer.
    pub suite: Suite,
    /// Largest packet inside; the default of circuits if this is not said.
    pub mtu: Option<Mtu>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keying: Keying::default(), suite: Suite::AesGcm128, mtu: None }
    }
}

struct Static {
    addresses: Vec<IpAddr>,
}

pub(super) fn start<'net>(settings: &Settings, place: Place<'net>) -> Outcome<Box<dyn Running + 'net>> {
    let mut wishes = Vec::new();
    for circuit in place.circuits {
        let hops: Vec<&str> = circuit.hops.iter().map(String::as_str).collect();
        let traffic = Vec::new();
        wishes.push(Wish {
            suite: settings.suite,
            mtu: settings.mtu,
            traffic,
            ..Wish::new(&circuit.client, &hops)
        });
    }
    let deal = Deal::new(place.net, &wishes)?;
    deal.apply(place.net)?;
    let mut taken = std::collections::BTreeMap::<&str, usize>::new();
    let mut addresses = Vec::new();
    for circuit in place.circuits {
        let at = taken.entry(circuit.client.as_str()).or_default();
        let telescope = deal
            .hosts
            .get(&circuit.client)
            .and_then(|host| host.client.as_ref()?.circuits.get(*at))
            .and_then(|telescope| telescope.hops.last())
            .ok_or_else(|| format!("{}: found no circuit {at}, expected one", circuit.client))?;
        *at += 1;
        addresses.push(telescope.address);
    }
    Ok(Box::new(Static { addresses }))
}

impl Running for Static {
    fn ways(&self) -> Vec<Way> {
        self.addresses.iter().map(|address| Way::From(*address)).collect()
    }
}
