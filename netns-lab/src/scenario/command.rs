//! The command `ippriv` as its user tries it: what it says, as what, and with which exit code.

use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::listing::Listing;
use super::{Lab, LabError, Scenario, Verdicts};
use crate::net::{Node, RawOutput};

pub(super) const ALL: &[Scenario] = &[Scenario {
    name: "command",
    about: "texts, JSON, exit codes and refusals of every command of ippriv",
    run,
}];

/// `nobody`.
const USER: &str = "65534";

fn run(verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = Lab::chain(3)?;
    let client = lab.net.node("client")?;
    let file = lab.deal.write(&lab.net, "client")?;
    client.run(&["ippriv", "down", "--release", &file])?;
    let before = Listing::of(&client)?;

    let said = Said::of(&client, &["check", &file])?;
    said.good("check", &["good, ", " kernel objects"], verdicts);
    let said = Said::of(&client, &["explain", &file])?;
    said.good("explain", &["Circuit 1 on ippc1:", "layer 3: ", "In the kernel: "], verdicts);
    let said = Said::of(&client, &["plan", &file])?;
    said.good("plan", &["+ sa ", "+ policy ", " to create, 0 to change, 0 to remove"], verdicts);
    let planned = said.count("+ ");
    let said = Said::of(&client, &["plan", "--json", &file])?;
    let created = said.object("plan --json", verdicts)["create"].as_u64();
    verdicts.equal("plan and plan --json count the same", &created, &u64::try_from(planned).ok());
    let unchanged = Listing::of(&client)?.difference(&before);
    verdicts.check("check, explain and plan changed nothing", unchanged.is_empty(), unchanged);

    let said = Said::of(&client, &["status", "--kernel"])?;
    said.good("status without circuits", &["firewall off, kill switch off"], verdicts);
    let said = Said::of(&client, &["apply", &file])?;
    said.good("apply", &["applied and verified: ", &format!("{planned} created, 0 changed")], verdicts);
    verdicts.equal("the circuit answers", &lab.ping("client", lab.address4("server")?.into(), 3)?, &3);
    let said = Said::of(&client, &["apply", "--json", &file])?;
    let operations = said.object("apply --json", verdicts)["operations"].as_array().map(Vec::len);
    verdicts.equal("apply --json again has no operations", &operations, &Some(0));
    let said = Said::of(&client, &["status", "--kernel"])?;
    said.good("status", &["circuit ippc1: ", ": complete"], verdicts);
    let said = Said::of(&client, &["status", "--kernel", "--json"])?;
    let missing = said.object("status --json", verdicts)["circuits"][0]["missing"].clone();
    verdicts.equal("status --json misses nothing", &missing, &Value::Array(Vec::new()));
    let sa = "ip xfrm state deleteall dst 198.18.6.2 || ip xfrm state flush";
    client.run(&["sh", "-c", sa])?;
    let said = Said::of(&client, &["status", "--kernel"])?;
    said.good("status when SAs are gone", &["INCOMPLETE, missing sa out to "], verdicts);
    let said = Said::of(&client, &["down", "--json", &file])?;
    let deleted = said.object("down --json", verdicts)["delete"].as_u64();
    verdicts.check("down --json counts what it removed", deleted > Some(10), format!("{deleted:?}"));
    let after = Listing::of(&client)?.difference(&before);
    verdicts.check("after down nothing of ours is listed", after.is_empty(), after);

    refusals(&lab, &client, &file, verdicts)?;
    requirement(&lab, verdicts)?;
    unprivileged(&client, &file, verdicts)
}

/// Files and command lines that are refused.
fn refusals(lab: &Lab, client: &Node<'_>, file: &str, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    verdicts.context("refused");
    let before = Listing::of(client)?;
    let good = lab.deal.file("client").ok_or("no file of the client")?;
    let write = |name: &str, text: &str| -> Result<String, LabError> {
        Ok(client.write_file(name, text.as_bytes())?.to_string_lossy().into_owned())
    };
    let exposed = write("exposed.yaml", &good)?;
    fs::set_permissions(&exposed, Permissions::from_mode(0o644))?;
    let yaml = "lab: true\nclient:\n  address: 198.18.5.2\n  circuits:\n    - number: 1\n      hops:\n        \
                - relay: 198.18.6.2\n          address: 10.64.0.2\n          suite: aes-gcm-128\n          \
                out: {spi: 0x1001, key: \"00\"}\n          in: [{spi: 0x1002, key: \"00\"}]\n";
    let length = write("length.yaml", yaml)?;
    let unknown = write("unknown.yaml", &yaml.replace("  address: 198", "  adress: 198"))?;
    let value = write("value.yaml", &yaml.replace("0x1001", "7"))?;
    let no_lab = write("nolab.yaml", &good.replacen("\"lab\":true", "\"lab\":false", 1))?;
    let empty = write("empty.yaml", "")?;
    let missing = format!("{file}.nowhere");
    for (what, path, words) in [
        ("a file others can read", &exposed, "mode 0644 lets others read its keys: expected 0600".to_owned()),
        ("a file that does not say it is a lab", &no_lab, "expected `lab: true`".to_owned()),
        (
            "a key of the wrong length",
            &length,
            format!("{length}:5:7: circuit 1 hop 1: key of 1 octets: expected 20"),
        ),
        ("an unknown field", &unknown, format!("{unknown}:3:3: unknown field `adress`")),
        ("a reserved SPI", &value, format!("{value}:10:22: ")),
        ("an empty file", &empty, format!("{empty}:")),
        ("no file", &missing, format!("{missing}: No such file or directory")),
    ] {
        for command in ["check", "plan", "apply", "down", "explain"] {
            let said = Said::of(client, &[command, path])?;
            said.refused(&format!("{command} with {what}"), 1, &words, verdicts);
        }
    }
    for (argv, words) in [
        (&["bogus"][..], "unrecognized subcommand 'bogus'"),
        (&["apply"], "required arguments"),
        (&["status", "--bogus"], "unexpected argument '--bogus'"),
    ] {
        let said = Said::of(client, argv)?;
        said.refused(&format!("ippriv {}", argv.join(" ")), 2, words, verdicts);
    }
    let difference = Listing::of(client)?.difference(&before);
    verdicts.check("nothing was changed", difference.is_empty(), difference);
    Ok(())
}

/// An exit on a host that does not forward.
fn requirement(lab: &Lab, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    verdicts.context("a setting of the host that is missing");
    let exit = lab.net.node("relay3")?;
    let file = lab.deal.write(&lab.net, "relay3")?;
    exit.run(&["ippriv", "down", "--release", &file])?;
    let setting = |value: &str| -> Result<(), LabError> {
        exit.run(&["sh", "-c", &format!("echo {value} > /proc/sys/net/ipv4/ip_forward")])?;
        Ok(())
    };
    setting("0")?;
    let before = Listing::of(&exit)?;
    let said = Said::of(&exit, &["apply", &file])?;
    said.refused("apply", 1, "net.ipv4.ip_forward is 0: expected 1, because an exit", verdicts);
    said.refused("apply says what to type", 1, "sysctl -w net.ipv4.ip_forward=1", verdicts);
    let difference = Listing::of(&exit)?.difference(&before);
    verdicts.check("nothing was changed", difference.is_empty(), difference);
    setting("1")?;
    let said = Said::of(&exit, &["apply", &file])?;
    said.good("apply with the setting", &["applied and verified: "], verdicts);
    Ok(())
}

/// What an ordinary user can do, and is told about the rest.
fn unprivileged(client: &Node<'_>, file: &str, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    verdicts.context("an ordinary user");
    client.run(&["chown", USER, file])?;
    let user = |command: &str| -> Result<Said, LabError> {
        let user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"];
        Ok(Said(client.try_run(&[&user[..], &["ippriv", command, file]].concat())?))
    };
    user("check")?.good("check", &["good, "], verdicts);
    user("explain")?.good("explain", &["Circuit 1 on ippc1:"], verdicts);
    for command in ["plan", "apply", "down"] {
        user(command)?.refused(command, 1, "needs the capability CAP_NET_ADMIN", verdicts);
    }
    Ok(())
}

/// What a command said, and how it ended.
struct Said(RawOutput);

impl Said {
    fn of(node: &Node<'_>, arguments: &[&str]) -> Result<Self, LabError> {
        Ok(Self(node.try_run(&[&["ippriv"], arguments].concat())?))
    }

    /// Checks that it succeeded, saying all `words` on standard output and nothing on standard error.
    fn good(&self, what: &str, words: &[&str], verdicts: &mut Verdicts) {
        let RawOutput { status, stdout, stderr } = &self.0;
        let said = words.iter().all(|word| stdout.contains(word));
        let evidence = format!("{status}: {}{stderr}", stdout.lines().last().unwrap_or_default());
        verdicts.check(
            format!("{what}: says {words:?}, exit code 0"),
            status.success() && said && stderr.is_empty(),
            evidence,
        );
    }

    /// Checks that it failed with `code`, saying `words` on standard error and nothing on standard output.
    fn refused(&self, what: &str, code: i32, words: &str, verdicts: &mut Verdicts) {
        let RawOutput { status, stdout, stderr } = &self.0;
        let right = status.code() == Some(code) && stderr.contains(words) && stdout.is_empty();
        verdicts.check(
            format!("{what}: exit code {code}, says {words:?}"),
            right,
            format!("{status}: {stdout}{}", stderr.trim()),
        );
    }

    /// Checks that it succeeded and wrote one JSON object on one line, which it gives.
    fn object(&self, what: &str, verdicts: &mut Verdicts) -> Value {
        let RawOutput { status, stdout, stderr } = &self.0;
        let value: Value = serde_json::from_str(stdout).unwrap_or_default();
        let right = status.success() && value.is_object() && stdout.lines().count() == 1 && stderr.is_empty();
        verdicts.check(
            format!("{what}: one JSON object on one line, exit code 0"),
            right,
            format!("{status}: {} octets", stdout.len()),
        );
        value
    }

    /// How many lines of standard output begin with `start`.
    fn count(&self, start: &str) -> usize {
        self.0.stdout.lines().filter(|line| line.starts_with(start)).count()
    }
}
