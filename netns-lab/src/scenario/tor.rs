//! Tor as a system under test: a chain of relays, a circuit of pinned hops, and a download through it.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Scenario, Verdicts};
use crate::net::Net;
use crate::program;
use crate::systems::{Circuit, Place, Settings, Way, tor};
use crate::topology::Topology;

/// The Tor scenarios.
pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "lab-tor",
    about: "a private Tor network starts from its kept state and carries streams on the hops that were asked for",
    run,
}];

/// Bytes that are downloaded.
const BYTES: usize = 300_000;
/// How long a server may take to start.
const LIMIT: Duration = Duration::from_secs(20);
/// The port it listens on.
const PORT: u16 = 80;

fn run(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&Topology::chain(3)?)?;
    let hops = |names: [&str; 3]| names.map(str::to_owned).to_vec();
    let circuits = [
        Circuit { client: "client".to_owned(), hops: hops(["relay1", "relay2", "relay3"]) },
        Circuit { client: "client".to_owned(), hops: hops(["relay2", "relay1", "relay3"]) },
    ];
    let servers = ["server".to_owned()];
    let settings = Settings::Tor(tor::Settings::default());
    let place = Place { net: &net, circuits: &circuits, servers: &servers };
    let system = settings.start(place).map_err(plain)?;

    let ways = system.ways();
    let ports: Vec<SocketAddr> =
        ["127.0.0.1:9050", "127.0.0.1:9051"].map(str::parse).into_iter().flatten().collect();
    verdicts.equal("every circuit has its port", &ways, &ports.into_iter().map(Way::Socks).collect());

    // Router to router 5 ms each way: round trips of 10, 20, 30 ms, and of 20, 30, 50 ms.
    let took: Vec<Duration> = system.set_up().into_iter().flatten().collect();
    let (at_least, slack) = ([60, 100].map(Duration::from_millis), Duration::from_millis(10));
    let plausible = took.len() == 2
        && took.iter().zip(at_least).all(|(took, least)| (least..least + slack).contains(took));
    verdicts.check("three handshakes, each one hop further, build a circuit", plausible, format!("{took:?}"));

    let (client, server) = (net.node("client")?, net.node("server")?);
    let target = SocketAddr::from((server.address4(), PORT));
    let own = program::path()?.to_string_lossy().into_owned();
    let mut serving = server.spawn(&[&own, "traffic", "http-serve", &target.to_string()])?;
    serving.wait_for("listening", LIMIT)?;
    for (way, circuit) in ways.iter().zip(&circuits) {
        let Way::Socks(socks) = way else { continue };
        let (seconds, answer) = client.enter(|| download(*socks, target))??;
        let exit = net.node(circuit.hops.last().map_or("", String::as_str))?.address4();
        let body = answer
            .len()
            .saturating_sub(answer.windows(4).position(|at| at == b"\r\n\r\n").map_or(0, |at| at + 4));
        let seen = String::from_utf8_lossy(&answer).contains(&format!("Seen-As: {exit}:"));
        verdicts.check(
            format!("a stream by {} arrives whole, from the exit", circuit.hops.join(" ")),
            body == BYTES && seen,
            format!("{body} bytes in {seconds:?}"),
        );
    }

    let counters = system.counters().map_err(plain)?;
    let count = |name: &str| counters.get(name).copied().unwrap_or_default();
    verdicts.check(
        "relays have carried it, on these circuits only",
        count("relays_read") > 6.0 * BYTES as f64
            && (count("circuits"), count("circuits_lost")) == (2.0, 0.0),
        format!("{counters:?}"),
    );

    drop(system);
    let left = client.run(&["ps", "-e", "-o", "comm="])?.stdout;
    verdicts.check(
        "no Tor is left when it is dropped",
        !left.lines().any(|name| name == "tor"),
        left.lines().count(),
    );
    refusals(verdicts, &net);
    Ok(())
}

/// Circuits that Tor cannot have are refused before anything is waited for.
fn refusals(verdicts: &mut Verdicts, net: &Net) {
    for (hops, expected) in [
        (&["relay3"][..], "found 1 hops, expected 2 to 8"),
        (&["relay3", "relay2"][..], "found `relay3 relay2` at its end, expected an exit of the topology"),
        (&["client", "relay3"][..], "found `client`, expected a relay of the topology"),
    ] {
        let hops = hops.iter().map(|&hop| hop.to_owned()).collect();
        let circuits = [Circuit { client: "client".to_owned(), hops }];
        let started =
            Settings::Tor(tor::Settings::default()).start(Place { net, circuits: &circuits, servers: &[] });
        let said = started.err().map(|error| error.to_string()).unwrap_or_default();
        verdicts.check(format!("{} is refused", circuits[0].hops.join(" ")), said.contains(expected), said);
    }
}

/// Downloads through a SOCKS 5 proxy (RFC 1928) and says how long that took.
fn download(socks: SocketAddr, target: SocketAddr) -> std::io::Result<(Duration, Vec<u8>)> {
    let begun = now();
    let mut stream = TcpStream::connect(socks)?;
    stream.write_all(&[5, 1, 0])?;
    stream.read_exact(&mut [0; 2])?;
    let SocketAddr::V4(address) = target else { return Err(std::io::ErrorKind::Unsupported.into()) };
    let mut request = vec![5, 1, 0, 1];
    request.extend(address.ip().octets());
    request.extend(address.port().to_be_bytes());
    stream.write_all(&request)?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply)?;
    if reply[1] != 0 {
        return Err(std::io::Error::other(format!("the proxy refused with {}", reply[1])));
    }
    write!(stream, "GET /{BYTES} HTTP/1.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok((begun.elapsed(), answer))
}

fn plain(error: Box<dyn Error + Send + Sync>) -> Box<dyn Error> {
    error
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long downloads take is told, so that two runs can be compared"
)]
fn now() -> Instant {
    Instant::now()
}
