//! YAML files that people write: reading them, and saying where in a file an error is.
//!
//! What messages say comes from files that may hold keys; they never repeat anything that could be one.

mod values;

use std::fmt;

use serde::de::DeserializeOwned;
use serde_saphyr::{DefaultMessageFormatter, Location, MessageFormatter, Options, budget, options};

pub(crate) use values::{
    AddressForm, CongestionControl, Ip6Form, PortRange, PrefixForm, prefixes, ranges, text_form,
};

/// Something about a file, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<P> {
    /// Line and column, which count from 1, when it has a place.
    pub place: Option<(u64, u64)>,
    /// What is wrong.
    pub problem: P,
}

impl<P: fmt::Display> fmt::Display for Located<P> {
    /// `LINE:COLUMN: problem`, to follow a file name and a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{line}:{column}: {}", self.problem),
            None => write!(f, " {}", self.problem),
        }
    }
}

impl<P: fmt::Debug + fmt::Display> std::error::Error for Located<P> {}

impl<I> Located<Problem<I>> {
    pub(crate) const fn invalid(place: Option<(u64, u64)>, invalid: I) -> Self {
        Self { place, problem: Problem::Invalid(invalid) }
    }
}

/// What is wrong with the text of a file whose contents can be an invalid `I`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem<I> {
    /// Not YAML of this form, in the words of the reader.
    #[error("{0}")]
    Form(String),
    /// Contents that make no sense.
    #[error(transparent)]
    Invalid(I),
}

impl<I> From<Located<String>> for Located<Problem<I>> {
    fn from(Located { place, problem }: Located<String>) -> Self {
        Self { place, problem: Problem::Form(problem) }
    }
}

/// Reads a file's text.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Located<String>> {
    serde_saphyr::from_str_with_options(text, limits(text)).map_err(|error| {
        let error = error.without_snippet();
        let problem = without_keys(&for_people(&DefaultMessageFormatter.format_message(error)));
        Located { place: error.location().map(place), problem }
    })
}

/// Line and column.
pub(crate) fn place(location: Location) -> (u64, u64) {
    (location.line(), location.column())
}

/// Limits that a file of honest size never meets: a circuit has about thirty nodes of YAML.
fn limits(text: &str) -> Options {
    let nodes = 250_000 + text.len() / 4;
    options! {
        budget: budget! { max_nodes: nodes, max_events: 4 * nodes },
        with_snippet: false
    }
}

/// `text` without advice that is for programmers who call the reader.
fn for_people(text: &str) -> String {
    for (advice, expected) in [
        (", set DuplicateKeyPolicy in Options if acceptable", ": expected it once"),
        ("; use from_str_multiple or from_str_multiple_with_options", ": expected one"),
    ] {
        if let Some(found) = text.strip_suffix(advice) {
            return format!("{found}{expected}");
        }
    }
    text.to_owned()
}

/// `text` without long runs of hexadecimal digits: a message may repeat what it found, and that may be a key
/// in the wrong place.
fn without_keys(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, run) = rest.split_at(start);
        let end = run.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(run.len());
        kept.push_str(before);
        kept.push_str(if end < SHORTEST_KEY { &run[..end] } else { "(hexadecimal digits)" });
        rest = &run[end..];
    }
    kept + rest
}

/// Hexadecimal digits that are taken for a key, or a piece of one.
const SHORTEST_KEY: usize = 12;
