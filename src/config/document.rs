//! The form of a file, as serde sees it.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_saphyr::Spanned;

use super::Places;
use crate::form::{AddressForm, CongestionControl, Ip6Form, PortRange, PrefixForm, prefixes, ranges};
use crate::id::{Mtu, Spi};
use crate::secret::KeyMaterial;
use crate::state::{RouteMetrics, UdpEncapsulation};
use crate::suite::{SequenceNumbers, Suite};
use crate::telescope::{
    CircuitNumber, Client, ExitPolicy, Hop, HopNumber, Host, Neighbour, NeighbourNumber, Relay, RelayCircuit,
    SaKeys, Stage, Telescope, TunnelKeys,
};

/// A whole file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) lab: bool,
    client: Option<Spanned<ClientForm>>,
    relay: Option<Spanned<RelayForm>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientForm {
    address: AddressForm,
    #[serde(default = "ethernet")]
    path_mtu: Mtu,
    #[serde(default)]
    kill_switch: bool,
    #[serde(default)]
    allow: Vec<PrefixForm>,
    #[serde(default)]
    circuits: Vec<Spanned<TelescopeForm>>,
}

const fn ethernet() -> Mtu {
    Mtu::ETHERNET
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TelescopeForm {
    number: CircuitNumber,
    hops: Vec<HopForm>,
    #[serde(default)]
    traffic: Vec<PrefixForm>,
    mtu: Option<Mtu>,
    advmss: Option<u32>,
    initcwnd: Option<u32>,
    congestion_control: Option<CongestionControl>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct HopForm {
    relay: AddressForm,
    address: AddressForm,
    address6: Option<Ip6Form>,
    suite: Suite,
    out: SaForm,
    r#in: Vec<SaForm>,
    udp: Option<UdpForm>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SaForm {
    spi: Spi,
    key: KeyForm,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct UdpForm {
    source_port: u16,
    destination_port: u16,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RelayForm {
    address: AddressForm,
    pool: PrefixForm,
    pool6: Option<PrefixForm>,
    exit: Option<ExitForm>,
    #[serde(default)]
    neighbours: Vec<Spanned<NeighbourForm>>,
    #[serde(default)]
    circuits: Vec<Spanned<RelayCircuitForm>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NeighbourForm {
    number: NeighbourNumber,
    address: AddressForm,
    pool: PrefixForm,
    suite: Suite,
    out: SaForm,
    r#in: Vec<SaForm>,
    tfc_padding: Option<u32>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RelayCircuitForm {
    number: HopNumber,
    peer: AddressForm,
    address: AddressForm,
    address6: Option<Ip6Form>,
    suite: Suite,
    out: SaForm,
    r#in: Vec<SaForm>,
    udp: Option<UdpForm>,
}

/// Key material in hexadecimal; never copied into a string of ours, never repeated in an error.
struct KeyForm(KeyMaterial);

impl<'de> Deserialize<'de> for KeyForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = KeyForm;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("key material in hexadecimal, quoted")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<KeyForm, E> {
                KeyMaterial::from_hex(text).map(KeyForm).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

impl Document {
    /// The roles, and where the file speaks of what.
    pub(super) fn into_host(self) -> (Host, Places) {
        let mut places = Places::default();
        let client = self.client.map(|form| {
            places.client = Some(form.referenced);
            form.value.into_client(&mut places)
        });
        let relay = self.relay.map(|form| {
            places.relay = Some(form.referenced);
            form.value.into_relay(&mut places)
        });
        (Host { client, relay }, places)
    }
}

impl ClientForm {
    fn into_client(self, places: &mut Places) -> Client {
        let circuits = self.circuits.into_iter().map(|form| {
            places.client_circuits.push(form.referenced);
            form.value.into_telescope()
        });
        Client {
            address: self.address.0,
            path_mtu: self.path_mtu,
            kill_switch: self.kill_switch,
            allow: prefixes(self.allow),
            guarded: Vec::new(),
            circuits: circuits.collect(),
        }
    }
}

impl TelescopeForm {
    fn into_telescope(self) -> Telescope {
        let hops = self.hops.into_iter().map(|hop| Hop {
            relay: hop.relay.0,
            address: hop.address.0,
            address6: hop.address6.map(|Ip6Form(address)| address),
            keys: tunnel_keys(hop.suite, hop.out, hop.r#in),
            encapsulation: hop.udp.map(UdpForm::into_ports),
        });
        Telescope {
            number: self.number,
            hops: hops.collect(),
            traffic: prefixes(self.traffic),
            mtu: self.mtu,
            options: RouteMetrics {
                advmss: self.advmss,
                initcwnd: self.initcwnd,
                congestion_control: self.congestion_control.map(|CongestionControl(name)| name),
            },
            stage: Stage::Static,
        }
    }
}

impl RelayForm {
    fn into_relay(self, places: &mut Places) -> Relay {
        let neighbours = self.neighbours.into_iter().map(|form| {
            places.neighbours.push(form.referenced);
            let peer = form.value;
            Neighbour {
                number: peer.number,
                address: peer.address.0,
                pool: peer.pool.0,
                keys: Some(tunnel_keys(peer.suite, peer.out, peer.r#in)),
                tfc_padding: peer.tfc_padding,
            }
        });
        let neighbours = neighbours.collect();
        let circuits = self.circuits.into_iter().map(|form| {
            places.relay_circuits.push(form.referenced);
            let circuit = form.value;
            RelayCircuit {
                number: circuit.number,
                peer: circuit.peer.0,
                address: circuit.address.0,
                address6: circuit.address6.map(|Ip6Form(address)| address),
                keys: tunnel_keys(circuit.suite, circuit.out, circuit.r#in),
                encapsulation: circuit.udp.map(UdpForm::into_ports),
            }
        });
        Relay {
            address: self.address.0,
            pool: self.pool.0,
            pool6: self.pool6.map(|PrefixForm(pool)| pool),
            exit: self.exit.map(ExitForm::into_policy),
            neighbours,
            circuits: circuits.collect(),
        }
    }
}

impl UdpForm {
    const fn into_ports(self) -> UdpEncapsulation {
        UdpEncapsulation { source_port: self.source_port, destination_port: self.destination_port }
    }
}

fn tunnel_keys(suite: Suite, out: SaForm, inbound: Vec<SaForm>) -> TunnelKeys {
    let keys = |sa: SaForm| SaKeys { spi: sa.spi, key: sa.key.0 };
    let sequence = SequenceNumbers::Extended;
    TunnelKeys { suite, sequence, out: keys(out), r#in: inbound.into_iter().map(keys).collect() }
}

/// What leaves at an exit.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ExitForm {
    reject: Option<Vec<PrefixForm>>,
    tcp_ports: Option<Vec<PortRange>>,
    udp_ports: Option<Vec<PortRange>>,
}

impl ExitForm {
    fn into_policy(self) -> ExitPolicy {
        let default = ExitPolicy::default();
        ExitPolicy {
            reject: self.reject.map_or(default.reject, prefixes),
            tcp_ports: ranges(self.tcp_ports),
            udp_ports: ranges(self.udp_ports),
        }
    }
}
