//! Modules of the distribution's kernel: the kernel asks for them by name, and finds them where the lab has them.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use super::within;
use crate::runner::{MODPROBE, MODULES_VARIABLE};

/// What the processor is called by modules for it.
const PROCESSOR: &str = "/sys/devices/system/cpu/modalias";

/// Has the kernel load its modules from the directory that the environment names.
pub(super) fn load_by_name() -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the kernel hands its parameters over in the environment")]
    let Some(dir) = std::env::var_os(MODULES_VARIABLE) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("found no {MODULES_VARIABLE}")));
    };
    let dir = Path::new(&dir);
    // The package has `modprobe` as a link to `kmod`, which does what it is called.
    let found = ["sbin/modprobe", "usr/sbin/modprobe"].map(|below| dir.join(below));
    let program = found.iter().find(|path| path.exists()).unwrap_or(&found[0]);
    let (dir, program) = (quoted(dir), quoted(program));
    let script = format!("#!/bin/sh\nexec {program} --dirname {dir} \"$@\"\n");
    let helper = Path::new(MODPROBE);
    fs::write(helper, script).map_err(within("write", helper))?;
    fs::set_permissions(helper, fs::Permissions::from_mode(0o755)).map_err(within("mark", helper))?;
    let asked = Path::new("/proc/sys/kernel/modprobe");
    fs::write(asked, MODPROBE).map_err(within("write", asked))?;
    load_for_processor()
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
