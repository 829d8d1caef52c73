//! libreswan, 4.10 to 5.2.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::file::{Access, Export, File};
use super::host::{self, TELESCOPES};
use super::{ForeignRelay, Neighbour, NeighbourAuth, Unsupported, key, published};
use crate::network::{IdentityKey, Relay, Software};

/// pluto's unit.
const SERVICE: &str = "ipsec.service";
/// IKE suites, the preferred first.
const IKE: &str = "aes_gcm128-sha2_256-dh31,aes_gcm128-sha2_256-dh19,aes_gcm256-sha2_512-dh19,\
                   chacha20_poly1305-sha2_256-dh31";
/// The same of ESP. When rekeying pluto insists on a key exchange, that of the IKE SA, whatever is written here.
const ESP: &str = "aes_gcm128,aes_gcm256,chacha20_poly1305,aes128-sha2_256";

/// pluto insists on that name.
fn interface(id: u32) -> String {
    format!("ipsec{id}")
}

pub(super) fn export(relay: &ForeignRelay<'_>) -> Result<Export, Unsupported> {
    let own = relay.relay;
    if own.pool6.is_some() {
        return Err(Unsupported::Pool6 { relay: own.name.clone() });
    }
    let keyword = own_key(own)?;
    let mut connections = clients(own, &keyword);
    let mut secrets = format!("# Secrets of the ippriv relay {} and its neighbours.\n", own.name);
    if let Some(psk) = published(own) {
        let _ =
            write!(secrets, "# Known to everybody: for whoever has no other.\n: PSK \"{}\"\n", psk.as_str());
    }
    for (id, neighbour) in relay.overlays() {
        check(own, neighbour)?;
        connections.push_str(&overlay(relay, id, neighbour, &keyword));
        if let NeighbourAuth::Psk(psk) = &neighbour.auth {
            let _ = writeln!(secrets, "@{} @{} : PSK \"{}\"", own.name, neighbour.relay.name, psk.expose());
        }
    }
    let mut files = vec![
        File::new("/etc/ipsec.d/ippriv.conf", Access::Everybody, connections),
        File::new("/etc/ipsec.d/ippriv.secrets", Access::Root, secrets),
    ];
    files.extend(host::files(relay, interface, SERVICE));
    Ok(Export { overlays: relay.interfaces(interface), files, commands: host::commands(SERVICE) })
}

/// Words for a public key: how to prove oneself with it, and the key.
struct Keyword {
    auth: &'static str,
    key: &'static str,
    value: String,
}

fn keyword(key: &IdentityKey) -> Option<Keyword> {
    let value = key::libreswan_key(key)?;
    let rsa = matches!(key, IdentityKey::Rsa(_));
    let (auth, key) = if rsa { ("rsasig", "rsasigkey") } else { ("ecdsa", "ecdsakey") };
    Some(Keyword { auth, key, value })
}

fn own_key(relay: &Relay) -> Result<Keyword, Unsupported> {
    keyword(&relay.identity).ok_or_else(|| Unsupported::Key {
        relay: relay.name.clone(),
        kind: relay.identity.kind(),
        expected: "ecdsa-p256 or rsa",
        software: Software::Libreswan,
    })
}

fn check(own: &Relay, neighbour: &Neighbour<'_>) -> Result<(), Unsupported> {
    let peer = neighbour.relay;
    match neighbour.auth {
        NeighbourAuth::Keys if key::libreswan_key(&peer.identity).is_none() => Err(Unsupported::NeedsPsk {
            relay: own.name.clone(),
            neighbour: peer.name.clone(),
            kind: peer.identity.kind(),
            software: own.software,
        }),
        NeighbourAuth::Keys | NeighbourAuth::Psk(_) => Ok(()),
    }
}

/// What connections of both kinds have in common: one line each, indented by a tab as ipsec.conf(5) wants it.
fn common(relay: &Relay, id: u32) -> String {
    format!(
        "\tikev2=insist\n\
         \tleft={}\n\
         \tleftid=@{}\n\
         \tleftsubnet=0.0.0.0/0\n\
         \tike={IKE}\n\
         \t# Whoever rekeys does so with a key exchange, that of the IKE SA.\n\
         \tesp={ESP}\n\
         \t# The interface is there before pluto: {}.\n\
         \tipsec-interface={id}\n\
         \t# Routes are that script's; pluto's own script would make others, and takes long.\n\
         \tleftupdown=/bin/true\n\
         \tmobike=no\n\
         \t# Outer headers say nothing about what is inside.\n\
         \tnopmtudisc=yes\n",
        relay.address,
        relay.name,
        host::SCRIPT,
    )
}

fn clients(relay: &Relay, own: &Keyword) -> String {
    let [first, last] = hosts(relay);
    let Keyword { auth, key, value } = own;
    let (about, theirs) = match published(relay) {
        None => (
            "# Telescopes: clients are anonymous (RFC 7619), the relay proves itself with its key.\n",
            "\trightid=%null\n\trightauth=null\n",
        ),
        Some(_) => (
            "# Telescopes: clients show a key that everybody knows, the relay proves itself with its own.\n",
            "\trightid=%any\n\trightauth=secret\n",
        ),
    };
    format!(
        "# The ippriv relay {name}: ipsec.conf(5). Its private key is in the NSS database and nowhere else.\n\
         config setup\n\
         \t# Two clients are two, whoever they say they are.\n\
         \tuniqueids=no\n\n\
         {about}\
         conn ippriv-clients\n\
         {common}\
         \tleftauth={auth}\n\
         \tleft{key}={value}\n\
         \tleftmodecfgserver=yes\n\
         \tright=%any\n\
         {theirs}\
         \trightaddresspool={first}-{last}\n\
         \trightmodecfgclient=yes\n\
         \tmodecfgpull=yes\n\
         \tnarrowing=yes\n\
         \tdpddelay=60\n\
         \tdpdaction=clear\n\
         \t# Clients begin again if they want to.\n\
         \trekey=no\n\
         \tauto=add\n",
        name = relay.name,
        common = common(relay, TELESCOPES),
    )
}

/// The first and the last address that a client can have.
fn hosts(relay: &Relay) -> [Ipv4Addr; 2] {
    let (first, last) = (relay.pool.network(), relay.pool.broadcast());
    match relay.pool.prefix_len() {
        31 | 32 => [first, last],
        _ => [Ipv4Addr::from(u32::from(first) + 1), Ipv4Addr::from(u32::from(last) - 1)],
    }
}

fn overlay(relay: &ForeignRelay<'_>, id: u32, neighbour: &Neighbour<'_>, own: &Keyword) -> String {
    let peer = neighbour.relay;
    let auth = match (&neighbour.auth, keyword(&peer.identity)) {
        (NeighbourAuth::Keys, Some(theirs)) => format!(
            "\tleftauth={}\n\tleft{}={}\n\trightauth={}\n\tright{}={}\n",
            own.auth, own.key, own.value, theirs.auth, theirs.key, theirs.value
        ),
        _ => "\t# libreswan 4.10 and 5.2 cannot check Ed25519.\n\tauthby=secret\n".to_owned(),
    };
    let begin = if relay.begins(neighbour) {
        "\t# Of two neighbours the one with the lower address begins, and begins again.\n\
         \tkeyingtries=0\n\
         \tdpdaction=restart\n\
         \tauto=start\n"
    } else {
        "\t# The neighbour begins: its address is the lower one.\n\
         \tdpdaction=clear\n\
         \tauto=add\n"
    };
    format!(
        "\n# The overlay tunnel to {peer}: one for the layers of all clients.\n\
         conn ippriv-overlay-{peer}\n\
         {common}\
         {auth}\
         \tright={address}\n\
         \trightid=@{peer}\n\
         \trightsubnet=0.0.0.0/0\n\
         \trightupdown=/bin/true\n\
         \t# pluto else refuses two tunnels to everything; which of them is meant is for routes to say. The next\n\
         \t# hop leads nowhere, but is the same for all.\n\
         \toverlapip=yes\n\
         \tleftnexthop={own}\n\
         \tdpddelay=30\n\
         {begin}",
        peer = peer.name,
        address = peer.address,
        own = relay.relay.address,
        common = common(relay.relay, id),
    )
}
