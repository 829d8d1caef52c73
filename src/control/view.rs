use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::id::ProcessId;
use crate::telescope::CircuitNumber;

/// How the daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// How long it has run, in seconds.
    pub uptime_s: u64,
    /// What this host does.
    pub roles: Vec<Role>,
    /// The network it is part of.
    pub network: NetworkSummary,
    /// This host's circuits as a client, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub circuits: Option<CircuitsSummary>,
    /// What this host does as a relay, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub relay: Option<RelaySummary>,
    /// What needs a person's attention, a line each.
    pub warnings: Vec<String>,
    /// Where the daemon writes all its keys, if somebody who started it wanted that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_log: Option<String>,
}

/// What a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It builds circuits.
    Client,
    /// Circuits go through it.
    Relay,
    /// Circuits leave the network through it.
    Exit,
}

/// The network document in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSummary {
    /// The network's name.
    pub name: String,
    /// The document's serial number.
    pub serial: u64,
    /// Until when it holds: RFC 3339, UTC.
    pub valid_until: String,
    /// How many relays it names.
    pub relays: u64,
}

/// A client's circuits in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitsSummary {
    /// Those that carry packets.
    pub open: u64,
    /// Those being built.
    pub building: u64,
    /// Whether everything that no circuit carries is dropped.
    pub kill_switch: bool,
}

/// A relay's work in numbers. Nothing here tells one client from another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelaySummary {
    /// The relay's own name.
    pub name: String,
    /// Layers of circuits that end here.
    pub layers: u64,
    /// Addresses of the pools that their clients have; those that rest are not counted.
    #[serde(default)]
    pub leases: u64,
    /// Handshakes that have begun and not ended.
    pub half_open: u64,
    /// Overlays that carry packets.
    pub overlays_up: u64,
    /// Overlays that should.
    pub overlays: u64,
}

/// A circuit of this host as a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitView {
    /// Tells it apart.
    pub number: CircuitNumber,
    /// What people call it.
    pub name: Option<String>,
    /// Whether it works.
    pub state: CircuitState,
    /// Its interface.
    pub link: Option<String>,
    /// Its addresses towards the internet, which the exit gave.
    pub addresses: Vec<IpAddr>,
    /// The name servers that the exit told of and that can be asked through it.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// The MTU inside, in octets.
    pub mtu: Option<u32>,
    /// Destinations that go through it.
    pub traffic: Vec<IpNet>,
    /// How long it has been in this state, in seconds.
    pub age_s: u64,
    /// The process that uses it instead of this host, in another network namespace.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lent_to: Option<ProcessId>,
    /// Its relays, entry first.
    pub hops: Vec<HopView>,
    /// Why it failed, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Whether a circuit works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// It grows.
    Building,
    /// It carries packets.
    Open,
    /// It is being taken down.
    Closing,
    /// It could not be built or broke.
    Failed,
}

/// A relay of a circuit, and the layer that ends there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopView {
    /// Its name.
    pub relay: String,
    /// Its address.
    pub address: IpAddr,
    /// The address it handed out.
    pub assigned: Option<IpAddr>,
    /// The layer's SAs, once they are there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sa: Option<SaView>,
}

/// An IKE SA and its ESP SAs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaView {
    /// The initiator's IKE SPI: 16 hexadecimal digits.
    pub ike_initiator: String,
    /// The responder's.
    pub ike_responder: String,
    /// The IKE algorithms.
    pub ike_suite: String,
    /// The ESP algorithms.
    pub esp_suite: String,
    /// The ESP SPI of packets that arrive: 8 hexadecimal digits.
    pub esp_in: String,
    /// The ESP SPI of packets that are sent.
    pub esp_out: String,
    /// Whether ESP goes in UDP, because a NAT is on the way.
    pub in_udp: bool,
    /// How often the keys have changed.
    pub rekeyed: u64,
}

/// A relay of the network, as this host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayView {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its public key: base64 of SubjectPublicKeyInfo (RFC 5280 §4.1).
    pub key: String,
    /// Whether circuits leave the network there.
    pub exit: bool,
    /// Whether circuits enter the network there.
    pub entry: bool,
    /// Its country, if the network says.
    pub country: Option<String>,
    /// Who runs it, if the network says: relays of one family never serve in one circuit.
    pub family: Option<String>,
    /// The relays it has overlays with.
    pub neighbours: Vec<String>,
    /// Whether it is this host.
    pub this: bool,
    /// Why circuits of this host avoid it, if they do.
    pub avoided: Option<String>,
}

/// An overlay of this relay to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayView {
    /// The neighbour.
    pub relay: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether it works.
    pub state: OverlayState,
    /// Its interface.
    pub link: Option<String>,
    /// How long it has been in this state, in seconds.
    pub age_s: u64,
    /// Its SAs, once they are there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sa: Option<SaView>,
    /// Why it does not work, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Whether an overlay works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlayState {
    /// It carries packets.
    Up,
    /// It is being set up.
    Connecting,
    /// It does not work and is tried again.
    Down,
}
