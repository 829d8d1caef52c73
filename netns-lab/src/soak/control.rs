//! Asking daemons what people ask of them, over their control sockets. `ippriv` does the same; starting it ten
//! thousand times would take longer than all the rest.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ippriv::control::{CircuitView, NewCircuit, Refused, Status};
use serde::de::DeserializeOwned;

/// Longer than a daemon takes to say that it takes too long.
const PATIENCE: Duration = Duration::from_secs(200);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The daemon is not there, or died while it was asked.
    #[error("no daemon answers: {0}")]
    Dead(#[from] io::Error),
    /// It said no.
    #[error("{0}")]
    Refused(String),
    /// It said something else.
    #[error("found {0:?}, expected an answer of docs/control.md")]
    Foreign(String),
}

/// A daemon's control socket.
#[derive(Debug, Clone)]
pub(super) struct Control(PathBuf);

impl Control {
    /// The one at `path`.
    pub(super) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// How the daemon is.
    pub(super) fn status(&self) -> Result<Status, NoAnswer> {
        self.ask("GET", "/v1/status", "")
    }

    /// Its circuits.
    pub(super) fn circuits(&self) -> Result<Vec<CircuitView>, NoAnswer> {
        self.ask("GET", "/v1/circuits", "")
    }

    /// Builds a circuit and waits until it is open.
    pub(super) fn open(&self, new: &NewCircuit) -> Result<CircuitView, NoAnswer> {
        let body = serde_json::to_string(new).map_err(|error| NoAnswer::Foreign(error.to_string()))?;
        self.ask("POST", "/v1/circuits", &body)
    }

    /// Closes a circuit and waits until it is gone.
    pub(super) fn close(&self, circuit: &CircuitView) -> Result<(), NoAnswer> {
        self.ask("DELETE", &format!("/v1/circuits/{}", circuit.number), "")
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, path: &str, body: &str) -> Result<T, NoAnswer> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: ipprivd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        read(&answer)
    }
}

/// Reads an answer whose end is the end of the connection.
fn read<T: DeserializeOwned>(answer: &str) -> Result<T, NoAnswer> {
    let foreign = || NoAnswer::Foreign(answer.chars().take(200).collect());
    if answer.is_empty() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(foreign)?;
    let status: u16 = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(foreign)?;
    match status {
        204 => serde_json::from_str("null").map_err(|_| foreign()),
        200..=299 => serde_json::from_str(body).map_err(|_| foreign()),
        _ => {
            let refused: Refused = serde_json::from_str(body).map_err(|_| foreign())?;
            Err(NoAnswer::Refused(refused.error.message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(read::<Vec<u8>>("HTTP/1.1 200 OK\r\nx: y\r\n\r\n[1]").unwrap(), [1]);
        read::<()>("HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        let refused = "HTTP/1.1 502 Bad\r\n\r\n{\"error\":{\"code\":\"failed\",\"message\":\"no\"}}";
        assert!(matches!(read::<()>(refused), Err(NoAnswer::Refused(message)) if message == "no"));
        assert!(matches!(read::<()>(""), Err(NoAnswer::Dead(_))));
        assert!(matches!(read::<()>("hello"), Err(NoAnswer::Foreign(_))));
    }
}
