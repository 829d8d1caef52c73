//! Other people's programs, from the distribution's packages: unpacked in the lab's cache, never installed.
//!
//! Installing them would start services, make users, replace each other (libreswan and strongSwan exclude one
//! another) and upgrade what is installed. Unpacked, they need no root, and the host stays as it is; a daemon sees
//! them laid over `/usr` in a mount namespace of its own ([`foreign`](crate::foreign)).

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use crate::{kernel, system};

/// Programs that are unpacked together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Its directory in the cache.
    pub name: &'static str,
    /// Debian packages; what they depend on and the host lacks comes with them.
    packages: &'static [&'static str],
    /// A file that is there when all is.
    witness: &'static str,
}

/// strongSwan's daemon and its control program. x25519, Ed25519, AES-GCM and ChaCha20-Poly1305 are those of its
/// OpenSSL plugin, which is among the standard ones; the extra ones bring a TPM's software stack along.
pub const STRONGSWAN: Bundle = Bundle {
    name: "strongswan",
    packages: &["charon-systemd", "strongswan-swanctl", "libstrongswan-standard-plugins"],
    witness: "usr/sbin/charon-systemd",
};

/// libreswan, with the programs of NSS that keep its keys.
pub const LIBRESWAN: Bundle = Bundle {
    name: "libreswan",
    packages: &["libreswan", "libnss3-tools"],
    witness: "usr/libexec/ipsec/pluto",
};

/// A second opinion on what is on the wire.
pub const TSHARK: Bundle = Bundle { name: "tshark", packages: &["tshark"], witness: "usr/bin/tshark" };

/// Tor, with the program that makes an authority's keys.
pub const TOR: Bundle = Bundle { name: "tor", packages: &["tor"], witness: "usr/bin/tor" };
/// What gives WireGuard's interfaces in the kernel their keys and peers.
pub const WIREGUARD: Bundle =
    Bundle { name: "wireguard-tools", packages: &["wireguard-tools"], witness: "usr/bin/wg" };

/// OpenVPN.
pub const OPENVPN: Bundle = Bundle { name: "openvpn", packages: &["openvpn"], witness: "usr/sbin/openvpn" };

/// What keeps a machine busy in several ways: the program that the paper of 2008 used.
pub const STRESS: Bundle = Bundle { name: "stress", packages: &["stress"], witness: "usr/bin/stress" };

/// The emulator of a processor that counts instructions, with the firmware that it starts.
pub const QEMU: Bundle = Bundle {
    name: "qemu",
    packages: &["qemu-system-x86", "qemu-system-data", "seabios"],
    witness: "usr/bin/qemu-system-x86_64",
};

/// The distribution's kernel with its modules, and the program that loads them, as Debian 12 has them beside its own
/// kernel, which is older than what we support.
pub const KERNEL_6_12: Bundle =
    Bundle { name: "linux-6.12", packages: &["linux-image-6.12-amd64", "kmod"], witness: "boot" };

/// The same where the distribution's own kernel is new enough.
pub const KERNEL: Bundle =
    Bundle { name: "linux", packages: &["linux-image-amd64", "kmod"], witness: "boot" };

/// Why a bundle is not there.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It has not been unpacked.
    #[error("found no {name} in {}, expected it to be unpacked: `cargo lab test interop` and `cargo lab run` do that", dir.display())]
    Absent {
        /// The bundle.
        name: &'static str,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// No directory for it.
    #[error("found none of IPPRIV_CACHE, XDG_CACHE_HOME and HOME, expected one with an absolute path")]
    NoCache,
    /// A mount's options cannot name such a path.
    #[error("the cache is in {}, expected a path without `:`, `,` and `\\`", .0.display())]
    Path(PathBuf),
    /// A system program is missing.
    #[error(transparent)]
    System(#[from] system::SystemError),
    /// apt did not find or fetch the packages.
    #[error("`{command}` failed ({status}): {last}")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last line it wrote on standard error.
        last: String,
    },
    /// The packages do not have what they should.
    #[error("found no {witness} in {}, expected it there", packages.join(", "))]
    NoWitness {
        /// The file.
        witness: &'static str,
        /// The packages.
        packages: Vec<String>,
    },
    /// A file could not be read or written.
    #[error("cannot {action}: {source}")]
    File {
        /// What was tried.
        action: String,
        /// Why not.
        source: io::Error,
    },
}

/// What getting packages needs.
const TOOLS: &[system::Tool] = &[
    system::Tool { program: "apt-get", package: "apt" },
    system::Tool { program: "dpkg-deb", package: "dpkg" },
    system::Tool { program: "cp", package: "coreutils" },
];

impl Bundle {
    /// Its root directory, if it is unpacked.
    ///
    /// # Errors
    /// [`BundleError::Absent`] when it is not.
    pub fn root(&self) -> Result<PathBuf, BundleError> {
        let dir = self.dir()?;
        if dir.join(self.witness).exists() {
            return Ok(dir);
        }
        Err(BundleError::Absent { name: self.name, dir })
    }

    /// The file that is there when all is, below its root directory.
    #[must_use]
    pub const fn witness(&self) -> &'static str {
        self.witness
    }

    /// Unpacks it unless it is there. Uses the package lists that apt has, or else fetches lists of its own;
    /// nothing about the machine's packages changes, and root is not needed.
    ///
    /// # Errors
    /// [`BundleError`] when there is no apt, or it does not have the packages.
    pub fn ensure(&self) -> Result<PathBuf, BundleError> {
        if let Ok(root) = self.root() {
            return Ok(root);
        }
        let dir = self.dir()?;
        system::ensure(TOOLS)?;
        eprintln!("{}: {}: getting {}", crate::program::NAME, self.name, self.packages.join(" "));
        let scratch = dir.with_file_name(format!(".{}.{}", self.name, std::process::id()));
        let made = self.make(&scratch).and_then(|unpacked| {
            // Another lab may have been faster.
            let _ = fs::remove_dir_all(&dir);
            fs::rename(unpacked, &dir).map_err(failed(format!("make {}", dir.display())))
        });
        // Best effort: what is left over is in a place of its own.
        let _ = fs::remove_dir_all(&scratch);
        made?;
        self.root()
    }

    fn dir(&self) -> Result<PathBuf, BundleError> {
        let base = kernel::cache_base().ok_or(BundleError::NoCache)?;
        if base.as_os_str().as_encoded_bytes().iter().any(|byte| b":,\\".contains(byte)) {
            return Err(BundleError::Path(base));
        }
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Ok(base.join("foreign").join(release_name(&release)).join(self.name))
    }

    fn make(&self, scratch: &Path) -> Result<PathBuf, BundleError> {
        let (archives, root) = (scratch.join("archives"), scratch.join("root"));
        for dir in [&archives, &root] {
            fs::create_dir_all(dir).map_err(failed(format!("make {}", dir.display())))?;
        }
        let mut apt = Apt { state: None };
        let packages = match apt.resolve(self.packages) {
            Ok(packages) => packages,
            // The machine's package lists are absent or too old.
            Err(_) => {
                apt.update(scratch)?;
                apt.resolve(self.packages)?
            }
        };
        let download = |apt: &Apt| run(apt.command().arg("download").args(&packages).current_dir(&archives));
        if download(&apt).is_err() {
            apt.update(scratch)?;
            download(&apt)?;
        }
        let entries = fs::read_dir(&archives).map_err(failed("list the packages".to_owned()))?;
        for archive in entries.flatten() {
            run(Command::new("dpkg-deb").arg("-x").arg(archive.path()).arg(&root))?;
        }
        merge_usr(&root)?;
        if !root.join(self.witness).exists() {
            return Err(BundleError::NoWitness { witness: self.witness, packages });
        }
        Ok(root)
    }
}

/// apt, with the machine's package lists or with lists of its own.
struct Apt {
    state: Option<PathBuf>,
}

impl Apt {
    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-q");
        if let Some(dir) = &self.state {
            for (option, name) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
                command.arg("-o").arg(format!("{option}={}", dir.join(name).display()));
            }
        }
        command
    }

    fn update(&mut self, scratch: &Path) -> Result<(), BundleError> {
        for part in ["lists/partial", "cache/archives/partial"] {
            let dir = scratch.join(part);
            fs::create_dir_all(&dir).map_err(failed(format!("make {}", dir.display())))?;
        }
        self.state = Some(scratch.to_owned());
        run(self.command().arg("update")).map(drop)
    }

    /// The packages themselves and what they need that the host lacks, each as `NAME=VERSION` where apt said which.
    fn resolve(&self, packages: &[&str]) -> Result<Vec<String>, BundleError> {
        let arguments = ["--simulate", "--no-install-recommends", "install"];
        let said = run(self.command().args(arguments).args(packages))?;
        let mut found: Vec<String> = said.lines().filter_map(to_install).collect();
        for package in packages {
            // One that the host has installed: its files, and not the host's configuration, are wanted.
            if !found.iter().any(|known| known.split('=').next() == Some(package)) {
                found.push((*package).to_owned());
            }
        }
        Ok(found)
    }
}

/// Reads `Inst NAME [OLD] (VERSION SUITE [ARCH])`.
fn to_install(line: &str) -> Option<String> {
    let rest = line.strip_prefix("Inst ")?;
    let name = rest.split(' ').next()?;
    let version = rest.split_once('(')?.1.split(' ').next()?;
    // Headers came along with a library that is upgraded.
    (!name.ends_with("-dev")).then(|| format!("{name}={version}"))
}

/// `debian-12` from os-release: another release has other libraries.
fn release_name(os_release: &str) -> String {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map_or("unknown", |value| value.trim_matches('"')).to_owned()
    };
    format!("{}-{}", value("ID"), value("VERSION_ID"))
}

/// Packages that still have `/lib` and the like mean the directories of those names in `/usr`.
fn merge_usr(root: &Path) -> Result<(), BundleError> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let dir = root.join(name);
        if dir.is_dir() {
            let below = root.join("usr").join(name);
            fs::create_dir_all(&below).map_err(failed(format!("make {}", below.display())))?;
            run(Command::new("cp").arg("-a").arg(dir.join(".")).arg(&below))?;
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<String, BundleError> {
    let line = || {
        let words: Vec<_> = std::iter::once(command_name(command)).chain(command.get_args()).collect();
        words.join(OsStr::new(" ")).to_string_lossy().into_owned()
    };
    let line = line();
    let output = command
        .env("PATH", system::search_path())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(failed(format!("run `{line}`")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().last().unwrap_or("no message").to_owned();
    Err(BundleError::Failed { command: line, status: output.status, last })
}

fn command_name(command: &Command) -> &OsStr {
    command.get_program()
}

fn failed(action: String) -> impl FnOnce(io::Error) -> BundleError {
    move |source| BundleError::File { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_would_install_is_read() {
        let fresh = "Inst libldns3 (1.8.3-1+b1 Debian:12.15/oldstable [amd64])";
        assert_eq!(to_install(fresh), Some("libldns3=1.8.3-1+b1".to_owned()));
        let upgrade = "Inst libnss3 [2:3.87.1-1+deb12u2] (2:3.87.1-1+deb12u4 Debian-Security:12 [amd64]) []";
        assert_eq!(to_install(upgrade), Some("libnss3=2:3.87.1-1+deb12u4".to_owned()));
        assert_eq!(to_install("Inst libnss3-dev [1] (2 Debian:12.15/oldstable [amd64])"), None);
        assert_eq!(to_install("Conf libldns3 (1.8.3-1+b1 Debian:12.15/oldstable [amd64])"), None);
    }

    #[test]
    fn a_release_has_a_name() {
        assert_eq!(release_name("NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n"), "debian-12");
        assert_eq!(release_name(""), "unknown-unknown");
    }
}
