//! libreswan: pluto, told what to do through `ipsec whack`.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ippriv::network::IdentityKey;

use super::sas::{self, IkeSa};
use super::{File, ForeignError, Home, LIBRESWAN, Liveness};
use crate::net::{Background, Node, create_folder};

/// How long pluto may take to start or to end.
const LIMIT: Duration = Duration::from_secs(20);
/// Said once all connections are loaded.
const READY: &str = "listening for IKE messages";
/// pluto sends fragments of more than 500 octets; a signature of that size makes two.
const RSA_BITS: &str = "4096";
/// `AlgorithmIdentifier` of an RSA key (RFC 3279 section 2.3.1).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// `SubjectPublicKeyInfo` of a key on P-256 up to the coordinates of its point (RFC 5480).
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// The kind of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256: short.
    #[default]
    P256,
    /// RSA: so long that messages with a signature go in fragments.
    Rsa,
}

/// A host that has a key for libreswan, which does not run yet.
#[derive(Debug)]
pub struct LibreswanKeys<'net> {
    home: Home<'net>,
    public: IdentityKey,
}

/// A running pluto.
#[derive(Debug)]
pub struct Libreswan<'net> {
    home: Home<'net>,
    pluto: Background,
}

impl<'net> LibreswanKeys<'net> {
    /// Makes a key in the node's NSS database, as an admin does: libreswan reads no other private keys.
    ///
    /// # Errors
    /// [`ForeignError`] when libreswan's programs fail.
    pub fn generate(node: Node<'net>, kind: KeyKind) -> Result<Self, ForeignError> {
        let home = Home::make(node, &LIBRESWAN, &[])?;
        create_folder(&home.dir().join("nss"))?;
        create_folder(&home.dir().join("run/pluto"))?;
        home.run(&["ipsec", "initnss"])?;
        let words: &[&str] = match kind {
            KeyKind::P256 => &["--keytype", "ecdsa"],
            KeyKind::Rsa => &["--keytype", "rsa", "--bits", RSA_BITS],
        };
        home.run(&[&["ipsec", "newhostkey"], words].concat())?;
        let list = home.run(&["ipsec", "showhostkey", "--list"])?;
        let id = list.split_whitespace().skip_while(|word| *word != "ckaid:").nth(1).unwrap_or_default();
        let said = home.run(&["ipsec", "showhostkey", "--left", "--ckaid", id])?;
        let public = public_key(&said).map_err(|source| ForeignError::Key {
            node: node.name().to_owned(),
            said,
            source,
        })?;
        Ok(Self { home, public })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &IdentityKey {
        &self.public
    }

    /// Starts pluto with these files over the package's own and waits until it has loaded them.
    ///
    /// # Errors
    /// [`ForeignError`], with pluto's log, when it does not start.
    pub fn start(self, files: &[File]) -> Result<Libreswan<'net>, ForeignError> {
        let Self { home, .. } = self;
        for file in files {
            home.write(file)?;
        }
        let mut pluto = home.spawn(&["/usr/libexec/ipsec/pluto", "--nofork", "--stderrlog"])?;
        home.wait_for_socket(&mut pluto, "pluto/pluto.ctl", LIMIT)?;
        pluto.wait_for(READY, LIMIT)?;
        Ok(Libreswan { home, pluto })
    }
}

/// Reads the line `leftecdsakey=0s…` or `leftrsasigkey=0s…`.
fn public_key(said: &str) -> Result<IdentityKey, ippriv::network::BadKey> {
    let key = |word: &str| {
        let key = said.lines().find_map(|line| line.trim().strip_prefix(word)?.strip_prefix("=0s"));
        key.map(|key| STANDARD.decode(key).unwrap_or_default())
    };
    if let Some(key) = key("leftrsasigkey") {
        return format!("rsa:{}", STANDARD.encode(rsa_spki(&key))).parse();
    }
    let point = key("leftecdsakey").unwrap_or_default();
    format!("ecdsa-p256:{}", STANDARD.encode([&P256_SPKI[..], &point].concat())).parse()
}

/// `SubjectPublicKeyInfo` of an RSA key in the form of RFC 3110 section 2: the exponent's length, the exponent, the
/// modulus.
fn rsa_spki(key: &[u8]) -> Vec<u8> {
    let (length, rest) = key.split_first().unwrap_or((&0, &[]));
    let (exponent, modulus) = rest.split_at_checked(usize::from(*length)).unwrap_or_default();
    let key = der(0x30, &[integer(modulus), integer(exponent)].concat());
    der(0x30, &[&RSA_ALGORITHM[..], &der(0x03, &[&[0], &key[..]].concat())].concat())
}

/// A positive `INTEGER`.
fn integer(octets: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if octets.first().is_some_and(|octet| *octet > 0x7f) { &[0] } else { &[] };
    der(0x02, &[sign, octets].concat())
}

/// A value in DER (X.690 section 8.1).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|octet| *octet != 0).map_or(&[][..], |at| &length[at..]);
    let mut value = vec![tag];
    match significant {
        [] => value.push(0),
        [short @ 0..=0x7f] => value.push(*short),
        long => {
            value.push(0x80 | long.len() as u8);
            value.extend_from_slice(long);
        }
    }
    value.extend_from_slice(content);
    value
}

impl Libreswan<'_> {
    /// Runs `ipsec whack` and returns what it printed.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when it fails.
    pub fn whack(&self, arguments: &[&str]) -> Result<String, ForeignError> {
        self.run(&[&["ipsec", "whack"], arguments].concat())
    }

    fn run(&self, argv: &[&str]) -> Result<String, ForeignError> {
        let said = self.home.beside(&self.pluto, argv)?;
        if said.status.success() {
            return Ok(said.stdout);
        }
        let command = argv.join(" ");
        let node = self.home.node().name().to_owned();
        Err(ForeignError::Refused { node, command, said: said.stdout + &said.stderr })
    }

    /// Writes one more file and has a connection in it loaded.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when it is wrong.
    pub fn add(&self, file: &File, connection: &str) -> Result<(), ForeignError> {
        self.home.write(file)?;
        self.run(&["/usr/libexec/ipsec/addconn", connection]).map(drop)
    }

    /// Begins a connection and waits until its child is there.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when it is not.
    pub fn initiate(&self, connection: &str) -> Result<(), ForeignError> {
        self.told(&["--initiate", "--name", connection])
    }

    /// Replaces the ESP SAs of a connection.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when there is no such connection. That it has happened is seen in
    /// [`sas`](Self::sas).
    pub fn rekey_child(&self, connection: &str) -> Result<(), ForeignError> {
        self.told(&["--rekey-ipsec", "--name", connection, "--async"])
    }

    /// Replaces the IKE SA of a connection.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when there is no such connection.
    pub fn rekey_ike(&self, connection: &str) -> Result<(), ForeignError> {
        self.told(&["--rekey-ike", "--name", connection, "--async"])
    }

    /// Deletes what there is of a connection.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when there is no such connection.
    pub fn terminate(&self, connection: &str) -> Result<(), ForeignError> {
        self.told(&["--terminate", "--name", connection])
    }

    /// Looks for addresses that came after the start; pluto sends from no others.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when it does not.
    pub fn listen(&self) -> Result<(), ForeignError> {
        self.told(&["--listen"])
    }

    /// All IKE SAs.
    ///
    /// # Errors
    /// [`ForeignError`] when pluto does not answer.
    pub fn sas(&self) -> Result<Vec<IkeSa>, ForeignError> {
        Ok(sas::from_whack(&self.whack(&["--showstates"])?))
    }

    /// The address that the peer of a connection gave us.
    ///
    /// # Errors
    /// [`ForeignError`] when pluto does not answer.
    pub fn given(&self, connection: &str) -> Result<Option<IpAddr>, ForeignError> {
        let status = self.whack(&["--status"])?;
        let instances = format!("000 \"{connection}\"[");
        let lines = status.lines().filter(|line| line.starts_with(&instances));
        let mut given = lines.filter_map(|line| line.split_once("my_ip=")?.1.split(';').next()?.parse().ok());
        Ok(given.next_back())
    }

    /// Everything pluto has said so far.
    ///
    /// # Errors
    /// [`ForeignError`] when its log cannot be read.
    pub fn log(&self) -> Result<String, ForeignError> {
        Ok(self.pluto.stdout()? + &self.pluto.stderr()?)
    }

    /// Has it delete its SAs and end; returns its log.
    ///
    /// # Errors
    /// [`ForeignError`] when it does not end.
    pub fn stop(self) -> Result<String, ForeignError> {
        self.told(&["--shutdown"])?;
        let ended = self.pluto.wait(LIMIT)?;
        Ok(ended.stdout + &ended.stderr)
    }

    /// Deletes an IKE SA and all that was made through it.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when there is none of that number.
    pub fn delete(&self, number: u32) -> Result<(), ForeignError> {
        self.told(&["--deletestate", &number.to_string()])
    }

    /// Its counts of what liveness checks sent and answered.
    pub(super) fn liveness(&self) -> Result<Liveness, ForeignError> {
        let said = self.whack(&["--globalstatus"])?;
        Ok(Liveness::read(&said, ["total.ike.dpd.sent", "total.ike.dpd.replied"], '='))
    }

    fn told(&self, arguments: &[&str]) -> Result<(), ForeignError> {
        self.whack(arguments).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_key_is_read_and_written_the_same_way() {
        let shown =
            "0s7pMO1Vf41etpQtFvDpP4uvRdf4aDM4BTIObMJHHhOS9CR6/8NAHL3kgTiD9hrDT7r3Nic79UCZlpxTOM6aD6og==";
        let key = public_key(&format!("\t# ecdsakey 2ZqdTp8hJ\n\tleftecdsakey={shown}\n")).unwrap();
        assert_eq!(ippriv::network::export::libreswan_key(&key).unwrap(), shown);
        assert!(public_key("no key").is_err());
    }
}
