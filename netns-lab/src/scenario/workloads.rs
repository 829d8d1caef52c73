//! Workloads on a small network, directly and through a circuit: figures that make sense, and the same ones again.

use std::error::Error;
use std::thread;
use std::time::Duration;

use ippriv::suite::Suite;
use ippriv::telescope::mtu::{DEFAULT, Layer, wire_size};

use super::systems::{BOTTLENECK, LINK};
use super::{Scenario, Verdicts};
use crate::net::Net;
use crate::systems::{self, Circuit, Place, Way};
use crate::topology::Topology;
use crate::traffic::tcp_limit;
use crate::workload::{Arena, Sample, Settings};

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "lab-workloads",
    about: "every workload gives figures that make sense, and bulk flows fill what headers leave of a link",
    run,
}];

const DRAINED: Duration = Duration::from_secs(2);

fn run(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let net = Net::build(&Topology::parse("bottleneck", BOTTLENECK)?)?;
    let hops: Vec<String> = ["entry", "middle", "exit"].map(str::to_owned).to_vec();
    let circuit = Circuit { client: "client".to_owned(), hops };
    let circuits = [circuit.clone(), circuit];
    let servers = ["server".to_owned()];
    let place = Place { net: &net, circuits: &circuits, servers: &servers };
    for (name, system, mtu, layers) in [
        ("direct", "driver: direct", 1500, Vec::new()),
        (
            "ippriv",
            "{ driver: ippriv, keying: static }",
            DEFAULT.get(),
            vec![Layer { suite: Suite::AesGcm128, outer_header: 20 }; 3],
        ),
    ] {
        verdicts.context(name);
        let system: systems::Settings = serde_saphyr::from_str(system)?;
        let running = system.start(place).map_err(|error| error.to_string())?;
        let ways = running.ways();
        let arena = Arena { net: &net, circuits: &circuits, ways: &ways, servers: &servers, seed: 7 };
        let limit = tcp_limit(LINK, mtu, wire_size(mtu, &layers));
        bulk(verdicts, arena, limit)?;
        page(verdicts, arena)?;
        clients(verdicts, arena)?;
        timestamps(verdicts, arena)?;
        call(verdicts, arena)?;
        most(verdicts, arena, limit)?;
    }
    Ok(())
}

fn work(arena: Arena<'_>, yaml: &str) -> Result<Vec<Sample>, Box<dyn Error>> {
    // What the one before left in queues is none of this one's.
    thread::sleep(DRAINED);
    let settings: Settings = serde_saphyr::from_str(yaml)?;
    Ok(settings.run(arena).map_err(|error| format!("{yaml}: {error}"))?)
}

/// The first sample of this kind; not a number if there is none.
fn value(samples: &[Sample], of: &str, what: &str, stat: &str) -> f64 {
    let found = samples.iter().find(|sample| sample.of == of && sample.what == what && sample.stat == stat);
    found.map_or(f64::NAN, |sample| sample.value)
}

/// Bulk flows fill the link in both directions; the probe sees the queue, and nothing is lost.
fn bulk(verdicts: &mut Verdicts, arena: Arena<'_>, limit: f64) -> Result<(), Box<dyn Error>> {
    for direction in ["put", "get"] {
        let yaml =
            format!("{{ kind: stream, direction: {direction}, probe: null, warmup_s: 5, seconds: 10 }}");
        let share = value(&work(arena, &yaml)?, "bulk", "goodput", "sum") / limit;
        let evidence = format!("{share:.4} of {limit:.3} Mbit/s");
        verdicts.check(format!("one flow alone, {direction}"), (0.99..1.01).contains(&share), evidence);
    }
    // The probe takes 0.9 % of the link.
    for (flows, direction) in [(5, "put"), (2, "get")] {
        let yaml =
            format!("{{ kind: stream, flows: {flows}, direction: {direction}, warmup_s: 5, seconds: 10 }}");
        let samples = work(arena, &yaml)?;
        let what = |text: &str| format!("{flows} flows {direction}: {text}");
        let share = value(&samples, "bulk", "goodput", "sum") / limit;
        let evidence = format!("{share:.4} of {limit:.3} Mbit/s");
        verdicts.check(what("goodput is that of the link"), (0.98..1.01).contains(&share), evidence);
        let delay = value(&samples, "bulk", "delay", "p50");
        let trip = value(&samples, "probe", "round_trip", "p50");
        verdicts.check(
            what("chunks wait in the queue"),
            (16.0..200.0).contains(&delay),
            format!("{delay} ms"),
        );
        verdicts.check(what("so do probes"), (32.0..200.0).contains(&trip), format!("{trip} ms"));
        verdicts.equal(what("no probe is lost"), &value(&samples, "probe", "lost", "count"), &0.0);
        verdicts.equal(what("all probes count"), &value(&samples, "probe", "round_trip", "count"), &100.0);
    }
    Ok(())
}

/// A page comes whole, and more than its content crosses the wire.
fn page(verdicts: &mut Verdicts, arena: Arena<'_>) -> Result<(), Box<dyn Error>> {
    let samples = work(arena, "{ kind: page, profile: small, repeats: 2, pause_s: 1 }")?;
    let of = |what: &str, stat: &str| value(&samples, "page", what, stat);
    verdicts.equal("pages", &(of("pages", "count"), of("failed", "count")), &(2.0, 0.0));
    let times = [of("ttfb", "each"), of("html", "each"), of("page_time", "each")];
    let in_order = times.is_sorted() && times[0] >= 0.064 && times[2] < 2.0;
    verdicts.check("a page takes its round trips", in_order, format!("{times:?} s"));
    let wire = [of("wire_tx", "each"), of("wire_rx", "each"), of("wire_all", "each")];
    let plausible = wire[1] > 100_000.0 && wire[1] < 140_000.0 && wire[2] > 4.0 * wire[1];
    verdicts.check("all four links carry it", wire.is_sorted() && plausible, format!("{wire:?} bytes"));
    Ok(())
}

/// A bulk client and a web client; the same seed gives the same figures again.
fn clients(verdicts: &mut Verdicts, arena: Arena<'_>) -> Result<(), Box<dyn Error>> {
    let yaml = "{ kind: clients, bulk: 1, web_bytes: 50000, bulk_bytes: 2000000, pause_max_s: 3, warmup_s: 3, seconds: 12 }";
    let samples = work(arena, yaml)?;
    let of = |of: &str, what: &str, stat: &str| value(&samples, of, what, stat);
    let counts = [of("web", "downloads", "count"), of("bulk", "downloads", "count")];
    verdicts.check("both kinds get theirs", counts[0] >= 2.0 && counts[1] >= 3.0, format!("{counts:?}"));
    verdicts.equal("the last bulk download is not lost", &of("bulk", "unfinished", "count"), &1.0);
    let times = [of("web", "ttfb", "p50"), of("web", "ttlb", "p50"), of("bulk", "ttlb", "p50")];
    let plausible = times.is_sorted() && times[0] > 0.064 && times[2] > 1.6;
    verdicts.check("web is sooner there than bulk", plausible, format!("{times:?} s"));
    let again = work(arena, yaml)?;
    verdicts.equal(
        "the same seed gives as many downloads",
        &value(&again, "web", "downloads", "count"),
        &counts[0],
    );
    Ok(())
}

/// Timestamps grow old in the queue; the probe was alone before.
fn timestamps(verdicts: &mut Verdicts, arena: Arena<'_>) -> Result<(), Box<dyn Error>> {
    let samples = work(arena, "{ kind: echo, probe: 1, base_s: 3, warmup_s: 4, seconds: 5 }")?;
    let base = value(&samples, "probe", "base_round_trip", "p95");
    let loaded = value(&samples, "probe", "round_trip", "p50");
    verdicts.check("the probe alone", (32.0..40.0).contains(&base), format!("{base} ms"));
    verdicts.check(
        "the probe beside a stream",
        (base + 5.0..200.0).contains(&loaded),
        format!("{loaded} ms"),
    );
    let rate = value(&samples, "stream", "goodput", "sum");
    let age = value(&samples, "stream", "delay", "p50");
    verdicts.check(
        "the stream",
        (7.5..10.0).contains(&rate) && age > 16.0,
        format!("{rate} Mbit/s, {age} ms"),
    );
    Ok(())
}

/// A call that has the network for itself, one beside a download, and none through a proxy for TCP.
fn call(verdicts: &mut Verdicts, arena: Arena<'_>) -> Result<(), Box<dyn Error>> {
    let calls: [(&str, &dyn Fn(f64) -> bool); 2] = [
        ("{ kind: call, warmup_s: 1, seconds: 4 }", &|delay| (16.0..22.0).contains(&delay)),
        ("{ kind: call, warmup_s: 5, seconds: 4, flows: 1 }", &|delay| (20.0..100.0).contains(&delay)),
    ];
    for (yaml, plausible) in calls {
        let samples = work(arena, yaml)?;
        for of in ["call-up", "call-down"] {
            let heard = [value(&samples, of, "sent", "count"), value(&samples, of, "late_loss", "mean")];
            let delay = value(&samples, of, "delay", "p50");
            let good = heard[0] == 200.0 && heard[1] < 0.05;
            let fits = of == "call-up" || plausible(delay);
            verdicts.check(format!("{yaml}: {of}"), good && fits, format!("{heard:?}, {delay} ms"));
        }
    }
    let ways = [Way::Socks(([127, 0, 0, 1], 9050).into())];
    let samples = work(Arena { ways: &ways, circuits: &arena.circuits[..1], ..arena }, "kind: call")?;
    verdicts.equal(
        "no call through TCP",
        &(samples.len(), value(&samples, "call", "supported", "mean")),
        &(1, 0.0),
    );
    Ok(())
}

/// The most that goes, second by second.
fn most(verdicts: &mut Verdicts, arena: Arena<'_>, limit: f64) -> Result<(), Box<dyn Error>> {
    for direction in ["get", "put"] {
        let samples =
            work(arena, &format!("{{ kind: saturate, direction: {direction}, warmup_s: 3, seconds: 3 }}"))?;
        let share = value(&samples, "bulk", "goodput", "sum") / limit;
        verdicts.check(format!("saturate, {direction}"), (0.9..1.05).contains(&share), format!("{share:.4}"));
        let seconds = samples.iter().filter(|sample| sample.what == "goodput_at").count();
        verdicts.equal(format!("seconds of it, {direction}"), &seconds, &3);
    }
    Ok(())
}
