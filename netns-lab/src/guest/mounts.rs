//! What the guest sees as its files: the host's, read-only, with memory above what programs write to.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
};

use rustix::{
    fs::StatVfsMountFlags,
    mount::{MountFlags, mount, mount_bind, mount_remount},
};

use super::{Machine, OUT_DIR, within};
use crate::runner::{JOB_TAG, MOUNTS, OUT_TAG};

/// Directories that programs write to: the host's files with memory above.
const OVERLAYS: &[&str] = &["/etc", "/var", "/tmp", "/root", "/home", "/srv", "/opt"];

const SCRATCH: &str = "/run/lab/above";

/// Mounts /proc, /run and the job's directory, which is the working directory of the process that runs the guest.
pub(super) fn job_dir(machine: Machine, at: &str) -> io::Result<()> {
    let dir = std::env::current_dir()?;
    mount_new("proc", "/proc", "proc", c"")?;
    // Natively the directory has to be opened before /run covers where it might be.
    let handle = (machine == Machine::Native).then(|| fs::File::open(&dir)).transpose()?;
    mount_new("run", "/run", "tmpfs", c"mode=755")?;
    fs::create_dir_all(at)?;
    if machine == Machine::Qemu {
        return mount_shared(JOB_TAG, Path::new(at));
    }
    match handle {
        // The lab kernel's hostfs looks paths up as the kernel's own process on the host.
        None => mount_new("job", at, "hostfs", c"/proc/self/cwd/."),
        Some(handle) => {
            use std::os::fd::AsRawFd;
            let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
            mount_bind(path.as_str(), at).map_err(|error| within("mount", Path::new(at))(error.into()))
        }
    }
}

/// Mounts the rest of what a host has.
pub(super) fn host_like(
    machine: Machine,
    out_dir: Option<&Path>,
    mounts: &BTreeMap<String, PathBuf>,
) -> io::Result<()> {
    if machine == Machine::Qemu && out_dir.is_some() {
        fs::create_dir_all(OUT_DIR)?;
        mount_shared(OUT_TAG, Path::new(OUT_DIR))?;
    } else if let Some(host) = out_dir {
        mount_host(machine, host, Path::new(OUT_DIR), MountFlags::empty())?;
    }
    for (name, host) in mounts {
        mount_host(machine, host, &Path::new(MOUNTS).join(name), MountFlags::RDONLY)?;
    }
    for dir in ["/run/lock", "/run/netns", SCRATCH] {
        fs::create_dir_all(dir)?;
    }
    mount_new("sys", "/sys", "sysfs", c"")?;
    match machine {
        Machine::Uml | Machine::Qemu => devices()?,
        Machine::Native => mount_new("shm", "/dev/shm", "tmpfs", c"mode=1777")?,
    }
    for dir in OVERLAYS.iter().filter(|dir| Path::new(dir).is_dir()) {
        overlay(machine, dir)?;
    }
    if machine == Machine::Native {
        // The lab kernel's root is read-only from the start.
        read_only(Path::new("/"))?;
    }
    Ok(())
}

/// Mounts a directory that the emulator shares; both sides see at once what the other writes.
fn mount_shared(tag: &str, at: &Path) -> io::Result<()> {
    let options = c"trans=virtio,version=9p2000.L,cache=none,msize=512000";
    mount(tag, at, "9p", MountFlags::empty(), options).map_err(|error| within("mount", at)(error.into()))
}

/// Makes a mount read-only. A user namespace may only do so keeping the restrictions it has.
fn read_only(at: &Path) -> io::Result<()> {
    let has = rustix::fs::statvfs(at)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (found, keep) in [
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
    ] {
        if has.contains(found) {
            flags |= keep;
        }
    }
    mount_remount(at, flags, c"").map_err(|error| within("make read-only", at)(error.into()))
}

/// Mounts a directory of the host, which the lab kernel reaches past the guest's own files.
fn mount_host(machine: Machine, host: &Path, at: &Path, flags: MountFlags) -> io::Result<()> {
    fs::create_dir_all(at)?;
    let mounted = match machine {
        Machine::Uml => mount("host", at, "hostfs", flags, c_string(host.as_os_str().as_bytes())?.as_c_str()),
        Machine::Native | Machine::Qemu => mount_bind(host, at),
    };
    mounted.map_err(|error| within("mount", host)(error.into()))?;
    if machine == Machine::Native && flags.contains(MountFlags::RDONLY) { read_only(at) } else { Ok(()) }
}

/// /dev: the kernel has put the devices there; the rest is what `udev` and the C library expect.
fn devices() -> io::Result<()> {
    match mount_new("dev", "/dev", "devtmpfs", c"") {
        // The kernel mounts it by itself.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
        other => other?,
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, link).map_err(within("make", Path::new(link)))?;
    }
    for (dir, kind, options) in
        [("/dev/pts", "devpts", c"mode=620,ptmxmode=666"), ("/dev/shm", "tmpfs", c"mode=1777")]
    {
        fs::create_dir_all(dir)?;
        mount_new(kind, dir, kind, options)?;
    }
    Ok(())
}

fn overlay(machine: Machine, dir: &str) -> io::Result<()> {
    let above = format!("{SCRATCH}{dir}");
    let (upper, work) = (format!("{above}/upper"), format!("{above}/work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    // Above as below: /tmp stays writable for all, /root closed.
    fs::set_permissions(&upper, fs::metadata(dir)?.permissions())?;
    // Root of a user namespace may not write the attributes overlayfs uses otherwise.
    let attributes = if machine == Machine::Native { ",userxattr" } else { "" };
    let options = format!("lowerdir={dir},upperdir={upper},workdir={work}{attributes}");
    mount_new("overlay", dir, "overlay", &c_string(options.as_bytes())?)
}

fn mount_new(source: &str, at: &str, kind: &str, options: &std::ffi::CStr) -> io::Result<()> {
    mount(source, at, kind, MountFlags::empty(), options)
        .map_err(|error| within(&format!("mount {kind} on"), Path::new(at))(error.into()))
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
