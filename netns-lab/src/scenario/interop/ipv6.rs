//! IPv6 inside a circuit that leaves at somebody else's daemon, or comes from it.

use std::error::Error;

use ippriv::network::{ClientAuth, Software};

use super::cells::{Place, Role, What};
use super::circuits::open_for;
use super::hosts::Hosts;
use super::mesh::{self, FIRST, LAST, RELAYS};
use super::telescope::{Families, Telescope};
use crate::daemons::Plan;
use crate::foreign::relays;
use crate::net::Net;
use crate::scenario::{Scenario, Verdicts};

use Software::{Libreswan, Strongswan};

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "interop-ipv6",
    about: "IPv6 inside circuits that leave at strongSwan or libreswan, and of a strongSwan client at our exit",
    run: ipv6,
}];

const PINGS: &str = "3";

fn ipv6(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&mesh::topology()?)?;
    let clients = relays::published()?;
    let plan = Plan {
        idle_clients: vec!["client".to_owned()],
        clients: Some(clients.clone()),
        ..Plan::new(Vec::new())
    };
    let mut hosts = Hosts::start(&net, &RELAYS, &ClientAuth::Anonymous, plan, Default::default())?;
    hosts.daemons.start("client")?;
    let done = exits(verdicts, &net, &hosts).and_then(|()| {
        hosts.daemons.ippriv("client", &["stop", "--flush"])?;
        hosts.daemons.wait_stopped("client")?;
        client(verdicts, &net, &hosts)
    });
    if verdicts.failures() > 0 || done.is_err() {
        eprintln!("{}", hosts.logs(&["client"])?);
    }
    done
}

fn exits(verdicts: &mut Verdicts, net: &Net, hosts: &Hosts<'_>) -> Result<(), Box<dyn Error>> {
    for (exit, daemon) in mesh::FOREIGN {
        let cells = [Place::new(daemon, Role::Exit, What::Ipv6)];
        let (number, said) = open_for(hosts, exit, &[FIRST, LAST, exit], "0.0.0.0/0,::/0")?;
        let given = said.contains(':');
        let (answered, summary) = pings(net)?;
        match daemon {
            Libreswan => {
                let evidence = format!("the exit gave {said}; {summary}");
                verdicts.check_cells(cells, "no IPv6 at a libreswan exit", !given && !answered, evidence);
            }
            Strongswan | Software::Ippriv => {
                verdicts.check_cells(cells, "strongSwan gives an address of IPv6", given, said);
                verdicts.check_cells(cells, "pings are answered", answered, summary);
            }
        }
        if let Some(number) = number {
            hosts.daemons.ippriv("client", &["circuit", "close", &number.to_string()])?;
        }
    }
    Ok(())
}

fn client(verdicts: &mut Verdicts, net: &Net, hosts: &Hosts<'_>) -> Result<(), Box<dyn Error>> {
    let cells = [Place::new(Strongswan, Role::Client, What::Ipv6)];
    let relay = hosts.daemons.relays().iter().find(|relay| relay.name == *LAST).ok_or("no such relay")?;
    let mut telescope = Telescope::strongswan(net.node("client")?, "")?;
    let built = telescope.extend(relay, Families::Both);
    let evidence = built.as_ref().err().map_or_else(String::new, ToString::to_string);
    verdicts.check_cells(
        cells,
        "a strongSwan client asks for addresses of both kinds",
        built.is_ok(),
        evidence,
    );
    if built.is_ok() {
        telescope.route(net.node("server")?.address6().into())?;
        let (answered, summary) = pings(net)?;
        verdicts.check_cells(cells, "its pings are answered", answered, summary);
    }
    if verdicts.failures() > 0 {
        eprintln!("── log of the client\n{}", telescope.daemon.log()?);
    }
    telescope.stop()
}

fn pings(net: &Net) -> Result<(bool, String), Box<dyn Error>> {
    let server = net.node("server")?.address6().to_string();
    let words = ["ping", "-6", "-n", "-c", PINGS, "-i", "0.2", "-W", "1", &server];
    let said = net.node("client")?.try_run(&words)?;
    let summary = said.stdout.lines().find(|line| line.contains(" received"));
    let summary = summary.unwrap_or_else(|| said.stderr.lines().last().unwrap_or("no answer")).to_owned();
    Ok((summary.contains(&format!("{PINGS} received")), summary))
}
