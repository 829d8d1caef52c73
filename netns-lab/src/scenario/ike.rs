//! Circuits that IKEv2 builds: `ipprivd` on every relay and on the client, and no key dealt out beforehand.

use std::error::Error;
use std::time::Duration;

use super::{Lab, Scenario, Verdicts};
use crate::daemons::{CircuitPlan, Daemons, Plan};
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "ike-hops-1", about: "IKEv2 builds a circuit of one relay", run: |v| hops(1, v) },
    Scenario { name: "ike-hops-2", about: "the same with two relays", run: |v| hops(2, v) },
    Scenario { name: "ike-hops-3", about: "the same with three relays", run: |v| hops(3, v) },
    Scenario { name: "ike-hops-4", about: "the same with four relays", run: |v| hops(4, v) },
    Scenario { name: "ike-hops-5", about: "the same with five relays", run: |v| hops(5, v) },
];

/// Time for a circuit to be there, overlays included.
const OPEN: Duration = Duration::from_secs(30);

fn hops(count: usize, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let relays: Vec<String> = (1..=count).map(|k| format!("relay{k}")).collect();
    let names: Vec<&str> = relays.iter().map(String::as_str).collect();
    let lab = Lab::new(&Topology::chain(count)?, &[])?;
    let plan = Plan::new(vec![CircuitPlan::new("client", &names)]);
    let daemons = Daemons::start_all(&lab.net, &plan)?;
    let open = daemons.wait_open("client", OPEN)?;
    let log = daemons.log("client")?;
    verdicts.check(format!("{count} hops: the circuit opens"), open, log.lines().last().unwrap_or_default());
    let answers = lab.ping("client", lab.address4("server")?.into(), 5)?;
    verdicts.equal(format!("{count} hops: answers over IPv4"), &answers, &5);
    if !open || answers < 5 {
        for name in names.iter().chain(&["client"]) {
            eprintln!("== {name}\n{}", daemons.log(name)?);
            eprintln!(
                "{}",
                lab.on(
                    name,
                    &["sh", "-c", "ip xfrm policy; ip xfrm state; ip rule; ip addr; cat /proc/net/xfrm_stat"]
                )?
            );
        }
    }
    Ok(())
}
