//! No key in any output, whatever goes wrong and however much is asked for.

use std::collections::BTreeSet;
use std::error::Error;

use ippriv::plan::{Object, Op, Transaction};
use ippriv::state::State;
use ippriv::telescope::{Host, TunnelKeys};
use ipprivd::driver;
use ipprivd::kernel::{Kernel as _, LinuxKernel};

use super::{Lab, LabError, Scenario, Verdicts};
use crate::deal::{Deal, Wish};
use crate::net::Node;
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "secrets",
    about: "no key, nor eight octets of one, in anything that ippriv writes or its values print",
    run,
}];

/// Octets of a key that count as the key: what guessing the rest of makes no easier.
const PIECE: usize = 8;
/// What makes Rust programs talk.
const TALKATIVE: [&str; 4] = ["env", "RUST_LOG=trace", "RUST_BACKTRACE=1", "RUST_LIB_BACKTRACE=1"];

fn run(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let wish = Wish::new("client", &["relay1", "relay2", "relay3"]);
    let mut lab = Lab::new(&Topology::chain(3)?, &[wish])?;
    let mut keys = Keys::default();
    lab.deal.hosts.values().for_each(|host| keys.learn(host));
    let mut outputs = Outputs::default();
    for name in ["client", "relay2", "relay3"] {
        let node = lab.net.node(name)?;
        let good = lab.deal.file(name).ok_or("no such host")?;
        outputs.of_commands(&node, &good)?;
        for bad in broken(&good, &keys) {
            outputs.of_commands(&node, &bad)?;
        }
        let host = lab.deal.hosts.get(name).ok_or("no such host")?;
        outputs.of_values(&node, host)?;
    }
    // A kernel that refuses, with SAs of the same SPIs but other keys in its way.
    let middle = lab.net.node("relay2")?;
    let other = Deal::new(&lab.net, &[Wish::new("client", &["relay1", "relay2", "relay3"])])?;
    other.hosts.values().for_each(|host| keys.learn(host));
    let sas = other.hosts.get("relay2").ok_or("no relay2")?.desired()?.state.sas;
    let strangers = sas.values().map(|sa| {
        let key = hex(sa.key.expose());
        let id = format!("src {} dst {} proto esp spi {}", sa.source, sa.id.destination, sa.id.spi);
        format!("xfrm state add {id} mode tunnel aead rfc4106(gcm(aes)) 0x{key} 128\n")
    });
    middle.run_with(&["ip", "-batch", "-"], &strangers.collect::<String>())?;
    outputs.of_commands(&middle, &lab.deal.file("relay2").ok_or("no relay2")?)?;
    middle.run(&["ip", "xfrm", "state", "flush"])?;
    lab.deal.hosts.insert("relay2".into(), other.hosts.get("relay2").ok_or("no relay2")?.clone());
    outputs.of_values(&middle, lab.deal.hosts.get("relay2").ok_or("no relay2")?)?;

    let found: Vec<String> = outputs
        .list
        .iter()
        .filter_map(|(what, text)| keys.found(text).map(|at| format!("{what}: {at}")))
        .collect();
    let (count, octets) =
        (outputs.list.len(), outputs.list.iter().map(|(_, text)| text.len()).sum::<usize>());
    verdicts.check(
        format!("no {PIECE} octets of any key, as text in any case or as they are"),
        found.is_empty(),
        format!("{} keys, {count} outputs, {octets} octets; {found:?}", keys.list.len()),
    );
    verdicts.check(
        "there were many outputs of failures",
        outputs.failures > 20 && outputs.failures < count,
        outputs.failures,
    );
    let file = lab.deal.file("client").ok_or("no client")?;
    verdicts.check(
        "the search finds the keys in a file",
        keys.found(file.as_bytes()).is_some(),
        format!("{} octets", file.len()),
    );
    let raw = keys.list.first().map(|key| &key[4..]).unwrap_or_default();
    verdicts.equal("and octets of them", &keys.found(raw), &Some("as octets"));
    verdicts.equal(
        "and as Rust prints them",
        &keys.found(format!("{raw:?}").as_bytes()),
        &Some("as numbers"),
    );
    Ok(())
}

/// Copies of a file that are refused for various reasons, with the keys in them.
fn broken(good: &str, keys: &Keys) -> Vec<String> {
    let key = keys.list.iter().map(|key| hex(key)).find(|key| good.contains(key)).unwrap_or_default();
    vec![
        good.replace(&key, &key[..key.len() - 2]),
        good.replace(&key, &format!("{key}0")),
        good.replace(&key, &format!("{key}zz")),
        good.replace(&format!("\"{key}\""), &format!("[\"{key}\"]")),
        good.replace(&format!("\"{key}\""), &format!("{{\"{key}\": 1}}")),
        good.replace(&format!("\"key\":\"{key}\""), &format!("\"{key}\":\"key\"")),
        good.replace("\"suite\":\"aes-gcm-128\"", &format!("\"suite\":\"{key}\"")),
        good.replace("\"spi\":", &format!("\"{key}\":1,\"spi\":")),
        good.replacen("\"spi\":", &format!("\"spi\":\"{key}\",\"x\":"), 1),
        good.replacen("\"key\":", &format!("\"key\":\"{key}\",\"key\":"), 1),
        good.replacen("\"lab\":true", &format!("\"lab\":\"{key}\""), 1),
        good.replacen("\"lab\":true", "\"lab\":false", 1),
        good.replacen("\"address\":\"", &format!("\"address\":\"{key}"), 1),
        good[..good.len() / 2].to_owned(),
        format!("{good}{key}"),
        format!("{key}: {good}"),
    ]
}

/// What was written, and by what.
#[derive(Default)]
struct Outputs {
    list: Vec<(String, Vec<u8>)>,
    failures: usize,
}

impl Outputs {
    /// Of every command given a file of this text.
    fn of_commands(&mut self, node: &Node<'_>, text: &str) -> Result<(), LabError> {
        let file = node.write_file("secrets.yaml", text.as_bytes())?.to_string_lossy().into_owned();
        for arguments in [
            &["check", &file][..],
            &["explain", &file],
            &["plan", &file],
            &["plan", "--json", &file],
            &["apply", &file],
            &["plan", "--json", &file],
            &["status", "--json"],
            &["down", "--json", "--release", &file],
        ] {
            let argv = [&TALKATIVE[..], &["ippriv"], arguments].concat();
            let said = node.try_run(&argv)?;
            self.failures += usize::from(!said.status.success());
            self.list.push((arguments.join(" "), (said.stdout + &said.stderr).into_bytes()));
        }
        Ok(())
    }

    /// Of the values that hold keys or stand for what happens to them.
    fn of_values(&mut self, node: &Node<'_>, host: &Host) -> Result<(), Box<dyn Error>> {
        let desired = host.desired()?;
        let state = desired.state.clone();
        let kernel = &mut LinuxKernel;
        let planned = node.enter(|| driver::plan(kernel, state.clone()))??;
        let mut transaction =
            Transaction::new(planned.plan.clone(), state.clone(), node.enter(|| kernel.dump(&state))??);
        let unverified = format!("{transaction:?} {transaction:#?}");
        transaction.executed(&[]);
        transaction.dumped(&ippriv::state::Current::default());
        let ending = node.enter(|| driver::apply(kernel, planned))??;
        let current = node.enter(|| kernel.dump(&state))??;
        let again: Vec<Op> = state.sas.values().map(|sa| Op::Create(Object::Sa(sa.clone()))).collect();
        let outcomes = node.enter(|| kernel.execute(&again))?;
        let away = node.enter(|| driver::plan(kernel, State::default()))??;
        let values = [
            ("host", format!("{host:?} {host:#?}")),
            ("desired state", format!("{desired:?} {desired:#?}")),
            ("transaction", unverified),
            ("transaction that cannot verify", format!("{transaction:?} {:?}", transaction.step())),
            ("ending", format!("{ending:?}")),
            ("failure", format!("{:?}", transaction.into_ending())),
            ("current state", format!("{current:?} {current:#?}")),
            ("outcomes", format!("{outcomes:?}")),
            ("plan", format!("{away:?} {:#?}", away.plan)),
            ("operations", again.iter().map(Op::to_string).collect::<String>()),
        ];
        node.enter(|| driver::apply(kernel, away))??;
        self.list
            .extend(values.map(|(what, text)| (format!("{what} of {}", node.name()), text.into_bytes())));
        Ok(())
    }
}

/// Keys, and every run of [`PIECE`] octets in them.
#[derive(Default)]
struct Keys {
    list: Vec<Vec<u8>>,
    pieces: BTreeSet<Vec<u8>>,
}

impl Keys {
    fn learn(&mut self, host: &Host) {
        let client = host.client.iter().flat_map(|client| &client.circuits).flat_map(|circuit| &circuit.hops);
        let relay = host.relay.iter();
        let neighbours =
            relay.clone().flat_map(|relay| &relay.neighbours).filter_map(|peer| peer.keys.as_ref());
        let circuits = relay.flat_map(|relay| &relay.circuits).map(|circuit| &circuit.keys);
        let tunnels: Vec<&TunnelKeys> =
            client.map(|hop| &hop.keys).chain(neighbours).chain(circuits).collect();
        for sa in tunnels.iter().flat_map(|tunnel| std::iter::once(&tunnel.out).chain(&tunnel.r#in)) {
            let key = sa.key.expose().to_vec();
            self.pieces.extend(key.windows(PIECE).map(<[u8]>::to_vec));
            self.list.push(key);
        }
    }

    /// A piece of a key in `output`, and in which form.
    fn found(&self, output: &[u8]) -> Option<&'static str> {
        let digit = |octet: &u8| char::from(*octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let hexadecimal = output.windows(2 * PIECE).any(|window| {
            let digits: Option<Vec<u8>> = window.iter().map(digit).collect();
            digits.is_some_and(|digits| {
                let octets: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
                self.pieces.contains(&octets)
            })
        });
        // `[1, 2, 3]`: how Rust prints octets.
        let numbers: Vec<u8> = output
            .split(|octet| !octet.is_ascii_digit())
            .filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
            .collect();
        let within = |octets: &[u8]| octets.windows(PIECE).any(|piece| self.pieces.contains(piece));
        if hexadecimal {
            Some("in hexadecimal")
        } else if within(&numbers) {
            Some("as numbers")
        } else {
            within(output).then_some("as octets")
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
