//! Scripts for `nft -f`; each is carried out as a whole or not at all.

use ipnet::IpNet;

use super::{HOOKS, IPV4, IPV6, comment};
use crate::ownership::NFT_TABLE;
use crate::state::{NftChain, NftSet, NftSetKind, NftTable};

/// A table that cannot be written as a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// A set or chain has a name nft does not take; so too the stand-in for what others put into our table.
    #[error("nftables: {0:?} is no name: someone had changed the table to a form that cannot be restored")]
    Name(String),
    /// A rule would end its line, or its comment.
    #[error("nftables: rule {0:?}: expected one line without a comment")]
    Rule(String),
}

/// Makes the table, which must not exist yet.
///
/// # Errors
/// [`Unwritable`] for names or rules that would mean something else in a script.
pub fn create(table: &NftTable) -> Result<String, Unwritable> {
    define(format!("create table inet {NFT_TABLE}\n"), table)
}

/// Makes the table, in place of one that may be there.
///
/// # Errors
/// [`Unwritable`] for names or rules that would mean something else in a script.
pub fn replace(table: &NftTable) -> Result<String, Unwritable> {
    define(format!("add table inet {NFT_TABLE}\ndelete table inet {NFT_TABLE}\n"), table)
}

/// Removes the table, which must exist.
#[must_use]
pub fn delete() -> String {
    format!("delete table inet {NFT_TABLE}\n")
}

fn define(mut script: String, table: &NftTable) -> Result<String, Unwritable> {
    script.push_str(&format!("table inet {NFT_TABLE} {{\n"));
    for set in &table.sets {
        define_set(&mut script, set)?;
    }
    for chain in &table.chains {
        define_chain(&mut script, chain)?;
    }
    script.push_str("}\n");
    Ok(script)
}

fn define_set(script: &mut String, set: &NftSet) -> Result<(), Unwritable> {
    let (kind, flags, elements) = match &set.kind {
        NftSetKind::Prefixes(prefixes) => {
            let kind = if matches!(prefixes.first(), Some(IpNet::V6(_))) { IPV6 } else { IPV4 };
            (kind, "\t\tflags interval\n", words(prefixes))
        }
        NftSetKind::Ipv4(addresses) => (IPV4, "", words(addresses)),
        NftSetKind::Ipv6(addresses) => (IPV6, "", words(addresses)),
    };
    let name = checked(&set.name)?;
    script.push_str(&format!("\tset {name} {{\n\t\ttype {kind}\n{flags}"));
    if !elements.is_empty() {
        script.push_str(&format!("\t\telements = {{ {} }}\n", elements.join(", ")));
    }
    script.push_str("\t}\n");
    Ok(())
}

fn words<T: ToString>(elements: impl IntoIterator<Item = T>) -> Vec<String> {
    elements.into_iter().map(|element| element.to_string()).collect()
}

fn define_chain(script: &mut String, chain: &NftChain) -> Result<(), Unwritable> {
    let name = checked(&chain.name)?;
    script.push_str(&format!("\tchain {name} {{\n"));
    if let Some(words) = HOOKS.iter().find(|words| words.hook == chain.hook) {
        script.push_str(&format!(
            "\t\ttype {} hook {} priority {}; policy accept;\n",
            words.kind, words.place, words.priority
        ));
    }
    for rule in &chain.rules {
        let text = &rule.0;
        if text.contains(['\n', '#', ';', '\\']) || text.contains(" comment ") {
            return Err(Unwritable::Rule(text.clone()));
        }
        script.push_str(&format!("\t\t{text} comment \"{}\"\n", comment(text)));
    }
    script.push_str("\t}\n");
    Ok(())
}

fn checked(name: &str) -> Result<&str, Unwritable> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain && name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        Ok(name)
    } else {
        Err(Unwritable::Name(name.to_owned()))
    }
}
