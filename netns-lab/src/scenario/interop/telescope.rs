//! Stock daemons as clients: an xfrm interface for each hop, and the way to the next relay through it.

use std::error::Error;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ippriv::network::export::libreswan_key;
use ippriv::network::{ClientAuth, IdentityKey, Relay};

use crate::foreign::{Daemon, File, ForeignError, IkeSa, KeyKind, LibreswanKeys, StrongSwan};
use crate::net::Node;

/// charon's settings on a client.
const CHARON: &str =
    "charon {\n install_routes = no\n plugins { bypass-lan { load = no }\n resolve { load = no } }\n}\n";
/// What clients propose for IKE SAs. Relays that have no x25519 refuse the first guess.
const IKE: &str = "aes128gcm16-prfsha256-x25519-ecp256";
/// A point of P-256, in the place of keys that libreswan has no words for.
const ANY_KEY: &str =
    "0s7pMO1Vf41etpQtFvDpP4uvRdf4aDM4BTIObMJHHhOS9CR6/8NAHL3kgTiD9hrDT7r3Nic79UCZlpxTOM6aD6og==";
/// Identifier of the interface before the first hop's.
const INTERFACES: u32 = 10;
/// How long a rekeying may take.
const LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);

/// A client that builds a telescope.
pub(super) struct Telescope<'net> {
    pub(super) node: Node<'net>,
    pub(super) daemon: Daemon<'net>,
    hops: Vec<Hop>,
}

/// Addresses that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Families {
    /// One of IPv4.
    V4,
    /// One of each, which libreswan cannot.
    Both,
}

/// One of its layers.
struct Hop {
    connection: String,
    interface: String,
    given: Vec<IpAddr>,
}

impl<'net> Telescope<'net> {
    /// A strongSwan with such settings besides, which shows relays a published key.
    pub(super) fn strongswan(node: Node<'net>, settings: &str) -> Result<Self, ForeignError> {
        let files = [
            File::new("/etc/strongswan.d/client.conf", CHARON),
            File::new("/etc/strongswan.d/settings.conf", settings),
        ];
        let daemon = StrongSwan::start(node, &files)?;
        Ok(Self { node, daemon: Daemon::StrongSwan(daemon), hops: Vec::new() })
    }

    /// A libreswan, which is anonymous.
    pub(super) fn libreswan(node: Node<'net>) -> Result<Self, ForeignError> {
        let daemon = LibreswanKeys::generate(node, KeyKind::default())?.start(&[])?;
        Ok(Self { node, daemon: Daemon::Libreswan(daemon), hops: Vec::new() })
    }

    /// Ends the daemon and takes the interfaces away.
    pub(super) fn stop(self) -> Result<(), Box<dyn Error>> {
        self.daemon.stop()?;
        for hop in &self.hops {
            self.node.run(&["ip", "link", "del", &hop.interface])?;
        }
        Ok(())
    }

    /// One more layer, to `relay`, from the address that the relay before gave.
    pub(super) fn extend(&mut self, relay: &Relay, families: Families) -> Result<(), Box<dyn Error>> {
        let number = INTERFACES + u32::try_from(self.hops.len())? + 1;
        let (connection, interface) = (format!("hop{number}"), format!("ipsec{number}"));
        if let Some(last) = self.hops.last() {
            last.route(self.node, relay.address.into())?;
        }
        let id = number.to_string();
        self.node.run(&["ip", "link", "add", &interface, "type", "xfrm", "dev", "lo", "if_id", &id])?;
        self.node.run(&["ip", "link", "set", &interface, "mtu", "1280", "up"])?;
        let local = self.given().unwrap_or_else(|| self.node.address4().into());
        let given = match &self.daemon {
            Daemon::StrongSwan(daemon) => {
                let name = format!("/etc/swanctl/pubkey/{}.pem", relay.name);
                daemon.add(&File::new(name, pem(&relay.identity)))?;
                let name = format!("/etc/swanctl/conf.d/{connection}.conf");
                daemon.add(&File::new(name, swanctl(number, local, relay, families)))?;
                daemon.initiate(&connection, "net")?;
                let sas = daemon.sas()?;
                let sa = sas.into_iter().find(|sa| sa.connection == connection && sa.established);
                sa.map(|sa| sa.given).unwrap_or_default()
            }
            Daemon::Libreswan(daemon) => {
                daemon.listen()?;
                let name = format!("/etc/ipsec.d/{connection}.conf");
                daemon.add(&File::new(name, ipsec(number, local, relay)), &connection)?;
                daemon.initiate(&connection)?;
                daemon.given(&connection)?.into_iter().collect()
            }
        };
        let Some(first) = given.first() else {
            return Err(format!("{connection}: found no address given, expected one").into());
        };
        if let Daemon::Libreswan(_) = self.daemon {
            self.node.run(&["ip", "addr", "replace", &format!("{first}/32"), "dev", &interface])?;
        }
        self.hops.push(Hop { connection, interface, given });
        Ok(())
    }

    /// The address the last relay gave.
    pub(super) fn given(&self) -> Option<IpAddr> {
        self.hops.last().and_then(|hop| hop.given.first().copied())
    }

    /// Sends packets for `destination` through all layers.
    pub(super) fn route(&self, destination: IpAddr) -> Result<(), Box<dyn Error>> {
        let last = self.hops.last().ok_or("a telescope without a hop leads nowhere")?;
        last.route(self.node, destination)
    }

    /// The numbers of the IKE SA of a hop, from 1, and the SPIs of its ESP SAs.
    pub(super) fn numbers(&self, hop: usize) -> Result<[Vec<u32>; 2], Box<dyn Error>> {
        let hop = hop.checked_sub(1).and_then(|at| self.hops.get(at)).ok_or("no such hop")?;
        let children = |sa: &IkeSa| sa.children.iter().map(|child| child.spi_in).collect();
        Ok([self.of(hop, |sa| vec![sa.number])?, self.of(hop, children)?])
    }

    /// The connection of a hop, from 1.
    pub(super) fn connection(&self, hop: usize) -> Option<&str> {
        self.hops.get(hop.checked_sub(1)?).map(|hop| hop.connection.as_str())
    }

    /// Replaces the ESP SAs and then the IKE SA of every layer; says what failed to change.
    pub(super) fn rekey(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let mut unchanged = Vec::new();
        for hop in &self.hops {
            let spis = self.of(hop, |sa| sa.children.iter().map(|child| child.spi_in).collect())?;
            match &self.daemon {
                // The children of all hops have the same name.
                Daemon::StrongSwan(daemon) => {
                    daemon.swanctl(&["--rekey", "--ike", &hop.connection, "--child", "net"])?;
                }
                Daemon::Libreswan(daemon) => daemon.rekey_child(&hop.connection)?,
            }
            let fresh = |sa: &IkeSa| {
                let installed = sa.children.iter().filter(|child| child.installed);
                installed.map(|child| child.spi_in).collect()
            };
            if !self.changes(hop, &spis, fresh)? {
                unchanged.push(format!("ESP SAs of {}: {spis:x?}", hop.connection));
            }
            let number = |sa: &IkeSa| if sa.children.is_empty() { Vec::new() } else { vec![sa.number] };
            let numbers = self.of(hop, number)?;
            match &self.daemon {
                Daemon::StrongSwan(daemon) => daemon.rekey_ike(&hop.connection)?,
                Daemon::Libreswan(daemon) => daemon.rekey_ike(&hop.connection)?,
            }
            if !self.changes(hop, &numbers, number)? {
                unchanged.push(format!("IKE SA of {}: {numbers:?}", hop.connection));
            }
        }
        Ok(unchanged)
    }

    /// Waits until a hop has something of that kind, and nothing it had `before`.
    fn changes(
        &self,
        hop: &Hop,
        before: &[u32],
        look: impl Fn(&IkeSa) -> Vec<u32>,
    ) -> Result<bool, ForeignError> {
        for _ in 0..LIMIT.as_millis() / POLL.as_millis() {
            let now = self.of(hop, &look)?;
            if !now.is_empty() && !now.iter().any(|number| before.contains(number)) {
                return Ok(true);
            }
            thread::sleep(POLL);
        }
        Ok(false)
    }

    fn of(&self, hop: &Hop, look: impl Fn(&IkeSa) -> Vec<u32>) -> Result<Vec<u32>, ForeignError> {
        let sas = self.daemon.sas()?;
        let established = sas.iter().filter(|sa| sa.connection == hop.connection && sa.established);
        Ok(established.flat_map(look).collect())
    }
}

impl Hop {
    fn route(&self, node: Node<'_>, destination: IpAddr) -> Result<(), Box<dyn Error>> {
        let from = self.given.iter().find(|given| given.is_ipv4() == destination.is_ipv4());
        let from = from.ok_or("found no address of that family given, expected one")?;
        let (to, from) = (destination.to_string(), from.to_string());
        node.run(&["ip", "route", "add", &to, "dev", &self.interface, "src", &from])?;
        Ok(())
    }
}

fn swanctl(number: u32, local: IpAddr, relay: &Relay, families: Families) -> String {
    let (vips, remote) = match families {
        Families::V4 => ("0.0.0.0", "0.0.0.0/0"),
        Families::Both => ("0.0.0.0, ::", "0.0.0.0/0, ::/0"),
    };
    // Whom charon cannot convince is for the relay to say.
    let psk = match &relay.clients {
        ClientAuth::Psk(psk) => psk.as_str(),
        ClientAuth::Anonymous => "",
    };
    format!(
        "connections {{ hop{number} {{\n version = 2\n local_addrs = {local}\n remote_addrs = {address}\n \
         proposals = {IKE}\n vips = {vips}\n mobike = no\n dpd_delay = 20s\n send_cert = never\n \
         send_certreq = no\n if_id_in = {number}\n if_id_out = {number}\n \
         local {{ auth = psk\n id = keyid:circuit-1-hop-{number} }}\n \
         remote {{ auth = pubkey\n pubkeys = {name}.pem\n id = fqdn:{name} }}\n \
         children {{ net {{ remote_ts = {remote}\n esp_proposals = aes128gcm16-x25519-esn-noesn, \
         aes128gcm16-esn-noesn \
         }} }} }} }}\n\
         secrets {{ ike-hop{number} {{ id = keyid:circuit-1-hop-{number}\n secret = \"{psk}\" }} }}\n",
        address = relay.address,
        name = relay.name,
    )
}

fn ipsec(number: u32, local: IpAddr, relay: &Relay) -> String {
    format!(
        "conn hop{number}\n\tikev2=insist\n\tleft={local}\n\tleftid=%null\n\tleftauth=null\n\
         \tleftmodecfgclient=yes\n\tright={address}\n\trightid=@{name}\n\trightauth=ecdsa\n\
         \trightecdsakey={key}\n\trightsubnet=0.0.0.0/0\n\trightmodecfgserver=yes\n\tmodecfgpull=yes\n\
         \tnarrowing=yes\n\tipsec-interface={number}\n\tleftupdown=/bin/true\n\
         \tike=aes_gcm128-sha2_256-dh31,aes_gcm128-sha2_256-dh19\n\tesp=aes_gcm128\n\tauto=add\n",
        address = relay.address,
        name = relay.name,
        key = libreswan_key(&relay.identity).unwrap_or_else(|| ANY_KEY.to_owned()),
    )
}

fn pem(key: &IdentityKey) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(key.to_spki()))
}
