//! Programs run on nodes, to their end or in the background.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{NetError, in_namespace};

/// How often a background process is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(5);

/// What a successful program wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// How a program ended and what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawOutput {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A program about to be run in a namespace, or outside all of them.
pub(super) struct Program {
    node: Option<String>,
    argv: Vec<String>,
    input: Option<String>,
    given: Option<OwnedFd>,
}

impl Program {
    pub(super) fn new(node: Option<&str>, program: &str) -> Self {
        Self { node: node.map(str::to_owned), argv: vec![program.to_owned()], input: None, given: None }
    }

    pub(super) fn args(mut self, arguments: &[&str]) -> Self {
        self.argv.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    pub(super) fn input(mut self, input: String) -> Self {
        self.input = Some(input);
        self
    }

    /// An open file as standard input, of programs in the background.
    pub(super) fn given(mut self, file: OwnedFd) -> Self {
        self.given = Some(file);
        self
    }

    pub(super) fn run_checked(&self) -> Result<Output, NetError> {
        let RawOutput { status, stdout, stderr } = self.run()?;
        if status.success() {
            return Ok(Output { stdout, stderr });
        }
        Err(NetError::Failed { node: self.place(), command: self.line(), status, stderr })
    }

    pub(super) fn run(&self) -> Result<RawOutput, NetError> {
        let run = || -> io::Result<std::process::Output> {
            let mut command = self.command();
            command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            let stdin = child.stdin.take();
            thread::scope(|scope| {
                if let (Some(mut stdin), Some(input)) = (stdin, &self.input) {
                    // A program that ends without reading all of it has its reasons, and an exit code.
                    scope.spawn(move || stdin.write_all(input.as_bytes()));
                }
                child.wait_with_output()
            })
        };
        let output = self.within(run)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(RawOutput { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// Starts the program with its output going to files in `folder`.
    pub(super) fn spawn(&self, folder: &Path) -> Result<Background, NetError> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = self.argv.first().and_then(|program| Path::new(program).file_name()).unwrap_or_default();
        let file = |ending: &str| folder.join(format!("{number:03}-{}.{ending}", name.to_string_lossy()));
        let (stdout, stderr) = (file("out"), file("err"));
        let create = |path: &PathBuf| {
            File::create(path).map_err(|source| NetError::File { path: path.clone(), source })
        };
        let (out, err) = (create(&stdout)?, create(&stderr)?);
        let stdin = match self.given.as_ref().map(OwnedFd::try_clone) {
            None => Stdio::null(),
            Some(Ok(given)) => given.into(),
            Some(Err(source)) => {
                return Err(NetError::NotStarted { node: self.place(), command: self.line(), source });
            }
        };
        let child = self.within(|| self.command().stdin(stdin).stdout(out).stderr(err).spawn())?;
        Ok(Background { child, node: self.place(), command: self.line(), stdout, stderr })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.argv.first().map_or("", String::as_str));
        command.args(self.argv.iter().skip(1));
        command
    }

    fn within<T: Send>(&self, start: impl FnOnce() -> io::Result<T> + Send) -> Result<T, NetError> {
        let started = match &self.node {
            Some(node) => in_namespace(node, start)?,
            None => start(),
        };
        started.map_err(|source| NetError::NotStarted { node: self.place(), command: self.line(), source })
    }

    fn place(&self) -> String {
        self.node.clone().unwrap_or_else(|| "lab".to_owned())
    }

    fn line(&self) -> String {
        self.argv.join(" ")
    }
}

/// A program running on a node; killed and reaped when dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    node: String,
    command: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Background {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    ///
    /// # Errors
    ///
    /// The file that keeps it could not be read.
    pub fn stdout(&self) -> Result<String, NetError> {
        read(&self.stdout)
    }

    /// What it wrote to standard error so far.
    ///
    /// # Errors
    ///
    /// The file that keeps it could not be read.
    pub fn stderr(&self) -> Result<String, NetError> {
        read(&self.stderr)
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    ///
    /// The system refused to say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, NetError> {
        self.child.try_wait().map_err(|source| self.failed(&source))
    }

    /// Waits until standard output or standard error has this text.
    ///
    /// # Errors
    ///
    /// It ended first, or `limit` passed.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<(), NetError> {
        let expected = || format!("`{text}` within {limit:?}");
        for _ in 0..=limit.as_micros() / POLL.as_micros() {
            let ended = self.ended()?;
            if self.stderr()?.contains(text) || self.stdout()?.contains(text) {
                return Ok(());
            }
            if let Some(status) = ended {
                return Err(self.unexpected(format!("{status}: {}", self.stderr()?.trim_end()), expected()));
            }
            thread::sleep(POLL);
        }
        Err(self.unexpected(format!("only: {}", self.stderr()?.trim_end()), expected()))
    }

    /// Waits for its end and returns how it ended and what it wrote.
    ///
    /// # Errors
    ///
    /// `limit` passed; the program is killed.
    pub fn wait(mut self, limit: Duration) -> Result<RawOutput, NetError> {
        for _ in 0..=limit.as_micros() / POLL.as_micros() {
            if let Some(status) = self.ended()? {
                return Ok(RawOutput { status, stdout: self.stdout()?, stderr: self.stderr()? });
            }
            thread::sleep(POLL);
        }
        Err(self.unexpected("it still running".to_owned(), format!("its end within {limit:?}")))
    }

    /// Asks it to end (SIGTERM), and waits.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub fn stop(self, limit: Duration) -> Result<RawOutput, NetError> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), NetError> {
        // Until it is waited for, its process id cannot become another's.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let sent = pid.ok_or(rustix::io::Errno::SRCH).and_then(|pid| kill_process(pid, signal));
        sent.map_err(|errno| self.failed(&errno.into()))
    }

    fn failed(&self, source: &io::Error) -> NetError {
        self.unexpected(source.to_string(), "a running program".to_owned())
    }

    fn unexpected(&self, found: String, expected: String) -> NetError {
        NetError::Unexpected { node: self.node.clone(), command: self.command.clone(), found, expected }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Fails only for a process that ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> Result<String, NetError> {
    let bytes = fs::read(path).map_err(|source| NetError::File { path: path.to_owned(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(argv: &[&str]) -> Program {
        Program::new(None, argv[0]).args(&argv[1..])
    }

    fn background(argv: &[&str]) -> Background {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab-tests");
        fs::create_dir_all(&folder).unwrap();
        program(argv).spawn(&folder).unwrap()
    }

    #[test]
    fn input_goes_in_and_output_comes_out() {
        let output = program(&["cat"]).input("x".repeat(200_000)).run_checked().unwrap();
        assert_eq!(output.stdout.len(), 200_000);
    }

    #[test]
    fn a_failure_tells_who_what_and_why() {
        let error = program(&["sh", "-c", "echo no >&2; exit 3"]).run_checked().unwrap_err().to_string();
        assert_eq!(error, "lab: `sh -c echo no >&2; exit 3` ended with exit status: 3, expected success: no");
        assert_eq!(program(&["sh", "-c", "exit 3"]).run().unwrap().status.code(), Some(3));
        let error = program(&["/no/such/program"]).run().unwrap_err().to_string();
        assert!(error.starts_with("lab: `/no/such/program` could not be started: No such file"), "{error}");
    }

    #[test]
    fn a_background_program_is_heard_stopped_and_reaped() {
        let mut sleeper = background(&["sh", "-c", "echo ready; exec sleep 1000"]);
        sleeper.wait_for("ready", Duration::from_secs(5)).unwrap();
        assert_eq!(sleeper.ended().unwrap(), None);
        let output = sleeper.stop(Duration::from_secs(5)).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_str()), (None, "ready\n"));
    }

    #[test]
    fn dropping_kills() {
        let sleeper = background(&["sleep", "1000"]);
        let proc = PathBuf::from(format!("/proc/{}", sleeper.id()));
        assert!(proc.exists());
        drop(sleeper);
        assert!(!proc.exists());
    }

    #[test]
    fn waiting_for_what_never_comes_fails() {
        let mut silent = background(&["sleep", "1000"]);
        let error = silent.wait_for("ready", Duration::from_millis(20)).unwrap_err().to_string();
        assert!(error.contains("expected `ready` within 20ms"), "{error}");
        let mut dead = background(&["false"]);
        let error = dead.wait_for("ready", Duration::from_secs(5)).unwrap_err().to_string();
        assert!(error.contains("found exit status: 1"), "{error}");
    }
}
