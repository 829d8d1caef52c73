//! A relay goes away: the client finds out which, sends nothing in clear, and takes others.

use std::thread;
use std::time::Duration;

use super::flow::{Flow, PACE};
use super::{CircuitPlan, Daemons, Lab, OPEN, Outcome, PORT, Plan, Topology, Verdicts, clear, hosts, show};
use crate::capture::Captures;

/// The longest a client may take to notice and to build again.
const LIMIT: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(200);

pub(super) fn hop(verdicts: &mut Verdicts) -> Outcome {
    let lab = Lab::new(&Topology::chain(5)?, &[])?;
    let plan = Plan::new(vec![CircuitPlan { length: Some(3), ..CircuitPlan::new("client", &[]) }]);
    let mut daemons = Daemons::start_all(&lab.net, &plan)?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    let captures = Captures::start_all(&lab.net)?;
    let flow = Flow::start(&lab, "client", PORT, PACE * 10)?;
    thread::sleep(Duration::from_secs(1));
    for (layer, how) in [(1_usize, Death::Link), (2, Death::State)] {
        let old = path(&daemons)?;
        let dead = old.get(layer - 1).ok_or("a circuit without relays")?.clone();
        how.befall(&lab, &mut daemons, &dead)?;
        let (mut now, mut waited) = (path(&daemons)?, Duration::ZERO);
        while (now.contains(&dead) || !daemons.wait_open("client", POLL)?) && waited < LIMIT {
            thread::sleep(POLL);
            waited += POLL;
            now = path(&daemons)?;
        }
        let good = daemons.wait_open("client", OPEN)? && !now.contains(&dead);
        let name = format!("without {dead} ({how:?}) the circuit takes other relays");
        verdicts.check(name, good, format!("{old:?}, then {now:?} after {waited:?}"));
        let events = daemons.ippriv("client", &["events", "--json"])?;
        let failed: Vec<_> = events.lines().filter(|line| line.contains("circuit_failed")).collect();
        let told = failed.iter().any(|line| line.contains(&format!("\"hop\":{layer}")));
        verdicts.check(format!("events say that layer {layer} failed"), told, format!("{failed:?}"));
        let answers = lab.ping("client", lab.address4("server")?.into(), 3)?;
        verdicts.equal("the new circuit carries packets", &answers, &3);
        show(&lab, &daemons, &["client".to_owned()], good && told && answers == 3)?;
        how.end(&lab, &mut daemons, &dead)?;
    }
    let carried = flow.finish()?;
    verdicts.check("packets were sent all the time", carried.down < carried.sent, &carried);
    let shown = clear(&lab, &captures.stop()?)?;
    verdicts.check("nothing went in clear", shown.is_empty(), format!("{shown:?}"));
    show(&lab, &daemons, &hosts(5), shown.is_empty())
}

/// How a relay goes away.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// Nothing reaches it.
    Link,
    /// Its daemon and all it had in the kernel are gone.
    State,
}

impl Death {
    fn befall(self, lab: &Lab, daemons: &mut Daemons<'_>, relay: &str) -> Outcome {
        match self {
            Self::Link => {
                lab.on(&router(relay), &["ip", "link", "set", relay, "down"])?;
            }
            Self::State => {
                daemons.kill(relay)?;
                lab.on(relay, &["sh", "-c", "ip xfrm state flush; ip xfrm policy flush"])?;
            }
        }
        Ok(())
    }

    fn end(self, lab: &Lab, daemons: &mut Daemons<'_>, relay: &str) -> Outcome {
        match self {
            Self::Link => drop(lab.on(&router(relay), &["ip", "link", "set", relay, "up"])?),
            Self::State => daemons.start(relay)?,
        }
        Ok(())
    }
}

fn router(relay: &str) -> String {
    relay.replace("relay", "router")
}

/// The relays of the client's newest circuit.
fn path(daemons: &Daemons<'_>) -> Outcome<Vec<String>> {
    let circuits = daemons.circuits("client")?;
    let hops = circuits.last().and_then(|circuit| circuit["hops"].as_array()).cloned().unwrap_or_default();
    Ok(hops.iter().filter_map(|hop| Some(hop["relay"].as_str()?.to_owned())).collect())
}
