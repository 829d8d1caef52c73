//! Handshakes that do not go straight: cookies, other groups than guessed, fragments.

use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use ippriv::entropy::Seeded;
use ippriv::ike::crypto::SigningKey;
use ippriv::ike::wire::{Id, TrafficSelector};
use ippriv::ike::{Connect, Encapsulate, Endpoint, Output, OwnAuth, Path, Settings, SocketId};
use ippriv::network::{ClientAuth, Software};
use ippriv::time::Instant;

use super::cells::{Place, Role, What};
use super::circuits::{LIMIT, open, pings};
use super::hosts::Hosts;
use super::mesh::{self, CIRCUITS, FIRST, FOREIGN, RELAYS, cells, foreign};
use crate::daemons::Plan;
use crate::foreign::{Daemon, File, KeyKind};
use crate::net::Net;
use crate::scenario::{Scenario, Verdicts};

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "interop-harsh",
    about: "cookies, a wrong guess of the key exchange and fragments, on circuits and overlays, from both sides",
    run: harsh,
}];

/// What our hosts guess is not what the others want, and what the others guess is not what our hosts have. Messages
/// are cut.
pub(super) const POLICIES: &str = "fragment_size: 200\n\
    ciphers:\n  default: { ike: [aes-gcm-128-sha256], key_exchange: [p384, p256], post_quantum: false }\n";
/// Our relays ask everybody for a cookie.
pub(super) const RELAY: &str = "  limits: { half_open: 1 }\n";
/// charon asks for cookies as soon as anything is half-open, which then stays so, and cuts messages.
const CHARON: &str = "charon {\n cookie_threshold = 1\n half_open_timeout = 3600\n fragment_size = 300\n}\n";
/// Port from which a stranger begins and does not go on.
const STRANGER: u16 = 5000;

/// What a daemon says when something has happened.
pub(super) struct Signs {
    /// It answered a first message with a cookie, and got that back.
    demands_cookie: &'static [&'static str],
    /// It was asked for a cookie.
    pub(super) shows_cookie: &'static [&'static str],
    /// It refused a group.
    refuses_group: &'static [&'static str],
    /// Its group was refused.
    pub(super) changes_group: &'static [&'static str],
    /// It sent a fragment.
    pub(super) cuts: &'static [&'static str],
    /// It received one.
    pub(super) joins: &'static [&'static str],
}

const STRONGSWAN: Signs = Signs {
    demands_cookie: &["parsed IKE_SA_INIT request 0 [ N(COOKIE) SA"],
    shows_cookie: &["parsed IKE_SA_INIT response 0 [ N(COOKIE) ]"],
    refuses_group: &["generating IKE_SA_INIT response 0 [ N(INVAL_KE) ]"],
    changes_group: &["parsed IKE_SA_INIT response 0 [ N(INVAL_KE) ]"],
    cuts: &[" [ EF(1/"],
    joins: &["received fragment #1 of "],
};

const LIBRESWAN: Signs = Signs {
    demands_cookie: &["responding to IKE_SA_INIT with cookie notification request"],
    shows_cookie: &["received anti-DDOS COOKIE response"],
    refuses_group: &["responding with INVALID_KE_PAYLOAD"],
    changes_group: &["INVALID_KE_PAYLOAD response to DH"],
    cuts: &["recording fragment 1"],
    joins: &["received IKE encrypted fragment number '1'"],
};

pub(super) fn signs(daemon: Software) -> &'static Signs {
    match daemon {
        Software::Libreswan => &LIBRESWAN,
        Software::Strongswan | Software::Ippriv => &STRONGSWAN,
    }
}

fn harsh(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&mesh::topology()?)?;
    let plan = Plan {
        idle_clients: vec!["client".to_owned()],
        top_lines: POLICIES.to_owned(),
        relay_lines: RELAY.to_owned(),
        ..Plan::new(Vec::new())
    };
    let settings = [(Software::Strongswan, File::new("/etc/strongswan.d/harsh.conf", CHARON))];
    let others = (KeyKind::Rsa, &settings[..]);
    let mut hosts = Hosts::start(&net, &RELAYS, &ClientAuth::Anonymous, plan, others)?;
    hosts.daemons.start("client")?;
    let done = all(verdicts, &net, &mut hosts);
    if verdicts.failures() > 0 || done.is_err() {
        eprintln!("{}", hosts.logs(&["client"])?);
    }
    done
}

fn all(verdicts: &mut Verdicts, net: &Net, hosts: &mut Hosts<'_>) -> Result<(), Box<dyn Error>> {
    // They began with our last relay: cookies and groups of ours.
    for (name, daemon) in FOREIGN {
        let signs = signs(daemon);
        let of = |what| Place::new(daemon, Role::Neighbour, what);
        let log = hosts.foreign.get(name)?.daemon.log()?;
        judge(verdicts, of(What::CookieByUs), signs.shows_cookie, &log);
        judge(verdicts, of(What::KeByUs), signs.changes_group, &log);
    }
    // Our first relay begins with them once more, now that they ask for cookies.
    hosts.daemons.ippriv(FIRST, &["stop", "--flush"])?;
    hosts.daemons.wait_stopped(FIRST)?;
    for (name, daemon) in FOREIGN {
        let host = hosts.foreign.get(name)?;
        match &host.daemon {
            Daemon::StrongSwan(_) => knock(net, name)?,
            Daemon::Libreswan(pluto) => {
                pluto.whack(&["--ddos-busy"])?;
                // It says nothing of fragments else.
                pluto.whack(&["--debug", "base"])?;
            }
        }
        verdicts.check(format!("{daemon} is told to ask for cookies"), true, "");
    }
    let before = logs(hosts)?;
    hosts.daemons.start(FIRST)?;
    let up = hosts.daemons.wait_overlays(LIMIT)?;
    for ((name, daemon), before) in FOREIGN.into_iter().zip(before) {
        let signs = signs(daemon);
        let of = |what| Place::new(daemon, Role::Neighbour, what);
        let log = hosts.foreign.get(name)?.daemon.log()?;
        let log = log.get(before..).unwrap_or_default();
        judge(verdicts, of(What::CookieByThem), signs.demands_cookie, log);
        judge(verdicts, of(What::KeByThem), signs.refuses_group, log);
        judge(verdicts, of(What::Fragments), signs.joins, log);
        // What libreswan sends to prove that it knows a secret is never long enough for two.
        if daemon == Software::Strongswan {
            judge(verdicts, of(What::Fragments), signs.cuts, log);
        }
        let cells = [What::CookieByThem, What::KeByThem, What::Fragments].map(of);
        verdicts.check_cells(cells, "the overlay is up even so", up, format!("{FIRST} and {name}"));
    }
    for hops in CIRCUITS {
        circuit(verdicts, net, hosts, &hops)?;
    }
    Ok(())
}

/// Our client goes through relays that ask for a cookie and for another group, with messages that are cut.
fn circuit(
    verdicts: &mut Verdicts,
    net: &Net,
    hosts: &Hosts<'_>,
    hops: &[&'static str; 3],
) -> Result<(), Box<dyn Error>> {
    let foreign = foreign(hops);
    let before = foreign.iter().map(|hop| hosts.foreign.get(hop.name)?.daemon.log().map(|log| log.len()));
    let before = before.collect::<Result<Vec<_>, _>>()?;
    let whats = [What::CookieByThem, What::KeByThem, What::Fragments];
    let (number, said) = open(hosts, hops[0], hops)?;
    let title = format!("a circuit through {} opens even so", hops.join(", "));
    verdicts.check_cells(cells(&foreign, &whats), title, number.is_some(), said);
    for (hop, before) in foreign.iter().zip(before) {
        let signs = signs(hop.daemon);
        let log = hosts.foreign.get(hop.name)?.daemon.log()?;
        let log = log.get(before..).unwrap_or_default();
        judge(verdicts, hop.place(What::CookieByThem), signs.demands_cookie, log);
        judge(verdicts, hop.place(What::KeByThem), signs.refuses_group, log);
        judge(verdicts, hop.place(What::Fragments), signs.joins, log);
        judge(verdicts, hop.place(What::Fragments), signs.cuts, log);
    }
    let Some(number) = number else { return Ok(()) };
    let (answered, summary) = pings(net)?;
    verdicts.check_cells(cells(&foreign, &whats), "pings are answered", answered, summary);
    hosts.daemons.ippriv("client", &["circuit", "close", &number.to_string()])?;
    Ok(())
}

fn logs(hosts: &Hosts<'_>) -> Result<Vec<usize>, Box<dyn Error>> {
    let mut lengths = Vec::new();
    for (name, _) in FOREIGN {
        lengths.push(hosts.foreign.get(name)?.daemon.log()?.len());
    }
    Ok(lengths)
}

/// All these signs are in the log.
pub(super) fn judge(verdicts: &mut Verdicts, place: Place, signs: &[&str], log: &str) {
    let missing: Vec<_> = signs.iter().filter(|sign| !log.contains(**sign)).collect();
    let title = format!("{:?} is seen by {} as {}", place.what, place.daemon, place.role.name());
    let line =
        |sign: &&str| log.lines().find(|line| line.contains(*sign)).unwrap_or_default().trim().to_owned();
    let evidence = if missing.is_empty() {
        signs.iter().map(line).collect::<Vec<_>>().join("; ")
    } else {
        format!("not in its log: {missing:?}")
    };
    verdicts.check_cells([place], title, missing.is_empty(), evidence);
}

/// Begins with a relay from a host that does not go on.
fn knock(net: &Net, relay: &str) -> Result<(), Box<dyn Error>> {
    let server = net.node("server")?;
    let local = SocketAddr::from((server.address4(), STRANGER));
    let remote = SocketAddr::from((net.node(relay)?.address4(), 500));
    let datagram = first_message(local, remote)?;
    server.enter(|| UdpSocket::bind(local)?.send_to(&datagram, remote))??;
    std::thread::sleep(Duration::from_secs(1));
    Ok(())
}

fn first_message(local: SocketAddr, remote: SocketAddr) -> Result<Vec<u8>, Box<dyn Error>> {
    let now = Instant::ZERO;
    let mut endpoint = Endpoint::new(Settings::default(), Seeded::new([9; 32]));
    endpoint.connect(
        now,
        Connect {
            path: Path { socket: SocketId(0), local, remote },
            float: None,
            encapsulate: Encapsulate::BehindNat,
            peer: Id::fqdn("nobody"),
            peer_key: SigningKey::from_seed(&[9; 32])?.public(),
            own: OwnAuth::Null,
            request: None,
            local: vec![TrafficSelector::any_v4()],
            remote: vec![TrafficSelector::any_v4()],
            datagram: None,
        },
    );
    while let Some(output) = endpoint.poll_output() {
        if let Output::Transmit { datagram, .. } = output {
            return Ok(datagram);
        }
    }
    Err("found no first message, expected one".into())
}
