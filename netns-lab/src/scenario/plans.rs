//! Plans against a real kernel: whatever was there, what is asked for is there afterwards, and nothing else.

use std::error::Error;

use ippriv::plan::{Ending, diff};
use ippriv::state::State;
use ippriv::telescope::Host;
use ipprivd::driver;
use ipprivd::kernel::{Kernel as _, LinuxKernel};

use super::dice::Dice;
use super::identity;
use super::listing::Listing;
use super::{Lab, Scenario, Verdicts, foreign};
use crate::deal::{Deal, Wish};
use crate::net::Node;
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "plans",
        about: "install, nothing to do, change a hop, add and remove circuits, take down; others untouched",
        run: life,
    },
    Scenario {
        name: "plans-random",
        about: "from each of 100 random states to the next: exactly that is in the kernel, others untouched",
        run: |verdicts| random(0, verdicts),
    },
    Scenario {
        name: "plans-random-more",
        about: "the same from and to 100 other states",
        run: |verdicts| random(1, verdicts),
    },
];

/// How many random states follow one another.
const RANDOM: usize = 100;

fn life(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let wish = |relays: &[&str]| Wish::new("client", relays);
    let (full, short) = (wish(&["relay1", "relay2", "relay3"]), wish(&["relay2", "relay3"]));
    let mut lab = Lab::new(&Topology::chain(3)?, std::slice::from_ref(&full))?;
    let names = ["client", "relay1", "relay2", "relay3"];
    let mut before = Vec::new();
    for name in names {
        foreign::crowd(&lab.net.node(name)?, "10.64.0.200/32")?;
        before.push(Listing::of(&lab.net.node(name)?)?);
    }
    let steps = [
        ("install", vec![full.clone()]),
        ("change a hop", vec![wish(&["relay1", "relay3"])]),
        ("add circuits", vec![full.clone(), short.clone(), full.clone()]),
        ("remove a circuit", vec![short, full]),
    ];
    let server = lab.address4("server")?.into();
    for (step, mut wishes) in steps {
        verdicts.context(step);
        // A destination is one circuit's.
        wishes.iter_mut().skip(1).for_each(|wish| wish.traffic.clear());
        lab.deal = Deal::new(&lab.net, &wishes)?;
        // Who has no part any more is told so by an empty one.
        for name in names {
            lab.deal.hosts.entry(name.to_owned()).or_default();
        }
        lab.apply()?;
        for (name, before) in names.iter().zip(&before) {
            let node = lab.net.node(name)?;
            let state = lab.deal.hosts.get(*name).ok_or("no such host")?.desired()?.state;
            let wrong = wrong(&node, &state, before)?;
            verdicts.check(
                format!("{name} holds exactly that and everything of others"),
                wrong.is_empty(),
                format!("{} objects; {}", state.len(), wrong.join("; ")),
            );
            let again = lab.on(name, &["ippriv", "apply", &lab.deal.write(&lab.net, name)?])?;
            verdicts.check(
                format!("{name}: again, nothing to do"),
                again.starts_with("nothing to do"),
                again.trim(),
            );
        }
        verdicts.equal("answers through the circuit", &lab.ping("client", server, 3)?, &3);
    }
    verdicts.context("take down");
    let found = wrong(&lab.net.node("client")?, &State::default(), &before[0])?.len();
    verdicts.check("the comparison with nothing expected finds fault", found > 0, format!("{found} things"));
    for (name, before) in names.iter().zip(&before) {
        let file = lab.deal.write(&lab.net, name)?;
        lab.on(name, &["ippriv", "down", "--release", &file])?;
        let difference = Listing::of(&lab.net.node(name)?)?.difference(before);
        let lines = before.len();
        verdicts.check(
            format!("{name}: nothing leaked, iproute2 and nft list what they did before"),
            difference.is_empty() && lines > 20,
            format!("{lines} records; {difference}"),
        );
    }
    let statistics = lab.on("client", &["cat", "/proc/net/xfrm_stat"])?;
    let errors = ["XfrmInError", "XfrmInStateProtoError", "XfrmInStateSeqError", "XfrmOutStateProtoError"];
    for error in errors {
        let line = statistics.lines().find(|line| line.starts_with(error)).unwrap_or("no line");
        verdicts.check(format!("client: no {error}"), line.ends_with("\t0"), line);
    }
    Ok(())
}

/// What is wrong with what a node holds, by our own dump and by iproute2 and nft; `before` lists what was there
/// when nothing of ours was.
fn wrong(node: &Node<'_>, state: &State, before: &Listing) -> Result<Vec<String>, Box<dyn Error>> {
    let listing = Listing::of(node)?;
    let mut wrong: Vec<String> =
        before.beyond(&listing).into_iter().map(|record| format!("somebody else's: {record}")).collect();
    let found = identity::listed(&listing.beyond(before));
    let expected = identity::expected(state);
    wrong.extend(expected.difference(&found).map(|object| format!("not listed: {object}")));
    wrong.extend(found.difference(&expected).map(|object| format!("listed besides: {object}")));
    let dumped = node.enter(|| LinuxKernel.dump(state))??;
    if dumped.owned != *state {
        let (found, expected) = (dumped.owned.len(), state.len());
        wrong.push(format!("our dump has {found} objects that are not the {expected} expected"));
    }
    match diff(state, &dumped) {
        Ok(plan) => wrong.extend(plan.ops.iter().map(|op| format!("still to do: {op}"))),
        Err(conflicts) => wrong.extend(conflicts.iter().map(ToString::to_string)),
    }
    Ok(wrong)
}

fn random(series: u64, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(&Topology::chain(1)?, &[])?;
    let node = lab.net.node("relay1")?;
    foreign::crowd(&node, foreign::LIKE_OURS)?;
    let before = Listing::of(&node)?;
    let mut dice = Dice::seeded(series)?;
    let (mut wrongs, mut operations, mut objects, mut refused) = (Vec::new(), 0, 0, 0);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..RANDOM {
        let (host, state) = loop {
            let host = dice.host()?;
            match host.desired() {
                Ok(desired) => break (host, desired.state),
                Err(_) => refused += 1,
            }
        };
        kinds.insert(roles(&host));
        objects += state.len();
        operations += apply(&node, &state, &mut wrongs)?;
        wrongs.extend(wrong(&node, &state, &before)?);
    }
    verdicts.check(
        format!("{RANDOM} random states, each from the one before: exactly that is in the kernel"),
        wrongs.is_empty(),
        format!(
            "{objects} objects by {operations} operations, {} wrong{}",
            wrongs.len(),
            wrongs.first().map(|first| format!(", first: {first}")).unwrap_or_default()
        ),
    );
    verdicts.check(
        "the states were of many kinds",
        kinds.len() > 6 && refused < 20 * RANDOM,
        format!("{kinds:?}; {refused} more contradicted themselves and were thrown again"),
    );
    let found = wrong(&node, &State::default(), &before)?.len();
    verdicts.check(
        "the same comparison with nothing expected finds fault",
        found > 0,
        format!("{found} things"),
    );
    apply(&node, &State::default(), &mut wrongs)?;
    let difference = Listing::of(&node)?.difference(&before);
    verdicts.check("nothing leaked: the listings are as before", difference.is_empty(), difference);
    Ok(())
}

fn roles(host: &Host) -> String {
    let client = host.client.as_ref().map_or("no client", |client| match client.circuits.len() {
        0 => "idle client",
        _ if client.kill_switch => "client with kill switch",
        _ => "client",
    });
    let relay = host.relay.as_ref().map_or("no relay", |relay| match (&relay.exit, relay.pool6) {
        (Some(_), Some(_)) => "exit with IPv6",
        (Some(_), None) => "exit",
        (None, _) => "middle",
    });
    format!("{client}, {relay}")
}

/// Applies a state; how many operations that took.
fn apply(node: &Node<'_>, state: &State, wrongs: &mut Vec<String>) -> Result<usize, Box<dyn Error>> {
    let kernel = &mut LinuxKernel;
    match node
        .enter(|| driver::plan(kernel, state.clone()).map(|planned| driver::apply(kernel, planned)))???
    {
        Ending::Applied { operations } => Ok(operations),
        Ending::Unwound(failure) => {
            wrongs.push(ippriv::report::failure(&failure));
            Ok(0)
        }
    }
}
