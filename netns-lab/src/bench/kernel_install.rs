//! Ten thousand circuits on a relay: into the kernel and out of it, and the cost of a plan for them.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use ippriv::plan::{Object, Op, Outcome, diff};
use ippriv::state::{Action, Current, Policy, Sa, SaDirection, Selector, State};
use ippriv::suite::{Suite, Transform};
use ippriv::telescope::{Host, Neighbour, Relay, RelayCircuit};
use ipprivd::kernel::{Kernel as _, LinuxKernel};
use serde_json::{Value, json};

use super::Bench;
use crate::deal;
use crate::net::Node;
use crate::runner::Clock;
use crate::scenario::Lab;
use crate::topology::Topology;

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

const CIRCUITS: u32 = 10_000;
/// How often each of the two has its turn.
const TURNS: usize = 3;
/// Lines of a file for `ip -batch`.
const LINES: usize = 10_000;
/// The node that is the relay, in a network of its own.
const NODE: &str = "relay1";
/// Time for the kernel to free what was removed, so that nobody pays for another's removal.
const SETTLE: Duration = Duration::from_secs(2);

/// A middle relay with two neighbours.
fn relay() -> Result<Host, Box<dyn Error>> {
    let address = |third: u8, fourth: u8| IpAddr::V4(Ipv4Addr::new(198, 18, third, fourth));
    let mut neighbours = Vec::new();
    for number in [1, 2_u8] {
        neighbours.push(Neighbour {
            number: u32::from(number).try_into()?,
            address: address(50, number),
            pool: IpNet::new(Ipv4Addr::new(10, 90 + number, 0, 0).into(), 16)?,
            keys: Some(deal::tunnel(Suite::AesGcm128, deal::OVERLAY_SPIS + 2 * u32::from(number))?.0),
            tfc_padding: None,
        });
    }
    let pool = Ipv4Addr::new(10, 64, 0, 0);
    let mut circuits = Vec::new();
    for number in 1..=CIRCUITS {
        circuits.push(RelayCircuit {
            number: number.try_into()?,
            peer: Ipv4Addr::from_bits(Ipv4Addr::new(10, 91, 0, 0).to_bits() + number).into(),
            address: Ipv4Addr::from_bits(pool.to_bits() + 1 + number).into(),
            address6: None,
            keys: deal::tunnel(Suite::AesGcm128, 2 * number)?.0,
            encapsulation: None,
        });
    }
    let pool = IpNet::new(pool.into(), 16)?;
    let relay = Relay { address: address(2, 2), pool, pool6: None, exit: None, neighbours, circuits };
    Ok(Host { client: None, relay: Some(relay) })
}

/// Times in seconds of three phases.
#[derive(Default)]
struct Times {
    install: Vec<f64>,
    dump: Vec<f64>,
    remove: Vec<f64>,
}

fn install() -> Result<Value, Box<dyn Error>> {
    let lab = Lab::new(&Topology::chain(1)?, &[])?;
    let node = lab.net.node(NODE)?;
    let state = relay()?.desired()?.state;
    let plan = diff(&state, &Current::default()).map_err(|_| "conflicts with an empty kernel")?;
    let xfrm = |op: &Op| matches!(op.object(), Object::Sa(_) | Object::Policy(_));
    let create: Vec<Op> = plan.ops.into_iter().filter(xfrm).collect();
    let remove: Vec<Op> = create.iter().rev().map(Op::inverse).collect();
    let [create_files, remove_files] = [batches(&node, "add", &create)?, batches(&node, "del", &remove)?];

    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for _ in 0..TURNS {
        ours.install.push(seconds(|| execute(&node, &create))?);
        expect(&node, create.len())?;
        ours.dump.push(seconds(|| Ok(node.enter(|| LinuxKernel.dump(&State::default()))??))?);
        ours.remove.push(seconds(|| execute(&node, &remove))?);
        expect(&node, 0)?;
        thread::sleep(SETTLE);
        theirs.install.push(seconds(|| batch(&node, &create_files))?);
        expect(&node, create.len())?;
        let list = "ip xfrm state > /dev/null && ip xfrm policy > /dev/null";
        theirs.dump.push(seconds(|| Ok(node.run(&["sh", "-c", list])?))?);
        theirs.remove.push(seconds(|| batch(&node, &remove_files))?);
        expect(&node, 0)?;
        thread::sleep(SETTLE);
    }
    let [(install, install_ip), (dump, dump_ip), (remove, remove_ip)] = [
        (median(ours.install), median(theirs.install)),
        (median(ours.dump), median(theirs.dump)),
        (median(ours.remove), median(theirs.remove)),
    ];
    Ok(json!({
        "circuits": CIRCUITS,
        "objects": create.len(),
        "install_seconds": install,
        "install_ip_batch_seconds": install_ip,
        "install_vs_ip_batch": install_ip / install,
        "dump_seconds": dump,
        "dump_ip_seconds": dump_ip,
        "dump_vs_ip": dump_ip / dump,
        "remove_seconds": remove,
        "remove_ip_batch_seconds": remove_ip,
        "remove_vs_ip_batch": remove_ip / remove,
    }))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn seconds<T>(work: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn execute(node: &Node<'_>, ops: &[Op]) -> Result<(), Box<dyn Error>> {
    let outcomes = node.enter(|| LinuxKernel.execute(ops))?;
    match ops.iter().zip(&outcomes).find(|(_, outcome)| **outcome != Outcome::Done) {
        None => Ok(()),
        Some((op, outcome)) => Err(format!("{op}: {outcome:?}").into()),
    }
}

fn batch(node: &Node<'_>, files: &[String]) -> Result<(), Box<dyn Error>> {
    for file in files {
        node.run(&["ip", "-batch", file])?;
    }
    Ok(())
}

/// Asks iproute2 whether the kernel holds as many SAs and policies together.
fn expect(node: &Node<'_>, objects: usize) -> Result<(), Box<dyn Error>> {
    let listed = node.run(&["sh", "-c", "(ip -o xfrm state; ip -o xfrm policy) | wc -l"])?.stdout;
    if listed.trim() == objects.to_string() {
        Ok(())
    } else {
        Err(format!("found {} SAs and policies, expected {objects}", listed.trim()).into())
    }
}

/// Writes files for `ip -batch` that do the same.
fn batches(node: &Node<'_>, verb: &str, ops: &[Op]) -> Result<Vec<String>, Box<dyn Error>> {
    let lines: Vec<String> = ops
        .iter()
        .filter_map(|op| match op.object() {
            Object::Sa(sa) => Some(sa_line(verb, sa)),
            Object::Policy(policy) => Some(policy_line(verb, policy)),
            _ => None,
        })
        .collect();
    let files = (0..).zip(lines.chunks(LINES)).map(|(number, lines)| {
        let name = format!("{verb}-{number}.batch");
        Ok(node.write_file(&name, lines.concat().as_bytes())?.to_string_lossy().into_owned())
    });
    files.collect()
}

/// As near as iproute2 6.1 comes: it knows no direction, and no extended sequence numbers without a window.
fn sa_line(verb: &str, sa: &Sa) -> String {
    let id =
        format!("xfrm state {verb} src {} dst {} proto esp spi {}", sa.source, sa.id.destination, sa.id.spi);
    let Transform::Aead { name, icv_bits, .. } = sa.suite.transform() else { return id };
    if verb == "del" {
        return id + "\n";
    }
    let key: String = sa.key.expose().iter().map(|octet| format!("{octet:02x}")).collect();
    let direction = match sa.direction {
        SaDirection::In { replay_window } => format!("replay-window {replay_window} flag esn"),
        SaDirection::Out { .. } => {
            "replay-window 32 flag esn flag nopmtudisc extra-flag dont-encap-dscp".to_owned()
        }
    };
    let selector = sa.selector.map_or_else(
        || "flag af-unspec".to_owned(),
        |Selector { source, destination, .. }| format!("sel src {source} dst {destination}"),
    );
    format!(
        "{id} reqid {} mode tunnel {direction} aead {name} 0x{key} {icv_bits} if_id {} {selector}\n",
        sa.reqid.0, sa.if_id
    )
}

fn policy_line(verb: &str, policy: &Policy) -> String {
    let Selector { source, destination, .. } = policy.id.selector;
    let (direction, if_id) = (policy.id.direction, policy.id.if_id);
    let id = format!("xfrm policy {verb} src {source} dst {destination} dir {direction} if_id {if_id}");
    if verb == "del" {
        return id + "\n";
    }
    let action = if policy.action == Action::Block { "block" } else { "allow" };
    let templates = policy.templates.iter().map(|template| {
        let from = template.source.unwrap_or(Selector::any(template.destination).addr());
        format!(
            " tmpl src {from} dst {} proto esp reqid {} mode tunnel",
            template.destination, template.reqid.0
        )
    });
    format!("{id} action {action} priority {}{}\n", policy.priority, templates.collect::<String>())
}

fn plan() -> Result<Value, Box<dyn Error>> {
    let mut lab = Lab::new(&Topology::chain(1)?, &[])?;
    lab.deal.hosts.insert(NODE.to_owned(), relay()?);
    let file = lab.deal.write(&lab.net, NODE)?;
    let node = lab.net.node(NODE)?;
    let apply = seconds(|| Ok(node.run(&["ippriv", "apply", &file])?))?;
    let mut times = Vec::new();
    let mut peak = 0;
    for _ in 0..TURNS {
        times.push(seconds(|| Ok(node.run(&["ippriv", "plan", &file])?))?);
        let program = node.spawn(&["ippriv", "plan", &file])?;
        while let Some(now) = peak_kib(program.id()) {
            peak = peak.max(now);
            thread::sleep(Duration::from_millis(1));
        }
        let said = program.wait(Duration::from_secs(10))?.stdout;
        if !said.starts_with("nothing to do") {
            return Err(format!("found {said:?}, expected nothing to do").into());
        }
    }
    Ok(json!({
        "circuits": CIRCUITS,
        "file_mib": f64::from(u32::try_from(fs::metadata(&file)?.len())?) / f64::from(1 << 20),
        "apply_seconds": apply,
        "plan_seconds": median(times),
        "plan_peak_mib": f64::from(peak) / 1024.0,
    }))
}

/// The most memory that a process had so far, in KiB; `None` once it has ended.
fn peak_kib(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_own_memory_is_known_and_that_of_nobody_is_not() {
        assert!(peak_kib(std::process::id()).is_some_and(|peak| peak > 100));
        assert_eq!(peak_kib(u32::MAX), None);
    }

    #[test]
    fn a_line_for_ip_says_all_of_an_object() {
        let state = relay().unwrap().desired().unwrap().state;
        let sa = state.sas.values().find(|sa| sa.selector.is_some()).unwrap();
        let line = sa_line("add", sa);
        for part in [
            "reqid 12",
            "if_id 0x49500001",
            "mode tunnel",
            "flag esn",
            "aead rfc4106(gcm(aes)) 0x",
            " sel src ",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(!sa_line("del", sa).contains("aead"));
    }
}
