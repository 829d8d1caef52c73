//! Two circuits that fill the narrow link, one of them with more connections, and a third that hardly sends.

use std::time::Duration;

use serde_json::json;

use super::{Outcome, Testbed, Verdicts, mbit_s};
use crate::systems::Way;

/// Seconds until the circuits share the link, and those that count.
const SPANS: [&str; 2] = ["8", "15"];
/// The same in all, and time to spare.
const END: Duration = Duration::from_secs(60);
/// The way to the server and back.
const ROUND_TRIP: f64 = 32.0;

/// What came of it.
struct Shares {
    one: f64,
    five: f64,
    /// Milliseconds of the pings in the middle.
    ping: f64,
}

pub(super) fn run(verdicts: &mut Verdicts) -> Outcome {
    let fifo = shares("fifo")?;
    let said = |shares: &Shares| {
        format!("1 flow {:.2}, 5 flows {:.2} Mbit/s, ping {} ms", shares.one, shares.five, shares.ping)
    };
    verdicts.check("fifo: five flows have more than one", fifo.five > 1.5 * fifo.one, said(&fifo));
    for queue in ["fq_codel", "cake"] {
        let found = shares(queue)?;
        let fair = (found.one / found.five - 1.0).abs() < 0.1;
        verdicts.check(format!("{queue}: both circuits have the same"), fair, said(&found));
        verdicts.check(format!("{queue}: nothing is lost by it"), found.one + found.five > 8.0, said(&found));
        let quick = found.ping < ROUND_TRIP + 8.0 && found.ping < fifo.ping - 15.0;
        verdicts.check(format!("{queue}: a circuit that hardly sends does not wait"), quick, said(&found));
    }
    Ok(())
}

fn shares(queue: &str) -> Outcome<Shares> {
    let lab = Testbed::with(3)?;
    let running = lab.start(&json!({ "driver": "ippriv", "queue": queue }))?;
    let ways = running.ways();
    let client = lab.net.node("client")?;
    let spawn = |way, flows| {
        let argv = lab.load(way, flows, "put", SPANS);
        client.spawn(&argv.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (one, five) = (spawn(ways[0], "1")?, spawn(ways[1], "5")?);
    let Way::From(address) = ways[2] else { return Err("found no address, expected one".into()) };
    let (from, to) = (address.to_string(), lab.server.to_string());
    std::thread::sleep(Duration::from_secs(8));
    let pings = client.run(&["ping", "-n", "-c", "60", "-i", "0.2", "-I", &from, &to])?.stdout;
    let times = pings.lines().filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok());
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    let ping = times.get(times.len() / 2).copied().ok_or("found no answers, expected some")?;
    Ok(Shares { one: mbit_s(&one.wait(END)?.stdout)?, five: mbit_s(&five.wait(END)?.stdout)?, ping })
}
