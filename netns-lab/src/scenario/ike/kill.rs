//! Daemons killed the hard way: what they had built goes on, and the next ones take it over.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::flow::{Flow, PACE, spis};
use super::{
    Daemons, Lab, OPEN, Outcome, PORT, Plan, Topology, Verdicts, circuit, clear, hosts, kernel, rekey, show,
};
use crate::capture::Captures;
use crate::scenario::dice::Dice;

/// How long nobody runs a host: far longer than a peer has to answer before it counts as dead.
const ABSENCE: Duration = Duration::from_secs(60);
/// Time for a daemon to take over, and to answer what it was asked meanwhile.
const RETURN: Duration = Duration::from_secs(5);
/// Longer than the kernel remembers that it asked for an SA (net.core.xfrm_acq_expires, 30 s).
const ASKED: Duration = Duration::from_secs(31);

/// Kills the daemon of a host under load.
pub(super) fn under_load(victim: &str, verdicts: &mut Verdicts) -> Outcome {
    let lab = Lab::new(&Topology::chain(3)?, &[])?;
    let mut daemons = Daemons::start_all(&lab.net, &Plan::new(vec![circuit(3)]))?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    let all = |lab: &Lab| hosts(3).iter().map(|host| spis(lab, host)).collect::<Result<Vec<_>, _>>();
    let before = all(&lab)?;
    let opened = daemons.log("client")?.matches("circuit_open").count();
    let flow = Flow::start(&lab, "client", PORT, PACE)?;
    thread::sleep(Duration::from_secs(1));
    daemons.kill(victim)?;
    thread::sleep(ABSENCE);
    daemons.start(victim)?;
    thread::sleep(RETURN);
    let after = all(&lab)?;
    verdicts.check("all hosts have the SAs they had", before == after, format!("{before:?}, then {after:?}"));
    let again = daemons.log("client")?.matches("circuit_open").count();
    let expected = if victim == "client" { 0 } else { opened };
    verdicts.equal("the circuit is not opened again", &again, &expected);
    let states: Vec<_> = daemons.circuits("client")?.iter().map(|circuit| circuit["state"].clone()).collect();
    verdicts.check("the circuit is open", states == ["open"], format!("{states:?}"));
    rekey::every_tunnel(verdicts, &lab, &daemons)?;
    thread::sleep(Duration::from_secs(1));
    let carried = flow.finish()?;
    verdicts.check("nothing is lost of 500 datagrams a second each way", carried.whole(), &carried);
    show(&lab, &daemons, &hosts(3), carried.whole())
}

/// Kills daemons at random moments of a build.
pub(super) fn while_building(verdicts: &mut Verdicts) -> Outcome {
    /// About what a build takes, in milliseconds.
    const BUILD: u32 = 250;
    let lab = Lab::new(&Topology::chain(3)?, &[])?;
    let empty = hosts(3).iter().map(|host| kernel(&lab, host)).collect::<Result<Vec<_>, _>>()?;
    let mut daemons = Daemons::start_all(&lab.net, &Plan::new(vec![circuit(3)]))?;
    let captures = Captures::start_all(&lab.net)?;
    let mut dice = Dice::seeded(1)?;
    let mut closed = Vec::new();
    let moments = [("client", 26), ("relay1", 8), ("relay2", 8), ("relay3", 8)];
    for (victim, count) in moments {
        for number in 0..count {
            // Without a circuit to take over, the client's daemon builds one.
            flush(&mut daemons, "client")?;
            daemons.start("client")?;
            let moment = dice.below(BUILD);
            thread::sleep(Duration::from_millis(moment.into()));
            daemons.kill(victim)?;
            daemons.start(victim)?;
            if !daemons.wait_open("client", OPEN * 3)? {
                closed.push(format!("{victim} {number} after {moment} ms"));
                show(&lab, &daemons, &hosts(3), false)?;
            }
        }
        let answers = lab.ping("client", lab.address4("server")?.into(), 3)?;
        verdicts.equal(format!("the circuit works after {count} deaths of {victim}"), &answers, &3);
    }
    verdicts.check("after every death the circuit opens", closed.is_empty(), format!("{closed:?}"));
    let shown = clear(&lab, &captures.stop()?)?;
    verdicts.check("nothing went in clear", shown.is_empty(), format!("{shown:?}"));
    for host in hosts(3) {
        flush(&mut daemons, &host)?;
    }
    thread::sleep(ASKED);
    for (host, before) in hosts(3).iter().zip(empty) {
        same(verdicts, host, &before, &kernel(&lab, host)?);
    }
    Ok(())
}

/// All daemons told to leave nothing behind.
pub(super) fn flushed(verdicts: &mut Verdicts) -> Outcome {
    let lab = Lab::new(&Topology::chain(3)?, &[])?;
    let empty = hosts(3).iter().map(|host| kernel(&lab, host)).collect::<Result<Vec<_>, _>>()?;
    let mut daemons = Daemons::start_all(&lab.net, &Plan::new(vec![circuit(3)]))?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    for host in hosts(3) {
        flush(&mut daemons, &host)?;
    }
    thread::sleep(ASKED);
    for (host, before) in hosts(3).iter().zip(empty) {
        same(verdicts, host, &before, &kernel(&lab, host)?);
    }
    Ok(())
}

fn flush(daemons: &mut Daemons<'_>, host: &str) -> Outcome {
    daemons.ippriv(host, &["stop", "--flush"])?;
    Ok(daemons.wait_stopped(host)?)
}

fn same(verdicts: &mut Verdicts, host: &str, before: &str, after: &str) {
    let [old, new] = [before, after].map(|text| text.lines().collect::<BTreeSet<_>>());
    let (more, less): (Vec<_>, Vec<_>) = (new.difference(&old).collect(), old.difference(&new).collect());
    let evidence = format!("{} lines; more {more:?}, less {less:?}", old.len());
    verdicts.check(format!("nothing of ours is left in the kernel of {host}"), old == new, evidence);
}
