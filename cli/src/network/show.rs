use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ippriv::network::{ClientAuth, Document, Name, Neighbours, Trust};
use serde::Serialize;

use super::{now, read};
use crate::{Failed, output};

/// Show what a document says, and who of its own operators signed it; whom to believe it does not know
#[derive(Args)]
pub(super) struct Show {
    /// The document
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    document: &'a Document,
    digest: String,
    signed_by: Vec<Name>,
}

#[derive(Serialize)]
struct Changed<'a> {
    file: &'a Path,
    done: &'a str,
    network: &'a Name,
    serial: u64,
    relays: usize,
    digest: String,
}

impl Show {
    pub(super) fn run(self) -> Result<(), Failed> {
        let unverified = read(&self.file)?;
        let document = unverified.document();
        // Nothing is believed here: the document's own operators tell whose signatures fit.
        let own = Trust::new(document.operators.clone(), document.threshold);
        let signed_by = own.map(|own| unverified.signers(&own).into_iter().collect()).unwrap_or_default();
        let shown = Shown { document, digest: digest(document), signed_by };
        Ok(if self.json { output::json(&shown) } else { output::text(&shown.text()) }?)
    }
}

impl Shown<'_> {
    fn text(&self) -> String {
        let document = self.document;
        let mut text = String::new();
        let validity = match now() {
            now if now < document.valid_from => " (not yet)",
            now if now >= document.valid_until => " (no more)",
            _ => "",
        };
        let _ = writeln!(text, "network {}, serial {}", document.network, document.serial);
        let _ = writeln!(text, "valid {} to {}{validity}", document.valid_from, document.valid_until);
        let _ = writeln!(text, "sha256 {}", self.digest);
        let _ = writeln!(text, "operators, of whom {} have to sign:", document.threshold);
        for (name, key) in &document.operators {
            let signed = if self.signed_by.contains(name) { "  signed" } else { "" };
            let _ = writeln!(text, "  {name} {key}{signed}");
        }
        let _ = writeln!(text, "relays: {}", document.relays.len());
        for relay in &document.relays {
            let addresses: Vec<String> = relay.addresses().map(|address| address.to_string()).collect();
            let pools: Vec<String> = relay.pools().map(|pool| pool.to_string()).collect();
            let roles: Vec<&str> = relay.roles.iter().map(|role| role.name()).collect();
            let _ = writeln!(text, "  {} at {}, {}", relay.name, addresses.join(" and "), roles.join(", "));
            let _ = writeln!(text, "    hands out {}", pools.join(" and "));
            let psk =
                if relay.clients == ClientAuth::Anonymous { "" } else { ", clients with a published key" };
            let _ = writeln!(text, "    {}, {}{psk}", relay.software, relay.identity);
            if let Neighbours::Only(names) = &relay.neighbours {
                let names: Vec<&str> = names.iter().map(Name::as_str).collect();
                let _ = writeln!(text, "    tunnels with {}", names.join(", "));
            }
        }
        text
    }
}

/// Says what happened to a document.
pub(super) fn changed(file: &Path, document: &Document, done: &str, json: bool) -> Result<(), Failed> {
    let Document { network, serial, .. } = document;
    let (relays, digest) = (document.relays.len(), digest(document));
    Ok(if json {
        output::json(&Changed { file, done, network, serial: *serial, relays, digest })
    } else {
        let file = file.display();
        output::text(&format!(
            "{file}: {done}: network {network}, serial {serial}, {relays} relays, sha256 {digest}\n"
        ))
    }?)
}

fn digest(document: &Document) -> String {
    document.digest().iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
