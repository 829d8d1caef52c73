//! The form of a network document, as serde sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    ClientAuth, Document, Ed25519Key, ExitSummary, IdentityKey, Name, Neighbours, PublishedPsk, Relay, Role,
    Signature, Software, UnixTime, Weight,
};
use crate::form::{PortRange, ranges, text_form};

/// A whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    network: Name,
    serial: u64,
    valid_from: UnixTime,
    valid_until: UnixTime,
    operators: BTreeMap<Name, Ed25519Key>,
    threshold: usize,
    #[serde(default)]
    pub(super) relays: Vec<Spanned<RelayForm>>,
    #[serde(default)]
    pub(super) signatures: Vec<SignatureForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelayForm {
    name: Name,
    address: Ip4Form,
    address6: Option<Ip6Form>,
    identity: IdentityKey,
    #[serde(default)]
    software: Software,
    #[serde(default)]
    clients: ClientsForm,
    pool: Pool4Form,
    pool6: Option<Pool6Form>,
    roles: BTreeSet<Role>,
    exit: Option<ExitForm>,
    operator: Option<Name>,
    #[serde(default)]
    weight: Weight,
    neighbours: Option<BTreeSet<Name>>,
}

/// `anonymous`, or `psk` and a published key.
#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClientsForm {
    #[default]
    Anonymous,
    Psk(PublishedPsk),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExitForm {
    tcp_ports: Option<Vec<PortRange>>,
    udp_ports: Option<Vec<PortRange>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignatureForm {
    operator: Name,
    signature: Octets64Form,
}

text_form!(Ip4Form, Ipv4Addr, "an IPv4 address such as 198.51.100.2");
text_form!(Ip6Form, Ipv6Addr, "an IPv6 address such as 2001:db8::2");
text_form!(Pool4Form, Ipv4Net, "an IPv4 prefix such as 10.64.0.0/16");
text_form!(Pool6Form, Ipv6Net, "an IPv6 prefix such as fd00:66::/64");

/// A signature of Ed25519.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Octets64Form([u8; 64]);

impl TryFrom<String> for Octets64Form {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let octets = STANDARD.decode(text).ok().and_then(|octets| octets.try_into().ok());
        octets.map(Self).ok_or("signature: expected 64 octets in base64")
    }
}

impl Form {
    pub(super) fn into_document(self) -> (Document, Vec<Signature>) {
        let relays = self.relays.into_iter().map(|form| form.value.into_relay());
        let document = Document {
            network: self.network,
            serial: self.serial,
            valid_from: self.valid_from,
            valid_until: self.valid_until,
            operators: self.operators,
            threshold: self.threshold,
            relays: relays.collect(),
        };
        let signatures = self.signatures.into_iter();
        let signatures =
            signatures.map(|form| Signature { operator: form.operator, octets: form.signature.0 });
        (document, signatures.collect())
    }
}

impl RelayForm {
    fn into_relay(self) -> Relay {
        Relay {
            name: self.name,
            address: self.address.0,
            address6: self.address6.map(|Ip6Form(address)| address),
            identity: self.identity,
            software: self.software,
            clients: match self.clients {
                ClientsForm::Anonymous => ClientAuth::Anonymous,
                ClientsForm::Psk(psk) => ClientAuth::Psk(psk),
            },
            pool: self.pool.0,
            pool6: self.pool6.map(|Pool6Form(pool)| pool),
            roles: self.roles,
            exit: self.exit.map(|form| ExitSummary {
                tcp_ports: ranges(form.tcp_ports),
                udp_ports: ranges(form.udp_ports),
            }),
            operator: self.operator,
            weight: self.weight,
            neighbours: self.neighbours.map_or(Neighbours::All, Neighbours::Only),
        }
    }
}
