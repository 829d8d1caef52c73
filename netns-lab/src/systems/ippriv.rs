//! Telescopes: our own daemons, or keys dealt out beforehand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ippriv::id::Mtu;
use ippriv::state::RouteMetrics;
use ippriv::suite::Suite;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::host::{self, Undo};
use super::relay_queue::{self, Discipline};
use super::{Circuit, Outcome, Place, Running, Way, counters};
use crate::daemons::{CircuitPlan, Daemons, Plan};
use crate::deal::{Deal, Wish};
use crate::net::Net;

/// Where keys come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keying {
    /// `ipprivd` on every host.
    #[default]
    Ike,
    /// Dealt out by the lab, as `ippriv apply` takes them.
    Static,
}

/// What can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where keys come from.
    pub keying: Keying,
    /// The suite of every layer.
    pub suite: Suite,
    /// Largest packet inside; the default of circuits if this is not said.
    pub mtu: Option<Mtu>,
    /// Whether IKE has ML-KEM beside its elliptic curve.
    pub post_quantum: bool,
    /// What waits for the relays' links.
    pub queue: Discipline,
    /// Congestion control of what clients send, as an option of the circuits' routes.
    pub route_cc: Option<String>,
    /// Congestion control of all clients and servers, as their kernels' default.
    pub host_cc: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keying: Keying::default(),
            suite: Suite::AesGcm128,
            mtu: None,
            post_quantum: true,
            queue: Discipline::default(),
            route_cc: None,
            host_cc: None,
        }
    }
}

/// Time for all overlays to be up.
const OVERLAYS: Duration = Duration::from_secs(60);
/// Time for all circuits of a client to be open.
const OPEN: Duration = Duration::from_secs(120);

pub(super) fn start<'net>(settings: &Settings, place: Place<'net>) -> Outcome<Box<dyn Running + 'net>> {
    let mut changes = relay_queue::set(place, settings.queue)?;
    if let Some(name) = &settings.host_cc {
        let clients = place.circuits.iter().map(|circuit| circuit.client.as_str());
        let hosts: BTreeSet<&str> = clients.chain(place.servers.iter().map(String::as_str)).collect();
        for host in hosts {
            host::set_congestion_control(place.net.node(host)?, name, &mut changes)?;
        }
    }
    match settings.keying {
        Keying::Ike => Ok(Box::new(Ike::start(settings, place, changes)?)),
        Keying::Static => Ok(Box::new(Static::start(settings, place, changes)?)),
    }
}

/// Circuits by keys that were dealt out.
struct Static<'net> {
    net: &'net Net,
    deal: Deal,
    addresses: Vec<IpAddr>,
    _changes: Undo<'net>,
}

impl<'net> Static<'net> {
    fn start(settings: &Settings, place: Place<'net>, changes: Undo<'net>) -> Outcome<Self> {
        let mut wishes = Vec::new();
        for circuit in place.circuits {
            let hops: Vec<&str> = circuit.hops.iter().map(String::as_str).collect();
            let options =
                RouteMetrics { congestion_control: settings.route_cc.clone(), ..RouteMetrics::default() };
            wishes.push(Wish {
                suite: settings.suite,
                mtu: settings.mtu,
                traffic: Vec::new(),
                options,
                ..Wish::new(&circuit.client, &hops)
            });
        }
        let deal = Deal::new(place.net, &wishes)?;
        let mut taken = BTreeMap::<&str, usize>::new();
        let mut addresses = Vec::new();
        for circuit in place.circuits {
            let at = taken.entry(circuit.client.as_str()).or_default();
            let telescope = deal
                .hosts
                .get(&circuit.client)
                .and_then(|host| host.client.as_ref()?.circuits.get(*at))
                .and_then(|telescope| telescope.hops.last())
                .ok_or_else(|| format!("{}: found no circuit {at}, expected one", circuit.client))?;
            *at += 1;
            addresses.push(telescope.address);
        }
        let running = Self { net: place.net, deal, addresses, _changes: changes };
        running.deal.apply(place.net)?;
        flows(place, &running.addresses)?;
        Ok(running)
    }
}

impl Running for Static<'_> {
    fn ways(&self) -> Vec<Way> {
        self.addresses.iter().map(|address| Way::From(*address)).collect()
    }

    fn counters(&self) -> Outcome<BTreeMap<String, f64>> {
        kernel_counters(self.net)
    }
}

impl Drop for Static<'_> {
    fn drop(&mut self) {
        let hosts: Vec<String> = self.deal.hosts.keys().cloned().collect();
        self.deal.hosts.clear();
        for host in hosts {
            // Best effort, as for all that is dropped: a file without roles removes what is there.
            let _ = self.deal.apply_on(self.net, &host);
        }
    }
}

fn kernel_counters(net: &Net) -> Outcome<BTreeMap<String, f64>> {
    let mut all = counters::of_devices(net)?;
    all.extend(counters::of_ipsec(net)?);
    Ok(all)
}

/// Circuits by daemons.
struct Ike<'net> {
    net: &'net Net,
    daemons: Daemons<'net>,
    /// The clients first.
    hosts: Vec<String>,
    circuits: Vec<Opened>,
    _changes: Undo<'net>,
}

/// A circuit that is open.
struct Opened {
    address: IpAddr,
    took: Option<Duration>,
}

impl<'net> Ike<'net> {
    fn start(settings: &Settings, place: Place<'net>, changes: Undo<'net>) -> Outcome<Self> {
        let clients: BTreeSet<&str> = place.circuits.iter().map(|circuit| circuit.client.as_str()).collect();
        let relays = place.net.relays().map(|relay| relay.name().to_owned());
        let hosts = clients.iter().map(ToString::to_string).chain(relays).collect();
        let daemons = Daemons::prepare(place.net, &plan(settings, place.circuits))?;
        let mut running = Self { net: place.net, daemons, hosts, circuits: Vec::new(), _changes: changes };
        for relay in place.net.relays() {
            running.daemons.start(relay.name())?;
        }
        if !running.daemons.wait_overlays(OVERLAYS)? {
            return Err(format!("found overlays down after {OVERLAYS:?}, expected all up").into());
        }
        for client in &clients {
            running.daemons.start(client)?;
        }
        let mut views = BTreeMap::new();
        for client in clients {
            views.insert(client, Views::of(&running.daemons, client)?);
        }
        for (number, circuit) in place.circuits.iter().enumerate() {
            let opened = views.get(circuit.client.as_str()).and_then(|views| views.opened(number));
            running.circuits.push(opened.ok_or_else(|| {
                format!("{}: found no address of circuit {}, expected one", circuit.client, name(number))
            })?);
        }
        let addresses: Vec<IpAddr> = running.circuits.iter().map(|circuit| circuit.address).collect();
        flows(place, &addresses)?;
        Ok(running)
    }
}

impl Running for Ike<'_> {
    fn ways(&self) -> Vec<Way> {
        self.circuits.iter().map(|circuit| Way::From(circuit.address)).collect()
    }

    fn set_up(&self) -> Vec<Option<Duration>> {
        self.circuits.iter().map(|circuit| circuit.took).collect()
    }

    fn counters(&self) -> Outcome<BTreeMap<String, f64>> {
        kernel_counters(self.net)
    }
}

impl Drop for Ike<'_> {
    fn drop(&mut self) {
        // Best effort, as for all that is dropped.
        for host in &self.hosts {
            let _ = self.daemons.try_ippriv(host, &["stop", "--flush"]);
        }
        for host in &self.hosts {
            let _ = self.daemons.wait_stopped(host);
        }
    }
}

/// What a client's daemon says of its circuits and of the time they took.
struct Views {
    circuits: Vec<Value>,
    events: Vec<Value>,
}

impl Views {
    /// Once all circuits are open.
    fn of(daemons: &Daemons<'_>, client: &str) -> Outcome<Self> {
        let open = daemons.wait_open(client, OPEN)?;
        let circuits = daemons.circuits(client)?;
        if !open {
            let log = daemons.log(client)?;
            let last = log.lines().last().unwrap_or("nothing");
            let states: Vec<String> = circuits
                .iter()
                .map(|view| format!("{} {} {}", view["name"], view["state"], view["reason"]))
                .collect();
            let states = states.join(", ");
            return Err(format!(
                "{client}: ipprivd: found {states} after {OPEN:?}, expected all open; it said: {last}"
            )
            .into());
        }
        let events = daemons.ippriv(client, &["events", "--json"])?;
        let events = events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Self { circuits, events })
    }

    fn opened(&self, number: usize) -> Option<Opened> {
        let view = self.circuits.iter().find(|view| view["name"] == name(number).as_str())?;
        let addresses = view["addresses"].as_array()?.iter().filter_map(Value::as_str);
        let address = addresses.filter_map(|address| address.parse().ok()).find(IpAddr::is_ipv4)?;
        let of_it = |event: &&Value| event["event"] == "circuit_open" && event["circuit"] == view["number"];
        let took = self.events.iter().rev().find(of_it).and_then(|event| event["took_ms"].as_u64());
        Some(Opened { address, took: took.map(Duration::from_millis) })
    }
}

/// What a circuit is called in its client's policy.
fn name(number: usize) -> String {
    format!("c{number}")
}

fn plan(settings: &Settings, circuits: &[Circuit]) -> Plan {
    let mut lines = Vec::new();
    lines.extend(settings.mtu.map(|mtu| format!("mtu: {mtu}")));
    lines.extend(settings.route_cc.as_ref().map(|cc| format!("options: {{ congestion_control: {cc} }}")));
    let circuit = |(number, circuit): (usize, &Circuit)| CircuitPlan {
        client: circuit.client.clone(),
        name: name(number),
        hops: circuit.hops.clone(),
        length: None,
        traffic: Vec::new(),
        lines: lines.clone(),
    };
    Plan {
        circuits: circuits.iter().enumerate().map(circuit).collect(),
        top_lines: format!(
            "ciphers:\n  default: {{ esp: [{}], post_quantum: {} }}\n",
            settings.suite.name(),
            settings.post_quantum
        ),
        ..Plan::default()
    }
}

/// Waits until every circuit reaches every server.
fn flows(place: Place<'_>, addresses: &[IpAddr]) -> Outcome<()> {
    for (circuit, address) in place.circuits.iter().zip(addresses) {
        for server in place.servers {
            let server = IpAddr::V4(place.net.node(server)?.address4());
            host::reach(place.net, circuit, Some(*address), server)?;
        }
    }
    Ok(())
}
