//! Whatever fails on the way, the kernel ends as it was before.

use std::error::Error;
use std::fs;

use ippriv::id::{LinkName, ProcessId, Spi};
use ippriv::plan::{Cause, Ending, Failure, Object, Op, OpError, Outcome};
use ippriv::state::{Current, Link, SaId, State};
use ipprivd::driver::{self, Planned};
use ipprivd::kernel::{Kernel, KernelError, LinuxKernel};

use super::listing::Listing;
use super::{Lab, LabError, Scenario, Verdicts, foreign};
use crate::deal::{self, Wish};
use crate::net::Node;
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "faults-client",
        about: "each operation of each plan of a client made to fail: the kernel ends as before",
        run: |verdicts| every_operation("client", verdicts),
    },
    Scenario {
        name: "faults-middle",
        about: "each operation of each plan of a middle relay made to fail: the kernel ends as before",
        run: |verdicts| every_operation("relay2", verdicts),
    },
    Scenario {
        name: "faults-exit",
        about: "each operation of each plan of an exit made to fail: the kernel ends as before",
        run: |verdicts| every_operation("relay3", verdicts),
    },
    Scenario {
        name: "faults-real",
        about: "faults that happen to users: objects that turn up in between, no nft, a read-only /proc/sys",
        run: real,
    },
    Scenario {
        name: "faults-traffic",
        about: "a circuit whose teardown or change was unwound carries packets, none of them taken for replays",
        run: traffic,
    },
];

/// The kernel, in which one operation fails.
struct FaultyKernel {
    /// Operations until the one that fails; `None` once it has.
    until: Option<usize>,
    /// Whether what is sent together with it is carried out even so.
    goes_on: bool,
}

/// What the faulty kernel says: `EIO`.
const ERROR: OpError = OpError::Refused { errno: 5, text: None };

impl Kernel for FaultyKernel {
    fn lend(&mut self, link: &Link, process: ProcessId, name: &LinkName) -> Result<(), OpError> {
        LinuxKernel.lend(link, process, name)
    }

    fn dump(&mut self, desired: &State) -> Result<Current, KernelError> {
        LinuxKernel.dump(desired)
    }

    fn count(&mut self, sas: &[SaId]) -> Result<Vec<(SaId, u64)>, KernelError> {
        LinuxKernel.count(sas)
    }

    fn execute(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let Some((before, rest)) = self.until.and_then(|until| ops.split_at_checked(until)) else {
            return LinuxKernel.execute(ops);
        };
        self.until = None;
        let mut outcomes = LinuxKernel.execute(before);
        outcomes.push(Outcome::Failed(ERROR));
        if let (true, Some((failed, after))) = (self.goes_on, rest.split_first()) {
            let together = after.iter().take_while(|op| socket(op).is_some() && socket(op) == socket(failed));
            outcomes.extend(LinuxKernel.execute(&after[..together.count()]));
        }
        outcomes.resize(ops.len(), Outcome::NotTried);
        outcomes
    }
}

/// What an operation is sent through together with others of its like, if it is.
const fn socket(op: &Op) -> Option<&'static str> {
    match op.object() {
        Object::Sa(_) | Object::Policy(_) => Some("xfrm"),
        Object::Address(_) => Some("address"),
        Object::Route(_) | Object::Rule(_) => Some("route"),
        Object::Link(_) | Object::Nft(_) | Object::Sysctl(_) => None,
    }
}

/// What a node's plan leads from and to, and what it is called.
struct Way {
    name: &'static str,
    from: State,
    to: State,
}

fn every_operation(name: &str, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = three_relays()?;
    let other = altered(&lab)?;
    let node = lab.net.node(name)?;
    foreign::crowd(&node, foreign::LIKE_OURS)?;
    let state = |deal: &deal::Deal| -> Result<State, Box<dyn Error>> {
        Ok(deal.hosts.get(name).ok_or("no such host")?.desired()?.state)
    };
    let (first, second) = (state(&lab.deal)?, state(&other)?);
    for Way { name, from, to } in [
        Way { name: "install", from: State::default(), to: first.clone() },
        Way { name: "change", from: first.clone(), to: second },
        Way { name: "teardown", from: first, to: State::default() },
    ] {
        verdicts.context(name);
        one_way(&node, &from, &to, verdicts)?;
    }
    Ok(())
}

fn three_relays() -> Result<Lab, LabError> {
    Lab::new(&Topology::chain(3)?, &[Wish::new("client", &["relay1", "relay2", "relay3"])])
}

/// Circuits more and others, a kill switch, an SA more to receive through, padding, and another exit policy.
fn altered(lab: &Lab) -> Result<deal::Deal, Box<dyn Error>> {
    let wishes =
        [Wish::new("client", &["relay2", "relay3"]), Wish::new("client", &["relay1", "relay2", "relay3"])];
    let mut deal = deal::Deal::new(&lab.net, &wishes[..1])?;
    let mut second = wishes[1].clone();
    second.traffic.clear();
    deal.add(&lab.net, &second)?;
    for host in deal.hosts.values_mut() {
        host.client.iter_mut().for_each(|client| client.kill_switch = true);
        if let Some(relay) = &mut host.relay {
            relay.exit.iter_mut().for_each(|exit| exit.tcp_ports = Some(vec![(80, 80), (443, 443)]));
            for neighbour in &mut relay.neighbours {
                let keys = neighbour.keys.as_mut().ok_or("no keys")?;
                let mut more = keys.out.clone();
                more.spi = Spi::try_from(keys.out.spi.get() + 0x100)?;
                keys.r#in.push(more);
                neighbour.tfc_padding = Some(1400);
            }
        }
    }
    Ok(deal)
}

/// Makes each operation on the way fail, and lets it succeed in the end.
fn one_way(node: &Node<'_>, from: &State, to: &State, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    settle(node, from)?;
    let before = Listing::of(node)?;
    let mut wrong = Vec::new();
    let operations = node.enter(|| planned(to))??.plan.ops;
    let mut faults = 0;
    for goes_on in [false, true] {
        for (until, op) in operations.iter().enumerate() {
            // Where many are sent at once, the first to fail leaves the most to be carried out after it.
            let before_it = until.checked_sub(1).and_then(|before| operations.get(before));
            if goes_on && before_it.is_some_and(|before| socket(before) == socket(op)) {
                continue;
            }
            faults += 1;
            let mut kernel = FaultyKernel { until: Some(until), goes_on };
            let ending = node.enter(|| {
                driver::plan(&mut kernel, to.clone()).map(|planned| driver::apply(&mut kernel, planned))
            })???;
            match ending {
                Ending::Unwound(failure) => {
                    let told = Cause::Operation { op: Box::new(op.clone()), error: ERROR };
                    if failure.cause != told {
                        wrong.push(format!("{op}: told as {:?}", failure.cause));
                    }
                    wrong.extend(left(&failure).map(|text| format!("{op}: {text}")));
                }
                Ending::Applied { .. } => wrong.push(format!("{op}: its failure went unnoticed")),
            }
            let difference = Listing::of(node)?.difference(&before);
            if !difference.is_empty() {
                wrong.push(format!("{op} failed, and then iproute2 and nft list: {difference}"));
                settle(node, from)?;
            }
        }
    }
    let count = operations.len();
    verdicts.check(
        "each operation made to fail is named with its error, and iproute2 and nft list the same as before",
        wrong.is_empty() && count > 0,
        format!("{count} operations, {faults} faults; {} wrong{}", wrong.len(), first_of(&wrong)),
    );
    settle(node, to)?;
    let after = Listing::of(node)?.difference(&before);
    verdicts.check(
        "without a fault the listings differ",
        !after.is_empty(),
        format!("{} lines differ", after.lines().count()),
    );
    Ok(())
}

fn first_of(wrong: &[String]) -> String {
    wrong.first().map(|first| format!(", first: {first}")).unwrap_or_default()
}

/// What was not undone, if anything.
fn left(failure: &Failure) -> Option<String> {
    (!failure.left.is_empty() || !failure.differs.is_empty()).then(|| ippriv::report::failure(failure))
}

fn planned(to: &State) -> Result<Planned, driver::PlanError> {
    driver::plan(&mut LinuxKernel, to.clone())
}

/// Applies a state that the kernel has to take.
fn settle(node: &Node<'_>, state: &State) -> Result<(), Box<dyn Error>> {
    match node.enter(|| planned(state).map(|planned| driver::apply(&mut LinuxKernel, planned)))??? {
        Ending::Applied { .. } => Ok(()),
        Ending::Unwound(failure) => Err(ippriv::report::failure(&failure).into()),
    }
}

fn real(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = three_relays()?;
    let node = lab.net.node("relay2")?;
    let desired = lab.deal.hosts.get("relay2").ok_or("no relay2")?.desired()?.state;
    let file = lab.deal.write(&lab.net, "relay2")?;
    let sa = desired.sas.values().last().ok_or("no SA")?;
    let id = format!("src {} dst {} proto esp spi {}", sa.source, sa.id.destination, sa.id.spi);

    verdicts.context("a foreign SA put in place between plan and apply");
    let planned = node.enter(|| planned(&desired))??;
    node.run_with(
        &["ip", "-batch", "-"],
        &format!("xfrm state add {id} mode tunnel aead rfc4106(gcm(aes)) 0x{} 128", "07".repeat(20)),
    )?;
    let before = Listing::of(&node)?;
    let ending = node.enter(|| driver::apply(&mut LinuxKernel, planned))??;
    let text = match &ending {
        Ending::Unwound(failure) => ippriv::report::failure(failure),
        Ending::Applied { .. } => "applied".to_owned(),
    };
    verdicts.check("apply names the SA", text.starts_with(&format!("cannot create sa {}: ", sa.id)), &text);
    same(&node, &before, verdicts)?;
    node.run_with(&["ip", "-batch", "-"], &format!("xfrm state del {id}"))?;

    let before = Listing::of(&node)?;
    verdicts.context("nft missing");
    let tools = node.write_file("empty", b"")?.with_file_name("tools");
    fs::create_dir_all(&tools)?;
    let ippriv = node.run(&["which", "ippriv"])?.stdout;
    let path = format!("PATH={}", tools.display());
    refused(&node, &["env", &path, ippriv.trim(), "apply", &file], "install the package nftables", verdicts)?;
    same(&node, &before, verdicts)?;

    verdicts.context("/proc/sys read-only");
    let script = format!("mount --bind -o ro /proc/sys /proc/sys && exec ippriv apply {file}");
    let argv = ["unshare", "--mount", "sh", "-c", &script];
    refused(&node, &argv, "cannot create sysctl net/ipv4/conf/ippo1/forwarding", verdicts)?;
    same(&node, &before, verdicts)?;

    verdicts.context("a client with an algorithm of TCP that the kernel lacks");
    let client = lab.net.node("client")?;
    let before = Listing::of(&client)?;
    let mut host = lab.deal.hosts.get("client").ok_or("no client")?.clone();
    if let Some(circuit) = host.client.as_mut().and_then(|client| client.circuits.first_mut()) {
        circuit.options.congestion_control = Some("nosuchthing".into());
    }
    let mut deal = deal::Deal::new(&lab.net, &[])?;
    deal.hosts.insert("client".into(), host);
    let file = deal.write(&lab.net, "client")?;
    refused(&client, &["ippriv", "apply", &file], "cannot create route", verdicts)?;
    same(&client, &before, verdicts)
}

fn refused(node: &Node<'_>, argv: &[&str], words: &str, verdicts: &mut Verdicts) -> Result<(), LabError> {
    let said = node.try_run(argv)?;
    let right = said.status.code() == Some(1) && said.stderr.contains(words);
    verdicts.check(format!("apply fails, saying: {words}"), right, said.stderr.trim());
    Ok(())
}

fn same(node: &Node<'_>, before: &Listing, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let difference = Listing::of(node)?.difference(before);
    verdicts.check("iproute2 and nft list the same as before", difference.is_empty(), difference);
    Ok(())
}

fn traffic(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = Lab::chain(3)?;
    let server = lab.address4("server")?.into();
    verdicts.equal("answers before", &lab.ping("client", server, 100)?, &100);
    for name in ["client", "relay1", "relay2", "relay3"] {
        let node = lab.net.node(name)?;
        verdicts.context(format!("teardown on {name} unwound at its end"));
        let until = node.enter(|| planned(&State::default()))??.plan.ops.len().checked_sub(1);
        let before = sent(&node)?;
        let mut kernel = FaultyKernel { until, goes_on: false };
        let ending = node.enter(|| {
            driver::plan(&mut kernel, State::default()).map(|planned| driver::apply(&mut kernel, planned))
        })???;
        let undone = match &ending {
            Ending::Unwound(failure) => failure.undone.len(),
            Ending::Applied { .. } => 0,
        };
        verdicts.check(
            "every SA went and came back",
            Some(undone) == until,
            format!("{undone} operations undone"),
        );
        let after = sent(&node)?;
        let on =
            before.iter().zip(&after).all(|(before, after)| after > before) && before.len() == after.len();
        verdicts.check(
            "ip xfrm shows every SA that sends beyond the number it had",
            on && !before.is_empty(),
            format!("{before:x?}, then {after:x?}"),
        );
        verdicts.equal("answers", &lab.ping("client", server, 20)?, &20);
    }
    verdicts.context("");
    for name in ["client", "relay1", "relay2", "relay3"] {
        let statistics = lab.on(name, &["cat", "/proc/net/xfrm_stat"])?;
        let replays =
            statistics.lines().find(|line| line.starts_with("XfrmInStateSeqError")).unwrap_or("no line");
        verdicts.check(format!("{name} took nothing for a replay"), replays.ends_with("\t0"), replays);
    }
    Ok(())
}

/// The last sequence numbers of the SAs that send, as iproute2 shows them, by SPI. Only those that send have
/// `nopmtudisc`.
fn sent(node: &Node<'_>) -> Result<Vec<u64>, LabError> {
    let listed = node.run(&["ip", "-o", "xfrm", "state"])?.stdout;
    let number = |line: &str, name: &str| {
        let value = line.split(name).nth(1)?.split([',', '\\']).next()?.trim();
        u64::from_str_radix(value.trim_start_matches("0x"), 16).ok()
    };
    let mut sent: Vec<(String, u64)> = listed
        .lines()
        .filter(|line| line.contains("nopmtudisc"))
        .filter_map(|line| {
            let number = number(line, "oseq-hi ")? << 32 | number(line, "oseq ")?;
            Some((line.split(" spi ").nth(1)?.chars().take(10).collect(), number))
        })
        .collect();
    sent.sort();
    Ok(sent.into_iter().map(|(_, number)| number).collect())
}
