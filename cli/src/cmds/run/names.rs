//! Names looked up through the circuit, for the command alone.
//!
//! `resolv.conf` is covered by one with the exit's name servers. Programs that look names up for others, outside the
//! namespace, are reached through Unix sockets, which know no network namespaces: theirs are covered too, so that
//! the C library falls back to asking the name servers itself.

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// What the resolver of the C library reads.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where others listen who look names up: nss-resolve, nscd, nss-mdns.
const OTHERS: [&str; 5] =
    ["/run/systemd/resolve", "/run/nscd", "/var/run/nscd", "/run/avahi-daemon", "/var/cache/nscd"];

/// Why names cannot be looked up through the circuit; the command is not run then.
#[derive(Debug, thiserror::Error)]
pub(super) enum NamesError {
    #[error("cannot cover {}, by which names would be looked up outside the circuit: {errno}", path.display())]
    Cover { path: PathBuf, errno: Errno },
    #[error("cannot write a resolv.conf for the command: {0}")]
    Write(#[from] io::Error),
    #[error("{RESOLV_CONF}: {0}: expected it to be there, for another is put over it for the command")]
    NoResolvConf(io::Error),
}

/// Lets this mount namespace look names up at `servers` and nowhere else.
pub(super) fn look_up_through(servers: &[IpAddr]) -> Result<(), NamesError> {
    let target = fs::canonicalize(RESOLV_CONF).map_err(NamesError::NoResolvConf)?;
    let mut covered = Vec::new();
    for path in OTHERS.map(Path::new) {
        // another name of one that is covered already has nothing in it
        let Ok(real) = fs::canonicalize(path) else { continue };
        if real.is_dir() && !covered.contains(&real) {
            let cover =
                mount(Some("tmpfs"), &real, Some("tmpfs"), MsFlags::empty(), Some("mode=0755,size=64k"));
            cover.map_err(|errno| NamesError::Cover { path: real.clone(), errno })?;
            covered.push(real);
        }
    }
    let text = resolv_conf(servers);
    if covered.iter().any(|cover| target.starts_with(cover)) {
        // it was in there, as that of systemd-resolved is: what was covered is ours now
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        return Ok(fs::write(&target, text)?);
    }
    let source = temporary(&text)?;
    let cover = mount(Some(&source), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>);
    // the mount holds the file; nothing is left of it when the namespace is gone
    fs::remove_file(&source)?;
    cover.map_err(|errno| NamesError::Cover { path: target, errno })
}

fn resolv_conf(servers: &[IpAddr]) -> String {
    let mut text = "# Of `ippriv run`: name servers that the circuit's exit named.\n".to_owned();
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

/// A new file that everybody may read.
fn temporary(text: &str) -> io::Result<PathBuf> {
    let folder = std::env::temp_dir();
    for attempt in 0_u32..1000 {
        let path = folder.join(format!("ippriv-{}-{attempt}", std::process::id()));
        let mut options = fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o644).open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_a_line() {
        let servers = ["9.9.9.9", "2620:fe::fe"].map(|text| text.parse().unwrap());
        let lines = resolv_conf(&servers);
        assert_eq!(
            lines.lines().skip(1).collect::<Vec<_>>(),
            ["nameserver 9.9.9.9", "nameserver 2620:fe::fe"]
        );
    }
}
