//! Our client and our relays with other people's daemons beside them.

use std::error::Error;
use std::thread;
use std::time::Duration;

use ippriv::network::{ClientAuth, Software};

use super::hosts::{Hosts, What, Which, rekey, replaces};
use super::matrix::{Place, Position};
use super::telescope::Telescope;
use super::wire::Route;
use crate::capture::Captures;
use crate::daemons::{CircuitPlan, Plan};
use crate::foreign::{Daemon, relays};
use crate::net::Net;
use crate::scenario::{Scenario, Verdicts};
use crate::topology::Topology;

use Position::{Client, Entry, Exit, Middle, Neighbour};
use Software::{Ippriv, Libreswan, Strongswan};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "interop-ours-strongswan-entry",
        about: "our client's circuit enters by strongSwan and goes on through relays of ours",
        run: |verdicts| circuit(verdicts, &[Strongswan, Ippriv, Ippriv]),
    },
    Scenario {
        name: "interop-ours-strongswan-middle",
        about: "our client's circuit has strongSwan between two relays of ours",
        run: |verdicts| circuit(verdicts, &[Ippriv, Strongswan, Ippriv]),
    },
    Scenario {
        name: "interop-ours-strongswan-exit",
        about: "our client's circuit leaves by strongSwan",
        run: |verdicts| circuit(verdicts, &[Ippriv, Ippriv, Strongswan]),
    },
    Scenario {
        name: "interop-ours-libreswan-entry",
        about: "our client's circuit enters by libreswan and goes on through relays of ours",
        run: |verdicts| circuit(verdicts, &[Libreswan, Ippriv, Ippriv]),
    },
    Scenario {
        name: "interop-ours-libreswan-middle",
        about: "our client's circuit has libreswan between two relays of ours",
        run: |verdicts| circuit(verdicts, &[Ippriv, Libreswan, Ippriv]),
    },
    Scenario {
        name: "interop-ours-libreswan-exit",
        about: "our client's circuit leaves by libreswan",
        run: |verdicts| circuit(verdicts, &[Ippriv, Ippriv, Libreswan]),
    },
    Scenario {
        name: "interop-ours-mixed",
        about: "our client's circuit through strongSwan, a relay of ours and libreswan",
        run: |verdicts| circuit(verdicts, &[Strongswan, Ippriv, Libreswan]),
    },
    Scenario {
        name: "interop-ours-all-foreign",
        about: "our client's circuit through libreswan and strongSwan and no relay of ours",
        run: |verdicts| circuit(verdicts, &[Libreswan, Strongswan, Libreswan]),
    },
    Scenario {
        name: "interop-ours-strongswan-client",
        about: "a strongSwan client's telescope through three relays of ours, after a wrong guess of the key exchange",
        run: strongswan_client,
    },
    Scenario {
        name: "interop-ours-cookies",
        about: "a busy libreswan asks our client for a cookie",
        run: cookies,
    },
];

/// In networks with programs of ours.
pub(super) const COVERS: &[(&str, &[Place])] = &[
    ("interop-ours-strongswan-entry", &[Place::ours(Entry, Strongswan), Place::ours(Neighbour, Strongswan)]),
    (
        "interop-ours-strongswan-middle",
        &[Place::ours(Middle, Strongswan), Place::ours(Neighbour, Strongswan)],
    ),
    ("interop-ours-strongswan-exit", &[Place::ours(Exit, Strongswan), Place::ours(Neighbour, Strongswan)]),
    ("interop-ours-libreswan-entry", &[Place::ours(Entry, Libreswan), Place::ours(Neighbour, Libreswan)]),
    ("interop-ours-libreswan-middle", &[Place::ours(Middle, Libreswan), Place::ours(Neighbour, Libreswan)]),
    ("interop-ours-libreswan-exit", &[Place::ours(Exit, Libreswan), Place::ours(Neighbour, Libreswan)]),
    (
        "interop-ours-mixed",
        &[
            Place::ours(Entry, Strongswan),
            Place::ours(Exit, Libreswan),
            Place::ours(Neighbour, Strongswan),
            Place::ours(Neighbour, Libreswan),
        ],
    ),
    (
        "interop-ours-all-foreign",
        &[Place::ours(Entry, Libreswan), Place::ours(Middle, Strongswan), Place::ours(Exit, Libreswan)],
    ),
    ("interop-ours-strongswan-client", &[Place::ours(Client, Strongswan)]),
    ("interop-ours-cookies", &[Place::ours(Entry, Libreswan)]),
];

/// How long a circuit may take.
const OPEN: Duration = Duration::from_secs(30);
/// How long the kernel and the daemons have between two rekeyings.
const REST: Duration = Duration::from_millis(300);
const PINGS: u32 = 5;
/// Pings while keys are replaced: 25 seconds of them.
const PINGS_MEANWHILE: &str = "500";
/// A group that our relays do not have, and one that they have.
const WRONG_GUESS: &str = "aes128gcm16-prfsha256-modp3072-x25519";

/// Our client's circuit through such relays: it opens, carries, shows nothing, and lives through rekeyings by
/// either side of every connection that has a foreign end.
fn circuit(verdicts: &mut Verdicts, chain: &[Software]) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&Topology::chain(chain.len())?)?;
    let names: Vec<String> = (1..=chain.len()).map(|number| format!("relay{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let software: Vec<(&str, Software)> = names.iter().copied().zip(chain.iter().copied()).collect();
    let circuit = CircuitPlan { traffic: vec!["0.0.0.0/0".to_owned()], ..CircuitPlan::new("client", &names) };
    let mut hosts = Hosts::start(&net, &software, &ClientAuth::Anonymous, Plan::new(vec![circuit]))?;

    // The last answers for overlays arrive.
    thread::sleep(REST);
    let captures = Captures::start_all(&net)?;
    hosts.daemons.start("client")?;
    let open = hosts.daemons.wait_open("client", OPEN)?;
    verdicts.check("the circuit opens", open, hosts.daemons.ippriv("client", &["circuit", "list"])?.trim());
    if !open {
        eprintln!("{}", hosts.logs(&["client"])?);
        return Ok(());
    }
    let server = net.node("server")?.address4().to_string();
    let client = net.node("client")?;
    let ping = client.try_run(&["ping", "-n", "-c", &PINGS.to_string(), "-i", "0.2", "-W", "1", &server])?;
    let summary = ping.stdout.lines().find(|line| line.contains(" received")).unwrap_or("no answer");
    verdicts.check("pings are answered", summary.contains(&format!("{PINGS} received")), summary);
    verdicts.context("on the wire");
    Route::new(&net, &names)?.judge(verdicts, &captures.stop()?);

    verdicts.context("rekeying");
    let before = verdicts.failures();
    let mut traffic = client.spawn(&["ping", "-n", "-q", "-i", "0.05", "-c", PINGS_MEANWHILE, &server])?;
    rekeyings(verdicts, &hosts, &software)?;
    verdicts.check("pings went on all the time", traffic.ended()?.is_none(), PINGS_MEANWHILE);
    let said = traffic.wait(OPEN)?.stdout;
    let summary = said.lines().find(|line| line.contains(" received")).unwrap_or("no answer");
    verdicts.check("no ping is lost", summary.contains(" 0% packet loss"), summary);
    if verdicts.failures() > before {
        eprintln!("{}", hosts.logs(&["client"])?);
    }
    Ok(())
}

/// Every connection with a foreign end, by either side. The others begin: who has only answered so far waits with
/// requests until the answers are known to have come across.
fn rekeyings(
    verdicts: &mut Verdicts,
    hosts: &Hosts<'_>,
    software: &[(&str, Software)],
) -> Result<(), Box<dyn Error>> {
    for (hop, (name, kind)) in (1..).zip(software) {
        if *kind == Ippriv {
            continue;
        }
        let host = hosts.foreign.get(name)?;
        let hop = format!("{hop}");
        for what in [What::Child, What::Ike] {
            let theirs = || Ok(rekey(host, Which::Clients, what)?);
            let ours = || command(hosts, "client", &["rekey", "circuit", "1", &hop], what);
            let title = format!("{what:?} of {name}'s layer");
            judge(verdicts, format!("{title}, by {kind}"), replaces(host, Which::Clients, what, theirs)?);
            judge(verdicts, format!("{title}, by us"), replaces(host, Which::Clients, what, ours)?);
        }
        for (neighbour, _) in software.iter().filter(|(_, kind)| *kind == Ippriv) {
            let which = Which::Overlay(neighbour);
            for what in [What::Child, What::Ike] {
                let theirs = || Ok(rekey(host, which, what)?);
                let ours = || command(hosts, neighbour, &["rekey", "overlay", name], what);
                let title = format!("{what:?} of the overlay {neighbour} and {name}");
                judge(verdicts, format!("{title}, by {kind}"), replaces(host, which, what, theirs)?);
                judge(verdicts, format!("{title}, by us"), replaces(host, which, what, ours)?);
            }
        }
    }
    Ok(())
}

fn judge(verdicts: &mut Verdicts, title: String, result: Result<(), String>) {
    verdicts.check(title, result.is_ok(), result.err().unwrap_or_else(|| "replaced".to_owned()));
    // What was replaced lingers a little.
    thread::sleep(REST);
}

fn command(hosts: &Hosts<'_>, host: &str, words: &[&str], what: What) -> Result<(), Box<dyn Error>> {
    let ike: &[&str] = match what {
        What::Child => &[],
        What::Ike => &["--ike"],
    };
    hosts.daemons.ippriv(host, &[words, ike].concat())?;
    Ok(())
}

fn strongswan_client(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&Topology::chain(3)?)?;
    let names = ["relay1", "relay2", "relay3"];
    let clients = relays::published()?;
    let plan = Plan { clients: Some(clients.clone()), ..Plan::default() };
    let hosts = Hosts::start(&net, &names.map(|name| (name, Ippriv)), &clients, plan)?;
    // The last answers for overlays arrive.
    thread::sleep(REST);
    let captures = Captures::start_all(&net)?;
    let node = net.node("client")?;
    let mut client = Telescope::strongswan(node)?.proposing(WRONG_GUESS);
    for relay in hosts.daemons.relays() {
        if let Err(error) = client.extend(relay) {
            let log = client.daemon.log()?;
            let logs = hosts.logs(&[])?;
            return Err(format!("to {}: {error}\n── log of the client\n{log}{logs}", relay.name).into());
        }
    }
    verdicts.check(
        "the telescope is built",
        true,
        client.given().map_or_else(String::new, |ip| ip.to_string()),
    );
    let refused = client.daemon.log()?.matches("INVAL_KE").count();
    verdicts.check("a wrong guess is put right at every relay", refused >= names.len(), refused);
    let server = net.node("server")?.address4();
    client.route(server.into())?;
    let ping = ["ping", "-n", "-c", "5", "-i", "0.2", "-W", "1", &server.to_string()];
    let said = node.try_run(&ping)?.stdout;
    verdicts.check("pings are answered", said.contains(" 5 received"), said.trim());
    verdicts.context("on the wire");
    Route::new(&net, &names)?.judge(verdicts, &captures.stop()?);
    verdicts.context("rekeying");
    let address = server.to_string();
    let mut traffic = node.spawn(&["ping", "-n", "-q", "-i", "0.05", "-c", PINGS_MEANWHILE, &address])?;
    let unchanged = client.rekey()?;
    verdicts.check("every layer's SAs are replaced", unchanged.is_empty(), unchanged.join("; "));
    verdicts.check("pings went on all the time", traffic.ended()?.is_none(), PINGS_MEANWHILE);
    let said = traffic.wait(OPEN)?.stdout;
    let summary = said.lines().find(|line| line.contains(" received")).unwrap_or("no answer");
    verdicts.check("no ping is lost", summary.contains(" 0% packet loss"), summary);
    if verdicts.failures() > 0 {
        eprintln!("── log of the client\n{}{}", client.daemon.log()?, hosts.logs(&[])?);
    }
    Ok(())
}

fn cookies(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&Topology::chain(1)?)?;
    let circuit =
        CircuitPlan { traffic: vec!["0.0.0.0/0".to_owned()], ..CircuitPlan::new("client", &["relay1"]) };
    let plan = Plan::new(vec![circuit]);
    let mut hosts = Hosts::start(&net, &[("relay1", Libreswan)], &ClientAuth::Anonymous, plan)?;
    let Daemon::Libreswan(pluto) = &hosts.foreign.get("relay1")?.daemon else { return Ok(()) };
    pluto.whack(&["--ddos-busy"])?;
    hosts.daemons.start("client")?;
    let open = hosts.daemons.wait_open("client", OPEN)?;
    verdicts.check("the circuit opens", open, hosts.daemons.ippriv("client", &["circuit", "list"])?.trim());
    let asked = hosts.foreign.logs()?.to_lowercase().matches("cookie").count();
    verdicts.check("a cookie was asked for", asked > 0, asked);
    if verdicts.failures() > 0 {
        eprintln!("{}", hosts.logs(&["client"])?);
    }
    Ok(())
}
