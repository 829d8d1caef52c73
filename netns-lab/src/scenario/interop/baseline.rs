//! Stock daemons on all nodes, configured by our export: what we tell admins works without us.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use ippriv::network::{ClientAuth, Software};
use serde_json::Value;

use super::cells::{Place, Role, What};
use super::telescope::{Families, Telescope};
use super::wire::Route;
use crate::capture::Captures;
use crate::foreign::relays::{self, Plan, Relays};
use crate::net::Net;
use crate::program;
use crate::scenario::{Scenario, Verdicts};
use crate::topology::Topology;

use Software::{Libreswan, Strongswan};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "interop-baseline-strongswan",
        about: "a strongSwan client's telescope through three strongSwan relays",
        run: |verdicts| telescope(verdicts, Strongswan, &[Strongswan, Strongswan, Strongswan]),
    },
    Scenario {
        name: "interop-baseline-libreswan",
        about: "an anonymous libreswan client's telescope through three libreswan relays",
        run: |verdicts| telescope(verdicts, Libreswan, &[Libreswan, Libreswan, Libreswan]),
    },
    Scenario {
        name: "interop-baseline-mixed",
        about: "a strongSwan client's telescope through strongSwan, libreswan and strongSwan",
        run: |verdicts| telescope(verdicts, Strongswan, &[Strongswan, Libreswan, Strongswan]),
    },
];

/// Long enough for a server to start.
const LIMIT: Duration = Duration::from_secs(10);
const PINGS: u32 = 3;
const BYTES: u32 = 100_000;

fn telescope(verdicts: &mut Verdicts, kind: Software, chain: &[Software]) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&Topology::chain(chain.len())?)?;
    let names: Vec<String> = (1..=chain.len()).map(|number| format!("relay{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let software: Vec<(&str, Software)> = names.iter().copied().zip(chain.iter().copied()).collect();
    let overlays: Vec<(&str, &str)> = names.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let clients = match kind {
        Libreswan => ClientAuth::Anonymous,
        Strongswan | Software::Ippriv => relays::published()?,
    };
    let plan = Plan { software: &software, overlays: &overlays, ours: &[], clients, settings: &[] };
    let relays = Relays::start(&net, &plan)?;

    let captures = Captures::start_all(&net)?;
    let node = net.node("client")?;
    let mut client = match kind {
        Libreswan => Telescope::libreswan(node)?,
        Strongswan | Software::Ippriv => Telescope::strongswan(node, "")?,
    };
    for name in &names {
        if let Err(error) = client.extend(&relays.get(name)?.relay, Families::V4) {
            let log = client.daemon.log()?;
            return Err(format!("to {name}: {error}\n── log of the client\n{log}{}", relays.logs()?).into());
        }
    }
    let given = client.given().map(|address| address.to_string()).unwrap_or_default();
    verdicts.check("the telescope is built", true, format!("{given} given by the exit"));
    let server = net.node("server")?;
    client.route(server.address4().into())?;
    carries(verdicts, &net, &client, names.last().copied().unwrap_or_default())?;

    let unchanged = client.rekey()?;
    verdicts.check("every layer's SAs are replaced", unchanged.is_empty(), unchanged.join("; "));
    verdicts.context("after rekeying");
    pings(verdicts, &client, server.address4().into())?;
    verdicts.context("on the wire");
    Route::new(&net, &names)?.judge(verdicts, &captures.stop()?);
    verdicts.context("");
    let good = verdicts.failures() == 0;
    verdicts.check_cells(cells(kind, chain), "all of it works", good, "among their own");
    Ok(())
}

/// The cells of a network without any program of ours.
fn cells(client: Software, chain: &[Software]) -> Vec<Place> {
    let of = |daemon: &Software, role| Place::new(*daemon, role, What::Stock);
    let mut cells = vec![of(&client, Role::Client)];
    if let [entry, middle, exit] = chain {
        cells.extend([of(entry, Role::Entry), of(middle, Role::Middle), of(exit, Role::Exit)]);
    }
    cells.extend(chain.iter().map(|daemon| of(daemon, Role::Neighbour)));
    cells
}

fn pings(verdicts: &mut Verdicts, client: &Telescope<'_>, to: IpAddr) -> Result<(), Box<dyn Error>> {
    let (count, to) = (PINGS.to_string(), to.to_string());
    let ping = client.node.try_run(&["ping", "-n", "-c", &count, "-i", "0.2", "-W", "1", &to])?;
    let summary = ping.stdout.lines().find(|line| line.contains(" received")).unwrap_or("no answer");
    verdicts.check("pings are answered", summary.contains(&format!("{PINGS} received")), summary);
    Ok(())
}

/// Ping and HTTP through the last hop.
fn carries(
    verdicts: &mut Verdicts,
    net: &Net,
    client: &Telescope<'_>,
    exit: &str,
) -> Result<(), Box<dyn Error>> {
    let server = net.node("server")?;
    let mut serving = server.spawn(&[program::NAME, "traffic", "http-serve", "0.0.0.0:80"])?;
    serving.wait_for("listening on", LIMIT)?;
    pings(verdicts, client, server.address4().into())?;
    let url = format!("http://{}/{BYTES}", server.address4());
    let get = client.node.try_run(&[program::NAME, "traffic", "http-get", &url])?;
    let last = get.stdout.lines().last().unwrap_or_default();
    let report: Value = serde_json::from_str(last).unwrap_or_default();
    let whole = report["intact"] == true && report["bytes"] == BYTES;
    verdicts.check("a download is whole", whole, get.stdout.trim().to_owned() + get.stderr.trim());
    let seen_as = report["seen_as"].as_str().unwrap_or("nobody");
    let exit = format!("{}:", net.node(exit)?.address4());
    verdicts.check("the server sees the exit", seen_as.starts_with(&exit), seen_as);
    Ok(())
}
