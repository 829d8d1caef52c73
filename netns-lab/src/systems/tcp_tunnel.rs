//! TCP over TCP: packets, as they are, in one TCP connection for each tunnel.

use serde::{Deserialize, Serialize};

use super::legs::{self, Between, End, Leg};
use super::{Outcome, Place, Running};
use crate::program;

/// What can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The two nodes that the only tunnel is between, the client's side first, on the network's own way from clients
    /// to servers. If this is not said, there is a tunnel for each hop of each circuit.
    pub between: Option<Between>,
    /// Congestion control of the tunnels' connections; the kernel's default if this is not said.
    pub tunnel_cc: Option<String>,
}

pub(super) fn start<'net>(settings: &Settings, place: Place<'net>) -> Outcome<Box<dyn Running + 'net>> {
    legs::start(place, settings.between.as_ref(), settings)
}

impl legs::Program for Settings {
    const LISTENS: &'static str = "listening on";
    const CONNECTED: &'static str = "connected to";

    fn argv(&self, leg: &Leg, end: End) -> Vec<String> {
        let (tool, device) = match end {
            End::Far => ("tun-serve", &leg.far.1),
            End::Near => ("tun-connect", &leg.near.1),
        };
        let address = format!("{}:{}", leg.address, leg.port);
        let mut argv = [program::NAME, "traffic", tool, device, &address].map(str::to_owned).to_vec();
        argv.extend(self.tunnel_cc.iter().flat_map(|cc| ["--cc".to_owned(), cc.clone()]));
        argv
    }
}
