//! A mount namespace for one daemon: its bundle laid over `/usr`, its configuration in `/etc`, a `/run` of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Bundle, ForeignError};
use crate::net::{Background, NetError, Node, RawOutput, create_folder};

/// Run by `sh` in a fresh mount namespace with the home, the bundle and the command line as arguments: first the
/// bundle, then the configuration, which hides the host's own of the same programs, and `/run` last, for the home
/// is in it.
const ENTER: &str = r#"set -e
home=$1 bundle=$2; shift 2
mount -t overlay bundle -o ro,lowerdir="$bundle/usr:/usr" /usr
mount -t overlay etc -o ro,lowerdir="$home/etc:/etc" /etc
for dir in swanctl strongswan.d ipsec.d; do [ ! -d "$home/etc/$dir" ] || mount --bind "$home/etc/$dir" "/etc/$dir"; done
[ ! -d "$home/nss" ] || { mkdir -p /var/lib/ipsec/nss; mount --bind "$home/nss" /var/lib/ipsec/nss; }
mount --rbind /run/lab "$home/run/lab"
mount --rbind "$home/run" /run
exec "$@""#;
/// Its name in the home.
const SCRIPT: &str = "enter";
/// How often a socket is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Where a daemon lives on a node.
#[derive(Debug)]
pub(super) struct Home<'net> {
    node: Node<'net>,
    dir: PathBuf,
    bundle: PathBuf,
}

/// A file for a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its absolute path, as the daemon sees it: below `/etc`.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
}

impl File {
    /// A file of text.
    pub fn new(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: content.into() }
    }
}

impl<'net> Home<'net> {
    /// Makes the home of `bundle`'s daemon on `node`: the package's configuration files with `files` above.
    pub(super) fn make(node: Node<'net>, bundle: &Bundle, files: &[File]) -> Result<Self, ForeignError> {
        let root = bundle.root()?;
        let home = Self { node, dir: node.folder().join(bundle.name), bundle: root };
        // A daemon that was there before has left its sockets and process ids.
        let _ = fs::remove_dir_all(&home.dir);
        for part in ["etc", "run/lab"] {
            create_folder(&home.dir.join(part))?;
        }
        let script = home.dir.join(SCRIPT);
        fs::write(&script, ENTER).map_err(|source| NetError::File { path: script, source })?;
        let (from, to) = (home.bundle.join("etc/."), home.dir.join("etc"));
        node.run(&["cp", "-a", &from.to_string_lossy(), &to.to_string_lossy()])?;
        for file in files {
            home.write(file)?;
        }
        Ok(home)
    }

    /// Its directory, which is at the same path inside and outside.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn node(&self) -> Node<'net> {
        self.node
    }

    /// Writes a file below `/etc`, for root only.
    pub(super) fn write(&self, file: &File) -> Result<(), ForeignError> {
        let Some(below) = file.path.strip_prefix("/etc/").filter(|below| !below.contains("..")) else {
            return Err(ForeignError::Path(file.path.clone()));
        };
        let path = self.dir.join("etc").join(below);
        if let Some(parent) = path.parent() {
            create_folder(parent)?;
        }
        fs::write(&path, &file.content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
            .map_err(|source| NetError::File { path, source })?;
        Ok(())
    }

    fn script(&self) -> String {
        self.dir.join(SCRIPT).to_string_lossy().into_owned()
    }

    /// Starts a program in a mount namespace of its own.
    pub(super) fn spawn(&self, argv: &[&str]) -> Result<Background, ForeignError> {
        let (dir, bundle) = (self.dir.to_string_lossy(), self.bundle.to_string_lossy());
        let enter = ["unshare", "--mount", "sh", &self.script(), &dir, &bundle];
        Ok(self.node.spawn(&[&enter, argv].concat())?)
    }

    /// Runs a program to its end in a mount namespace of its own, before there is a daemon.
    pub(super) fn run(&self, argv: &[&str]) -> Result<String, ForeignError> {
        let (dir, bundle) = (self.dir.to_string_lossy(), self.bundle.to_string_lossy());
        let enter = ["unshare", "--mount", "sh", &self.script(), &dir, &bundle];
        Ok(self.node.run(&[&enter, argv].concat())?.stdout)
    }

    /// Runs a program to its end where the daemon is.
    pub(super) fn beside(&self, daemon: &Background, argv: &[&str]) -> Result<RawOutput, ForeignError> {
        let pid = daemon.id().to_string();
        Ok(self.node.try_run(&[&["nsenter", "--mount", "--target", &pid], argv].concat())?)
    }

    /// Waits until the daemon has made `socket`, a path below `/run`.
    pub(super) fn wait_for_socket(
        &self,
        daemon: &mut Background,
        socket: &str,
        limit: Duration,
    ) -> Result<(), ForeignError> {
        let path = self.dir.join("run").join(socket);
        for _ in 0..=limit.as_micros() / POLL.as_micros() {
            if path.exists() {
                return Ok(());
            }
            if let Some(status) = daemon.ended()? {
                let said = daemon.stdout()? + &daemon.stderr()?;
                return Err(ForeignError::Ended { node: self.node.name().to_owned(), status, said });
            }
            std::thread::sleep(POLL);
        }
        let said = daemon.stdout()? + &daemon.stderr()?;
        Err(ForeignError::NotReady { node: self.node.name().to_owned(), limit, said })
    }
}
