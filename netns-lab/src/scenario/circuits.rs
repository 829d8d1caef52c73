//! Circuits of every length carry what they have to, and nobody on the way sees more than they may.

use std::error::Error;

use super::{Lab, Scenario, Verdicts};

pub(super) const ALL: &[Scenario] =
    &[Scenario { name: "ping", about: "a circuit of three relays answers pings", run: ping }];

fn ping(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = Lab::chain(3)?;
    verdicts.equal("IPv4 answers", &lab.ping("client", lab.address4("server")?.into(), 3)?, &3);
    verdicts.equal("IPv6 answers", &lab.ping("client", lab.address6("server")?.into(), 3)?, &3);
    Ok(())
}
