//! The system programs the lab needs, and the Debian package each of them comes from.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program the lab starts and the Debian package that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The program's name, as looked for in the search path.
    pub program: &'static str,
    /// The Debian package it is part of.
    pub package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What any runner needs.
pub const RUNNER: &[Tool] =
    &[tool("setpriv", "util-linux"), tool("unshare", "util-linux"), tool("ip", "iproute2")];

/// What the experiments use inside the lab.
pub const LAB: &[Tool] = &[
    tool("ip", "iproute2"),
    tool("tc", "iproute2"),
    tool("nft", "nftables"),
    tool("tcpdump", "tcpdump"),
    tool("ping", "iputils-ping"),
    tool("traceroute", "traceroute"),
    tool("ethtool", "ethtool"),
];

/// What building the lab kernel needs.
pub const KERNEL_BUILD: &[Tool] = &[
    tool("gcc", "gcc"),
    // Debian's gcc only recommends the C library's headers; they are looked for by a file of theirs.
    tool("/usr/include/stdio.h", "libc6-dev"),
    tool("make", "make"),
    tool("flex", "flex"),
    tool("bison", "bison"),
    tool("bc", "bc"),
    tool("perl", "perl"),
    tool("setpriv", "util-linux"),
    tool("tar", "tar"),
    tool("xz", "xz-utils"),
    tool("dpkg-deb", "dpkg"),
];

/// Directories of system programs that an ordinary user's PATH may lack.
const EXTRA_DIRS: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Why the system programs are not all there.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// They are missing and this process may not, or cannot, install them.
    #[error("missing {}; install with: {command}", programs.join(", "))]
    Missing {
        /// The programs not found.
        programs: Vec<&'static str>,
        /// What to type.
        command: String,
    },
    /// Installing them failed.
    #[error("`{command}` failed ({status}): {last}")]
    Install {
        /// The command that was run.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last line it wrote on standard error.
        last: String,
    },
    /// The installer could not be started.
    #[error("cannot run apt-get")]
    Apt(#[source] io::Error),
}

/// Makes sure that all of `tools` are there, installing their packages when run as root on a system with apt.
pub fn ensure(tools: &[Tool]) -> Result<(), SystemError> {
    let missing: Vec<Tool> = tools.iter().copied().filter(|tool| find(tool.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: BTreeSet<&str> = missing.iter().map(|tool| tool.package).collect();
    let may_install = rustix::process::geteuid().is_root() && find("apt-get").is_some();
    if !may_install {
        return Err(missing_error(&missing, &packages));
    }
    eprintln!("{}: installing {}", crate::program::NAME, Vec::from_iter(packages.iter().copied()).join(" "));
    if apt_install(&packages).is_err() {
        // The package lists may be absent or too old.
        apt(&["update"])?;
        apt_install(&packages)?;
    }
    match missing.into_iter().filter(|tool| find(tool.program).is_none()).collect::<Vec<_>>() {
        still if still.is_empty() => Ok(()),
        still => Err(missing_error(&still, &packages)),
    }
}

/// The path of `program` (or of a file given by its path), if it is there.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    std::env::split_paths(&search_path()).map(|dir| dir.join(program)).find(|path| is_executable(path))
}

/// The user's PATH with the system's program directories added: what everything the lab runs is given.
pub fn search_path() -> OsString {
    #[expect(clippy::disallowed_methods, reason = "finding programs is this module's business")]
    let user = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> =
        std::env::split_paths(&user).filter(|dir| !dir.as_os_str().is_empty()).collect();
    for extra in EXTRA_DIRS.iter().map(PathBuf::from) {
        if !dirs.contains(&extra) {
            dirs.push(extra);
        }
    }
    // Joining fails only for a directory with a colon in its name, which splitting cannot have left.
    std::env::join_paths(dirs).unwrap_or(user)
}

/// What the running system calls itself: its programs take part in everything in the lab.
pub fn name() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let point = std::fs::read_to_string("/etc/debian_version").unwrap_or_default();
    format!("{} {}", name.unwrap_or("unknown").trim_matches('"'), point.trim()).trim_end().to_owned()
}

/// The same for jobs in the lab: the system's directories, and of the user's only those that have a program of the
/// lab that the system's lack. Looking for programs takes virtual time, so that results would depend on the user.
pub fn lab_path() -> OsString {
    let mut dirs: Vec<PathBuf> = EXTRA_DIRS.iter().map(PathBuf::from).collect();
    for tool in LAB {
        if !dirs.iter().any(|dir| is_executable(&dir.join(tool.program)))
            && let Some(dir) = find(tool.program).as_deref().and_then(Path::parent)
        {
            dirs.push(dir.to_owned());
        }
    }
    std::env::join_paths(dirs).unwrap_or_else(|_| search_path())
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn missing_error(missing: &[Tool], packages: &BTreeSet<&str>) -> SystemError {
    let packages = Vec::from_iter(packages.iter().copied()).join(" ");
    SystemError::Missing {
        programs: missing.iter().map(|tool| tool.program).collect(),
        command: format!("sudo apt-get install -y --no-install-recommends {packages}"),
    }
}

fn apt_install(packages: &BTreeSet<&str>) -> Result<(), SystemError> {
    let mut args = vec!["install", "-y", "--no-install-recommends"];
    args.extend(packages);
    apt(&args)
}

fn apt(args: &[&str]) -> Result<(), SystemError> {
    let output = Command::new("apt-get")
        .arg("-qq")
        .args(args)
        .env("PATH", search_path())
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .map_err(SystemError::Apt)?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(SystemError::Install {
        command: format!("apt-get -qq {}", args.join(" ")),
        status: output.status,
        last: stderr.lines().last().unwrap_or("no message").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_outside_an_ordinary_path_are_found() {
        let path = search_path();
        let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
        assert!(dirs.contains(&PathBuf::from("/usr/sbin")));
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }

    #[test]
    fn jobs_in_the_lab_look_in_the_systems_directories_first() {
        let path = lab_path();
        let dirs: Vec<PathBuf> = std::env::split_paths(&path).take(EXTRA_DIRS.len()).collect();
        assert_eq!(dirs, EXTRA_DIRS.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn the_error_names_programs_and_the_command_to_type() {
        let tools = [tool("tc", "iproute2"), tool("ip", "iproute2"), tool("nft", "nftables")];
        let packages = tools.iter().map(|tool| tool.package).collect();
        assert_eq!(
            missing_error(&tools, &packages).to_string(),
            "missing tc, ip, nft; install with: sudo apt-get install -y --no-install-recommends iproute2 nftables"
        );
    }
}
