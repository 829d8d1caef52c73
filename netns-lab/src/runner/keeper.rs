//! The keeper: a process between the one that asked for a job and the machine that runs it.
//!
//! It ends the machine and removes the job's directory once its standard input ends, which happens however the
//! asking process ends. It is in a process group of its own, so that Ctrl-C does not reach it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::{Pid, Signal, kill_process_group},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

use super::files::{JobDir, Machine};
use super::processor;

const POLL: Duration = Duration::from_millis(1);

/// Starts the machine described in the job's directory, waits for its end, and removes the directory.
pub fn keep(dir: &Path) -> io::Result<()> {
    let dir = JobDir::at(dir);
    let lock = dir.hold()?;
    let kept = keep_machine(&dir);
    if let Err(error) = &kept {
        let text = format!("cannot keep the guest: {error}");
        dir.put("failure", text.as_bytes())?;
        dir.put("ended", b"")?;
    }
    wait_for_end_of_input()?;
    dir.remove()?;
    drop(lock);
    kept
}

fn keep_machine(dir: &JobDir) -> io::Result<()> {
    let machine: Machine = dir.get_json("machine")?;
    let terminal = machine.terminal.then(Terminal::open).transpose()?;
    let mut child = start(dir, &machine, terminal.as_ref())?;
    dir.put("pid", child.id().to_string().as_bytes())?;

    let stdin = io::stdin();
    fcntl_setfl(&stdin, fcntl_getfl(&stdin)? | OFlags::NONBLOCK)?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if input_ended()? {
            end(&mut child, machine.terminal)?;
        }
        thread::sleep(POLL);
    };
    if let Some(terminal) = terminal {
        terminal.restore()?;
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    };
    dir.put("ended", how.as_bytes())
}

fn start(dir: &JobDir, machine: &Machine, terminal: Option<&Terminal>) -> io::Result<Child> {
    let log = File::create(dir.file("log"))?;
    // setpriv: the machine ends even when the keeper is killed.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .args(&machine.argv)
        .current_dir(dir.path())
        .env_clear()
        .envs(machine.env.iter().map(|(name, value)| (name, value)))
        .stderr(log.try_clone()?);
    match terminal {
        Some(terminal) => command.stdin(terminal.file.try_clone()?).stdout(terminal.file.try_clone()?),
        None => command.stdin(Stdio::null()).stdout(log).process_group(0),
    };
    processor::on(machine.processor, || command.spawn())
}

fn end(child: &mut Child, terminal: bool) -> io::Result<()> {
    match i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        Some(group) if !terminal => kill_process_group(group, Signal::KILL).map_err(io::Error::from),
        _ => child.kill(),
    }
}

fn input_ended() -> io::Result<bool> {
    match io::stdin().lock().read(&mut [0]) {
        Ok(length) => Ok(length == 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn wait_for_end_of_input() -> io::Result<()> {
    while !input_ended()? {
        thread::sleep(POLL);
    }
    Ok(())
}

/// The controlling terminal, with the mode it had.
struct Terminal {
    file: File,
    mode: rustix::termios::Termios,
}

impl Terminal {
    fn open() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let mode = tcgetattr(&file)?;
        Ok(Self { file, mode })
    }

    fn restore(&self) -> io::Result<()> {
        Ok(tcsetattr(&self.file, OptionalActions::Drain, &self.mode)?)
    }
}
