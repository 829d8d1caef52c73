//! strongSwan, from 5.9 on.

use std::fmt::Write as _;

use super::file::{Access, Export, File};
use super::host::{self, TELESCOPES};
use super::{ForeignRelay, Neighbour, NeighbourAuth, Unsupported, key, published};
use crate::network::{Relay, Software};

/// The unit of `charon-systemd`.
const SERVICE: &str = "strongswan.service";
/// IKE suites, the preferred first; what our clients offer and what strict admins ask for.
const IKE: &str = "aes128gcm16-prfsha256-x25519, chacha20poly1305-prfsha256-x25519, \
                   aes256gcm16-prfsha384-ecp384, aes128gcm16-prfsha256-ecp256";
/// The same of ESP, each with a key exchange and without one.
const ESP: [&str; 4] = ["aes128gcm16", "aes256gcm16", "chacha20poly1305", "aes128-sha256"];

fn interface(id: u32) -> String {
    match id {
        TELESCOPES => "tele".to_owned(),
        id => format!("over{id}"),
    }
}

pub(super) fn export(relay: &ForeignRelay<'_>) -> Result<Export, Unsupported> {
    let own = relay.relay;
    let Some(psk) = published(own) else {
        return Err(Unsupported::NullAuth { relay: own.name.clone() });
    };
    let mut connections = String::new();
    clients(&mut connections, own);
    let mut secrets = format!(
        "    # Known to everybody; without an id it is for whoever has no other.\n    ike-clients {{\n        secret = \"{}\"\n    }}\n",
        psk.as_str()
    );
    let mut files = vec![public_key(own)];
    for (id, neighbour) in relay.overlays() {
        check(own, neighbour)?;
        overlay(&mut connections, relay, id, neighbour);
        match &neighbour.auth {
            NeighbourAuth::Keys => files.push(public_key(neighbour.relay)),
            NeighbourAuth::Psk(psk) => {
                let _ = write!(
                    secrets,
                    "    ike-{id} {{\n        id-1 = fqdn:{}\n        id-2 = fqdn:{}\n        secret = \"{}\"\n    }}\n",
                    own.name,
                    neighbour.relay.name,
                    psk.expose()
                );
            }
        }
    }
    let text = format!(
        "# The ippriv relay {}: swanctl(8) reads this. The relay's own private key is to be in\n\
         # /etc/swanctl/private; it never leaves the host and is in no document.\n\
         connections {{\n{connections}}}\n\
         pools {{\n{}}}\n\
         secrets {{\n{secrets}}}\n",
        own.name,
        pools(own),
    );
    files.push(File::new("/etc/swanctl/conf.d/ippriv.conf", Access::Root, text));
    files.push(File::new("/etc/strongswan.d/ippriv.conf", Access::Everybody, daemon(own)));
    files.extend(host::files(relay, interface, SERVICE));
    Ok(Export { overlays: relay.interfaces(interface), files, commands: host::commands(SERVICE) })
}

/// Whether these two can check each other's keys, or need not.
fn check(own: &Relay, neighbour: &Neighbour<'_>) -> Result<(), Unsupported> {
    let peer = neighbour.relay;
    let other_cannot = peer.software == Software::Libreswan && key::libreswan_key(&own.identity).is_none();
    match neighbour.auth {
        NeighbourAuth::Keys if other_cannot => Err(Unsupported::NeedsPsk {
            relay: own.name.clone(),
            neighbour: peer.name.clone(),
            kind: own.identity.kind(),
            software: peer.software,
        }),
        NeighbourAuth::Keys | NeighbourAuth::Psk(_) => Ok(()),
    }
}

fn public_key(relay: &Relay) -> File {
    let path = format!("/etc/swanctl/pubkey/ippriv-{}.pem", relay.name);
    File::new(path, Access::Everybody, key::pem(&relay.identity))
}

fn daemon(relay: &Relay) -> String {
    format!(
        "# The ippriv relay {}: charon's own settings.\n\
         charon {{\n    \
             # Routes and interfaces are those of {script}: charon's own would lead packets past them.\n    \
             install_routes = no\n    \
             install_virtual_ip = no\n    \
             # A table for many clients.\n    \
             ikesa_table_size = 4096\n    \
             ikesa_table_segments = 16\n    \
             plugins {{\n        \
                 # It would let packets to the local network past all tunnels.\n        \
                 bypass-lan {{\n            load = no\n        }}\n        \
                 # It would take name servers from peers.\n        \
                 resolve {{\n            load = no\n        }}\n    \
             }}\n\
         }}\n",
        relay.name,
        script = host::SCRIPT,
    )
}

fn pool_names(relay: &Relay) -> &'static str {
    if relay.pool6.is_some() { "ippriv, ippriv6" } else { "ippriv" }
}

fn pools(relay: &Relay) -> String {
    let mut text = format!("    ippriv {{\n        addrs = {}\n    }}\n", relay.pool);
    if let Some(pool6) = relay.pool6 {
        let _ = write!(text, "    ippriv6 {{\n        addrs = {pool6}\n    }}\n");
    }
    text
}

fn esp() -> String {
    // A peer that rekeys with a key exchange is else refused an hour after all went well.
    let suites = ESP.iter().flat_map(|suite| {
        ["x25519", "ecp256"]
            .into_iter()
            .map(move |group| format!("{suite}-{group}-esn-noesn"))
            .chain([format!("{suite}-esn-noesn")])
    });
    suites.collect::<Vec<_>>().join(", ")
}

/// What connections of both kinds have in common.
fn common(text: &mut String, relay: &Relay, id: u32) {
    let _ = write!(
        text,
        "        version = 2\n        \
                 local_addrs = {}\n        \
                 proposals = {IKE}\n        \
                 if_id_in = {id}\n        \
                 if_id_out = {id}\n        \
                 # MOBIKE would tell the peer all our addresses, and move tunnels to others.\n        \
                 mobike = no\n        \
                 # Keys come from the network document.\n        \
                 send_cert = never\n        \
                 send_certreq = no\n        \
                 fragmentation = yes\n",
        relay.address
    );
}

/// Who this relay says it is, and with its key unless there is a secret of two.
fn local(text: &mut String, relay: &Relay, auth: &NeighbourAuth) {
    let _ = write!(text, "        local {{\n            id = fqdn:{}\n", relay.name);
    prove(text, relay, auth);
}

fn prove(text: &mut String, relay: &Relay, auth: &NeighbourAuth) {
    let _ = match auth {
        NeighbourAuth::Keys => write!(
            text,
            "            auth = pubkey\n            pubkeys = ippriv-{}.pem\n        }}\n",
            relay.name
        ),
        NeighbourAuth::Psk(_) => write!(text, "            auth = psk\n        }}\n"),
    };
}

fn clients(text: &mut String, relay: &Relay) {
    text.push_str(
        "    # Telescopes: clients prove themselves with a key that everybody knows, which is to say not at all; the\n    \
             # relay proves itself with its own. Our clients have another identity in every circuit.\n    \
         clients {\n",
    );
    common(text, relay, TELESCOPES);
    let _ = write!(
        text,
        "        pools = {}\n        \
                 # Two clients are two, whoever they say they are.\n        \
                 unique = never\n        \
                 dpd_delay = 60s\n",
        pool_names(relay)
    );
    local(text, relay, &NeighbourAuth::Keys);
    text.push_str(
        "        remote {\n            auth = psk\n            id = %any\n        }\n        children {\n            telescope {\n",
    );
    let everything = if relay.pool6.is_some() { "0.0.0.0/0, ::/0" } else { "0.0.0.0/0" };
    let _ = writeln!(text, "                local_ts = {everything}");
    child(text);
    text.push_str("                dpd_action = clear\n            }\n        }\n    }\n");
}

/// What children of both kinds have in common.
fn child(text: &mut String) {
    let _ = write!(
        text,
        "                # Each with and without a key exchange: peers rekey with one who began without.\n                \
                         esp_proposals = {}\n                \
                         # Outer headers say nothing about what is inside.\n                \
                         copy_df = no\n",
        esp()
    );
}

fn overlay(text: &mut String, relay: &ForeignRelay<'_>, id: u32, neighbour: &Neighbour<'_>) {
    let own = relay.relay;
    let peer = neighbour.relay;
    let _ = write!(
        text,
        "    # The overlay tunnel to {}: one for the layers of all clients.\n    overlay-{} {{\n",
        peer.name, peer.name
    );
    common(text, own, id);
    let _ = write!(
        text,
        "        remote_addrs = {}\n        \
                 unique = replace\n        \
                 dpd_delay = 30s\n        \
                 # For ever.\n        \
                 keyingtries = 0\n",
        peer.address
    );
    local(text, own, &neighbour.auth);
    let _ = write!(text, "        remote {{\n            id = fqdn:{}\n", peer.name);
    prove(text, peer, &neighbour.auth);
    text.push_str(
        "        children {\n            overlay {\n                local_ts = 0.0.0.0/0\n                remote_ts = 0.0.0.0/0\n",
    );
    child(text);
    text.push_str(
        "                # With a trap, a packet for the neighbour begins the tunnel again whatever ended it; else one\n                \
                         # refusal by a neighbour that is starting would end it for good.\n",
    );
    text.push_str(if relay.begins(neighbour) {
        "                # Of two neighbours the one with the lower address also begins at once.\n                \
                         start_action = trap|start\n                \
                         close_action = trap\n                \
                         dpd_action = restart\n"
    } else {
        "                start_action = trap\n                \
                         close_action = trap\n                \
                         dpd_action = trap\n"
    });
    text.push_str("            }\n        }\n    }\n");
}
