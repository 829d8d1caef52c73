//! How long a circuit takes to build, against what its messages take to travel: in virtual time, where computing
//! costs nothing.

use std::error::Error;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Bench;
use crate::daemons::{CircuitPlan, Daemons, Plan};
use crate::runner::Clock;
use crate::scenario::Lab;
use crate::topology::Topology;

pub(super) const ALL: &[Bench] = &[Bench {
    name: "circuit-setup",
    about: "time to build circuits of one to five relays, against the round trips of their messages",
    clock: Clock::Virtual { seed: 1 },
    in_lab: setup,
    cpu: None,
}];

/// The longest circuit.
const LONGEST: u32 = 5;
/// Milliseconds from a router of a chain to the next, and so from one relay to the next.
const STEP: u32 = 5;
/// Time for overlays, and for a circuit.
const OPEN: Duration = Duration::from_secs(30);

/// Which key exchanges a circuit's layers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exchanges {
    /// IKE_SA_INIT and IKE_AUTH.
    Classical,
    /// These, and IKE_INTERMEDIATE with ML-KEM between them.
    WithMlKem,
}

impl Exchanges {
    const fn round_trips(self) -> u32 {
        match self {
            Self::Classical => 2,
            Self::WithMlKem => 3,
        }
    }
}

fn setup() -> Result<Value, Box<dyn Error>> {
    let mut figures = Map::new();
    for hops in 1..=LONGEST {
        let mut of_length = json!({});
        for (exchanges, name) in [(Exchanges::Classical, "classical"), (Exchanges::WithMlKem, "ml_kem")] {
            let (took, limit) = (took(hops, exchanges)?, limit(hops, exchanges));
            let ratio = round(f64::from(took) / f64::from(limit));
            of_length[name] = json!({ "ms": took, "limit_ms": limit, "vs_limit": ratio });
            if hops == 3 {
                let name = match exchanges {
                    Exchanges::Classical => "three_hops_vs_limit",
                    Exchanges::WithMlKem => "three_hops_ml_kem_vs_limit",
                };
                figures.insert(name.to_owned(), ratio.into());
            }
        }
        figures.insert(format!("hops_{hops}"), of_length);
    }
    Ok(Value::Object(figures))
}

/// Milliseconds that the messages travel: every layer's go to its relay and back through those before.
fn limit(hops: u32, exchanges: Exchanges) -> u32 {
    (1..=hops).map(|hop| exchanges.round_trips() * 2 * STEP * hop).sum()
}

/// Milliseconds from the command to the open circuit; the overlays are up before.
fn took(hops: u32, exchanges: Exchanges) -> Result<u32, Box<dyn Error>> {
    let lab = Lab::new(&Topology::chain(usize::try_from(hops)?)?, &[])?;
    let plan = Plan {
        idle_clients: vec!["client".to_owned()],
        classical: exchanges == Exchanges::Classical,
        ..Plan::new(Vec::<CircuitPlan>::new())
    };
    let daemons = Daemons::start_all(&lab.net, &plan)?;
    if !daemons.wait_overlays(OPEN)? {
        return Err(format!("found overlays down after {OPEN:?}, expected all up").into());
    }
    let relays: Vec<String> = (1..=hops).map(|hop| format!("relay{hop}")).collect();
    daemons.ippriv("client", &["circuit", "new", "--hops", &relays.join(",")])?;
    let events = daemons.ippriv("client", &["events", "--json"])?;
    let opened = events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|event| event["event"] == "circuit_open")
        .and_then(|event| event["took_ms"].as_u64());
    let took = opened.ok_or_else(|| format!("found {events}, expected circuit_open with took_ms"))?;
    Ok(u32::try_from(took)?)
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_two_or_three_round_trips_for_each_relay() {
        assert_eq!(limit(1, Exchanges::Classical), 20);
        assert_eq!(limit(3, Exchanges::Classical), 20 + 40 + 60);
        assert_eq!(limit(3, Exchanges::WithMlKem), 30 + 60 + 90);
    }

    /// The links between routers have the delay that limits are computed from, and the others none.
    #[test]
    fn a_step_is_the_delay_between_routers() {
        let chain = Topology::chain(5).unwrap();
        for end in chain.links.iter().flat_map(|link| &link.ends) {
            assert!([0, u64::from(STEP) * 1000].contains(&end.egress.delay.micros()), "{:?}", end.egress);
        }
    }
}
