//! Building the lab kernel.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    Kernel, KernelError, Version, cache, config,
    source::{self, stage},
};
use crate::{parallel, system};

const PROGRESS: Duration = Duration::from_secs(10);
const LAST_LINES: usize = 20;
const STEP_ARGUMENTS: [&str; 3] = ["--pdeathsig", "TERM", "--"];

/// The cached kernel, built when there is none.
pub fn ensure() -> Result<Kernel, KernelError> {
    match cache::cached() {
        Err(KernelError::NotBuilt(_)) => build(None),
        other => other,
    }
}

/// Builds a kernel from `source` (a .tar.xz of the kernel, or Debian's .deb of it), or from the distribution's source
/// package, unless it is cached already. It takes minutes, and 3 GB of scratch space in the cache.
pub fn build(source: Option<&Path>) -> Result<Kernel, KernelError> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(KernelError::Architecture(std::env::consts::ARCH));
    }
    let dir = cache::dir()?;
    // First without the lock: a cache that somebody else filled may be read-only.
    if source.is_none()
        && let Ok(kernel) = cache::cached()
    {
        return Ok(kernel);
    }
    fs::create_dir_all(&dir).map_err(KernelError::host("make", &dir))?;
    let _lock = lock(&dir)?;
    if source.is_none()
        && let Ok(kernel) = cache::cached()
    {
        return Ok(kernel);
    }
    system::ensure(system::KERNEL_BUILD)?;
    let scratch = Scratch::create(&dir)?;
    let tree = source::unpack(source, &scratch.0)?;
    let version = version_of(&tree)?;
    let kernel = cache::entry(&dir, version);
    if kernel.is_whole() {
        return Ok(kernel);
    }
    configure(&tree, version)?;
    compile(&tree)?;
    let finished = scratch.0.join("finished");
    install(&tree, &finished)?;
    if kernel.dir.exists() {
        // It lacks a file, or the build would have ended above.
        fs::remove_dir_all(&kernel.dir).map_err(KernelError::host("replace", &kernel.dir))?;
    }
    fs::rename(&finished, &kernel.dir).map_err(KernelError::host("install", &kernel.dir))?;
    stage(&format!("installed {}", kernel.path().display()));
    Ok(kernel)
}

/// A command of the build. It ends with the builder, however that ends.
pub(super) fn step(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(STEP_ARGUMENTS).arg(program).env("PATH", system::search_path()).env("LC_ALL", "C");
    command
}

/// Runs a step to its end; its last lines are part of the error.
pub(super) fn run(command: &mut Command) -> Result<(), KernelError> {
    output_of(command).map(drop)
}

/// Runs a step to its end and returns what it wrote on standard output.
pub(super) fn output_of(command: &mut Command) -> Result<String, KernelError> {
    let output =
        command.stdin(Stdio::null()).output().map_err(KernelError::host("run", Path::new("setpriv")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(failed(command, output.status, &String::from_utf8_lossy(&text)))
}

fn failed(command: &Command, status: ExitStatus, text: &str) -> KernelError {
    let words: Vec<_> =
        command.get_args().skip(STEP_ARGUMENTS.len()).map(|word| word.to_string_lossy()).collect();
    let lines: Vec<&str> = text.lines().collect();
    KernelError::Step {
        command: words.join(" "),
        status,
        last: lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"),
    }
}

/// One builder at a time; the others wait, and find the kernel cached.
fn lock(dir: &Path) -> Result<File, KernelError> {
    let path = dir.join("lock");
    let host = KernelError::host("lock", &path);
    let lock = || -> io::Result<File> {
        let file = File::create(&path)?;
        if file.try_lock().is_err() {
            stage("waiting for another build to end");
            file.lock()?;
        }
        Ok(file)
    };
    lock().map_err(host)
}

/// The one directory to build in, removed at the end. Whoever holds the lock owns it, so one found there was left by
/// a builder that was killed.
struct Scratch(PathBuf);

impl Scratch {
    fn create(cache: &Path) -> Result<Self, KernelError> {
        let path = cache.join("scratch");
        if path.exists() {
            fs::remove_dir_all(&path).map_err(KernelError::host("remove", &path))?;
        }
        fs::create_dir(&path).map_err(KernelError::host("make", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            stage(&format!("cannot remove {}: {error}", self.0.display()));
        }
    }
}

fn version_of(tree: &Path) -> Result<Version, KernelError> {
    let text = output_of(make(tree).args(["-s", "kernelversion"]))?;
    let version: Version = text.trim().parse().map_err(|error: super::version::BadVersion| {
        KernelError::BadSource { file: tree.to_owned(), expected: "a version", found: error.to_string() }
    })?;
    if version < Version::OLDEST { Err(KernelError::TooOld { found: version }) } else { Ok(version) }
}

fn configure(tree: &Path, version: Version) -> Result<(), KernelError> {
    stage(&format!("configuring Linux {version}"));
    let write = |name: &str, content: &str| {
        let path = tree.join(name);
        fs::write(&path, content).map_err(KernelError::host("write", &path))
    };
    write("lab.config", config::FRAGMENT)?;
    write("seeded.c", config::SHIM)?;
    run(make(tree).args(["-s", "x86_64_defconfig"]))?;
    run(step("scripts/kconfig/merge_config.sh").args(["-m", ".config", "lab.config"]).current_dir(tree))?;
    run(make(tree).args(["-s", "olddefconfig"]))?;
    let path = tree.join(".config");
    let result = fs::read_to_string(&path).map_err(KernelError::host("read", &path))?;
    match config::missing(config::FRAGMENT, &result) {
        missing if missing.is_empty() => Ok(()),
        options => Err(KernelError::MissingOptions { version, options }),
    }
}

fn compile(tree: &Path) -> Result<(), KernelError> {
    let jobs = parallel::cores();
    stage(&format!("compiling with {jobs} jobs"));
    let mut command = make(tree);
    command.arg(format!("-j{jobs}")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(KernelError::host("run", Path::new("make")))?;
    // Read aside, so that neither pipe fills up while the other is read.
    let errors = child.stderr.take().map(|mut pipe| {
        thread::spawn(move || {
            let mut text = Vec::new();
            pipe.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
        })
    });
    if let Some(pipe) = child.stdout.take() {
        report_progress(BufReader::new(pipe)).map_err(KernelError::host("follow", Path::new("make")))?;
    }
    let status = child.wait().map_err(KernelError::host("wait for", Path::new("make")))?;
    if status.success() {
        return Ok(());
    }
    let text = errors.and_then(|thread| thread.join().ok()).and_then(Result::ok).unwrap_or_default();
    Err(failed(&command, status, &text))
}

fn report_progress(output: impl BufRead) -> io::Result<()> {
    let begun = now();
    let mut last = begun;
    let mut objects = 0_u32;
    for line in output.split(b'\n') {
        if is_object(&line?) {
            objects += 1;
        }
        if last.elapsed() > PROGRESS {
            last = now();
            stage(&format!("compiling: {objects} objects so far, {} s", begun.elapsed().as_secs()));
        }
    }
    Ok(())
}

/// Whether a line of make's output says that an object file is being made.
fn is_object(line: &[u8]) -> bool {
    matches!(line.trim_ascii().split(|&byte| byte == b' ').next(), Some(b"CC" | b"AS"))
}

fn install(tree: &Path, finished: &Path) -> Result<(), KernelError> {
    fs::create_dir(finished).map_err(KernelError::host("make", finished))?;
    run(step("gcc")
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .arg(finished.join("seeded.so"))
        .args(["seeded.c", "-ldl"])
        .current_dir(tree))?;
    let built = tree.join("linux");
    fs::copy(&built, finished.join("linux")).map_err(KernelError::host("copy", &built))?;
    Ok(())
}

fn make(tree: &Path) -> Command {
    let mut command = step("make");
    command.arg("ARCH=um").envs(config::NAMES).current_dir(tree);
    command
}

#[expect(clippy::disallowed_methods, reason = "progress is reported in wall time of the host")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_lines_are_told_from_others() {
        assert!(is_object(b"  CC      net/ipv4/esp4.o"));
        assert!(is_object(b"  AS      lib/a.o"));
        assert!(!is_object(b"  LD      vmlinux"));
        assert!(!is_object(b""));
    }

    #[test]
    fn scratch_left_by_a_killed_builder_is_cleared_and_ones_own_is_removed() {
        let cache = std::env::temp_dir().join(format!("ippriv-scratch-test.{}", std::process::id()));
        fs::create_dir_all(cache.join("scratch/left")).unwrap();
        let scratch = Scratch::create(&cache).unwrap();
        assert!(scratch.0.is_dir() && !scratch.0.join("left").exists());
        drop(scratch);
        assert!(!cache.join("scratch").exists());
        fs::remove_dir(cache).unwrap();
    }

    #[test]
    fn a_failed_step_says_what_and_why() {
        let error = run(step("sh").args(["-c", "echo first; echo why >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("`sh -c echo first") && text.contains("exit status: 3"), "{text}");
        assert!(text.ends_with("first\nwhy"), "{text}");
    }
}
