//! Files are read again while a circuit carries packets.

use std::thread;
use std::time::Duration;

use super::flow::{Flow, PACE, spis};
use super::{Daemons, Lab, OPEN, Outcome, PORT, Plan, Topology, Verdicts, circuit, hosts, show};

const SECOND: Duration = Duration::from_secs(1);
/// A circuit more than before.
const ANOTHER: &str =
    "  circuits:\n    - { name: another, hops: [relay2, relay3], traffic: [192.0.2.0/24] }\n";

pub(super) fn run(verdicts: &mut Verdicts) -> Outcome {
    let lab = Lab::new(&Topology::chain(3)?, &[])?;
    let plan = Plan {
        relay_lines: "  limits: { circuits: 1000 }\n".to_owned(),
        client_lines: "  timeouts: { hop: 10s, circuit: 40s }\n".to_owned(),
        ..Plan::new(vec![circuit(3)])
    };
    let mut daemons = Daemons::start_all(&lab.net, &plan)?;
    let ready = daemons.wait_open("client", OPEN)? && daemons.wait_overlays(OPEN)?;
    verdicts.check("circuit and overlays are there", ready, "");
    let all = |lab: &Lab| hosts(3).iter().map(|host| spis(lab, host)).collect::<Result<Vec<_>, _>>();
    let flow = Flow::start(&lab, "client", PORT, PACE)?;
    thread::sleep(SECOND);
    let before = all(&lab)?;

    for relay in &hosts(3)[..3] {
        daemons.edit_policy(relay, "circuits: 1000", "circuits: 500")?;
        let said = daemons.ippriv(relay, &["reload"])?;
        verdicts.check(format!("{relay} takes other limits"), said.contains("limits"), &said);
    }
    thread::sleep(SECOND);
    verdicts.equal("all SAs stay", &all(&lab)?, &before);

    daemons.edit_policy("client", "  circuits:\n", ANOTHER)?;
    let said = daemons.ippriv("client", &["reload"])?;
    verdicts.check("the client takes one more circuit", said.contains("circuit another is new"), &said);
    let open = daemons.wait_open("client", OPEN)?;
    let count = daemons.circuits("client")?.len();
    verdicts.check("both circuits are open", open && count == 2, format!("{count} circuits"));
    let kept = all(&lab)?.iter().zip(&before).all(|(now, then)| now.is_superset(then));
    verdicts.check("the SAs of the first stay", kept, "");

    refused(verdicts, &lab, &daemons)?;
    documents(verdicts, &lab, &mut daemons)?;

    daemons.edit_policy("client", ANOTHER, "  circuits:\n")?;
    let said = daemons.ippriv("client", &["reload"])?;
    verdicts.check("the client gives the second circuit up", said.contains("is closed"), &said);
    thread::sleep(SECOND * 5);
    verdicts.equal("the SAs of before are there", &all(&lab)?, &before);
    let carried = flow.finish()?;
    verdicts.check("nothing is lost of 500 datagrams a second each way", carried.whole(), &carried);
    show(&lab, &daemons, &hosts(3), carried.whole())
}

/// Policies that make no sense.
fn refused(verdicts: &mut Verdicts, lab: &Lab, daemons: &Daemons<'_>) -> Outcome {
    for host in ["client", "relay2"] {
        verdicts.context(host);
        let look = || -> Outcome<_> {
            let policies = lab.on(host, &["ip", "xfrm", "policy"])?;
            let rest = lab.on(host, &["sh", "-c", "ip rule; ip route show table all; nft list ruleset"])?;
            Ok((spis(lab, host)?, policies, rest))
        };
        let before = look()?;
        let role = if host == "client" { "client:\n" } else { "relay:\n" };
        daemons.edit_policy(host, role, &format!("{role}  nonsense: 1\n"))?;
        let text = std::fs::read_to_string(lab.net.node(host)?.folder().join("policy.yaml"))?;
        let line = text.lines().take_while(|line| !line.contains("nonsense")).count() + 1;
        let said = daemons.try_ippriv(host, &["reload"])?;
        let place = format!("policy.yaml:{line}:3");
        let told = !said.status.success() && said.stderr.contains(&place) && said.stderr.contains("nonsense");
        verdicts.check(format!("nonsense is refused with its place, {place}"), told, said.stderr.trim_end());
        verdicts.equal("the kernel holds what it held", &look()?, &before);
        daemons.edit_policy(host, "  nonsense: 1\n", "")?;
        let said = daemons.ippriv(host, &["reload"])?;
        verdicts.equal("the policy of before changes nothing", &said, &"nothing has changed\n".to_owned());
    }
    verdicts.context("");
    Ok(())
}

/// Network documents that are newer, older, and forged.
fn documents(verdicts: &mut Verdicts, lab: &Lab, daemons: &mut Daemons<'_>) -> Outcome {
    let serial = |daemons: &Daemons<'_>, host: &str| -> Outcome<u64> {
        Ok(daemons.json(host, &["status"])?["network"]["serial"].as_u64().unwrap_or(0))
    };
    let before = hosts(3).iter().map(|host| spis(lab, host)).collect::<Result<Vec<_>, _>>()?;
    daemons.publish(&hosts(3), |document| document.serial = 7)?;
    for host in hosts(3) {
        let said = daemons.ippriv(&host, &["reload"])?;
        let taken = said.contains("serial 7") && serial(daemons, &host)? == 7;
        verdicts.check(format!("{host} takes a newer network document"), taken, &said);
    }
    daemons.publish(&hosts(3), |document| document.serial = 6)?;
    for host in hosts(3) {
        let said = daemons.try_ippriv(&host, &["reload"])?;
        let refused = !said.status.success() && said.stderr.contains("network.yaml");
        let name = format!("{host} refuses an older one");
        verdicts.check(name, refused && serial(daemons, &host)? == 7, said.stderr.trim_end());
    }
    daemons.publish(&hosts(3), |document| document.serial = 20)?;
    let policy = lab.net.node("client")?.folder().join("policy.yaml").to_string_lossy().into_owned();
    let said = lab.try_on("client", &["ipprivd", "check", "--policy", &policy])?;
    verdicts.check("a check takes a newer one", said.status.success(), said.stderr.trim_end());
    daemons.publish(&hosts(3), |document| document.serial = 8)?;
    let path = lab.net.node("client")?.folder().join("network.yaml");
    let forged = std::fs::read_to_string(&path)?.replace("serial: 8", "serial: 9");
    lab.net.node("client")?.write_file("network.yaml", forged.as_bytes())?;
    let said = daemons.try_ippriv("client", &["reload"])?;
    let refused = !said.status.success() && said.stderr.contains("network.yaml");
    verdicts.check(
        "a forged one is refused",
        refused && serial(daemons, "client")? == 7,
        said.stderr.trim_end(),
    );
    daemons.publish(&hosts(3), |_| {})?;
    for host in hosts(3) {
        daemons.ippriv(&host, &["reload"])?;
    }
    verdicts.equal("a check does not count as seen", &serial(daemons, "client")?, &8);
    let after = hosts(3).iter().map(|host| spis(lab, host)).collect::<Result<Vec<_>, _>>()?;
    verdicts.equal("all SAs stay", &after, &before);
    Ok(())
}
