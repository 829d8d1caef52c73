//! strongSwan: charon, told what to do through `swanctl`.

use std::time::Duration;

use super::sas::{self, IkeSa};
use super::{File, ForeignError, Home, Liveness, STRONGSWAN};
use crate::net::{Background, Node};

/// How long charon may take to start or to end.
const LIMIT: Duration = Duration::from_secs(20);

/// How long charon may take to do what it is told, in seconds.
const TIMEOUT: &str = "15";
/// A log where the lab finds it; the lab has no journal.
const LOG: &str = "charon { filelog { stderr { default = 1\n ike = 2\n cfg = 2\n ike_name = yes } } }\n";

/// A running charon.
#[derive(Debug)]
pub struct StrongSwan<'net> {
    home: Home<'net>,
    charon: Background,
}

impl<'net> StrongSwan<'net> {
    /// Starts charon on a node with these files over the package's own and has it load them.
    ///
    /// # Errors
    /// [`ForeignError`], with charon's log, when it does not start or refuses a file.
    pub fn start(node: Node<'net>, files: &[File]) -> Result<Self, ForeignError> {
        let home = Home::make(node, &STRONGSWAN, files)?;
        home.write(&File::new("/etc/strongswan.d/lab-log.conf", LOG))?;
        let mut charon = home.spawn(&["/usr/sbin/charon-systemd"])?;
        home.wait_for_socket(&mut charon, "charon.vici", LIMIT)?;
        let daemon = Self { home, charon };
        daemon.load()?;
        Ok(daemon)
    }

    /// Reads all files again.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when one of them is wrong.
    pub fn load(&self) -> Result<String, ForeignError> {
        self.swanctl(&["--load-all", "--noprompt"])
    }

    /// Runs `swanctl` and returns what it printed.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when it fails.
    pub fn swanctl(&self, arguments: &[&str]) -> Result<String, ForeignError> {
        let said = self.home.beside(&self.charon, &[&["swanctl"], arguments].concat())?;
        if said.status.success() {
            return Ok(said.stdout);
        }
        let command = format!("swanctl {}", arguments.join(" "));
        let node = self.home.node().name().to_owned();
        Err(ForeignError::Refused { node, command, said: said.stdout + &said.stderr })
    }

    /// Writes one more file and has it loaded.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when it is wrong.
    pub fn add(&self, file: &File) -> Result<(), ForeignError> {
        self.home.write(file)?;
        self.load().map(drop)
    }

    /// Begins a connection and waits until its child is there.
    ///
    /// # Errors
    /// [`ForeignError::Refused`], with charon's log, when it is not.
    pub fn initiate(&self, connection: &str, child: &str) -> Result<(), ForeignError> {
        self.told(&["--initiate", "--ike", connection, "--child", child, "--timeout", TIMEOUT])
    }

    /// Replaces the ESP SAs of a child.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when there is no such child. That it has happened is seen in [`sas`](Self::sas).
    pub fn rekey_child(&self, child: &str) -> Result<(), ForeignError> {
        self.told(&["--rekey", "--child", child])
    }

    /// Replaces an IKE SA.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when there is no such connection.
    pub fn rekey_ike(&self, connection: &str) -> Result<(), ForeignError> {
        self.told(&["--rekey", "--ike", connection])
    }

    /// Deletes an IKE SA and all that was made through it.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when there is no such connection.
    pub fn terminate(&self, connection: &str) -> Result<(), ForeignError> {
        self.told(&["--terminate", "--ike", connection, "--timeout", TIMEOUT])
    }

    /// Deletes the IKE SA of that number and all that was made through it.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when there is none.
    pub fn delete(&self, number: u32) -> Result<(), ForeignError> {
        self.told(&["--terminate", "--ike-id", &number.to_string(), "--timeout", TIMEOUT])
    }

    /// All IKE SAs.
    ///
    /// # Errors
    /// [`ForeignError`] when charon does not answer.
    pub fn sas(&self) -> Result<Vec<IkeSa>, ForeignError> {
        Ok(sas::from_swanctl(&self.swanctl(&["--list-sas", "--raw"])?))
    }

    /// Its counts of INFORMATIONAL exchanges; deletions are among them.
    pub(super) fn liveness(&self) -> Result<Liveness, ForeignError> {
        let said = self.swanctl(&["--counters"])?;
        Ok(Liveness::read(&said, ["info-out-req", "info-in-req"], ':'))
    }

    fn told(&self, arguments: &[&str]) -> Result<(), ForeignError> {
        self.swanctl(arguments).map(drop)
    }

    /// Everything charon has said so far.
    ///
    /// # Errors
    /// [`ForeignError`] when its log cannot be read.
    pub fn log(&self) -> Result<String, ForeignError> {
        Ok(self.charon.stdout()? + &self.charon.stderr()?)
    }

    /// Has it delete its SAs and end; returns its log.
    ///
    /// # Errors
    /// [`ForeignError`] when it does not end.
    pub fn stop(self) -> Result<String, ForeignError> {
        let ended = self.charon.stop(LIMIT)?;
        Ok(ended.stdout + &ended.stderr)
    }
}
