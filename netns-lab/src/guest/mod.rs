//! The guest's first process: it makes the guest look like a host, runs the job's program, and ends the guest.

mod disk;
mod modules;
mod mounts;
mod output;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    process::{Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus},
    system::RebootCommand,
};

pub(crate) use disk::mounted as disk;

use crate::runner::{GUEST_VARIABLE, GuestJob, JobDir};

/// Where a job's output directory is in the guest.
pub const OUT_DIR: &str = "/run/lab/out";

const JOB_DIR: &str = "/run/lab/job";
const HOST_NAME: &[u8] = b"lab";
/// Many namespaces and sockets are open at once in a lab.
const OPEN_FILES: u64 = 65_536;

/// What boots the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// The lab kernel.
    Uml,
    /// Namespaces of the running kernel.
    Native,
    /// The distribution's kernel in the emulator.
    Qemu,
}

impl Machine {
    /// The machine this process is the first of, if it is one's first process.
    pub fn of_this_process() -> Option<Self> {
        if std::process::id() != 1 {
            return None;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the kernel hands its parameters over in the environment"
        )]
        let name = std::env::var_os(GUEST_VARIABLE)?;
        match name.to_str()? {
            crate::runner::UML => Some(Self::Uml),
            crate::runner::NATIVE => Some(Self::Native),
            crate::runner::QEMU => Some(Self::Qemu),
            _ => None,
        }
    }
}

/// How often to look whether the host has answered.
const ANSWER_POLL: Duration = Duration::from_millis(1);

/// Has the host note the kernel's CPU time under `name`, for a program inside the guest, and waits until it has.
/// Unlike output lines that start with `@cpu-mark` this waits asleep, so that a host that answers late adds nothing
/// to the reading; therefore it is for real time only.
///
/// # Errors
/// The directory shared with the host cannot be used.
pub fn cpu_mark(name: &str) -> io::Result<()> {
    let dir = JobDir::at(JOB_DIR);
    dir.put("mark", name.as_bytes())?;
    while dir.file("mark").exists() {
        thread::sleep(ANSWER_POLL);
    }
    Ok(())
}

/// Runs the job and ends the guest. Returns only if that is not possible.
pub fn init(machine: Machine) -> io::Result<()> {
    let told = match mounts::job_dir(machine, JOB_DIR) {
        Ok(()) => tell(&JobDir::at(JOB_DIR), run_job(machine)),
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        // The console is all there is; the keeper collects it.
        eprintln!("{}: guest: {error}", crate::program::NAME);
    }
    match machine {
        Machine::Native => Ok(()),
        Machine::Uml | Machine::Qemu => {
            rustix::fs::sync();
            Ok(rustix::system::reboot(RebootCommand::PowerOff)?)
        }
    }
}

fn tell(dir: &JobDir, result: io::Result<i32>) -> io::Result<()> {
    match result {
        Ok(code) => dir.put("exit", code.to_string().as_bytes()),
        Err(error) => dir.put("failure", error.to_string().as_bytes()),
    }
}

fn run_job(machine: Machine) -> io::Result<i32> {
    let dir = JobDir::at(JOB_DIR);
    let job: GuestJob = dir.get_json("job")?;
    mounts::host_like(machine, job.out_dir.as_deref(), &job.mounts)?;
    match machine {
        Machine::Uml => modules::load_none()?,
        Machine::Qemu => modules::load_by_name()?,
        Machine::Native => {}
    }
    rustix::system::sethostname(HOST_NAME)?;
    raise_open_files()?;
    loopback_up()?;
    std::env::set_current_dir(&job.cwd).map_err(within("enter", &job.cwd))?;
    run_program(&dir, &job)
}

fn run_program(dir: &JobDir, job: &GuestJob) -> io::Result<i32> {
    let Some((program, arguments)) = job.argv.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the job names no program"));
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(job.env.iter().map(|(name, value)| (name, value)));
    if job.terminal {
        let terminal = own_terminal()?;
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
    } else {
        command.stdin(File::open(dir.file("stdin"))?).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let mut stderr = OpenOptions::new().append(true).open(dir.file("stderr"))?;
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            use io::Write;
            writeln!(stderr, "{}: cannot run {}: {error}", crate::program::NAME, program.display())?;
            return Ok(127);
        }
    };
    let stdout = OpenOptions::new().append(true).open(dir.file("stdout"))?;
    let copies = output::Copies::start(
        dir,
        child.stdout.take().zip(Some(stdout)),
        child.stderr.take().zip(Some(stderr)),
        job.cpu_marks,
    );
    let status = wait_for(child.id())?;
    end_everything_else()?;
    copies.finish()?;
    Ok(exit_code(status))
}

/// Reaps whatever ends until the program itself does.
fn wait_for(program: u32) -> io::Result<ExitStatus> {
    loop {
        if let Some((pid, status)) = wait(WaitOptions::empty())?
            && pid.as_raw_nonzero().get().cast_unsigned() == program
        {
            return Ok(ExitStatus::from_raw(status.as_raw()));
        }
    }
}

fn wait(options: WaitOptions) -> io::Result<Option<(Pid, WaitStatus)>> {
    loop {
        match rustix::process::wait(options) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Ends what the program left running, so that nobody holds its output open.
fn end_everything_else() -> io::Result<()> {
    loop {
        for pid in other_processes()? {
            // It may have ended by itself, and kernel threads do not end.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn other_processes() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<i32>().ok());
        pids.extend(number.filter(|&number| number != 1).and_then(Pid::from_raw));
    }
    Ok(pids)
}

/// The program's exit code as a shell has it: 128 + n for signal n.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Makes the console's terminal this session's own, so that the program has job control.
fn own_terminal() -> io::Result<File> {
    rustix::process::setsid()?;
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty0")?;
    rustix::process::ioctl_tiocsctty(&terminal)?;
    Ok(terminal)
}

fn raise_open_files() -> io::Result<()> {
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    // Root of the lab kernel may raise the hard limit; root of a user namespace may not.
    let limit =
        Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES.max(hard.unwrap_or(OPEN_FILES))) };
    rustix::process::setrlimit(Resource::Nofile, limit)
        .or_else(|_| rustix::process::setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }))?;
    Ok(())
}

fn loopback_up() -> io::Result<()> {
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .env("PATH", crate::system::search_path())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!("`ip link set lo up` failed ({status})"))),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot run ip: {error}"))),
    }
}

fn within(action: &str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let what = format!("cannot {action} {}", path.display());
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_an_exit_code_above_128() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn a_test_is_not_the_first_process() {
        assert_eq!(Machine::of_this_process(), None);
    }
}
