use clap::{Args, Subcommand};
use ipnet::IpNet;
use ippriv::control::{CircuitState, CircuitView, HopView, NewCircuit, Refusal, RefusalCode};
use ippriv::network::Name;

use crate::daemon::{Daemon, DaemonError};
use crate::table::{age, list, table};
use crate::{Failed, output};

/// Build, list, show and close this client's circuits
#[derive(Args)]
pub(crate) struct Circuit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    New(New),
    List(List),
    Show(Show),
    Close(Close),
}

/// Build a circuit, and wait until it is open
#[derive(Args)]
struct New {
    /// What to call it
    #[arg(long)]
    name: Option<Name>,
    /// The relays, entry first: a,b,c
    #[arg(long, value_delimiter = ',', conflicts_with = "length")]
    hops: Option<Vec<Name>>,
    /// How many relays, chosen by the daemon
    #[arg(long)]
    length: Option<u8>,
    /// Destinations that go through it, such as 0.0.0.0/0; without, only what is sent from its address does
    #[arg(long, value_delimiter = ',')]
    traffic: Vec<IpNet>,
    /// Do not wait until it is open
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    common: Common,
}

/// List all circuits
#[derive(Args)]
struct List {
    #[command(flatten)]
    common: Common,
}

/// Show a circuit with its relays and SAs
#[derive(Args)]
struct Show {
    /// Its number or name
    circuit: String,
    #[command(flatten)]
    common: Common,
}

/// Close a circuit
#[derive(Args)]
struct Close {
    /// Its number or name
    circuit: String,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Args)]
struct Common {
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Circuit {
    pub(crate) fn run(self) -> Result<(), Failed> {
        match self.command {
            Command::New(new) => new.run(),
            Command::List(List { common }) => {
                let circuits: Vec<CircuitView> = common.daemon.get("/v1/circuits")?;
                Ok(if common.json { output::json(&circuits) } else { output::text(&listed(&circuits)) }?)
            }
            Command::Show(Show { circuit, common }) => {
                let circuit = find(&common.daemon, &circuit)?;
                show(&circuit, common.json)
            }
            Command::Close(Close { circuit, daemon }) => {
                let circuit = find(&daemon, &circuit)?;
                Ok(daemon.delete(&format!("/v1/circuits/{}", circuit.number))?)
            }
        }
    }
}

impl New {
    fn run(self) -> Result<(), Failed> {
        let Self { name, hops, length, traffic, no_wait, common } = self;
        let new = NewCircuit {
            name: name.map(|name| name.to_string()),
            hops: hops.map(|hops| hops.iter().map(ToString::to_string).collect()),
            length,
            traffic,
            wait: !no_wait,
        };
        let circuit: CircuitView = common.daemon.post("/v1/circuits", &new)?;
        show(&circuit, common.json)
    }
}

/// The circuit of that number or name.
pub(super) fn find(daemon: &Daemon, which: &str) -> Result<CircuitView, DaemonError> {
    if which.parse::<u32>().is_ok() {
        return daemon.get(&format!("/v1/circuits/{which}"));
    }
    let circuits: Vec<CircuitView> = daemon.get("/v1/circuits")?;
    let known = list(circuits.iter().filter_map(|circuit| circuit.name.clone()), ", ");
    let mut found = circuits.into_iter().filter(|circuit| circuit.name.as_deref() == Some(which));
    found.next().ok_or_else(|| {
        let message = format!("circuit {which:?}: expected a number or one of: {known}");
        Refusal { code: RefusalCode::NotFound, message }.into()
    })
}

fn show(circuit: &CircuitView, json: bool) -> Result<(), Failed> {
    Ok(if json { output::json(circuit) } else { output::text(&shown(circuit)) }?)
}

const fn state(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Building => "building",
        CircuitState::Open => "open",
        CircuitState::Closing => "closing",
        CircuitState::Failed => "failed",
    }
}

fn path(hops: &[HopView]) -> String {
    list(hops.iter().map(|hop| &hop.relay), " > ")
}

fn listed(circuits: &[CircuitView]) -> String {
    let row = |circuit: &CircuitView| {
        [
            circuit.number.to_string(),
            circuit.name.clone().unwrap_or_else(|| "-".to_owned()),
            state(circuit.state).to_owned(),
            age(circuit.age_s),
            circuit.link.clone().unwrap_or_else(|| "-".to_owned()),
            list(&circuit.addresses, ", "),
            path(&circuit.hops),
        ]
    };
    let rows: Vec<_> = circuits.iter().map(row).collect();
    table(["NR", "NAME", "STATE", "SINCE", "LINK", "ADDRESS", "RELAYS"], &rows)
}

fn shown(circuit: &CircuitView) -> String {
    let name = circuit.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let mut text =
        format!("circuit {}{name}: {} since {}\n", circuit.number, state(circuit.state), age(circuit.age_s));
    let mut field = |name: &str, value: String| text.push_str(&format!("  {name:<10}{value}\n"));
    if let Some(reason) = &circuit.reason {
        field("reason", reason.clone());
    }
    field("link", circuit.link.clone().unwrap_or_else(|| "-".to_owned()));
    field("address", list(&circuit.addresses, ", "));
    field("dns", list(&circuit.dns, ", "));
    field("mtu", circuit.mtu.map_or_else(|| "-".to_owned(), |mtu| mtu.to_string()));
    field("traffic", list(&circuit.traffic, ", "));
    if let Some(process) = circuit.lent_to {
        field("used by", format!("process {process}, in its network namespace (ippriv run)"));
    }
    let row = |hop: &HopView| {
        let sa = hop.sa.as_ref();
        let value = |of: fn(&ippriv::control::SaView) -> String| sa.map_or_else(|| "-".to_owned(), of);
        [
            format!("  {}", hop.relay),
            hop.address.to_string(),
            hop.assigned.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            value(|sa| sa.esp_suite.clone()),
            value(|sa| format!("{}/{}", sa.esp_in, sa.esp_out)),
            value(|sa| if sa.in_udp { "udp" } else { "ip" }.to_owned()),
            value(|sa| sa.rekeyed.to_string()),
        ]
    };
    let rows: Vec<_> = circuit.hops.iter().map(row).collect();
    text + &table(["  RELAY", "ADDRESS", "ASSIGNED", "ESP", "SPI IN/OUT", "OVER", "REKEYED"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit() -> CircuitView {
        serde_json::from_str(concat!(
            r#"{"number":1,"name":"work","state":"open","link":"ippc1","addresses":["10.64.3.1"],"dns":["9.9.9.9"],"mtu":1280,"#,
            r#""traffic":["0.0.0.0/0"],"age_s":61,"hops":[{"relay":"a","address":"192.0.2.1","#,
            r#""assigned":"10.64.1.1","sa":{"ike_initiator":"0123456789abcdef","#,
            r#""ike_responder":"fedcba9876543210","ike_suite":"x","esp_suite":"aes-gcm-128","#,
            r#""esp_in":"c0000001","esp_out":"c0000002","in_udp":true,"rekeyed":2}},"#,
            r#"{"relay":"b","address":"192.0.2.2","assigned":null}]}"#,
        ))
        .unwrap()
    }

    #[test]
    fn a_list_has_a_line_for_each_circuit() {
        let text = listed(&[circuit()]);
        assert_eq!(text.lines().nth(1), Some("1   work  open   61s    ippc1  10.64.3.1  a > b"));
    }

    #[test]
    fn a_circuit_is_shown_with_its_layers() {
        let text = shown(&circuit());
        assert!(text.starts_with("circuit 1 (work): open since 61s\n  link      ippc1\n"), "{text}");
        assert!(
            text.contains("  a      192.0.2.1  10.64.1.1  aes-gcm-128  c0000001/c0000002  udp   2\n"),
            "{text}"
        );
        assert!(text.contains("  dns       9.9.9.9\n"), "{text}");
        assert!(
            text.ends_with("  b      192.0.2.2  -          -            -                  -     -\n"),
            "{text}"
        );
    }
}
