//! The lab kernel: User-Mode Linux with what the lab needs built in, made from the distribution's own source package
//! and kept in a cache.

mod build;
mod cache;
mod config;
pub mod probe;
mod source;
mod version;

use std::{
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;

use crate::system;

pub use build::{build, ensure};
pub(crate) use cache::base as cache_base;
pub use cache::{cached, dir as cache_dir};
pub use version::Version;

/// A built lab kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    dir: PathBuf,
    version: Version,
}

impl Kernel {
    pub(crate) fn at(dir: impl Into<PathBuf>, version: Version) -> Self {
        Self { dir: dir.into(), version }
    }

    /// The kernel itself, a program.
    pub fn path(&self) -> PathBuf {
        self.dir.join("linux")
    }

    /// The library that, preloaded, makes the kernel's randomness come from a seed.
    pub fn seeded(&self) -> PathBuf {
        self.dir.join("seeded.so")
    }

    /// The version of its source.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Its version and twelve digits of its SHA-256: kernels of which this is equal do the same in virtual time.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn build(&self) -> io::Result<String> {
        let sum = digest::digest(&digest::SHA256, &std::fs::read(self.path())?);
        let digits: String = sum.as_ref().iter().take(6).map(|octet| format!("{octet:02x}")).collect();
        Ok(format!("{} {digits}", self.version))
    }

    fn is_whole(&self) -> bool {
        self.path().is_file() && self.seeded().is_file()
    }
}

/// Why there is no lab kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A program that building needs is missing.
    #[error(transparent)]
    System(#[from] system::SystemError),
    /// None has been built with this version's configuration.
    #[error("no lab kernel in {}; run `cargo lab kernel build`", .0.display())]
    NotBuilt(PathBuf),
    /// Neither IPPRIV_CACHE nor XDG_CACHE_HOME nor HOME says where the cache is.
    #[error("no cache directory: none of IPPRIV_CACHE, XDG_CACHE_HOME and HOME is set to an absolute path")]
    NoCacheDir,
    /// User-Mode Linux does not run on this processor.
    #[error("the lab kernel needs an x86_64 host; this is {0}")]
    Architecture(&'static str),
    /// This system's package manager cannot provide the source.
    #[error(
        "cannot get the kernel's source here: {reason}; fetch linux-source-X.Y.tar.xz (Debian) or linux-X.Y.tar.xz \
         (kernel.org), X.Y at least 6.12 and better 6.16 or later, and run `cargo lab kernel build --source FILE`; \
         building it needs {tools}"
    )]
    NoSource {
        /// What is in the way.
        reason: String,
        /// The programs that building needs.
        tools: String,
    },
    /// The given source is not one.
    #[error("{} is not a kernel source: expected {expected}, found {found}", file.display())]
    BadSource {
        /// The file given.
        file: PathBuf,
        /// What it should have been.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The source is older than the lab supports.
    #[error("Linux {found} is too old for the lab: expected {} or later", Version::OLDEST)]
    TooOld {
        /// The source's version.
        found: Version,
    },
    /// The configured kernel lacks options the lab asks for.
    #[error("Linux {version} does not have what the lab needs: {}", options.join(", "))]
    MissingOptions {
        /// The source's version.
        version: Version,
        /// The missing options.
        options: Vec<String>,
    },
    /// A step of the build failed.
    #[error("`{command}` failed ({status}):\n{last}")]
    Step {
        /// What was run.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines it wrote.
        last: String,
    },
    /// Something on the host failed.
    #[error("cannot {action}")]
    Host {
        /// What was being done.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl KernelError {
    fn host(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let action = format!("{action} {}", path.display());
        move |source| Self::Host { action, source }
    }
}
