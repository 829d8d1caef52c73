//! Ten thousand circuits on a relay: into the kernel and out of it, and the cost of a plan for them.

use std::error::Error;

use serde_json::Value;

use super::Bench;
use crate::runner::Clock;

pub(super) const ALL: &[Bench] = &[
    Bench {
        name: "kernel-install",
        about: "10,000 circuits installed, dumped and removed, by us and by `ip -batch`",
        clock: Clock::Real,
        in_lab: install,
        cpu: None,
    },
    Bench {
        name: "plan-10000",
        about: "wall time and memory of `ippriv plan` on a relay that holds 10,000 circuits",
        clock: Clock::Real,
        in_lab: plan,
        cpu: None,
    },
];

fn install() -> Result<Value, Box<dyn Error>> {
    Ok(Value::Object(serde_json::Map::new()))
}

fn plan() -> Result<Value, Box<dyn Error>> {
    Ok(Value::Object(serde_json::Map::new()))
}
