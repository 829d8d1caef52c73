use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ippriv::control::{Refusal, RefusalCode};

/// Why the daemon did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error(
        "no ipprivd listens at {}: start it (systemctl start ipprivd), or name its socket with --socket",
        .0.display()
    )]
    NotRunning(PathBuf),
    #[error(
        "{}: permission denied: expected root or a member of the group that the policy names in control.group",
        .0.display()
    )]
    Denied(PathBuf),
    #[error("{}: {error}", socket.display())]
    Unreachable { socket: PathBuf, error: io::Error },
    #[error("ipprivd is not understood: {0}; expected the same version of ipprivd and ippriv")]
    Foreign(String),
    #[error("ipprivd ended the connection: {0}; its log says why (journalctl -u ipprivd)")]
    Ended(#[from] hyper::Error),
    #[error("{0}")]
    System(io::Error),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl DaemonError {
    pub(super) fn unreachable(socket: &Path, error: io::Error) -> Self {
        let socket = socket.to_owned();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Self::NotRunning(socket),
            ErrorKind::PermissionDenied => Self::Denied(socket),
            _ => Self::Unreachable { socket, error },
        }
    }

    /// The exit code that tells programs which; `docs/man/ippriv.md` lists them.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::NotRunning(_) => 3,
            Self::Denied(_) => 4,
            Self::Unreachable { .. } | Self::Foreign(_) | Self::Ended(_) | Self::System(_) => 1,
            Self::Refused(refusal) => match refusal.code {
                RefusalCode::NotFound => 5,
                RefusalCode::Invalid
                | RefusalCode::Conflict
                | RefusalCode::NotAllowed
                | RefusalCode::NoPath => 6,
                RefusalCode::TimedOut | RefusalCode::Unavailable => 7,
                RefusalCode::Failed => 1,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do_and_have_codes_of_their_own() {
        let at = |kind: ErrorKind| DaemonError::unreachable(Path::new("/run/x"), kind.into());
        for (error, code, words) in [
            (at(ErrorKind::NotFound), 3, "systemctl start ipprivd"),
            (at(ErrorKind::ConnectionRefused), 3, "no ipprivd listens at /run/x"),
            (at(ErrorKind::PermissionDenied), 4, "expected root or a member of the group"),
            (at(ErrorKind::OutOfMemory), 1, "/run/x"),
        ] {
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.exit_code(), code, "{error}");
        }
    }
}
