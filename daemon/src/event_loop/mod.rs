//! The event loop: hands what happens to the core, and carries out what the core wants, in its order.
//!
//! One thread, one loop: tasks only wait for sockets and put what came into short queues. Calls into the
//! kernel block the loop on purpose, for nothing that comes after may be done before they are.

mod brain;
mod kernel_state;
mod pending;
mod processes;

use std::io;
use std::time::Duration;

pub use brain::Brain;
use ippriv::control::{Event, Refusal, RefusalCode, Reloaded, Reply, Stopping};
use ippriv::id::ProcessId;
use ippriv::netlink::Notice;
use ippriv::node::{Input, KeyLine, Output, Record};
use ippriv::state::State;
use ippriv::time::Instant;
pub use kernel_state::{NotReached, RequirementError, bring_about, check_requirements};
use pending::Pending;
use processes::Processes;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use crate::clock::{self, Alarm};
use crate::control::{Hub, Listener, Request};
use crate::journal::{Journal, JournalError};
use crate::kernel::Kernel;
use crate::kernel::notices::{Heard, listen_to_routing, listen_to_xfrm, source_towards};
use crate::key_log::KeyLog;
use crate::service::Manager;
use crate::sockets::{Arrived, Sockets};

/// How long peers may take to say goodbye when everything is removed.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long after a change of routes others may follow that belong to it.
const SETTLING: Duration = Duration::from_millis(200);
/// What the kernel said and the loop has not heard yet.
const WAITING: usize = 64;

/// Why the loop cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// What has to be remembered cannot be: a restart would lose circuits that peers count on.
    #[error("cannot remember what a restart needs: {0}")]
    Journal(#[from] JournalError),
    /// The system refused what a loop is made of.
    #[error("cannot {what}: {error}")]
    System {
        /// What it is for.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// The kernel could not be emptied.
    #[error("not everything is removed: {0}")]
    NotFlushed(#[from] NotReached),
}

/// Reads policy and network again and hands them to the core, which changes nothing when it refuses.
pub type Reload<B> = Box<dyn FnMut(&mut B, Instant) -> Result<Renewed, Refusal>>;

/// What reading the files again led to.
#[derive(Debug, Default)]
pub struct Renewed {
    /// In words.
    pub reloaded: Reloaded,
    /// [`Shell::towards`] from now on.
    pub towards: Vec<std::net::IpAddr>,
}

/// What the loop consists of.
pub struct Shell<B, K> {
    /// The core.
    pub brain: B,
    /// The kernel.
    pub kernel: K,
    /// What outlives the daemon.
    pub journal: Journal,
    /// How to read the files again.
    pub reload: Reload<B>,
    /// Where keys are written, if at all.
    pub key_log: Option<KeyLog>,
    /// Who wants to know how the daemon is.
    pub manager: Manager,
    /// Who wants to know what happens.
    pub hub: Hub,
    /// Addresses that this host's own address is looked up towards, if it is to be watched.
    pub towards: Vec<std::net::IpAddr>,
}

/// What may happen.
enum Happened {
    Signal(Stop),
    Reload,
    Asked(Request),
    Alarm,
    Heard(Heard),
    Settled,
    Arrived(Arrived),
    Ended(ProcessId),
    Heartbeat,
}

/// A reason to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Terminated,
    Interrupted,
}

/// Where things come from.
struct Sources {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    asked: mpsc::Receiver<Request>,
    alarm: Alarm,
    heard: mpsc::Receiver<Heard>,
    /// When changed routes are looked at.
    settled: Option<tokio::time::Instant>,
    arrived: mpsc::Receiver<Arrived>,
    ended: mpsc::UnboundedReceiver<ProcessId>,
    heartbeat: Option<tokio::time::Interval>,
}

/// Runs until told to stop. The kernel already holds what the core wants.
///
/// # Errors
/// [`LoopError`] when it cannot go on; the kernel keeps what it has.
pub async fn run<B: Brain, K: Kernel>(shell: Shell<B, K>, control: Listener) -> Result<(), LoopError> {
    let (said, heard) = mpsc::channel(WAITING);
    let xfrm = listen_to_xfrm(said.clone()).map_err(system("listen to the kernel's SAs"))?;
    let routing = listen_to_routing(said).map_err(system("listen to the kernel's routes"))?;
    let listeners = [tokio::spawn(xfrm), tokio::spawn(routing)];
    let ended = run_hearing(shell, control, heard).await;
    listeners.iter().for_each(tokio::task::JoinHandle::abort);
    ended
}

/// The same, with what the kernel says unasked from `heard`.
async fn run_hearing<B: Brain, K: Kernel>(
    shell: Shell<B, K>,
    control: Listener,
    heard: mpsc::Receiver<Heard>,
) -> Result<(), LoopError> {
    let (sockets, arrived) = Sockets::new(shell.manager.clone());
    let (processes, ended) = Processes::new();
    let (serving, asked) = control.serve(shell.hub.clone());
    let serving = tokio::spawn(serving);
    let heartbeat = shell.manager.heartbeat().map(tokio::time::interval);
    let sources = Sources {
        terminate: signals(SignalKind::terminate())?,
        interrupt: signals(SignalKind::interrupt())?,
        hang_up: signals(SignalKind::hangup())?,
        asked,
        alarm: Alarm::new().map_err(system("set a timer"))?,
        heard,
        settled: None,
        arrived,
        ended,
        heartbeat,
    };
    let mut running = Running {
        shell,
        sockets,
        processes,
        pending: Pending::default(),
        stopping: None,
        stop_replies: Vec::new(),
    };
    let ended = running.run(sources).await;
    running.pending.refuse_all();
    running.shell.hub.close();
    let ended = running.end(ended);
    // Answers still have to leave.
    drop(serving.await);
    ended
}

fn system(what: &'static str) -> impl Fn(io::Error) -> LoopError {
    move |error| LoopError::System { what, error }
}

fn signals(kind: SignalKind) -> Result<Signal, LoopError> {
    signal(kind).map_err(system("wait for signals"))
}

/// How the loop stops.
#[derive(Debug, Clone, Copy)]
struct Ending {
    how: Stopping,
    /// When it no longer waits for peers.
    deadline: Instant,
}

struct Running<B, K> {
    shell: Shell<B, K>,
    sockets: Sockets,
    processes: Processes,
    pending: Pending,
    stopping: Option<Ending>,
    stop_replies: Vec<tokio::sync::oneshot::Sender<Reply>>,
}

impl<B: Brain, K: Kernel> Running<B, K> {
    async fn run(&mut self, mut sources: Sources) -> Result<(), LoopError> {
        self.shell.brain.started(clock::now());
        self.look_at_address();
        self.drain()?;
        self.sockets.drop_unclaimed();
        self.shell.manager.ready();
        self.shell.manager.status("serves");
        while !self.is_done() {
            let deadline = [self.shell.brain.poll_timeout(), self.stopping.map(|ending| ending.deadline)];
            let set = sources.alarm.set(deadline.into_iter().flatten().min());
            set.map_err(system("set a timer"))?;
            let happened = sources.next().await.map_err(system("wait for a timer"))?;
            self.handle(happened, &mut sources)?;
            self.drain()?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        match self.stopping {
            None => false,
            Some(Ending { how: Stopping::Keep, .. }) => true,
            Some(Ending { how: Stopping::Flush, deadline }) => {
                self.shell.brain.is_idle() || clock::now() >= deadline
            }
        }
    }

    fn handle(&mut self, happened: Happened, sources: &mut Sources) -> Result<(), LoopError> {
        match happened {
            Happened::Signal(signal) => {
                info!(?signal, "stops; the kernel goes on forwarding");
                self.stop(Stopping::Keep);
            }
            Happened::Reload => drop(self.reload()),
            Happened::Asked(request) => self.asked(request),
            Happened::Alarm => self.shell.brain.handle_timeout(clock::now()),
            Happened::Heard(Heard::Xfrm(notice)) => {
                let input = match notice {
                    Notice::Acquire { peer } => Input::Acquire { peer },
                    Notice::Mapping { sa, remote } => Input::Mapping { sa, remote },
                };
                self.shell.brain.handle_input(clock::now(), input);
            }
            Happened::Heard(Heard::Routing) => {
                if sources.settled.is_none() {
                    sources.settled = Some(tokio::time::Instant::now() + SETTLING);
                }
            }
            Happened::Settled => {
                sources.settled = None;
                self.look_at_address();
            }
            Happened::Arrived(Arrived { socket, datagrams }) => {
                for (remote, octets) in datagrams {
                    let input = Input::Datagram { socket, remote, octets: &octets };
                    self.shell.brain.handle_input(clock::now(), input);
                    self.drain()?;
                }
            }
            Happened::Ended(process) => {
                self.shell.brain.handle_input(clock::now(), Input::ProcessEnded(process));
            }
            Happened::Heartbeat => self.shell.manager.alive(),
        }
        Ok(())
    }

    fn asked(&mut self, request: Request) {
        match request {
            Request::Command(command, sender) => {
                if self.stopping.is_some() {
                    drop(sender.send(Reply::refused(RefusalCode::Unavailable, "the daemon is stopping")));
                } else if let Some(id) = self.pending.add(sender) {
                    self.shell.brain.handle_input(clock::now(), Input::Command(id, command));
                }
            }
            Request::Reload(sender) => drop(sender.send(self.reload())),
            Request::Stop(how, sender) => {
                self.stop_replies.push(sender);
                self.stop(how);
            }
        }
    }

    fn reload(&mut self) -> Result<Reloaded, Refusal> {
        self.shell.manager.reloading();
        let result = (self.shell.reload)(&mut self.shell.brain, clock::now()).map(|renewed| {
            self.shell.towards = renewed.towards;
            renewed.reloaded
        });
        if result.is_ok() {
            self.look_at_address();
        }
        self.shell.hub.publish(match &result {
            Ok(reloaded) => Event::ReloadDone(reloaded.clone()),
            Err(refusal) => Event::ReloadRefused { reason: refusal.message.clone() },
        });
        self.shell.manager.ready();
        result
    }

    /// Begins to stop. Who asked to remove everything is not overruled by who asks to keep it.
    fn stop(&mut self, how: Stopping) {
        let flushing = matches!(self.stopping, Some(Ending { how: Stopping::Flush, .. }));
        if flushing || (self.stopping.is_some() && how == Stopping::Keep) {
            return;
        }
        self.shell.manager.stopping();
        self.shell.hub.publish(Event::Stopping { how });
        let now = clock::now();
        if how == Stopping::Flush {
            self.shell.brain.flush(now);
        }
        self.stopping = Some(Ending { how, deadline: now + FAREWELL });
    }

    fn look_at_address(&mut self) {
        if !self.shell.towards.is_empty() {
            let address = source_towards(&self.shell.towards);
            self.shell.brain.handle_input(clock::now(), Input::AddressChanged(address));
        }
    }

    /// Carries out what the core wants, until it wants nothing more.
    fn drain(&mut self) -> Result<(), LoopError> {
        while let Some(output) = self.shell.brain.poll_output() {
            match output {
                Output::Open(socket, binding) => {
                    if let Err(error) = self.sockets.open(socket, binding.clone()) {
                        debug!(?binding, %error, "a socket cannot be opened");
                        let errno = error.raw_os_error().unwrap_or_default();
                        let input = Input::NotOpened { socket, errno };
                        self.shell.brain.handle_input(clock::now(), input);
                    }
                }
                Output::Close(socket) => self.sockets.close(socket),
                Output::Transmit { socket, remote, octets } => self.sockets.send(socket, remote, &octets),
                Output::Kernel { id, ops } => {
                    let outcomes = self.shell.kernel.execute(&ops);
                    self.shell.brain.handle_input(clock::now(), Input::Kernel { id, outcomes });
                }
                Output::Lend { id, circuit, link, process } => {
                    let result = self.shell.kernel.lend(&link, process, &circuit.link());
                    self.shell.brain.handle_input(clock::now(), Input::Lent { id, circuit, result });
                }
                Output::Watch(process) => self.processes.watch(process),
                Output::Count(sas) => match self.shell.kernel.count(&sas) {
                    Ok(counts) => self.shell.brain.handle_input(clock::now(), Input::Counted(counts)),
                    Err(error) => debug!(%error, "packets are not counted"),
                },
                Output::Journal(record) => self.remember(&record)?,
                Output::KeyLog(line) => self.log_keys(&line),
                Output::Event(event) => self.shell.hub.publish(event),
                Output::Reply(id, reply) => self.pending.answer(id, reply),
            }
        }
        Ok(())
    }

    fn log_keys(&mut self, line: &KeyLine) {
        let written = self.shell.key_log.as_mut().map(|log| log.append(line));
        if let Some(Err(error)) = written {
            warn!(%error, "keys are missing in the key log");
        }
    }

    fn remember(&mut self, record: &Record) -> Result<(), LoopError> {
        Ok(self.shell.journal.append(record)?)
    }

    /// Leaves the kernel as it is to be, and says how it went to those who asked for it.
    fn end(self, ended: Result<(), LoopError>) -> Result<(), LoopError> {
        let Self { shell: Shell { mut kernel, journal, .. }, stopping, stop_replies, .. } = self;
        let flush = matches!(stopping, Some(Ending { how: Stopping::Flush, .. }));
        let ended = ended.and_then(|()| {
            if flush {
                bring_about(&mut kernel, State::default())?;
                journal.remove()?;
            }
            Ok(())
        });
        let reply = match &ended {
            Ok(()) => Reply::Done,
            Err(error) => Reply::refused(RefusalCode::Failed, error.to_string()),
        };
        for sender in stop_replies {
            drop(sender.send(reply.clone()));
        }
        match &ended {
            Ok(()) if flush => info!("stopped; everything is removed"),
            Ok(()) => info!("stopped; the next daemon takes over what the kernel holds"),
            Err(error) => error!(%error, "stopped"),
        }
        ended
    }
}

impl Sources {
    /// The next thing to happen. What people want comes first, then what is due, then what arrives: a flood
    /// of datagrams holds up neither.
    async fn next(&mut self) -> io::Result<Happened> {
        Ok(tokio::select! {
            biased;
            Some(()) = self.terminate.recv() => Happened::Signal(Stop::Terminated),
            Some(()) = self.interrupt.recv() => Happened::Signal(Stop::Interrupted),
            Some(()) = self.hang_up.recv() => Happened::Reload,
            Some(request) = self.asked.recv() => Happened::Asked(request),
            rung = self.alarm.rings() => {
                rung?;
                Happened::Alarm
            }
            () = heartbeat(&mut self.heartbeat) => Happened::Heartbeat,
            Some(heard) = self.heard.recv() => Happened::Heard(heard),
            () = settled(self.settled) => Happened::Settled,
            Some(process) = self.ended.recv() => Happened::Ended(process),
            Some(arrived) = self.arrived.recv() => Happened::Arrived(arrived),
        })
    }
}

async fn heartbeat(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

async fn settled(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
