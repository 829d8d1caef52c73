//! Getting the kernel's source: from the distribution's packages, or from a file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    KernelError, Version,
    build::{output_of, run, step},
};
use crate::system;

/// Debian's releases, oldest first. A kernel newer than the running one is wanted, so newer releases are tried too.
const RELEASES: &[&str] = &["bookworm", "trixie", "forky", "sid"];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Unpacks the source of `file`, or else of the best package to be had, below `scratch`; returns its top directory.
pub(super) fn unpack(file: Option<&Path>, scratch: &Path) -> Result<PathBuf, KernelError> {
    let file = match file {
        Some(file) => file.canonicalize().map_err(KernelError::host("read", file))?,
        None => download(scratch)?,
    };
    stage(&format!("unpacking {}", file.display()));
    let tarball = if has_ending(&file, ".deb") { unpack_package(&file, scratch)? } else { file };
    if !has_ending(&tarball, ".tar.xz") {
        return Err(bad_source(&tarball, "a .tar.xz or a .deb", "another file"));
    }
    let dir = scratch.join("source");
    fs::create_dir_all(&dir).map_err(KernelError::host("make", &dir))?;
    run(step("tar").arg("-xf").arg(&tarball).arg("-C").arg(&dir))?;
    match entries(&dir)?.as_slice() {
        [top] if top.join("arch/um/Makefile").is_file() => Ok(top.clone()),
        _ => Err(bad_source(&tarball, "one directory with arch/um/Makefile in it", "none")),
    }
}

/// One line on standard error about what is going on.
pub(super) fn stage(what: &str) {
    eprintln!("{}: kernel: {what}", crate::program::NAME);
}

fn download(scratch: &Path) -> Result<PathBuf, KernelError> {
    let apt = Apt::new(scratch)?;
    stage("resolving: looking for a source package");
    let (suite, version) = apt.best()?;
    let package = package_name(version);
    stage(&format!("downloading {package} of {suite}"));
    apt.select(&suite)?;
    let dir = scratch.join("package");
    fs::create_dir_all(&dir).map_err(KernelError::host("make", &dir))?;
    run(apt.command("apt-get").args(["-qq", "download", &package]).current_dir(&dir))?;
    match entries(&dir)?.as_slice() {
        [file] => Ok(file.clone()),
        other => Err(bad_source(&dir, "one package", &format!("{} files", other.len()))),
    }
}

fn unpack_package(file: &Path, scratch: &Path) -> Result<PathBuf, KernelError> {
    let dir = scratch.join("unpacked");
    run(step("dpkg-deb").arg("-x").arg(file).arg(&dir))?;
    let sources = dir.join("usr/src");
    let found = entries(&sources).unwrap_or_default().into_iter().find(|path| has_ending(path, ".tar.xz"));
    found.ok_or_else(|| bad_source(file, "a package with usr/src/linux-source-X.Y.tar.xz", "none in it"))
}

/// apt with a state of its own, so that nothing about the machine's packages changes.
struct Apt<'a> {
    dir: PathBuf,
    scratch: &'a Path,
    mirror: String,
}

impl<'a> Apt<'a> {
    fn new(scratch: &'a Path) -> Result<Self, KernelError> {
        if system::find("apt-get").is_none() {
            return Err(no_source("there is no apt"));
        }
        if !Path::new(KEYRING).is_file() {
            return Err(no_source(&format!("there is no {KEYRING}")));
        }
        let dir = scratch.join("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(part)).map_err(KernelError::host("make", &dir))?;
        }
        fs::write(dir.join("status"), "").map_err(KernelError::host("write in", &dir))?;
        // Known also where apt has never fetched a list.
        let addresses = output_of(step("apt-get").args(["update", "--print-uris"]))?;
        let mirror =
            mirror(&addresses).ok_or_else(|| no_source("apt here uses no mirror of Debian"))?.to_owned();
        Ok(Self { dir, scratch, mirror })
    }

    /// The first suite with a source that is new enough, or else the one with the newest that will do.
    fn best(&self) -> Result<(String, Version), KernelError> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let mut found: Vec<(String, Version)> = Vec::new();
        for suite in suites(codename(&release)) {
            if self.select(&suite).is_err() {
                continue; // A suite this mirror does not have.
            }
            let names = output_of(self.command("apt-cache").args(["pkgnames", "linux-source-"]))?;
            let newest = newest_source(&names);
            found.extend(newest.map(|version| (suite, version)));
            if newest.is_some_and(|version| version >= Version::SECCOMP) {
                break;
            }
        }
        let best = found.into_iter().max_by_key(|(_, version)| *version);
        best.filter(|(_, version)| *version >= Version::OLDEST).ok_or_else(|| {
            no_source(&format!("no suite of {} has a linux-source from {} on", self.mirror, Version::OLDEST))
        })
    }

    /// Makes `suite` the only one apt sees.
    fn select(&self, suite: &str) -> Result<(), KernelError> {
        let list = self.dir.join("sources.list");
        fs::write(&list, format!("deb [signed-by={KEYRING}] {} {suite} main\n", self.mirror))
            .map_err(KernelError::host("write", &list))?;
        run(self.command("apt-get").args(["-qq", "update"]))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = step(program);
        for (option, value) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State::Lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{option}={}", self.dir.join(value).display()));
        }
        command
            .args(["-o", "Dir::Etc::sourceparts=/dev/null", "-o", "APT::Sandbox::User="])
            .args(["-o", "APT::Get::List-Cleanup=false"])
            .current_dir(self.scratch);
        command
    }
}

/// The Debian mirror among the addresses apt fetches its lists from, each a quoted address and a file name.
fn mirror(addresses: &str) -> Option<&str> {
    let archives = addresses.lines().filter_map(|line| line.strip_prefix('\'')?.split_once("/dists/"));
    archives.map(|(archive, _)| archive).find(|archive| archive.ends_with("/debian"))
}

fn codename(os_release: &str) -> Option<&str> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"'))
}

/// The suites to try, in order: of the running release (or the oldest known) and all newer ones.
fn suites(codename: Option<&str>) -> Vec<String> {
    let first = RELEASES.iter().position(|release| Some(*release) == codename).unwrap_or(0);
    let suites_of = |release: &&str| match *release {
        "sid" => vec!["sid".to_owned()],
        release => vec![format!("{release}-backports"), release.to_owned()],
    };
    RELEASES[first..].iter().flat_map(suites_of).collect()
}

/// The newest of the packages linux-source-X.Y in `apt-cache pkgnames`' answer.
fn newest_source(names: &str) -> Option<Version> {
    names.lines().filter_map(|name| name.strip_prefix("linux-source-")?.parse().ok()).max()
}

fn package_name(version: Version) -> String {
    format!("linux-source-{version}")
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(ending.as_bytes())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let read = || -> io::Result<Vec<PathBuf>> { fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect() };
    read().map_err(KernelError::host("list", dir))
}

fn bad_source(file: &Path, expected: &'static str, found: &str) -> KernelError {
    KernelError::BadSource { file: file.to_owned(), expected, found: found.to_owned() }
}

fn no_source(reason: &str) -> KernelError {
    let tools: Vec<&str> = system::KERNEL_BUILD.iter().map(|tool| tool.program).collect();
    KernelError::NoSource { reason: reason.to_owned(), tools: tools.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_source_is_chosen_by_number() {
        let names = "linux-source-6.9\nlinux-source-6.16\nlinux-source-6.12\nlinux-source-rt\nlinux-source\n";
        assert_eq!(newest_source(names).map(package_name).as_deref(), Some("linux-source-6.16"));
        assert_eq!(newest_source("linux-source\n"), None);
    }

    #[test]
    fn backports_come_before_their_release_and_older_releases_not_at_all() {
        assert_eq!(suites(Some("trixie")), ["trixie-backports", "trixie", "forky-backports", "forky", "sid"]);
        assert_eq!(suites(Some("sid")), ["sid"]);
        assert_eq!(suites(Some("unheard-of"))[0], "bookworm-backports");
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=trixie\n"), Some("trixie"));
    }

    #[test]
    fn the_mirror_in_use_is_taken() {
        let addresses = "'http://m.example/debian-security/dists/x/InRelease' a 0 \n\
                         'http://m.example/debian/dists/x/InRelease' b 0 \n\
                         'http://n.example/debian/dists/x/InRelease' c 0 \n";
        assert_eq!(mirror(addresses), Some("http://m.example/debian"));
        assert_eq!(mirror("'http://archive.example/ubuntu/dists/x/InRelease' a 0 \n"), None);
    }

    /// A directory with packed sources: one with arch/um in it, one without, and a package with the first.
    fn packed_sources() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ippriv-source-test.{}", std::process::id()));
        let script = "set -e; mkdir -p linux-1/arch/um other-1 tree/DEBIAN tree/usr/src
            touch linux-1/arch/um/Makefile
            tar -cJf linux-1.tar.xz linux-1; tar -cJf other-1.tar.xz other-1; cp linux-1.tar.xz tree/usr/src/
            printf 'Package: p\\nVersion: 1\\nArchitecture: all\\nMaintainer: m\\nDescription: d\\n' >tree/DEBIAN/control
            dpkg-deb --build tree p.deb";
        fs::create_dir_all(&dir).unwrap();
        run(step("sh").args(["-c", script]).current_dir(&dir)).unwrap();
        dir
    }

    #[test]
    fn a_tarball_and_a_package_are_sources_and_other_files_are_not() {
        let dir = packed_sources();
        let unpack_as = |file: &str, scratch: &str| {
            fs::create_dir_all(dir.join(scratch)).unwrap();
            unpack(Some(&dir.join(file)), &dir.join(scratch))
        };
        assert_eq!(unpack_as("linux-1.tar.xz", "a").unwrap(), dir.join("a/source/linux-1"));
        assert_eq!(unpack_as("p.deb", "b").unwrap(), dir.join("b/source/linux-1"));
        assert!(matches!(unpack_as("other-1.tar.xz", "c"), Err(KernelError::BadSource { .. })));
        assert!(matches!(unpack_as("linux-1/arch/um/Makefile", "d"), Err(KernelError::BadSource { .. })));
        assert!(matches!(unpack_as("absent", "e"), Err(KernelError::Host { .. })));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn without_a_source_the_error_says_what_to_pass() {
        let text = no_source("there is no apt").to_string();
        for part in
            ["there is no apt", "linux-source-X.Y.tar.xz", "linux-X.Y.tar.xz", "--source FILE", "flex"]
        {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}
