//! The distribution's own kernel, and a processor that counts instructions to run it on.
//!
//! The lab kernel is a program of the host: what it computes is C without the processor's instructions for ciphers,
//! and its system calls cost what no other kernel's do. So what packets cost is measured on the kernel that users
//! have, in an emulator (QEMU's TCG) that executes a thousand million instructions for each second of the machine's
//! time: the machine's own accounting of CPU time is a count of instructions and does not depend on the host's load.

mod initramfs;

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::bundle::{self, Bundle, BundleError};
use crate::system::{self, SystemError, Tool};

/// What the machine's first process and its modules need.
const TOOLS: &[Tool] = &[
    Tool { program: "gcc", package: "gcc" },
    Tool { program: "/usr/include/stdio.h", package: "libc6-dev" },
    Tool { program: "setpriv", package: "util-linux" },
];

/// The source of the machine's first process.
const FIRST: &str = include_str!("../../kernel/first.c");

/// Modules without which the host's files cannot be reached, each after those it needs.
const MODULES: [&str; 5] =
    ["fs/netfs/netfs", "net/9p/9pnet", "net/9p/9pnet_virtio", "fs/9p/9p", "fs/overlayfs/overlay"];

/// How modules may be packed.
const MODULE_ENDINGS: [&str; 4] = [".ko.xz", ".ko.zst", ".ko.gz", ".ko"];

/// Where Debian's packages have libraries, for those that the host lacks.
pub(crate) const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// What loads modules, below [`Stock::modules`].
pub(crate) const MODPROBE: &str = "modprobe";

/// Where Debian's emulator has what it loads.
const QEMU_MODULES: &str = "usr/lib/x86_64-linux-gnu/qemu";

/// Why there is no such machine.
#[derive(Debug, thiserror::Error)]
pub enum StockError {
    /// The processor is another one.
    #[error("the machine that counts instructions is an x86_64; this host is {0}")]
    Architecture(&'static str),
    /// Packages cannot be had.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A program that making it needs is missing.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The package is not what it was.
    #[error("found no {what} in {}, expected one", dir.display())]
    Package {
        /// What is not there.
        what: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A step failed.
    #[error("`{command}` failed: {said}")]
    Step {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What the machine is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    release: String,
    kernel: PathBuf,
    qemu: PathBuf,
}

impl Stock {
    /// Gets the packages and makes what else is missing.
    ///
    /// # Errors
    /// [`StockError`] with what is missing.
    pub fn ensure() -> Result<Self, StockError> {
        if std::env::consts::ARCH != "x86_64" {
            return Err(StockError::Architecture(std::env::consts::ARCH));
        }
        system::ensure(TOOLS)?;
        let qemu = bundle::QEMU.ensure()?;
        let kernel = first_of(&[bundle::KERNEL_6_12, bundle::KERNEL])?;
        let release = release(&kernel)?;
        let stock = Self { release, kernel, qemu };
        for name in ["depmod", MODPROBE] {
            stock.link(name)?;
        }
        if !stock.modules_file("modules.dep").exists() {
            // Installing the package would do that.
            stock.depmod()?;
        }
        if !stock.initramfs().exists() {
            stock.make_initramfs()?;
        }
        Ok(stock)
    }

    /// What `uname -r` says in the machine.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Versions of what takes part, by name, for manifests: instead of the lab kernel, this one.
    #[must_use]
    pub fn versions(&self) -> [(String, String); 1] {
        [("kernel".to_owned(), self.release.clone())]
    }

    /// The kernel's image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.kernel.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// The directory for `modprobe --dirname`.
    #[must_use]
    pub fn modules(&self) -> &Path {
        &self.kernel
    }

    /// The machine's first file system.
    #[must_use]
    pub fn initramfs(&self) -> PathBuf {
        // Another source makes another file.
        let sum = FIRST.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, octet| {
            (sum ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
        });
        self.kernel.join(format!("initramfs-{}-{sum:016x}", self.release))
    }

    /// The emulator.
    #[must_use]
    pub fn emulator(&self) -> PathBuf {
        self.qemu.join(bundle::QEMU.witness())
    }

    /// The directories of the emulator's firmware.
    pub fn firmware(&self) -> impl Iterator<Item = PathBuf> {
        ["usr/share/qemu", "usr/share/seabios"].into_iter().map(|below| self.qemu.join(below))
    }

    /// The emulator's environment: where its libraries are, and what it loads by itself.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        let libraries = self.qemu.join(LIBRARIES);
        [("LD_LIBRARY_PATH", libraries), ("QEMU_MODULE_DIR", self.qemu.join(QEMU_MODULES))]
    }

    fn modules_file(&self, name: &str) -> PathBuf {
        self.kernel.join("lib/modules").join(&self.release).join(name)
    }

    /// Makes a name for `kmod`, which does what it is called. The package has links too, to where it would be
    /// installed.
    fn link(&self, name: &str) -> Result<(), StockError> {
        let path = self.kernel.join(name);
        if path.is_symlink() {
            return Ok(());
        }
        symlink("usr/bin/kmod", &path).map_err(|source| StockError::File { path, source })
    }

    fn depmod(&self) -> Result<(), StockError> {
        let mut depmod = Command::new(self.kernel.join("depmod"));
        depmod.env("LD_LIBRARY_PATH", self.kernel.join(LIBRARIES));
        run(depmod.arg("-b").arg(&self.kernel).arg(&self.release))
    }

    fn make_initramfs(&self) -> Result<(), StockError> {
        let scratch = self.kernel.join(format!(".first.{}", std::process::id()));
        let made = self.pack(&scratch);
        // Best effort: what is left over has a name of its own.
        for ending in ["c", "out", "cpio"] {
            let _ = fs::remove_file(scratch.with_extension(ending));
        }
        made
    }

    fn pack(&self, scratch: &Path) -> Result<(), StockError> {
        let (source, program) = (scratch.with_extension("c"), scratch.with_extension("out"));
        write(&source, FIRST.as_bytes())?;
        run(Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source))?;
        let mut archive = initramfs::Archive::default();
        archive.folder("dev").console("dev/console").folder("modules").program("init", &read(&program)?);
        for (number, module) in MODULES.iter().enumerate() {
            archive.file(&format!("modules/{number}"), &read(&self.module(module)?)?);
        }
        let unfinished = scratch.with_extension("cpio");
        write(&unfinished, &archive.finish())?;
        let path = self.initramfs();
        fs::rename(unfinished, &path).map_err(|source| StockError::File { path, source })
    }

    fn module(&self, name: &str) -> Result<PathBuf, StockError> {
        let dir = self.modules_file("kernel");
        let paths = MODULE_ENDINGS.map(|ending| dir.join(format!("{name}{ending}")));
        let found = paths.into_iter().find(|path| path.exists());
        found.ok_or_else(|| StockError::Package { what: format!("module {name}"), dir })
    }
}

/// The first bundle that there is.
fn first_of(bundles: &[Bundle]) -> Result<PathBuf, BundleError> {
    let mut last = Err(BundleError::NoCache);
    for bundle in bundles {
        last = bundle.ensure();
        if last.is_ok() {
            break;
        }
    }
    last
}

/// The release of the newest kernel in a bundle.
fn release(kernel: &Path) -> Result<String, StockError> {
    let dir = kernel.join("boot");
    let entries = fs::read_dir(&dir).map_err(|source| StockError::File { path: dir.clone(), source })?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let releases = names.filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned()));
    releases.max().ok_or(StockError::Package { what: "vmlinuz".to_owned(), dir })
}

fn read(path: &Path) -> Result<Vec<u8>, StockError> {
    fs::read(path).map_err(|source| StockError::File { path: path.to_owned(), source })
}

fn write(path: &Path, octets: &[u8]) -> Result<(), StockError> {
    fs::write(path, octets).map_err(|source| StockError::File { path: path.to_owned(), source })
}

fn run(command: &mut Command) -> Result<(), StockError> {
    let failed = |command: &Command, said: String| {
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        StockError::Step { command: words.join(" "), said }
    };
    command.env("PATH", system::search_path()).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().map_err(|error| failed(command, error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(command, String::from_utf8_lossy(&output.stderr).trim_end().to_owned()))
}
