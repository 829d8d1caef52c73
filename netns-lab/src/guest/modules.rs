//! Modules that the guest's kernel asks for by name: the distribution's finds them where the lab has them, the lab's
//! own has all that it needs built in.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use super::within;
use crate::runner::{MODPROBE, MODULES_VARIABLE};
use crate::stock;

/// What the kernel runs to load a module.
const ASKED: &str = "/proc/sys/kernel/modprobe";

/// What the processor is called by modules for it.
const PROCESSOR: &str = "/sys/devices/system/cpu/modalias";

/// Has the kernel ask nobody. A host that has `modprobe` would otherwise see it run in the guest, where it finds
/// nothing but draws on the guest's randomness, so that a seed would not mean the same there as on other hosts.
pub(super) fn load_none() -> io::Result<()> {
    // An empty write would write nothing.
    ask("\n")
}

/// Has the kernel load its modules from the directory that the environment names.
pub(super) fn load_by_name() -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the kernel hands its parameters over in the environment")]
    let Some(dir) = std::env::var_os(MODULES_VARIABLE) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("found no {MODULES_VARIABLE}")));
    };
    let dir = Path::new(&dir);
    let [program, libraries] = [stock::MODPROBE, stock::LIBRARIES].map(|below| quoted(&dir.join(below)));
    let dir = quoted(dir);
    let script = format!("#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {program} --dirname {dir} \"$@\"\n");
    let helper = Path::new(MODPROBE);
    fs::write(helper, script).map_err(within("write", helper))?;
    fs::set_permissions(helper, fs::Permissions::from_mode(0o755)).map_err(within("mark", helper))?;
    ask(MODPROBE)?;
    load_for_processor()
}

fn ask(program: &str) -> io::Result<()> {
    let asked = Path::new(ASKED);
    fs::write(asked, program).map_err(within("write", asked))
}

/// Loads what a system's `udev` loads when it sees the processor, its ciphers among others.
fn load_for_processor() -> io::Result<()> {
    let path = Path::new(PROCESSOR);
    let alias = fs::read_to_string(path).map_err(within("read", path))?;
    // Some of the modules are for other machines with such a processor, and refuse to be loaded.
    Command::new(MODPROBE).args(["--all", "--quiet", alias.trim()]).stderr(Stdio::null()).status().map(drop)
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
