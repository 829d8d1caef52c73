//! Other people's daemons beside our own.

use std::error::Error;

use super::{Scenario, Verdicts};
use crate::foreign::StrongSwan;
use crate::net::Net;
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "interop-baseline-start",
    about: "stock daemons start on a node, answer, and end",
    run: start,
}];

fn start(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&Topology::chain(2)?)?;
    let charon = StrongSwan::start(net.node("relay1")?, &[])?;
    let stats = charon.swanctl(&["--stats"])?;
    verdicts.check("charon answers", stats.contains("worker threads"), stats.trim());
    let log = charon.stop()?;
    verdicts.check("charon ends and has a log", log.contains("00["), log.lines().next().unwrap_or(""));
    Ok(())
}
