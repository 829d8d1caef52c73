//! Tor's control port (control-spec of Tor): lines of text, an answer to each question, and events in between.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection to a running Tor.
#[derive(Debug)]
pub(super) struct Control {
    stream: BufReader<UnixStream>,
    events: VecDeque<Message>,
}

/// An answer or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// 250 for success, 650 for an event.
    code: u16,
    /// Its lines, those of data among them.
    lines: Vec<String>,
}

/// Why Tor did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The connection failed, or nothing came in time.
    #[error("the control port: {0}")]
    Io(#[from] io::Error),
    /// Not what the protocol says.
    #[error("the control port: found `{0}`, expected a code of three digits and a sign")]
    Syntax(String),
    /// Tor said no.
    #[error("`{command}`: found `{said}`, expected success")]
    Refused {
        /// What it was told.
        command: String,
        /// What it answered.
        said: String,
    },
}

/// What a circuit has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Circuit {
    /// Its number.
    pub(super) id: String,
    /// `BUILT`, `EXTENDED`, `FAILED`, `CLOSED`, …
    pub(super) state: String,
    /// The fingerprints of its relays, entry first.
    pub(super) path: Vec<String>,
    /// What it is for: `GENERAL`, …
    pub(super) purpose: String,
}

impl Control {
    /// Connects. The port is a file that only root can open; it asks for nothing else.
    pub(super) fn open(path: &Path) -> Result<Self, ControlError> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut control = Self { stream: BufReader::new(stream), events: VecDeque::new() };
        control.ask("AUTHENTICATE")?;
        Ok(control)
    }

    /// Has Tor do something; the lines of its answer.
    pub(super) fn ask(&mut self, command: &str) -> Result<Vec<String>, ControlError> {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        loop {
            let message = read(&mut self.stream)?;
            match message.code {
                650 => self.events.push_back(message),
                250 => return Ok(message.lines),
                code => {
                    let said = format!("{code} {}", message.lines.join(" "));
                    return Err(ControlError::Refused { command: command.to_owned(), said });
                }
            }
        }
    }

    /// A piece of information: its lines.
    pub(super) fn info(&mut self, key: &str) -> Result<Vec<String>, ControlError> {
        Ok(value(&self.ask(&format!("GETINFO {key}"))?, key))
    }

    /// The same, of one line.
    pub(super) fn word(&mut self, key: &str) -> Result<String, ControlError> {
        Ok(self.info(key)?.join("\n"))
    }

    /// All circuits there are.
    pub(super) fn circuits(&mut self) -> Result<Vec<Circuit>, ControlError> {
        Ok(self.info("circuit-status")?.iter().filter_map(|line| Circuit::read(line)).collect())
    }

    /// The next event of a circuit, once asked for.
    pub(super) fn circuit_event(&mut self) -> Result<Circuit, ControlError> {
        loop {
            let message = match self.events.pop_front() {
                Some(message) => message,
                None => read(&mut self.stream)?,
            };
            let circuit = message.lines.first().and_then(|line| Circuit::read(line.strip_prefix("CIRC ")?));
            if let Some(circuit) = circuit {
                return Ok(circuit);
            }
        }
    }
}

impl Circuit {
    /// Reads `ID STATE [$FINGERPRINT~NAME,…] [KEY=VALUE …]`.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ').peekable();
        let (id, state) = (words.next()?.to_owned(), words.next()?.to_owned());
        let path = words.next_if(|word| word.starts_with('$')).unwrap_or_default();
        let hop = |hop: &str| Some(hop.strip_prefix('$')?.split(['~', '=']).next()?.to_owned());
        let path = path.split(',').filter_map(hop).collect();
        let purpose = words.find_map(|word| word.strip_prefix("PURPOSE=")).unwrap_or_default().to_owned();
        Some(Self { id, state, path, purpose })
    }
}

/// Reads one answer or event, with all its lines: `CODE-LINE` and more, `CODE+LINE` and data, `CODE LINE` at last.
fn read(from: &mut impl BufRead) -> Result<Message, ControlError> {
    let mut lines = Vec::new();
    loop {
        let line = read_line(from)?;
        let split = line.split_at_checked(3).and_then(|(code, rest)| {
            let code = code.parse::<u16>().ok()?;
            rest.split_at_checked(1).map(|(sign, text)| (code, sign.to_owned(), text.to_owned()))
        });
        let Some((code, sign, text)) = split else { return Err(ControlError::Syntax(line)) };
        lines.push(text);
        match sign.as_str() {
            " " => return Ok(Message { code, lines }),
            "-" => {}
            "+" => read_data(from, &mut lines)?,
            _ => return Err(ControlError::Syntax(line)),
        }
    }
}

/// Data end at a line with a single dot; a dot at a line's start is doubled.
fn read_data(from: &mut impl BufRead, lines: &mut Vec<String>) -> Result<(), ControlError> {
    loop {
        let line = read_line(from)?;
        match line.strip_prefix('.') {
            Some("") => return Ok(()),
            Some(rest) => lines.push(rest.to_owned()),
            None => lines.push(line),
        }
    }
}

fn read_line(from: &mut impl BufRead) -> Result<String, ControlError> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The lines after `KEY=`, without the one that says the answer is over.
fn value(answer: &[String], key: &str) -> Vec<String> {
    let [first, rest @ .., _over] = answer else { return Vec::new() };
    let first = first.strip_prefix(key).and_then(|rest| rest.strip_prefix('='));
    first.filter(|text| !text.is_empty()).map(str::to_owned).into_iter().chain(rest.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut text: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        while !text.is_empty() {
            messages.push(read(&mut text).unwrap());
        }
        messages
    }

    #[test]
    fn answers_have_one_line_or_many() {
        let text = b"250 OK\r\n250-version=0.4.9.11\r\n250 OK\r\n\
            250+circuit-status=\r\n3 BUILT $A~a,$B~b PURPOSE=GENERAL\r\n..\r\n.\r\n250 OK\r\n552 No such router \"x\"\r\n";
        let messages = all(text);
        assert_eq!(messages[0], Message { code: 250, lines: vec!["OK".into()] });
        assert_eq!(value(&messages[1].lines, "version"), ["0.4.9.11"]);
        assert_eq!(value(&messages[2].lines, "circuit-status"), ["3 BUILT $A~a,$B~b PURPOSE=GENERAL", "."]);
        assert_eq!(messages[3].code, 552);
        assert_eq!(value(&["circuit-status=".into(), "OK".into()], "circuit-status"), [""; 0]);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [&b"hello\r\n"[..], b"25\r\n", b"250?OK\r\n", b"\xc3\xa4\xc3\xa4 \r\n"] {
            assert!(matches!(read(&mut &*text), Err(ControlError::Syntax(_))), "{text:?}");
        }
        for text in [&b""[..], b"250-half\r\n", b"250+half\r\ndata\r\n"] {
            assert!(matches!(read(&mut &*text), Err(ControlError::Io(_))), "{text:?}");
        }
    }

    #[test]
    fn a_circuit_has_a_path() {
        let circuit =
            Circuit::read("7 BUILT $AA~relay1,$BB=relay2 BUILD_FLAGS=NEED_UPTIME PURPOSE=GENERAL").unwrap();
        assert_eq!((circuit.id.as_str(), circuit.state.as_str()), ("7", "BUILT"));
        assert_eq!(circuit.path, ["AA", "BB"]);
        assert_eq!(circuit.purpose, "GENERAL");
        let launched = Circuit::read("7 LAUNCHED PURPOSE=GENERAL").unwrap();
        assert_eq!((launched.path.len(), launched.purpose.as_str()), (0, "GENERAL"));
        assert_eq!(Circuit::read("7"), None);
    }

    #[test]
    fn events_wait_for_their_turn() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs
            .write_all(b"650 CIRC 1 EXTENDED $A PURPOSE=GENERAL\r\n250 EXTENDED 1\r\n650 CIRC 1 BUILT $A\r\n")
            .unwrap();
        let mut control = Control { stream: BufReader::new(ours), events: VecDeque::new() };
        assert_eq!(control.ask("EXTENDCIRCUIT 0 A").unwrap(), ["EXTENDED 1"]);
        assert_eq!(control.circuit_event().unwrap().state, "EXTENDED");
        assert_eq!(control.circuit_event().unwrap().state, "BUILT");
    }
}
