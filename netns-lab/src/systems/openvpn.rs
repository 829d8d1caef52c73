//! OpenVPN over TCP, without encryption or authentication: the tunnel alone, from point to point.
//!
//! Its options are those of a link that is to be filled:
//!
//! * `--tcp-nodelay`, which OpenVPN's manual advises for tunnels over TCP: packets go out as they come, as those of
//!   `tcp-tunnel` do.
//! * `--disable-occ`. The options consistency check asks the peer every ten seconds how it was set up, until it answers
//!   or was asked twelve times. When it is due while a packet waits for the connection to have room, OpenVPN's loop
//!   polls with a timeout of nothing until there is room (`check_send_occ_req` in its `occ.h`): a waste of a processor
//!   elsewhere, and for ever in virtual time, whose clock does not go on meanwhile. Only tunnels without TLS have the
//!   check.
//! * `--disable-dco`: its kernel module is not in the lab, and knows no tunnels without encryption.
//!
//! Buffers are left to the kernel and `--mssfix` to OpenVPN: other values carried no more, with losses or without.
//! `--fast-io` is for UDP only, and `--tcp-queue-limit` for servers of many clients.

use serde::{Deserialize, Serialize};

use super::legs::{self, Between, End, Leg};
use super::{Outcome, Place, Running, host};
use crate::bundle::OPENVPN;

/// What can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The two nodes that the only tunnel is between, the client's side first, on the network's own way from clients
    /// to servers. If this is not said, there is a tunnel for each hop of each circuit.
    pub between: Option<Between>,
}

const PROGRAM: &str = "usr/sbin/openvpn";
/// Where the bundle has libraries that the host may lack.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"];

/// Where its bundle is.
struct OpenVpn {
    program: String,
    libraries: String,
}

pub(super) fn start<'net>(settings: &Settings, place: Place<'net>) -> Outcome<Box<dyn Running + 'net>> {
    legs::start(place, settings.between.as_ref(), &OpenVpn::find()?)
}

/// The package's version.
pub(super) fn version() -> Outcome<String> {
    let OpenVpn { program, libraries } = OpenVpn::find()?;
    host::version(&program, &libraries)
}

impl OpenVpn {
    fn find() -> Outcome<Self> {
        let root = OPENVPN.root()?;
        let path = |below: &str| root.join(below).to_string_lossy().into_owned();
        Ok(Self { program: path(PROGRAM), libraries: LIBRARIES.map(path).join(":") })
    }
}

impl legs::Program for OpenVpn {
    const LISTENS: &'static str = "Listening for incoming TCP connection";
    // It calls itself initialised only once a packet has come through.
    const CONNECTED: &'static str = "TCP connection established with";

    fn argv(&self, leg: &Leg, end: End) -> Vec<String> {
        let (address, port) = (leg.address.to_string(), leg.port.to_string());
        let libraries = format!("LD_LIBRARY_PATH={}", self.libraries);
        let mut argv = vec!["env", &libraries, &self.program];
        let (device, role) = match end {
            End::Far => (&leg.far.1, ["--proto", "tcp4-server", "--local", &address, "--port", &port]),
            End::Near => (&leg.near.1, ["--proto", "tcp4-client", "--remote", &address, "--port", &port]),
        };
        argv.extend(["--dev-type", "tun", "--dev", device]);
        argv.extend(role);
        argv.extend(["--cipher", "none", "--auth", "none", "--verb", "3"]);
        argv.extend(["--tcp-nodelay", "--disable-occ", "--disable-dco"]);
        argv.into_iter().map(str::to_owned).collect()
    }
}
