//! Other people's daemons as clients of our relays, which ask for cookies and other groups, and cut messages.

use std::error::Error;
use std::thread;
use std::time::Duration;

use ippriv::network::{Relay, Software};

use super::cells::{Place, Role, What};
use super::circuits::{LIMIT, ended, pings, steady_pings};
use super::harsh::{POLICIES, RELAY, judge, signs};
use super::hosts::Hosts;
use super::mesh::{self, FIRST, LAST, RELAYS};
use super::telescope::{Families, Telescope};
use super::wire::Route;
use crate::capture::Captures;
use crate::daemons::Plan;
use crate::foreign::{Daemon, relays};
use crate::net::Net;
use crate::scenario::{Scenario, Verdicts};

use Software::{Libreswan, Strongswan};

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "interop-clients",
    about: "a strongSwan client's telescope through relays of ours and libreswan; why a libreswan client has none",
    run: clients,
}];

/// The telescope: relays of ours at both ends.
const HOPS: [&str; 3] = [FIRST, "relay3", LAST];
/// charon cuts messages.
const CHARON: &str = "charon {\n fragment_size = 300\n}\n";
/// Our relays replace keys after at most four fifths of that.
const LIFETIMES: &str = "  lifetimes: { child: 120s, ike: 200s }\n";
/// Longer than it takes until all keys were replaced by our relays.
const AGE: Duration = Duration::from_secs(180);
/// More silence than charon bears without asking.
const SILENCE: Duration = Duration::from_secs(50);
const POLL: Duration = Duration::from_millis(250);

fn clients(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&mesh::topology()?)?;
    let clients = relays::published()?;
    let plan = Plan {
        clients: Some(clients.clone()),
        top_lines: POLICIES.to_owned(),
        relay_lines: RELAY.to_owned() + LIFETIMES,
        ..Plan::default()
    };
    let mut hosts = Hosts::start(&net, &RELAYS, &clients, plan, Default::default())?;
    let done = strongswan(verdicts, &net, &mut hosts).and_then(|()| libreswan(verdicts, &net, &hosts));
    if verdicts.failures() > 0 || done.is_err() {
        eprintln!("{}", hosts.logs(&[])?);
    }
    done
}

const fn place(what: What) -> Place {
    Place::new(Strongswan, Role::Client, what)
}

fn relay(hosts: &Hosts<'_>, name: &str) -> Result<Relay, Box<dyn Error>> {
    let relay = hosts.daemons.relays().iter().find(|relay| relay.name == *name);
    Ok(relay.cloned().ok_or_else(|| format!("found no relay {name}, expected one"))?)
}

fn strongswan(verdicts: &mut Verdicts, net: &Net, hosts: &mut Hosts<'_>) -> Result<(), Box<dyn Error>> {
    let captures = Captures::start_all(net)?;
    let mut client = Telescope::strongswan(net.node("client")?, CHARON)?;
    let done = telescope(verdicts, net, hosts, &mut client, captures);
    if verdicts.failures() > 0 || done.is_err() {
        eprintln!("── log of the client\n{}", client.daemon.log()?);
    }
    client.stop()?;
    done
}

fn telescope(
    verdicts: &mut Verdicts,
    net: &Net,
    hosts: &mut Hosts<'_>,
    client: &mut Telescope<'_>,
    captures: Captures,
) -> Result<(), Box<dyn Error>> {
    for name in HOPS {
        let built = client.extend(&relay(hosts, name)?, Families::V4);
        let evidence = built.as_ref().err().map_or_else(String::new, ToString::to_string);
        verdicts.check_cells([place(What::Opens)], format!("a layer to {name}"), built.is_ok(), evidence);
        built?;
    }
    let log = client.daemon.log()?;
    let signs = signs(Strongswan);
    judge(verdicts, place(What::CookieByUs), signs.shows_cookie, &log);
    judge(verdicts, place(What::KeByUs), signs.changes_group, &log);
    judge(verdicts, place(What::Fragments), signs.joins, &log);
    judge(verdicts, place(What::Fragments), signs.cuts, &log);
    client.route(net.node("server")?.address4().into())?;
    let (answered, summary) = pings(net)?;
    verdicts.check_cells([What::Traffic, What::Mixed].map(place), "pings are answered", answered, summary);
    let before = verdicts.failures();
    verdicts.context("on the wire");
    Route::new(net, &HOPS)?.judge(verdicts, &captures.stop()?);
    verdicts.context("");
    let hidden = verdicts.failures() == before;
    verdicts.check_cells([place(What::Traffic)], "nothing is bare on any link", hidden, "");
    rekeyings(verdicts, net, client)?;
    let before = client.daemon.liveness()?;
    thread::sleep(SILENCE);
    let asked = client.daemon.liveness()?.asked - before.asked;
    verdicts.check_cells([place(What::Liveness)], "it asks whether we are there", asked > 0, asked);
    let (answered, summary) = pings(net)?;
    verdicts.check_cells([place(What::Liveness)], "and the telescope stands", answered, summary);
    deletions(verdicts, hosts, client)
}

/// By the client, and after a while by our relays.
fn rekeyings(verdicts: &mut Verdicts, net: &Net, client: &Telescope<'_>) -> Result<(), Box<dyn Error>> {
    let traffic = steady_pings(net)?;
    let unchanged = client.rekey()?;
    let by_them = [What::ChildByThem, What::IkeByThem].map(place);
    verdicts.check_cells(by_them, "every layer gets new keys", unchanged.is_empty(), unchanged.join("; "));
    let before = [client.numbers(1)?, client.numbers(HOPS.len())?];
    thread::sleep(AGE);
    for (hop, [ike, child]) in [1, HOPS.len()].into_iter().zip(before) {
        let [new_ike, new_child] = client.numbers(hop)?;
        for (what, old, new) in [(What::IkeByUs, ike, new_ike), (What::ChildByUs, child, new_child)] {
            let good = !new.is_empty() && !new.iter().any(|number| old.contains(number));
            let title = format!("layer {hop} gets new keys from our relay");
            verdicts.check_cells([place(what)], title, good, format!("{old:x?}, then {new:x?}"));
        }
    }
    let (whole, summary) = ended(traffic)?;
    let all = [What::ChildByThem, What::IkeByThem, What::ChildByUs, What::IkeByUs].map(place);
    verdicts.check_cells(all, "no ping is lost meanwhile", whole, summary);
    Ok(())
}

/// The client deletes its last layer, and our first relay the first.
fn deletions(
    verdicts: &mut Verdicts,
    hosts: &mut Hosts<'_>,
    client: &Telescope<'_>,
) -> Result<(), Box<dyn Error>> {
    let Daemon::StrongSwan(charon) = &client.daemon else { return Ok(()) };
    let layers = |hosts: &Hosts<'_>| -> Result<u64, Box<dyn Error>> {
        let status = hosts.daemons.json(LAST, &["status"])?;
        Ok(status["relay"]["layers"].as_u64().unwrap_or(u64::MAX))
    };
    let before = layers(hosts)?;
    charon.terminate(client.connection(HOPS.len()).ok_or("no last layer")?)?;
    let mut after = layers(hosts)?;
    for _ in 0..LIMIT.as_millis() / POLL.as_millis() {
        if after == 0 {
            break;
        }
        thread::sleep(POLL);
        after = layers(hosts)?;
    }
    let title = format!("{LAST} forgets a layer that the client deletes");
    let evidence = format!("{before} layers, then {after}");
    verdicts.check_cells([place(What::DeleteByThem)], title, (before, after) == (1, 0), evidence);
    hosts.daemons.ippriv(FIRST, &["stop", "--flush"])?;
    hosts.daemons.wait_stopped(FIRST)?;
    let [ike, _] = client.numbers(1)?;
    let title = format!("the client forgets the layer to {FIRST}, which stops");
    verdicts.check_cells([place(What::DeleteByUs)], title, ike.is_empty(), format!("{ike:?}"));
    hosts.daemons.start(FIRST)?;
    Ok(())
}

/// It does not say that it can verify Ed25519 (RFC 8420), and so our relay does not sign.
fn libreswan(verdicts: &mut Verdicts, net: &Net, hosts: &Hosts<'_>) -> Result<(), Box<dyn Error>> {
    let mut client = Telescope::libreswan(net.node("client")?)?;
    let refused = client.extend(&relay(hosts, LAST)?, Families::V4);
    let log = client.daemon.log()?;
    let of = |what| Place::new(Libreswan, Role::Client, what);
    let signs = signs(Libreswan);
    judge(verdicts, of(What::CookieByUs), signs.shows_cookie, &log);
    judge(verdicts, of(What::KeByUs), signs.changes_group, &log);
    let why = log
        .lines()
        .rfind(|line| line.contains("request rejected by peer: AUTHENTICATION_FAILED"))
        .unwrap_or_default();
    let cells: Vec<Place> =
        What::ALL.map(of).into_iter().filter(|cell| cell.impossible().is_some()).collect();
    let cells = cells.into_iter().filter(|cell| cell.moot().is_none());
    let good = refused.is_err() && !why.is_empty();
    verdicts.check_cells(cells, "our relay has no proof that libreswan could verify", good, why.trim());
    if !good {
        eprintln!("── log of the client\n{log}{refused:?}");
    }
    Ok(())
}
