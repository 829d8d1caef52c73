//! Tunnels from node to node, each of two processes with a TUN device: what is common to systems that put a
//! client's packets into connections of their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::host::{self, Undo};
use super::{Circuit, Outcome, Place, Running, Way, counters};
use crate::net::{Background, Net, Node};

/// Two nodes of a path, the client's side first.
pub(super) type Between = [String; 2];

/// A tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leg {
    /// The end that connects, and its device.
    pub(super) near: (String, String),
    /// The end that listens, and its device.
    pub(super) far: (String, String),
    /// Where that listens.
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
}

/// An end of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Near,
    Far,
}

/// A program that is one end of a tunnel.
pub(super) trait Program {
    /// Its command line.
    fn argv(&self, leg: &Leg, end: End) -> Vec<String>;
    /// What it writes when it can be connected to.
    const LISTENS: &'static str;
    /// What it writes when it has connected.
    const CONNECTED: &'static str;
}

/// Where the first leg's tunnel listens.
const PORT: u16 = 7400;
/// The first of our routing tables.
const TABLES: usize = 50_000;
/// The nftables table of exits.
const NAT: &str = "lab_legs";
/// How long a program may take to listen or to connect.
const START: Duration = Duration::from_secs(30);

/// Starts one tunnel that all circuits share, or one for each hop of each circuit.
pub(super) fn start<'net>(
    place: Place<'net>,
    between: Option<&Between>,
    program: &impl Program,
) -> Outcome<Box<dyn Running + 'net>> {
    let mut running =
        Legs { net: place.net, programs: Vec::new(), ways: Vec::new(), changes: Undo::default() };
    match between {
        Some(between) => running.share(place, between, program)?,
        None => {
            for (number, circuit) in place.circuits.iter().enumerate() {
                running.chain(place, number, circuit, program)?;
            }
        }
    }
    for (circuit, way) in place.circuits.iter().zip(&running.ways) {
        let from = if let Way::From(address) = way { Some(*address) } else { None };
        for server in place.servers {
            let server = IpAddr::V4(place.net.node(server)?.address4());
            if let Err(error) = host::reach(place.net, circuit, from, server) {
                return Err(format!("{error}; {}", running.last_words()).into());
            }
        }
    }
    if let Some(between) = between {
        running.check_shared(place, between)?;
    }
    Ok(Box::new(running))
}

struct Legs<'net> {
    net: &'net Net,
    // They end before their devices go.
    programs: Vec<Background>,
    ways: Vec<Way>,
    changes: Undo<'net>,
}

impl Running for Legs<'_> {
    fn ways(&self) -> Vec<Way> {
        self.ways.clone()
    }

    fn counters(&self) -> Outcome<BTreeMap<String, f64>> {
        counters::of_devices(self.net)
    }
}

/// The device of a shared tunnel.
const SHARED: &str = "tunnel";

impl<'net> Legs<'net> {
    /// One tunnel for all circuits, which go the network's own way otherwise.
    fn share(&mut self, place: Place<'net>, between: &Between, program: &impl Program) -> Outcome<()> {
        let [near, far] = between;
        let leg = Leg {
            near: (near.clone(), SHARED.to_owned()),
            far: (far.clone(), SHARED.to_owned()),
            address: place.net.node(far)?.address4(),
            port: PORT,
        };
        self.join(place, &leg, program)?;
        let (near, far) = (place.net.node(near)?, place.net.node(far)?);
        for node in [near, far] {
            host::ip(node, &format!("route add default dev {SHARED} table {TABLES}\n"))?;
        }
        let mut pairs = Vec::new();
        for circuit in place.circuits {
            for server in place.servers {
                let pair = [place.net.node(&circuit.client)?.address4(), place.net.node(server)?.address4()];
                if !pairs.contains(&pair) {
                    pairs.push(pair);
                }
            }
            self.ways.push(Way::Plain);
        }
        for [client, server] in pairs {
            self.rule(near, &format!("from {client} to {server}"), TABLES)?;
            self.rule(far, &format!("from {server} to {client}"), TABLES)?;
        }
        Ok(())
    }

    /// That what the clients just sent went through the tunnel.
    fn check_shared(&self, place: Place<'_>, between: &Between) -> Outcome<()> {
        for name in between {
            let link = place.net.node(name)?.run(&["ip", "-s", "-j", "link", "show", "dev", SHARED])?.stdout;
            let said: serde_json::Value = serde_json::from_str(&link)?;
            let passed = |way: &str| said[0]["stats64"][way]["packets"].as_u64().unwrap_or(0);
            if passed("rx") == 0 || passed("tx") == 0 {
                let expected =
                    "packets both ways: the route from client to server has to go through both ends";
                return Err(format!("{name}: {SHARED}: found {link}, expected {expected}").into());
            }
        }
        Ok(())
    }

    /// A tunnel for each hop of a circuit, one after the other; the exit masquerades.
    fn chain(
        &mut self,
        place: Place<'net>,
        number: usize,
        circuit: &Circuit,
        program: &impl Program,
    ) -> Outcome<()> {
        let exit =
            circuit.hops.last().ok_or_else(|| format!("{}: found no hops, expected some", circuit.client))?;
        let exit = place.net.node(exit)?;
        let address = host::lease(exit, number + 2)?;
        let mut near = circuit.client.as_str();
        for (hop, far) in circuit.hops.iter().enumerate() {
            let end = |side: char| format!("t{number}x{hop}{side}");
            let leg = Leg {
                near: (near.to_owned(), end('n')),
                far: (far.clone(), end('f')),
                address: place.net.node(far)?.address4(),
                port: PORT + u16::try_from(number)?,
            };
            self.join(place, &leg, program)?;
            // Outwards by the near end's device, and back by the far end's.
            let node = place.net.node(near)?;
            let table = TABLES + number;
            host::ip(node, &format!("route add default dev {} table {table}\n", leg.near.1))?;
            if hop == 0 {
                host::ip(node, &format!("addr add {address}/32 dev {}\n", leg.near.1))?;
            }
            self.rule(node, &format!("from {address}"), table)?;
            host::ip(place.net.node(far)?, &format!("route add {address}/32 dev {}\n", leg.far.1))?;
            near = far;
        }
        let table = format!("{NAT}{number}");
        host::nft(
            exit,
            &format!(
                "table ip {table} {{ chain leaving {{ type nat hook postrouting priority srcnat; \
                 ip saddr {address} masquerade; }}; }}\n"
            ),
        )?;
        self.changes.later(exit, &["nft", "delete", "table", "ip", &table]);
        self.ways.push(Way::From(IpAddr::V4(address)));
        Ok(())
    }

    fn rule(&mut self, node: Node<'net>, selector: &str, table: usize) -> Outcome<()> {
        let rule = format!("pref 100 {selector} lookup {table}");
        host::ip(node, &format!("rule add {rule}\n"))?;
        let argv: Vec<&str> = ["ip", "rule", "del"].into_iter().chain(rule.split(' ')).collect();
        self.changes.later(node, &argv);
        Ok(())
    }

    /// Makes both devices and runs both programs.
    fn join<P: Program>(&mut self, place: Place<'net>, leg: &Leg, program: &P) -> Outcome<()> {
        for (node, device) in [&leg.near, &leg.far] {
            let node = place.net.node(node)?;
            host::ip(node, &format!("tuntap add {device} mode tun\nlink set {device} up\n"))?;
            self.changes.device(node, device);
        }
        for (end, ready) in [(End::Far, P::LISTENS), (End::Near, P::CONNECTED)] {
            let node = if end == End::Far { &leg.far.0 } else { &leg.near.0 };
            let argv = program.argv(leg, end);
            let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
            let mut running = place.net.node(node)?.spawn(&argv)?;
            let ready = running.wait_for(ready, START);
            self.programs.push(running);
            if let Err(error) = ready {
                return Err(format!("{error}; {}", self.last_words()).into());
            }
        }
        Ok(())
    }

    /// The last line of what each program wrote.
    fn last_words(&self) -> String {
        let mut words = String::new();
        for program in &self.programs {
            let said = program.stdout().unwrap_or_default() + &program.stderr().unwrap_or_default();
            let last = said.trim_end().lines().last().unwrap_or("nothing").to_owned();
            let _ = write!(words, "[{last}] ");
        }
        words
    }
}
