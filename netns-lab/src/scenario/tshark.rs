//! A second opinion on everything we send: tshark decrypts and dissects the client's link with the client's keys.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use super::{Lab, Scenario, Verdicts};
use crate::bundle::TSHARK;
use crate::capture::Captures;
use crate::daemons::{CircuitPlan, Daemons, Plan};
use crate::foreign;
use crate::program;
use crate::topology::Topology;

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "ike-tshark",
        about: "tshark decrypts every message and every layer, and finds nothing wrong",
        run: |verdicts| decrypted(Kem::Classical, verdicts),
    },
    Scenario {
        name: "ike-tshark-mlkem",
        about: "the same with ML-KEM, but for the exchange that has a key of its own",
        run: |verdicts| decrypted(Kem::Hybrid, verdicts),
    },
];

/// Whether key exchanges have ML-KEM beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kem {
    Classical,
    Hybrid,
}

/// Time for a circuit to be there.
const OPEN: Duration = Duration::from_secs(30);
/// Time for rekeys to be over, with the deletion of what they replace.
const REKEYED: Duration = Duration::from_secs(5);
/// The relays.
const HOPS: [&str; 3] = ["relay1", "relay2", "relay3"];
/// What is asked of each packet.
const FIELDS: [&str; 6] = [
    "frame.number",
    "frame.protocols",
    "isakmp.exchangetype",
    "isakmp.enc.decrypted",
    "_ws.malformed",
    "_ws.expert.message",
];

/// A packet as tshark sees it, in the order of [`FIELDS`].
struct Seen<'a>([&'a str; FIELDS.len()]);

impl<'a> Seen<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        fields.try_into().ok().map(Self)
    }

    fn protocols(&self) -> impl Iterator<Item = &'a str> {
        self.0[1].split(':')
    }

    /// How many layers of ESP there are, and whether the innermost was decrypted to a packet.
    fn layers(&self) -> (usize, bool) {
        let layers = self.protocols().filter(|name| *name == "esp").count();
        let inner = self.0[1].rsplit("esp").next().unwrap_or_default();
        (layers, inner.starts_with(":ip"))
    }

    /// Whether it is a message that this tshark cannot read, whatever is in it.
    fn is_beyond(&self) -> bool {
        self.0[2] == IKE_INTERMEDIATE || (self.0[2] == IKE_AUTH && self.0[5].contains(EMPTY_ID))
    }

    fn is_ike(&self) -> bool {
        self.protocols().any(|name| name == "isakmp")
    }

    /// Whether the message is one with an Encrypted payload that stayed closed.
    fn is_closed(&self) -> bool {
        self.is_ike() && self.0[2] != IKE_SA_INIT && self.0[3].is_empty()
    }
}

/// Exchange type (RFC 7296 §3.1), the only one in clear.
const IKE_SA_INIT: &str = "34";
/// Exchange type.
const IKE_AUTH: &str = "35";
/// Exchange type.
const CREATE_CHILD_SA: &str = "36";
/// Exchange type (RFC 9242). tshark's table has one key for a pair of SPIs, and this exchange has another than
/// those after it.
const IKE_INTERMEDIATE: &str = "43";
/// What tshark 4.0 trips over when an identification has no octets, as `ID_NULL` must (RFC 7619 §2.1).
const EMPTY_ID: &str = "failed assertion \"len > 0\"";

fn decrypted(kem: Kem, verdicts: &mut Verdicts) -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(&Topology::chain(HOPS.len())?, &[])?;
    let mut plan = Plan::new(vec![CircuitPlan::new("client", &HOPS)]);
    plan.classical = kem == Kem::Classical;
    plan.key_log = true;
    let mut daemons = Daemons::prepare(&lab.net, &plan)?;
    for relay in HOPS {
        daemons.start(relay)?;
    }
    let link = lab.net.links().iter().map(|link| link.name.as_str()).find(|name| name.contains("client"));
    let captures = Captures::start_whole(&lab.net, &link.into_iter().collect::<Vec<_>>())?;
    daemons.start("client")?;
    let open = daemons.wait_open("client", OPEN)?;
    verdicts.check("the circuit opens", open, "");
    talk(&lab)?;
    for hop in ["1", "2", "3"] {
        daemons.ippriv("client", &["rekey", "circuit", "1", hop])?;
        daemons.ippriv("client", &["rekey", "circuit", "1", hop, "--ike"])?;
        std::thread::sleep(REKEYED);
    }
    talk(&lab)?;
    daemons.ippriv("client", &["circuit", "close", "1"])?;
    let told = daemons.ippriv("client", &["debug", "keylog"])?;
    verdicts.check("the daemon says where its keys are", told.contains("every key"), told.trim_end());
    let captured = captures.stop()?;
    let capture = captured.first().ok_or("no capture")?;
    let keys = format!("WIRESHARK_CONFIG_DIR={}", daemons.keys("client")?.display());
    let file = capture.path.to_string_lossy();
    let base = ["env", &keys, "tshark", "-n", "-o", "esp.enable_encryption_decode:TRUE", "-r", &file];
    let run = |more: &[&str]| {
        let node = lab.net.node("client")?;
        Ok::<_, Box<dyn Error>>(foreign::run(node, &TSHARK, &[&base, more].concat())?)
    };
    let mut fields = vec!["-T", "fields"];
    fields.extend(FIELDS.iter().flat_map(|field| ["-e", field]));
    let table = run(&fields)?;
    judge(verdicts, &table, &run(&["-V"])?, kem);
    Ok(())
}

/// A ping and a page, which go through all layers.
fn talk(lab: &Lab) -> Result<(), Box<dyn Error>> {
    let program = program::path()?.to_string_lossy().into_owned();
    let server = lab.net.node("server")?;
    let mut http = server.spawn(&[&program, "traffic", "http-serve", "0.0.0.0:80"])?;
    http.wait_for("listening", OPEN)?;
    let address = lab.address4("server")?;
    lab.ping("client", address.into(), 3)?;
    lab.on("client", &[&program, "traffic", "http-get", &format!("http://{address}/3000")])?;
    Ok(())
}

fn judge(verdicts: &mut Verdicts, table: &str, text: &str, kem: Kem) {
    let seen: Vec<Seen<'_>> = table.lines().filter_map(Seen::read).collect();
    let wrong = |which: &dyn Fn(&Seen<'_>) -> bool| {
        let wrong: Vec<String> =
            seen.iter().filter(|packet| which(packet)).map(|packet| packet.0.join(" | ")).collect();
        (
            wrong.is_empty(),
            format!(
                "{} of {} packets: {:?}",
                wrong.len(),
                seen.len(),
                wrong.iter().take(5).collect::<Vec<_>>()
            ),
        )
    };
    let mut depths = BTreeMap::new();
    for packet in &seen {
        *depths.entry(packet.layers().0).or_insert(0) += 1;
    }
    verdicts.check(
        "packets of each depth are there",
        (0..=3).all(|depth| depths.contains_key(&depth)),
        format!("{depths:?}"),
    );
    let (none, which) = wrong(&|packet| packet.layers().0 > 0 && !packet.layers().1);
    verdicts.check("every layer of ESP is opened", none, which);
    let (none, which) = wrong(&|packet| packet.is_closed());
    verdicts.check("every IKE message is opened", none, which);
    let (none, which) = wrong(&|packet| !packet.0[4].is_empty() && !packet.is_beyond());
    verdicts.check("nothing is malformed", none, which);
    let (none, which) = wrong(&|packet| packet.is_ike() && !packet.0[5].is_empty() && !packet.is_beyond());
    verdicts.check("nothing about IKE is worth a remark", none, which);
    let inner = |name: &str| {
        seen.iter().any(|packet| packet.layers().0 == 3 && packet.protocols().any(|one| one == name))
    };
    verdicts.check("a ping and a page come out of three layers", inner("icmp") && inner("http"), "");
    let rekeys = seen.iter().filter(|packet| packet.0[2] == CREATE_CHILD_SA).count();
    verdicts.check("rekeys are seen", rekeys >= 12, format!("{rekeys} messages of CREATE_CHILD_SA"));
    let unknown: Vec<&str> =
        text.lines().map(str::trim).filter(|line| line.to_lowercase().contains("unknown")).collect();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    unknown.iter().for_each(|line| *kinds.entry(line).or_default() += 1);
    if kem == Kem::Hybrid {
        // IKE_INTERMEDIATE and IKE_FOLLOWUP_KE (RFC 9242, RFC 9370) are younger than tshark 4.0
        kinds.remove("Exchange type: Unknown (43)");
        kinds.remove("Exchange type: Unknown (44)");
        // ML-KEM-768 too, which a rekeying names where it can be read
        kinds.remove("DH Group #: Unknown (36)");
    }
    verdicts.check("every field has a name", kinds.is_empty(), format!("{kinds:?}"));
    // Each relay's IKE_AUTH request, and nothing else.
    let beyond = seen.iter().filter(|packet| packet.is_beyond() && packet.0[2] == IKE_AUTH).count();
    verdicts.equal("messages that only stop at an empty identification", &beyond, &HOPS.len());
    let empty = text.lines().filter(|line| line.contains("ID type:") && line.contains("(13)")).count();
    verdicts.check("they have one", empty >= HOPS.len(), format!("{empty} of ID_NULL"));
}
