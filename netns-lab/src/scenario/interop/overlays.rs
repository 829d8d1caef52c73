//! Overlay tunnels between our relays and other people's: begun by us with the lower address, by them with the higher.

use std::error::Error;
use std::thread;
use std::time::Duration;

use ippriv::network::{ClientAuth, Software};

use super::cells::{Place, Role, What};
use super::circuits::{LIMIT, ended, judge, open, pings, steady_pings};
use super::hosts::{Hosts, Part, Which, delete, latest, rekey, replaces, wait_until_gone};
use super::mesh::{self, FIRST, FOREIGN, LAST, RELAYS};
use crate::daemons::Plan;
use crate::net::Net;
use crate::scenario::Verdicts;

/// More silence than the others bear without asking whether a neighbour is there.
const SILENCE: Duration = Duration::from_secs(70);
/// Circuits whose packets go through each overlay of ours.
const CIRCUITS: [[&str; 3]; 2] = [["relay2", FIRST, "relay3"], ["relay2", LAST, "relay3"]];

pub(super) fn scenario(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&mesh::topology()?)?;
    let plan = Plan { idle_clients: vec!["client".to_owned()], ..Plan::new(Vec::new()) };
    let mut hosts = Hosts::start(&net, &RELAYS, &ClientAuth::Anonymous, plan, Default::default())?;
    hosts.daemons.start("client")?;
    let done = all(verdicts, &net, &mut hosts);
    if verdicts.failures() > 0 || done.is_err() {
        eprintln!("{}", hosts.logs(&["client"])?);
    }
    done
}

fn all(verdicts: &mut Verdicts, net: &Net, hosts: &mut Hosts<'_>) -> Result<(), Box<dyn Error>> {
    for hops in CIRCUITS {
        under_traffic(verdicts, net, hosts, hops)?;
    }
    silence(verdicts, hosts)?;
    for ours in [FIRST, LAST] {
        for (foreign, daemon) in FOREIGN {
            deleted_by_them(verdicts, net, hosts, (foreign, daemon), ours)?;
        }
    }
    deleted_by_us(verdicts, hosts)
}

const fn place(daemon: Software, what: What) -> Place {
    Place::new(daemon, Role::Neighbour, what)
}

fn places(whats: &[What]) -> Vec<Place> {
    FOREIGN.iter().flat_map(|(_, daemon)| whats.iter().map(|what| place(*daemon, *what))).collect()
}

/// A circuit carries packets through the overlays of our relay in its middle while they get new keys.
fn under_traffic(
    verdicts: &mut Verdicts,
    net: &Net,
    hosts: &Hosts<'_>,
    hops: [&str; 3],
) -> Result<(), Box<dyn Error>> {
    let ours = hops[1];
    let (number, said) = open(hosts, ours, &hops)?;
    let title = format!("overlays of {ours} let a circuit through");
    verdicts.check_cells(places(&[What::Opens, What::Mixed]), title, number.is_some(), said);
    let Some(number) = number else { return Ok(()) };
    let (answered, summary) = pings(net)?;
    let title = format!("overlays of {ours} carry packets");
    verdicts.check_cells(places(&[What::Traffic, What::Mixed]), title, answered, summary);
    let traffic = steady_pings(net)?;
    verdicts.context(format!("overlay with {ours}"));
    for (foreign, daemon) in FOREIGN {
        let host = hosts.foreign.get(foreign)?;
        let which = Which::Overlay(ours);
        for part in Part::ALL {
            let by_them = || Ok(rekey(host, which, part)?);
            judge(verdicts, place(daemon, part.by_them()), replaces(host, which, part, by_them)?);
            let by_us = || hosts.rekey(ours, &["rekey", "overlay", foreign], part);
            judge(verdicts, place(daemon, part.by_us()), replaces(host, which, part, by_us)?);
        }
    }
    let (whole, summary) = ended(traffic)?;
    let whats = [What::ChildByUs, What::ChildByThem, What::IkeByUs, What::IkeByThem];
    verdicts.check_cells(places(&whats), "no ping is lost meanwhile", whole, summary);
    verdicts.context("");
    hosts.daemons.ippriv("client", &["circuit", "close", &number.to_string()])?;
    Ok(())
}

/// After a silence the others have asked our relays, and the overlays stand.
fn silence(verdicts: &mut Verdicts, hosts: &Hosts<'_>) -> Result<(), Box<dyn Error>> {
    let mut before = Vec::new();
    for (foreign, _) in FOREIGN {
        before.push(hosts.foreign.get(foreign)?.daemon.liveness()?);
    }
    let initiators = hosts.overlays()?;
    thread::sleep(SILENCE);
    for ((foreign, daemon), before) in FOREIGN.into_iter().zip(before) {
        let asked = hosts.foreign.get(foreign)?.daemon.liveness()?.asked - before.asked;
        let title = format!("{foreign} asks whether its neighbours are there");
        verdicts.check_cells([place(daemon, What::Liveness)], title, asked > 0, asked);
    }
    let same = hosts.overlays()? == initiators;
    let title = format!("after {SILENCE:?} of silence the overlays are the same");
    verdicts.check_cells(places(&[What::Liveness]), title, same, format!("{initiators:?}"));
    Ok(())
}

/// The other end deletes an overlay: we notice, and it comes back.
fn deleted_by_them(
    verdicts: &mut Verdicts,
    net: &Net,
    hosts: &Hosts<'_>,
    (foreign, daemon): (&str, Software),
    ours: &str,
) -> Result<(), Box<dyn Error>> {
    let key = (ours.to_owned(), foreign.to_owned());
    let before = hosts.overlays()?.remove(&key);
    let host = hosts.foreign.get(foreign)?;
    delete(host, Which::Overlay(ours))?;
    let gone = hosts.wait_for_overlays(|now| now.get(&key) != before.as_ref())?;
    let title = format!("{ours} notices when {foreign} deletes their overlay");
    verdicts.check_cells([place(daemon, What::DeleteByThem)], title, gone, format!("{before:?}"));
    let relay = hosts.daemons.relays().iter().find(|relay| relay.name == *ours);
    let tunnel = host.wait_for_tunnel(net, relay.ok_or("no such relay")?);
    let back = tunnel.is_ok() && hosts.daemons.wait_overlays(LIMIT)?;
    let title = format!("the overlay of {ours} and {foreign} comes back");
    let evidence = tunnel.err().map_or_else(|| format!("{:?}", hosts.overlays()), |error| error.to_string());
    verdicts.check_cells([place(daemon, What::DeleteByThem)], title, back, evidence);
    Ok(())
}

/// Our relays stop for good: the others forget their overlays.
fn deleted_by_us(verdicts: &mut Verdicts, hosts: &mut Hosts<'_>) -> Result<(), Box<dyn Error>> {
    for ours in [FIRST, LAST] {
        let mut latest_of = Vec::new();
        for (foreign, _) in FOREIGN {
            latest_of.push(latest(hosts.foreign.get(foreign)?, Which::Overlay(ours))?);
        }
        hosts.daemons.ippriv(ours, &["stop", "--flush"])?;
        hosts.daemons.wait_stopped(ours)?;
        for ((foreign, daemon), ike) in FOREIGN.into_iter().zip(latest_of) {
            let ike = ike.ok_or_else(|| format!("{foreign}: found no IKE SA with {ours}, expected one"))?;
            let gone = wait_until_gone(hosts.foreign.get(foreign)?, ike)?;
            let title = format!("{foreign} forgets the overlay when {ours} stops");
            let cells = [place(daemon, What::DeleteByUs)];
            verdicts.check_cells(cells, title, gone, format!("its IKE SA {ike}"));
        }
    }
    Ok(())
}
