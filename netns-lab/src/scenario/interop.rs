//! Stock daemons on all nodes, configured by our export: that what we tell admins works without us.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ippriv::network::{ClientAuth, IdentityKey, Relay, Software};
use serde_json::Value;

use super::{Scenario, Verdicts};
use crate::capture::{Captures, LinkCapture};
use crate::foreign::relays::{Plan, Relays};
use crate::foreign::{File, ForeignError, StrongSwan};
use crate::net::{Net, Node};
use crate::program;
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "interop-baseline-strongswan",
    about: "a strongSwan client's telescope through three strongSwan relays",
    run: strongswan,
}];

const RELAYS: [&str; 3] = ["relay1", "relay2", "relay3"];
const LIMIT: Duration = Duration::from_secs(10);
const PINGS: u32 = 3;

fn strongswan(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&Topology::chain(3)?)?;
    let software = RELAYS.map(|name| (name, Software::Strongswan));
    let overlays = [("relay1", "relay2"), ("relay2", "relay3")];
    let relays = Relays::start(&net, &Plan { software: &software, overlays: &overlays, ours: &[] })?;
    verdicts.check("overlays are up", true, "both neighbours have an installed child");
    let captures = Captures::start_all(&net)?;
    let mut client = Client::start(net.node("client")?)?;
    for name in RELAYS {
        if let Err(error) = client.extend(&relays.get(name)?.relay) {
            return Err(format!("{error}\n{}\n{}", client.charon.log()?, relays.logs()?).into());
        }
    }
    carries(verdicts, &net, &client)?;
    println!("{}", client.charon.swanctl(&["--list-sas", "--raw"])?);
    on_the_wire(verdicts, &captures.stop()?);
    Ok(())
}

/// A strongSwan that builds a telescope: an xfrm interface for each hop, and the way to the next relay through it.
struct Client<'net> {
    node: Node<'net>,
    charon: StrongSwan<'net>,
    /// The address that the last relay gave us.
    given: Option<IpAddr>,
    hops: u32,
}

impl<'net> Client<'net> {
    fn start(node: Node<'net>) -> Result<Self, ForeignError> {
        let daemon = "charon {\n install_routes = no\n plugins { bypass-lan { load = no }\n resolve { load = no } }\n}\n";
        let charon = StrongSwan::start(node, &[File::new("/etc/strongswan.d/client.conf", daemon)])?;
        Ok(Self { node, charon, given: None, hops: 0 })
    }

    /// One more layer, to `relay`, from the address that the relay before gave.
    fn extend(&mut self, relay: &Relay) -> Result<(), Box<dyn Error>> {
        let hop = self.hops + 1;
        let address = relay.address;
        if let Some(given) = self.given {
            self.node.run(&[
                "ip",
                "route",
                "add",
                &address.to_string(),
                "dev",
                &format!("hop{}", self.hops),
                "src",
                &given.to_string(),
            ])?;
        }
        self.node.run(&[
            "ip",
            "link",
            "add",
            &format!("hop{hop}"),
            "type",
            "xfrm",
            "dev",
            "lo",
            "if_id",
            &hop.to_string(),
        ])?;
        self.node.run(&["ip", "link", "set", &format!("hop{hop}"), "mtu", "1280", "up"])?;
        let file =
            |name: &str, text: String| self.charon.add(&File::new(format!("/etc/swanctl/{name}"), text));
        if let IdentityKey::Ed25519(_) | IdentityKey::EcdsaP256(_) = relay.identity {
            file(&format!("pubkey/{}.pem", relay.name), pem(&relay.identity))?;
        }
        file(&format!("conf.d/hop{hop}.conf"), self.connection(hop, relay))?;
        self.charon.initiate(&format!("hop{hop}"), "net")?;
        let sas = self.charon.sas()?;
        let sa = sas.iter().find(|sa| sa.connection == format!("hop{hop}") && sa.established);
        self.given = sa.and_then(|sa| sa.given.first().copied());
        self.hops = hop;
        Ok(())
    }

    fn connection(&self, hop: u32, relay: &Relay) -> String {
        let local = self.given.unwrap_or_else(|| self.node.address4().into());
        let ClientAuth::Psk(psk) = &relay.clients else { return String::new() };
        format!(
            "connections {{ hop{hop} {{\n version = 2\n local_addrs = {local}\n remote_addrs = {}\n \
             proposals = aes128gcm16-prfsha256-x25519\n vips = 0.0.0.0\n mobike = no\n send_cert = never\n \
             send_certreq = no\n if_id_in = {hop}\n if_id_out = {hop}\n \
             local {{ auth = psk\n id = keyid:circuit-1-hop-{hop} }}\n \
             remote {{ auth = pubkey\n pubkeys = {name}.pem\n id = fqdn:{name} }}\n \
             children {{ net {{ remote_ts = 0.0.0.0/0\n esp_proposals = aes128gcm16-esn-noesn }} }} }} }}\n\
             secrets {{ ike-hop{hop} {{ id = keyid:circuit-1-hop-{hop}\n secret = \"{}\" }} }}\n",
            relay.address,
            psk.as_str(),
            name = relay.name,
        )
    }
}

fn pem(key: &IdentityKey) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(key.to_spki());
    format!("-----BEGIN PUBLIC KEY-----\n{encoded}\n-----END PUBLIC KEY-----\n")
}

/// Ping and HTTP through the last hop.
fn carries(verdicts: &mut Verdicts, net: &Net, client: &Client<'_>) -> Result<(), Box<dyn Error>> {
    let server = net.node("server")?;
    let to = server.address4().to_string();
    let given = client.given.map(|address| address.to_string()).unwrap_or_default();
    client.node.run(&["ip", "route", "add", &to, "dev", &format!("hop{}", client.hops), "src", &given])?;
    let mut serving = server.spawn(&[program::NAME, "traffic", "http-serve", "0.0.0.0:80"])?;
    serving.wait_for("listening on", LIMIT)?;
    let ping = client.node.try_run(&["ping", "-n", "-c", &PINGS.to_string(), "-i", "0.2", "-W", "1", &to])?;
    let all = format!("{PINGS} received");
    verdicts.check(
        "pings are answered",
        ping.stdout.contains(&all),
        ping.stdout.lines().rev().nth(1).unwrap_or(""),
    );
    let url = format!("http://{to}/100000");
    let get = client.node.try_run(&[program::NAME, "traffic", "http-get", "--bind", &given, &url])?;
    let report: Value =
        serde_json::from_str(get.stdout.lines().last().unwrap_or_default()).unwrap_or_default();
    verdicts.check(
        "a download is whole",
        report["intact"] == true && report["bytes"] == 100_000,
        get.stdout + &get.stderr,
    );
    let exit = net.node("relay3")?.address4();
    let seen_as = report["seen_as"].as_str().unwrap_or("nobody").to_owned();
    verdicts.check("the server sees the exit", seen_as.starts_with(&format!("{exit}:")), seen_as);
    Ok(())
}

fn on_the_wire(verdicts: &mut Verdicts, captures: &[LinkCapture]) {
    let _: Option<Ipv4Addr> = None;
    for capture in captures {
        verdicts.check(format!("{}", capture.link), true, format!("{:?}", capture.addresses()));
    }
}
