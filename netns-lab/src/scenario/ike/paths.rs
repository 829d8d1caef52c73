//! Paths that lose packets, and many circuits at once.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::{CircuitPlan, Daemons, Lab, OPEN, Outcome, Plan, Topology, Verdicts, show};

const TOPOLOGY: &str = "
description: Two clients, three relays and a server along a line of routers.
nodes:
  - { name: router0, role: router }
  - { name: router1, role: router }
  - { name: router2, role: router }
  - { name: router3, role: router }
  - { name: client, role: client }
  - { name: other, role: client }
  - { name: relay1, role: relay, pool: 10.64.0.0/16, pool6: 'fd00:64::/64' }
  - { name: relay2, role: relay, pool: 10.65.0.0/16, pool6: 'fd00:65::/64' }
  - { name: relay3, role: relay, pool: 10.66.0.0/16, pool6: 'fd00:66::/64', exit: true }
  - { name: server, role: server }
links:
  - { between: [router0, router1], rate: 20mbit, delay: 5ms LOSS }
  - { between: [router1, router2], rate: 20mbit, delay: 5ms LOSS }
  - { between: [router2, router3], rate: 20mbit, delay: 5ms LOSS }
  - { between: [router0, client], rate: 100mbit LOSS }
  - { between: [router0, other], rate: 100mbit LOSS }
  - { between: [router1, relay1], rate: 100mbit LOSS }
  - { between: [router2, relay2], rate: 100mbit LOSS }
  - { between: [router3, relay3], rate: 100mbit LOSS }
  - { between: [router3, server], rate: 100mbit LOSS }
";
/// How often, and after how long each time, it is looked whether lossy paths have let all circuits through.
const LOOKS: u32 = 120;
const LOOK: Duration = Duration::from_secs(5);
const HOPS: &str = "relay1,relay2,relay3";
const ALL: [&str; 5] = ["relay1", "relay2", "relay3", "client", "other"];

fn lab(loss: &str) -> Outcome<Lab> {
    let text = TOPOLOGY.replace(" LOSS", loss);
    Ok(Lab::new(&Topology::parse("two clients", &text)?, &[])?)
}

/// Builds twenty circuits where each link loses one packet in twenty: six in ten of the exchanges with the
/// third relay.
pub(super) fn loss(verdicts: &mut Verdicts) -> Outcome {
    let lab = lab(", loss: 5%")?;
    let circuit = |number| CircuitPlan {
        name: format!("c{number}"),
        traffic: Vec::new(),
        ..CircuitPlan::new("client", &["relay1", "relay2", "relay3"])
    };
    let plan = Plan::new((1..=20).map(circuit).collect());
    let daemons = Daemons::start_all(&lab.net, &plan)?;
    verdicts.check("all overlays come up", daemons.wait_overlays(OPEN * 2)?, "");
    let mut open = false;
    for _ in 0..LOOKS {
        thread::sleep(LOOK);
        open = daemons.wait_open("client", Duration::ZERO)?;
        if open {
            break;
        }
    }
    let events = daemons.ippriv("client", &["events", "--json"])?;
    let count = |event| events.matches(event).count();
    let evidence =
        format!("{} opened, {} attempts failed before", count("circuit_open"), count("circuit_failed"));
    verdicts.check("20 of 20 circuits open", open && daemons.circuits("client")?.len() == 20, evidence);
    show(&lab, &daemons, &ALL[..4], open)
}

/// A circuit of three exits: the first two keep its packets inside, and its client hidden.
pub(super) fn exits(verdicts: &mut Verdicts) -> Outcome {
    let mut text = TOPOLOGY.replace(" LOSS", "");
    for pool6 in ["'fd00:64::/64'", "'fd00:65::/64'"] {
        text = text.replace(pool6, &format!("{pool6}, exit: true"));
    }
    let lab = Lab::new(&Topology::parse("three exits", &text)?, &[])?;
    let circuit = CircuitPlan::new("client", &["relay1", "relay2", "relay3"]);
    let daemons = Daemons::start_all(&lab.net, &Plan::new(vec![circuit]))?;
    let open = daemons.wait_open("client", OPEN)?;
    verdicts.check("the circuit opens", open, daemons.log("client")?.lines().last().unwrap_or_default());
    let server = lab.net.node("server")?;
    let mut seen =
        server.spawn(&["tcpdump", "-n", "--immediate-mode", "-U", "-l", "-i", "router3", "icmp"])?;
    seen.wait_for("listening", OPEN)?;
    let answers = lab.ping("client", lab.address4("server")?.into(), 5)?;
    verdicts.equal("answers over IPv4", &answers, &5);
    let exit = format!("IP {} > ", lab.address4("relay3")?);
    seen.wait_for("echo reply", OPEN)?;
    let shown = seen.stdout()?;
    let requests: Vec<&str> = shown.lines().filter(|line| line.contains("echo request")).collect();
    let hidden = !requests.is_empty() && requests.iter().all(|line| line.contains(&exit));
    verdicts.check("the server sees the last relay's address", hidden, format!("{requests:?}"));
    show(&lab, &daemons, &ALL[..4], open && answers == 5)
}

/// Ten circuits of each of two clients, all at once.
pub(super) fn many(verdicts: &mut Verdicts) -> Outcome {
    let lab = lab("")?;
    let clients = ["client", "other"];
    let plan =
        Plan { idle_clients: clients.iter().map(ToString::to_string).collect(), ..Plan::new(Vec::new()) };
    let daemons = Daemons::start_all(&lab.net, &plan)?;
    verdicts.check("all overlays come up", daemons.wait_overlays(OPEN)?, "");
    for client in [clients; 10].concat() {
        daemons.ippriv(client, &["circuit", "new", "--hops", HOPS, "--no-wait"])?;
    }
    let (mut addresses, mut spis, mut unanswered, mut hops) = (BTreeSet::new(), BTreeSet::new(), 0, 0);
    let server = lab.address4("server")?.to_string();
    for client in clients {
        let open = daemons.wait_open(client, OPEN)?;
        let circuits = daemons.circuits(client)?;
        verdicts.check(format!("{client}: ten circuits open"), open && circuits.len() == 10, circuits.len());
        for circuit in circuits {
            let assigned = circuit["addresses"].as_array().into_iter().flatten();
            addresses.extend(assigned.filter_map(|address| Some(address.as_str()?.to_owned())));
            for hop in circuit["hops"].as_array().into_iter().flatten() {
                hops += 1;
                spis.extend(
                    ["esp_in", "esp_out"].map(|field| format!("{} {}", hop["relay"], hop["sa"][field])),
                );
            }
            let Some(from) = circuit["addresses"][0].as_str() else { continue };
            let ping = ["ping", "-n", "-c", "2", "-i", "0.1", "-W", "1", "-I", from, &server];
            if !lab.try_on(client, &ping)?.stdout.contains(" 2 received") {
                unanswered += 1;
            }
        }
    }
    let v4 = addresses.iter().filter(|address| !address.contains(':')).count();
    verdicts.equal("all circuits have an address of their own", &v4, &20);
    verdicts.equal("all layers have SPIs of their own", &spis.len(), &(2 * hops));
    verdicts.equal("circuits without answers from the server", &unanswered, &0);
    show(&lab, &daemons, &ALL, unanswered == 0)
}
