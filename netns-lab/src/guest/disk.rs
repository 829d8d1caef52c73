//! A disk of the machine's own: of the emulator, a sparse file in the job's directory.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// What the kernel calls it.
const DEVICE: &str = "/dev/vda";
/// Where it is mounted.
const AT: &str = "/run/lab/disk";

/// The directory of the disk, which is made and mounted when it is asked for first.
///
/// # Errors
/// The machine has none, or it cannot be mounted.
pub(crate) fn mounted() -> io::Result<PathBuf> {
    let at = PathBuf::from(AT);
    if at.exists() {
        return Ok(at);
    }
    run(crate::runner::MODPROBE, &["virtio_blk"])?;
    if !Path::new(DEVICE).exists() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "found no disk, expected the runner `qemu`, which has one",
        ));
    }
    run("mkfs.ext4", &["-q", DEVICE])?;
    std::fs::create_dir_all(&at)?;
    run("mount", &["-t", "ext4", DEVICE, AT])?;
    Ok(at)
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", crate::system::search_path());
    let failed = |said: &str| io::Error::other(format!("`{program} {}`: {said}", arguments.join(" ")));
    let output = command.output().map_err(|error| failed(&error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim_end()))
    }
}
