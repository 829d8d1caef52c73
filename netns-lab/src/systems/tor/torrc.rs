//! Configuration files: pure text. What is said here is why measurements of Tor are fair and can be repeated.

use std::fmt::Write as _;
use std::path::Path;

use super::blueprint::{Blueprint, Relay};
use super::settings::Scheduler;

/// Where relays listen for each other and for clients.
const OR_PORT: u16 = 5000;
/// Where the authority takes descriptors.
pub(super) const DIR_PORT: u16 = 7000;
/// The file in a data directory by which a Tor is told what to do.
pub(super) const CONTROL: &str = "control";

/// How an authority is known before it has keys.
pub(super) const NO_FINGERPRINT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The path of a client's circuit, by fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pinned {
    /// Entry first; at least two.
    pub(super) hops: Vec<String>,
}

/// How others find the authority: a line for every configuration file.
pub(super) fn authority(relay: &Relay, v3ident: &str, fingerprint: &str) -> String {
    format!(
        "DirAuthority {} orport={OR_PORT} v3ident={v3ident} {}:{DIR_PORT} {fingerprint}",
        nickname(0),
        relay.address
    )
}

/// A relay's file. The scheduler is no matter of the bootstrapped state.
pub(super) fn relay(
    blueprint: &Blueprint,
    number: usize,
    dir: &Path,
    authority: &str,
    scheduler: Scheduler,
) -> String {
    let Some(relay) = blueprint.relays.get(number) else { return String::new() };
    let mut text = common(dir, authority, scheduler);
    let Relay { address, exit, .. } = relay;
    // A relay with several links is reached at one address only; others take a connection from another address for
    // somebody else's, and open a second one the other way.
    let _ = write!(
        text,
        "Nickname {}
ContactInfo lab
SocksPort 0
Address {address}
ORPort {address}:{OR_PORT} IPv4Only
OutboundBindAddressOR {address}
ExitRelay {}
ExitPolicy {} *:*
",
        nickname(number),
        u8::from(*exit),
        if *exit { "accept" } else { "reject" },
    );
    // A relay is a client too, and builds circuits to be ready for streams of its own.
    text.push_str("__DisablePredictedCircuits 1\nLearnCircuitBuildTimeout 0\n");
    // Nobody asks for names; Tor would ask the host's servers for some, to see whether they lie.
    text.push_str("ServerDNSResolvConfFile /dev/null\nServerDNSDetectHijacking 0\n");
    if number == 0 {
        text.push_str(&voting(blueprint, *address));
    }
    text
}

/// What makes a relay the network's authority. One is enough: more of them would only talk to each other, through
/// the links that are measured.
fn voting(blueprint: &Blueprint, address: std::net::Ipv4Addr) -> String {
    let params: Vec<String> =
        blueprint.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // The first vote comes as soon as every relay has said what it is. It holds for half a day: nobody votes or
    // fetches while something is measured.
    format!(
        "DirPort {address}:{DIR_PORT}
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
TestingDirAuthVoteGuard *
TestingDirAuthVoteExit *
TestingV3AuthInitialVotingInterval 20
TestingV3AuthInitialVoteDelay 4
TestingV3AuthInitialDistDelay 4
V3AuthVotingInterval 43200
V3AuthVoteDelay 20
V3AuthDistDelay 20
V3AuthNIntervalsValid 5
ConsensusParams {}
",
        params.join(" ")
    )
}

/// The file of a client with one circuit.
pub(super) fn client(dir: &Path, authority: &str, scheduler: Scheduler, pinned: &Pinned) -> String {
    let mut text = common(dir, authority, scheduler);
    // Streams may come once the circuit is there; then the port is opened.
    text.push_str("ClientOnly 1\nSocksPort 0\n");
    // The driver builds the one circuit and Tor puts every stream on it. Should Tor ever build one of its own, it is
    // of the same relays. No circuits in advance, none for several paths at once, and none that is replaced for its
    // age, or given up for its build having taken longer than others.
    text.push_str(
        "__DisablePredictedCircuits 1
ConfluxEnabled 0
LearnCircuitBuildTimeout 0
CircuitBuildTimeout 60
MaxCircuitDirtiness 30 days
CircuitsAvailableTimeout 86400
LongLivedPorts 1
",
    );
    if let [entry, middle @ .., exit] = pinned.hops.as_slice() {
        let _ = writeln!(text, "EntryNodes ${entry}\nExitNodes ${exit}");
        if !middle.is_empty() {
            let names: Vec<String> = middle.iter().map(|middle| format!("${middle}")).collect();
            let _ = writeln!(text, "MiddleNodes {}", names.join(","));
        }
        text.push_str("StrictNodes 1\n");
    }
    // No padding, as in the consensus.
    text.push_str("ConnectionPadding 0\nCircuitPadding 0\n");
    text
}

/// A client's file that pins nothing: for the bootstrap.
pub(super) fn any_client(dir: &Path, authority: &str) -> String {
    common(dir, authority, Scheduler::default()) + "ClientOnly 1\nSocksPort 0\n"
}

fn common(dir: &Path, authority: &str, scheduler: Scheduler) -> String {
    let dir = dir.display();
    // The lab has a few relays, all in one range of addresses, that can be reached for certain; rates and CPU are
    // not limited by Tor. One worker thread's worth of CPUs is what the lab has.
    format!(
        "DataDirectory {dir}
ControlPort unix:{dir}/{CONTROL}
Log notice stdout
TestingTorNetwork 1
{authority}
AssumeReachable 1
AddressDisableIPv6 1
PathsNeededToBuildCircuits 0.25
EnforceDistinctSubnets 0
ShutdownWaitLength 0
NumCPUs 1
Schedulers {}
",
        scheduler.name()
    )
}

/// All that of the configuration which a bootstrapped state depends on.
pub(super) fn shape(blueprint: &Blueprint) -> String {
    let dir = Path::new("/");
    let relays = (0..blueprint.relays.len())
        .map(|number| relay(blueprint, number, dir, NO_FINGERPRINT, Scheduler::default()));
    relays.chain([any_client(dir, NO_FINGERPRINT)]).collect()
}

/// Tor's names have no dashes.
fn nickname(number: usize) -> String {
    format!("relay{}", number + 1)
}

#[cfg(test)]
mod tests {
    use super::super::settings::{CongestionControl, Settings};
    use super::*;
    use crate::topology::Topology;

    fn chain(settings: &Settings) -> Blueprint {
        Blueprint::new(settings, &Topology::chain(3).unwrap()).unwrap()
    }

    fn line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
    }

    #[test]
    fn the_first_relay_is_the_authority_and_the_last_the_exit() {
        let blueprint = chain(&Settings::default());
        let files: Vec<String> = (0..3)
            .map(|n| relay(&blueprint, n, Path::new("/d"), "DirAuthority x", Scheduler::Kist))
            .collect();
        let of = |key| files.iter().map(|file| line(file, key)).collect::<Vec<_>>();
        assert_eq!(of("V3AuthoritativeDirectory"), [Some("1"), None, None]);
        assert_eq!(of("ExitPolicy"), [Some("reject *:*"), Some("reject *:*"), Some("accept *:*")]);
        assert_eq!(of("Nickname"), [Some("relay1"), Some("relay2"), Some("relay3")]);
        assert_eq!(of("DirAuthority"), [Some("x"); 3]);
        assert_eq!(of("ControlPort"), [Some("unix:/d/control"); 3]);
    }

    #[test]
    fn the_consensus_says_which_flow_control() {
        let params = |settings: &Settings| {
            let text = relay(&chain(settings), 0, Path::new("/d"), "", Scheduler::Kist);
            line(&text, "ConsensusParams").unwrap().to_owned()
        };
        assert!(params(&Settings::default()).contains("cc_alg=2"));
        let old = Settings { congestion_control: CongestionControl::Off, window: 300, ..Settings::default() };
        assert!(params(&old).contains("cc_alg=0"));
        assert!(params(&old).contains("circwindow=300"));
    }

    #[test]
    fn a_client_is_held_to_its_hops() {
        let text = |hops: &[&str]| {
            let pinned = Pinned { hops: hops.iter().map(|&hop| hop.to_owned()).collect() };
            client(Path::new("/d"), "", Scheduler::Vanilla, &pinned)
        };
        let three = text(&["A", "B", "C"]);
        assert_eq!(line(&three, "EntryNodes"), Some("$A"));
        assert_eq!(line(&three, "MiddleNodes"), Some("$B"));
        assert_eq!(line(&three, "ExitNodes"), Some("$C"));
        assert_eq!(line(&three, "Schedulers"), Some("Vanilla"));
        assert_eq!(line(&text(&["A", "B", "D", "C"]), "MiddleNodes"), Some("$B,$D"));
        assert_eq!(line(&text(&["A", "C"]), "MiddleNodes"), None);
    }
}
