//! New keys for every layer and every overlay of a circuit that carries packets.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::flow::{Flow, PACE, spis};
use super::{Daemons, Lab, OPEN, Outcome, PORT, Plan, Topology, Verdicts, circuit, hosts, show};

/// Between two looks.
const POLL: Duration = Duration::from_millis(20);
/// How many looks: longer than daemons that took over need to find each other again.
const LIMIT: u32 = 3000;
/// Time for old SAs to be deleted at both ends.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) fn asked(verdicts: &mut Verdicts) -> Outcome {
    let lab = Lab::new(&Topology::chain(3)?, &[])?;
    let daemons = Daemons::start_all(&lab.net, &Plan::new(vec![circuit(3)]))?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    let flow = Flow::start(&lab, "client", PORT, PACE)?;
    thread::sleep(SETTLE);
    every_tunnel(verdicts, &lab, &daemons)?;
    thread::sleep(SETTLE);
    let carried = flow.finish()?;
    verdicts.check("nothing is lost of 500 datagrams a second each way", carried.whole(), &carried);
    show(&lab, &daemons, &hosts(3), carried.whole())
}

/// Asks for new keys of each SA: layers at the client, overlays at both of their ends.
pub(super) fn every_tunnel(verdicts: &mut Verdicts, lab: &Lab, daemons: &Daemons<'_>) -> Outcome {
    for ike in [false, true] {
        for hop in 1..=3_usize {
            let look =
                || -> Outcome<Value> { Ok(daemons.circuits("client")?[0]["hops"][hop - 1]["sa"].clone()) };
            let hop = hop.to_string();
            rekey(verdicts, lab, daemons, ("client", &["circuit", "1", &hop], ike), &look)?;
        }
        for (here, there) in
            [("relay1", "relay2"), ("relay2", "relay1"), ("relay2", "relay3"), ("relay3", "relay2")]
        {
            let look = || overlay(daemons, here, there);
            rekey(verdicts, lab, daemons, (here, &["overlay", there], ike), &look)?;
        }
    }
    Ok(())
}

fn overlay(daemons: &Daemons<'_>, here: &str, there: &str) -> Outcome<Value> {
    let list = daemons.json(here, &["overlay", "list"])?;
    let found = list.as_array().into_iter().flatten().find(|overlay| overlay["relay"] == there);
    Ok(found.ok_or("no such overlay")?["sa"].clone())
}

/// Asks one end for new keys, and waits until it shows them.
fn rekey(
    verdicts: &mut Verdicts,
    lab: &Lab,
    daemons: &Daemons<'_>,
    (node, target, ike): (&str, &[&str], bool),
    look: &dyn Fn() -> Outcome<Value>,
) -> Outcome {
    let before = look()?;
    let fields: &[&str] = if ike { &["ike_initiator", "ike_responder"] } else { &["esp_in", "esp_out"] };
    let what = if ike { &["--ike"][..] } else { &[] };
    daemons.ippriv(node, &[&["rekey"], target, what].concat())?;
    let changed = |now: &Value| !now.is_null() && fields.iter().all(|field| now[field] != before[field]);
    let mut now = look()?;
    let mut looks = 0;
    while !changed(&now) && looks < LIMIT {
        thread::sleep(POLL);
        looks += 1;
        now = look()?;
    }
    let values = |sa: &Value| fields.iter().map(|field| sa[field].to_string()).collect::<Vec<_>>();
    let (old, new) = (values(&before), values(&now));
    let what = if ike { "IKE SA" } else { "child SA" };
    let name = format!("{node} gives the {what} of {} new keys", target.join(" "));
    verdicts.check(name, changed(&now), format!("{old:?}, then {new:?} after {looks} looks"));
    if !ike {
        thread::sleep(SETTLE);
        let kernel = spis(lab, node)?;
        let has = |sa: &Value, field: &str| {
            sa[field].as_str().is_some_and(|spi| kernel.contains(&format!("0x{spi}")))
        };
        // What is old still receives for a while, for packets that were overtaken.
        let good = has(&now, "esp_in") && has(&now, "esp_out") && !has(&before, "esp_out");
        let name =
            format!("{node}: the kernel has the new SAs of {} and sends by no old one", target.join(" "));
        verdicts.check(name, good, format!("{kernel:?}"));
    }
    Ok(())
}

/// Keys that live for 30 s and 60 s, for three minutes.
pub(super) fn due(verdicts: &mut Verdicts) -> Outcome {
    const LINES: &str = "  lifetimes: { ike: 60s, child: 30s }\n";
    let lab = Lab::new(&Topology::chain(3)?, &[])?;
    let plan =
        Plan { relay_lines: LINES.to_owned(), client_lines: LINES.to_owned(), ..Plan::new(vec![circuit(3)]) };
    let daemons = Daemons::start_all(&lab.net, &plan)?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    let before = hosts(3).iter().map(|host| spis(&lab, host)).collect::<Result<Vec<_>, _>>()?;
    let flow = Flow::start(&lab, "client", PORT, PACE * 5)?;
    thread::sleep(Duration::from_secs(180));
    let carried = flow.finish()?;
    verdicts.check("nothing is lost in three minutes", carried.whole(), &carried);
    for (host, before) in hosts(3).iter().zip(before) {
        let now = spis(&lab, host)?;
        let good = now.is_disjoint(&before) && !now.is_empty();
        verdicts.check(format!("{host} has other SAs in the end"), good, format!("{before:?}, then {now:?}"));
    }
    let circuits = daemons.circuits("client")?;
    for hop in circuits[0]["hops"].as_array().into_iter().flatten() {
        let rekeyed = hop["sa"]["rekeyed"].as_u64().unwrap_or(0);
        verdicts.check(format!("the layer of {} had new keys often", hop["relay"]), rekeyed >= 5, rekeyed);
    }
    let opened = daemons.log("client")?.matches("circuit_open").count();
    verdicts.equal("the circuit was opened once", &opened, &1);
    show(&lab, &daemons, &hosts(3), carried.whole())
}
