//! Changes to the text of a document that leave the rest of the text, and its comments, as they are.
//!
//! What was changed is read again and must say exactly what was meant; files laid out in another way than block
//! style with the document's keys at the beginning of lines are refused, not damaged.

use super::write::{relay_item, signature_item};
use super::{Document, Invalid, Network, ParseError, Relay, Signature, Unverified};

/// Why a text is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is no document.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The change would make a document that makes no sense.
    #[error(" {0}")]
    Invalid(#[from] Invalid),
    /// The text is laid out in a way that we do not change.
    #[error(
        " cannot change {key} in this layout: expected the keys of the document at the beginning of lines and a list \
         with one field a line"
    )]
    Layout {
        /// What was to be changed.
        key: &'static str,
    },
    /// There is no later edition than the last.
    #[error(" serial {serial}: expected one that can grow")]
    LastSerial {
        /// The serial.
        serial: u64,
    },
}

/// `text` with one more relay. A signed document becomes the next edition: its serial grows, and its signatures
/// go, for they would not fit.
///
/// # Errors
/// [`EditError`] when the text is no document, with the relay it would make no sense, or its layout is odd.
pub fn add_relay(text: &str, relay: Relay) -> Result<String, EditError> {
    let Unverified { mut document, signatures } = Network::parse(text)?;
    let mut lines = Lines::of(text);
    if !signatures.is_empty() {
        document.serial = next(document.serial)?;
        lines.set_serial(document.serial);
        lines.remove("signatures");
    }
    lines.append("relays", |indent| relay_item(&relay, indent));
    document.relays.push(relay);
    document.check()?;
    meant(lines.into_text(), &document, &[], "relays")
}

/// `text` with a signature, instead of one that the same operator made before.
///
/// # Errors
/// [`EditError`] when the text is no document or its layout is odd.
pub fn add_signature(text: &str, signature: &Signature) -> Result<String, EditError> {
    let Unverified { document, mut signatures } = Network::parse(text)?;
    signatures.retain(|other| other.operator != signature.operator);
    signatures.push(signature.clone());
    let mut lines = Lines::of(text);
    lines.remove("signatures");
    for signature in &signatures {
        lines.append("signatures", |indent| signature_item(signature, indent));
    }
    meant(lines.into_text(), &document, &signatures, "signatures")
}

fn next(serial: u64) -> Result<u64, EditError> {
    serial.checked_add(1).ok_or(EditError::LastSerial { serial })
}

/// `text`, if it says what it is meant to.
fn meant(
    text: String,
    document: &Document,
    signatures: &[Signature],
    key: &'static str,
) -> Result<String, EditError> {
    match Network::parse(&text) {
        Ok(found) if found.document == *document && found.signatures == signatures => Ok(text),
        _ => Err(EditError::Layout { key }),
    }
}

/// Lines with their ends.
struct Lines(Vec<String>);

impl Lines {
    fn of(text: &str) -> Self {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
            last.push('\n');
        }
        Self(lines)
    }

    fn into_text(self) -> String {
        self.0.concat()
    }

    /// The lines of a key of the document: its own, and those below it up to the last that is not empty or a
    /// comment at the beginning of a line.
    fn block(&self, key: &str) -> Option<std::ops::Range<usize>> {
        let own = |line: &String| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
        let first = self.0.iter().position(own)?;
        let below = |line: &&String| line.starts_with([' ', '-', '#', '\n', '\r']);
        let count = self.0[first + 1..].iter().take_while(below).count();
        let block = &self.0[first + 1..first + 1 + count];
        let loose = |line: &&String| line.starts_with('#') || line.trim().is_empty();
        let trailing = block.iter().rev().take_while(loose).count();
        Some(first..first + 1 + count - trailing)
    }

    fn remove(&mut self, key: &str) {
        if let Some(block) = self.block(key) {
            self.0.drain(block);
        }
    }

    fn set_serial(&mut self, serial: u64) {
        if let Some(block) = self.block("serial") {
            let line = &mut self.0[block.start];
            let comment = line.find('#').map_or("\n", |at| &line[at..]);
            let gap = if comment == "\n" { "" } else { " " };
            *line = format!("serial: {serial}{gap}{comment}");
        }
    }

    /// Puts an item at the end of a list, which begins when there is none.
    fn append(&mut self, key: &str, item: impl Fn(&str) -> String) {
        let Some(block) = self.block(key) else {
            self.0.push(format!("{key}:\n"));
            self.0.push(item("  "));
            return;
        };
        let head = &mut self.0[block.start];
        if head.trim_end() == format!("{key}: []") {
            *head = format!("{key}:\n");
        }
        let dash = |line: &String| {
            Some(line[..line.find("- ")?].to_owned()).filter(|indent| indent.trim().is_empty())
        };
        let indent = self.0[block.start + 1..block.end].iter().find_map(dash);
        self.0.insert(block.end, item(indent.as_deref().unwrap_or("  ")));
    }
}
