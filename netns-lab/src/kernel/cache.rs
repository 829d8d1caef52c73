//! Where built kernels are kept: one directory for each source version and configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Kernel, KernelError, Version, config};

/// The directory of all lab kernels of this user: `lab-kernel` in the lab's cache, which
/// is $IPPRIV_CACHE, else `ippriv` in $XDG_CACHE_HOME, else `~/.cache/ippriv`.
pub fn dir() -> Result<PathBuf, KernelError> {
    base().map(|path| path.join("lab-kernel")).ok_or(KernelError::NoCacheDir)
}

/// Where this user's lab keeps what took long to get: $IPPRIV_CACHE, else `ippriv` in $XDG_CACHE_HOME, else
/// `~/.cache/ippriv`; `None` where none of these is an absolute path.
pub(crate) fn base() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where the cache is, is the environment's to say")]
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("IPPRIV_CACHE")
        .or_else(|| absolute("XDG_CACHE_HOME").map(|path| path.join("ippriv")))
        .or_else(|| absolute("HOME").map(|path| path.join(".cache/ippriv")))
}

/// The newest kernel built with this version's configuration.
pub fn cached() -> Result<Kernel, KernelError> {
    let dir = dir()?;
    newest(&dir, &config::hash()).ok_or(KernelError::NotBuilt(dir))
}

/// The entry for a source of `version`.
pub(super) fn entry(dir: &Path, version: Version) -> Kernel {
    Kernel::at(dir.join(format!("{version}-{}", config::hash())), version)
}

fn newest(dir: &Path, hash: &str) -> Option<Kernel> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let kernels = entries.filter_map(|entry| {
        let name = entry.file_name();
        let (version, found) = name.to_str()?.rsplit_once('-')?;
        let kernel = Kernel::at(entry.path(), version.parse().ok()?);
        (found == hash && kernel.is_whole()).then_some(kernel)
    });
    kernels.max_by_key(|kernel| *kernel.version())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_kernel_of_the_same_configuration_is_taken() {
        let dir = std::env::temp_dir().join(format!("ippriv-cache-test.{}", std::process::id()));
        let add = |name: &str, files: &[&str]| {
            fs::create_dir_all(dir.join(name)).unwrap();
            for file in files {
                fs::write(dir.join(name).join(file), "").unwrap();
            }
        };
        add("6.9.1-aa", &["linux", "seeded.so"]);
        add("6.16-aa", &["linux", "seeded.so"]);
        add("7.1-aa", &["linux"]);
        add("7.2-bb", &["linux", "seeded.so"]);
        add("scratch", &[]);
        assert_eq!(newest(&dir, "aa").unwrap().path(), dir.join("6.16-aa/linux"));
        assert_eq!(newest(&dir, "cc"), None);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(newest(&dir, "aa"), None);
    }
}
