use clap::{Args, Subcommand};
use ippriv::control::RelayView;
use ippriv::network::Name;

use crate::daemon::Daemon;
use crate::table::{list, table};
use crate::{Failed, output};

/// List and show the relays of the network
#[derive(Args)]
pub(crate) struct Relay {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(List),
    Show(Show),
}

/// List all relays
#[derive(Args)]
struct List {
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show a relay
#[derive(Args)]
struct Show {
    /// Its name
    relay: Name,
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Relay {
    pub(crate) fn run(self) -> Result<(), Failed> {
        match self.command {
            Command::List(List { daemon, json }) => {
                let relays: Vec<RelayView> = daemon.get("/v1/relays")?;
                Ok(if json { output::json(&relays) } else { output::text(&listed(&relays)) }?)
            }
            Command::Show(Show { relay, daemon, json }) => {
                let relay: RelayView = daemon.get(&format!("/v1/relays/{relay}"))?;
                Ok(if json { output::json(&relay) } else { output::text(&shown(&relay)) }?)
            }
        }
    }
}

fn roles(relay: &RelayView) -> String {
    let roles = [(relay.entry, "entry"), (relay.exit, "exit"), (relay.this, "this host")];
    list(roles.into_iter().filter(|(has, _)| *has).map(|(_, role)| role), ", ")
}

fn listed(relays: &[RelayView]) -> String {
    let row = |relay: &RelayView| {
        [
            relay.name.clone(),
            list(&relay.addresses, ", "),
            roles(relay),
            relay.country.clone().unwrap_or_else(|| "-".to_owned()),
            list(&relay.neighbours, ", "),
            relay.avoided.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<_> = relays.iter().map(row).collect();
    table(["NAME", "ADDRESS", "ROLES", "COUNTRY", "NEIGHBOURS", "AVOIDED"], &rows)
}

fn shown(relay: &RelayView) -> String {
    let mut text = format!("relay {}\n", relay.name);
    let dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    for (name, value) in [
        ("address", list(&relay.addresses, ", ")),
        ("roles", roles(relay)),
        ("country", dash(&relay.country)),
        ("family", dash(&relay.family)),
        ("neighbours", list(&relay.neighbours, ", ")),
        ("avoided", dash(&relay.avoided)),
        ("key", relay.key.clone()),
    ] {
        text.push_str(&format!("  {name:<12}{value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_are_listed_and_shown() {
        let relay: RelayView = serde_json::from_str(concat!(
            r#"{"name":"a","addresses":["192.0.2.1"],"key":"MCow","exit":true,"entry":true,"country":"de","#,
            r#""family":null,"neighbours":["b","c"],"this":false,"avoided":null}"#,
        ))
        .unwrap();
        let text = listed(std::slice::from_ref(&relay));
        assert_eq!(text.lines().nth(1), Some("a     192.0.2.1  entry, exit  de       b, c        -"));
        assert!(shown(&relay).contains("  key         MCow\n"));
    }
}
