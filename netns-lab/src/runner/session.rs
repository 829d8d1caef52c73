//! The host's side of a running job, the same for every machine: start its keeper, pass its output on, answer its
//! marks, end it at its limit.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    Finished, GUEST_VARIABLE, GuestJob, Job, JobDir, KEEPER_ARGUMENT, RunError, Streams, files::Machine,
    processor::Reserved,
};
use crate::{program, system};

const POLL: Duration = Duration::from_millis(2);
/// The guest spins until a mark is answered, so those are looked for more often.
const POLL_MARKS: Duration = Duration::from_micros(200);
/// How much of the output an error shows.
const LAST_LINES: usize = 12;

/// A machine's command line and what its environment has beyond PATH.
pub(super) struct Boot {
    pub(super) argv: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    /// The name and the size in octets of an empty file in the job's directory, for the machine's disk.
    pub(super) disk: Option<(&'static str, u64)>,
    /// What it runs on, if that is one processor.
    pub(super) processor: Option<Reserved>,
}

/// Runs `job` in the machine that `boot` starts.
pub(super) fn run(job: &Job, boot: Boot) -> Result<Finished, RunError> {
    if job.argv.is_empty() {
        return Err(RunError::NoProgram);
    }
    let begun = now();
    let session = Session::start(job, boot)?;
    session.follow(job, begun)
}

struct Session {
    dir: JobDir,
    _lock: File,
    _processor: Option<Reserved>,
    keeper: Child,
    stdout: Follow,
    stderr: Follow,
    cpu_marks: Vec<(String, Duration)>,
}

impl Session {
    fn start(job: &Job, boot: Boot) -> Result<Self, RunError> {
        let (dir, lock) = JobDir::create().map_err(RunError::host("make a directory for the job"))?;
        Self::prepare(&dir, job, &boot)
            .and_then(|()| {
                let stdout = Follow::create(&dir, "stdout", job.streams)?;
                let stderr = Follow::create(&dir, "stderr", job.streams)?;
                let keeper = start_keeper(&dir, job.streams)?;
                let dir = dir.clone();
                let cpu_marks = Vec::new();
                Ok(Self { dir, _lock: lock, _processor: boot.processor, keeper, stdout, stderr, cpu_marks })
            })
            .map_err(|error| {
                // Nothing else removes it while there is no keeper. The first error is the one to tell.
                let _ = dir.remove();
                RunError::host("start the job")(error)
            })
    }

    fn prepare(dir: &JobDir, job: &Job, boot: &Boot) -> io::Result<()> {
        let terminal = job.streams == Streams::Terminal;
        let guest = GuestJob {
            argv: job.argv.clone(),
            env: guest_env(job),
            cwd: job.cwd.clone(),
            out_dir: job.out_dir.as_deref().map(Path::canonicalize).transpose()?,
            mounts: canonical(&job.mounts)?,
            terminal,
            cpu_marks: job.cpu_marks,
        };
        dir.put_json("job", &guest)?;
        dir.put("stdin", &job.stdin)?;
        if let Some((name, octets)) = boot.disk {
            File::create(dir.file(name))?.set_len(octets)?;
        }
        let mut env = boot.env.clone();
        env.push(("PATH".into(), system::search_path()));
        let processor = boot.processor.as_ref().map(|reserved| reserved.number);
        dir.put_json("machine", &Machine { argv: boot.argv.clone(), env, terminal, processor })
    }

    fn follow(mut self, job: &Job, begun: Instant) -> Result<Finished, RunError> {
        let poll = if job.cpu_marks { POLL_MARKS } else { POLL };
        let result = loop {
            let ended = self.dir.file("ended").exists();
            match self.step(job, ended, begun) {
                Ok(None) => thread::sleep(poll),
                Ok(Some(finished)) => break Ok(finished),
                Err(error) => break Err(error),
            }
        };
        // The end of its input is what tells the keeper to clean up.
        drop(self.keeper.stdin.take());
        self.keeper.wait().map_err(RunError::host("wait for the guest's keeper"))?;
        result
    }

    /// Looks once at what the guest has done. `ended` was read before, so nothing can come after it.
    fn step(&mut self, job: &Job, ended: bool, begun: Instant) -> Result<Option<Finished>, RunError> {
        self.stdout
            .advance()
            .and_then(|()| self.stderr.advance())
            .map_err(RunError::host("pass the output on"))?;
        self.answer_mark().map_err(RunError::host("read the guest's CPU time"))?;
        if ended {
            return self.finished(begun).map(Some);
        }
        if let Some(status) = self.keeper.try_wait().map_err(RunError::host("watch the guest's keeper"))? {
            // It ended without removing the directory.
            let _ = self.dir.remove();
            return Err(RunError::Keeper(status));
        }
        if begun.elapsed() > job.limit {
            return Err(RunError::TimedOut { limit: job.limit, last: self.last_lines() });
        }
        Ok(None)
    }

    fn finished(&mut self, begun: Instant) -> Result<Finished, RunError> {
        if let Some(failure) = self.dir.text("failure") {
            return Err(RunError::Guest(failure));
        }
        let Some(code) = self.dir.text("exit").and_then(|text| text.trim().parse().ok()) else {
            let how = self.dir.text("ended").unwrap_or_default();
            let log = self.machine_log();
            return Err(RunError::Guest(format!("it ended with {how}\n{}", last_of(&log).join("\n"))));
        };
        Ok(Finished {
            code,
            stdout: std::mem::take(&mut self.stdout.captured),
            stderr: std::mem::take(&mut self.stderr.captured),
            wall: begun.elapsed(),
            cpu_marks: std::mem::take(&mut self.cpu_marks),
        })
    }

    fn answer_mark(&mut self) -> io::Result<()> {
        let Some(name) = self.dir.text("mark") else { return Ok(()) };
        let pid = self.dir.text("pid").unwrap_or_default();
        self.cpu_marks.push((name, cpu_time(&pid)?));
        fs::remove_file(self.dir.file("mark"))
    }

    /// The end of what the program wrote or, when it wrote nothing, of what the machine did.
    fn last_lines(&self) -> String {
        let output: String = ["stdout", "stderr"].iter().filter_map(|name| self.dir.text(name)).collect();
        let text = if output.is_empty() { self.machine_log() } else { output };
        last_of(&text).join("\n")
    }

    fn machine_log(&self) -> String {
        self.dir.text("log").unwrap_or_default()
    }
}

fn last_of(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}

fn start_keeper(dir: &JobDir, streams: Streams) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;

    let mut command = Command::new(program::path()?);
    command
        .arg(KEEPER_ARGUMENT)
        .arg(dir.path())
        .env("PATH", system::search_path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    if streams != Streams::Terminal {
        command.process_group(0);
    }
    command.spawn()
}

/// The directories by the paths that the guest's kernel can open.
fn canonical(mounts: &BTreeMap<String, PathBuf>) -> io::Result<BTreeMap<String, PathBuf>> {
    mounts.iter().map(|(name, path)| Ok((name.clone(), path.canonicalize()?))).collect()
}

fn guest_env(job: &Job) -> Vec<(OsString, OsString)> {
    let mut env: BTreeMap<OsString, OsString> = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("LANG", "C.UTF-8"),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.into()))
    .collect();
    env.extend(job.env.clone());
    if job.out_dir.is_some() {
        env.insert("LAB_OUT".into(), crate::guest::OUT_DIR.into());
    }
    env.into_iter().collect()
}

/// The environment of a guest's first process, as words of a command line.
pub(super) fn guest_word(machine: &str) -> OsString {
    format!("{GUEST_VARIABLE}={machine}").into()
}

/// CPU time used by all threads of a process so far.
fn cpu_time(pid: &str) -> io::Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
        let nanoseconds = first.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("schedstat is {text:?}, not three numbers"))
        })?;
        total += Duration::from_nanos(nanoseconds);
    }
    Ok(total)
}

#[expect(clippy::disallowed_methods, reason = "a job's limit is wall time of the host")]
fn now() -> Instant {
    Instant::now()
}

/// An output file that the guest writes while it is read here.
struct Follow {
    file: File,
    to: Option<Box<dyn Write>>,
    captured: Vec<u8>,
}

impl Follow {
    fn create(dir: &JobDir, name: &str, streams: Streams) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(dir.file(name))?;
        let to: Option<Box<dyn Write>> = match (streams, name) {
            (Streams::Inherit, "stdout") => Some(Box::new(io::stdout())),
            (Streams::Inherit, _) => Some(Box::new(io::stderr())),
            (Streams::Capture | Streams::Terminal, _) => None,
        };
        Ok(Self { file, to, captured: Vec::new() })
    }

    fn advance(&mut self) -> io::Result<()> {
        let Some(to) = &mut self.to else {
            return self.file.read_to_end(&mut self.captured).map(drop);
        };
        if io::copy(&mut self.file, to)? > 0 {
            to.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_shown() {
        let text: String = (0..20).map(|number| format!("line {number}\n")).collect();
        let last = last_of(&text);
        assert_eq!((last.len(), last[0], last[11]), (12, "line 8", "line 19"));
        assert_eq!(last_of("one"), ["one"]);
        assert!(last_of("").is_empty());
    }

    #[test]
    fn a_job_adds_to_the_guests_environment_and_may_change_it() {
        let mut job = Job::new(["true"]);
        job.env.insert("HOME".into(), "/elsewhere".into());
        job.out_dir = Some("/tmp".into());
        let env = guest_env(&job);
        assert!(env.contains(&("HOME".into(), "/elsewhere".into())));
        assert!(env.contains(&("LAB_OUT".into(), "/run/lab/out".into())));
        assert!(env.iter().any(|(name, _)| name == "PATH"));
    }

    #[test]
    fn the_cpu_time_of_a_process_is_read_from_its_threads() {
        let pid = std::process::id().to_string();
        assert!(cpu_time(&pid).unwrap() > Duration::ZERO);
    }
}
