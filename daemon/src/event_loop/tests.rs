use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use ippriv::control::{Command, Private};
use ippriv::id::LinkName;
use ippriv::node::{Binding, CommandId, OpId, SocketId};
use ippriv::plan::{Op, OpError, Outcome};
use ippriv::state::{Current, Link, SaId};
use tokio::net::UdpSocket;
use zeroize::Zeroizing;

use super::*;
use crate::control::{Access, tests::ask};
use crate::journal::{Storage, tests::Directory};
use crate::kernel::KernelError;

/// What brain and kernel saw, in order.
#[derive(Clone, Default)]
struct Diary(Rc<RefCell<Vec<String>>>);

impl Diary {
    fn note(&self, text: impl Into<String>) {
        self.0.borrow_mut().push(text.into());
    }

    fn notes(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

/// A brain that wants what a test tells it to, and answers commands as a test says.
struct Scripted {
    diary: Diary,
    outputs: VecDeque<Output>,
    /// What it wants when asked for something.
    on_command: fn(CommandId, Command) -> Vec<Output>,
    /// What it wants when a datagram arrives.
    on_datagram: fn(&[u8]) -> Vec<Output>,
    timeout: Option<Instant>,
}

impl Scripted {
    fn new(diary: &Diary, outputs: Vec<Output>) -> Self {
        Self {
            diary: diary.clone(),
            outputs: outputs.into(),
            on_command: |id, _| vec![Output::Reply(id, Reply::Done)],
            on_datagram: |_| Vec::new(),
            timeout: None,
        }
    }
}

impl Brain for Scripted {
    fn started(&mut self, _: Instant) {
        self.diary.note("started");
    }

    fn handle_input(&mut self, _: Instant, input: Input<'_>) {
        match input {
            Input::Datagram { socket, octets, .. } => {
                self.diary.note(format!("datagram {} {}", socket.0, String::from_utf8_lossy(octets)));
                self.outputs.extend((self.on_datagram)(octets));
            }
            Input::Kernel { id, outcomes } => self.diary.note(format!("outcome {} {outcomes:?}", id.0)),
            Input::NotOpened { socket, errno } => self.diary.note(format!("not opened {} {errno}", socket.0)),
            Input::Command(id, command) => {
                self.diary.note(format!("command {command:?}"));
                self.outputs.extend((self.on_command)(id, command));
            }
            other => self.diary.note(format!("{other:?}")),
        }
    }

    fn handle_timeout(&mut self, _: Instant) {
        self.diary.note("timeout");
        self.timeout = None;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn flush(&mut self, _: Instant) {
        self.diary.note("flush");
    }

    fn is_idle(&self) -> bool {
        true
    }
}

/// A kernel that does everything and holds nothing.
struct Willing(Diary);

impl Kernel for Willing {
    fn lend(&mut self, link: &Link, process: ProcessId, name: &LinkName) -> Result<(), OpError> {
        self.0.note(format!("lend {} to {process} as {name}", link.name));
        Ok(())
    }

    fn count(&mut self, sas: &[SaId]) -> Result<Vec<(SaId, u64)>, KernelError> {
        Ok((1..).zip(sas).map(|(packets, id)| (*id, packets)).collect())
    }

    fn dump(&mut self, _: &State) -> Result<Current, KernelError> {
        self.0.note("dump");
        Ok(Current::default())
    }

    fn execute(&mut self, ops: &[Op]) -> Vec<Outcome> {
        self.0.note(format!("execute {}", ops.len()));
        vec![Outcome::Done; ops.len()]
    }
}

/// A daemon in a directory of its own.
struct Daemon {
    directory: Directory,
    diary: Diary,
    hub: Hub,
    heard: mpsc::Sender<Heard>,
    loop_: tokio::task::JoinHandle<Result<(), LoopError>>,
}

impl Daemon {
    fn start(name: &str, brain: impl FnOnce(&Diary) -> Scripted) -> Self {
        Self::start_reloading(name, brain, Box::new(|_, _| Ok(Renewed::default())))
    }

    fn start_reloading(name: &str, brain: impl FnOnce(&Diary) -> Scripted, reload: Reload<Scripted>) -> Self {
        let directory = Directory::new(name);
        let diary = Diary::default();
        let (journal, _) = Journal::open(&directory.0, Storage::Anywhere).unwrap();
        let control = Listener::open(&directory.0.join("control"), &Access::Root).unwrap();
        let hub = Hub::default();
        let shell = Shell {
            brain: brain(&diary),
            kernel: Willing(diary.clone()),
            journal,
            key_log: None,
            reload,
            manager: Manager::none(),
            hub: hub.clone(),
            towards: Vec::new(),
        };
        let (heard, receiver) = mpsc::channel(8);
        let loop_ = tokio::task::spawn_local(run_hearing(shell, control, receiver));
        Self { directory, diary, hub, heard, loop_ }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        ask(&self.directory.0.join("control"), method, path, body).await
    }

    async fn stop(self) -> (Vec<String>, Directory) {
        assert_eq!(self.ask("POST", "/v1/stop", "").await.0, 204);
        self.loop_.await.unwrap().unwrap();
        (self.diary.notes(), self.directory)
    }
}

/// Runs a test on one thread, as the daemon does.
fn run_test(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn loopback(port: u16) -> Binding {
    Binding { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port, link: None }
}

fn remember(key: &str) -> Output {
    Output::Journal(Record { key: key.to_owned(), value: Some(Zeroizing::new(b"value".to_vec())) })
}

#[test]
fn the_kernel_answers_before_anything_later_is_done() {
    run_test(async {
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let remote = peer.local_addr().unwrap();
        let daemon = Daemon::start("order", |diary| {
            let outputs = vec![
                Output::Open(SocketId(1), loopback(0)),
                Output::Kernel { id: OpId(1), ops: Vec::new() },
                remember("sa/1"),
                Output::Transmit { socket: SocketId(1), remote, octets: b"hello".to_vec() },
                Output::Kernel { id: OpId(2), ops: Vec::new() },
            ];
            Scripted::new(diary, outputs)
        });
        let mut buffer = [0; 16];
        let (length, _) = peer.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"hello");
        let (notes, directory) = daemon.stop().await;
        assert_eq!(notes, ["started", "execute 0", "outcome 1 []", "execute 0", "outcome 2 []"]);
        let (_, recovered) = Journal::open(&directory.0, Storage::Anywhere).unwrap();
        assert_eq!(recovered.records[0].key, "sa/1");
    });
}

#[test]
fn datagrams_reach_the_brain_and_its_answer_the_peer() {
    run_test(async {
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let remote = peer.local_addr().unwrap();
        let daemon = Daemon::start("datagrams", |diary| {
            let octets = b"first".to_vec();
            let outputs = vec![
                Output::Open(SocketId(7), loopback(0)),
                Output::Transmit { socket: SocketId(7), remote, octets },
            ];
            Scripted {
                on_datagram: |octets| {
                    let event = Event::OverlayUp { relay: String::from_utf8_lossy(octets).into_owned() };
                    vec![Output::Event(event)]
                },
                ..Scripted::new(diary, outputs)
            }
        });
        let mut events = daemon.hub.follow().unwrap();
        let mut buffer = [0; 16];
        let (_, from) = peer.recv_from(&mut buffer).await.unwrap();
        peer.send_to(b"b", from).await.unwrap();
        let line = events.next().await.unwrap();
        assert!(line.contains(r#""event":"overlay_up","relay":"b""#), "{line}");
        assert!(daemon.stop().await.0.contains(&"datagram 7 b".to_owned()));
    });
}

#[test]
fn the_brain_is_told_how_many_packets_came() {
    run_test(async {
        let destination = Ipv4Addr::LOCALHOST.into();
        let id = |spi: u32| SaId { destination, spi: spi.try_into().unwrap() };
        let daemon = Daemon::start("count", |diary| {
            Scripted::new(diary, vec![Output::Count(vec![id(0x300), id(0x400)])])
        });
        let counted = format!("{:?}", Input::Counted(vec![(id(0x300), 1), (id(0x400), 2)]));
        assert_eq!(daemon.stop().await.0, ["started".to_owned(), counted]);
    });
}

#[test]
fn a_socket_that_cannot_be_opened_is_told_with_its_number() {
    run_test(async {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let daemon = Daemon::start("taken", |diary| {
            Scripted::new(diary, vec![Output::Open(SocketId(3), loopback(port))])
        });
        let expected = format!("not opened 3 {}", rustix::io::Errno::ADDRINUSE.raw_os_error());
        assert_eq!(daemon.stop().await.0, ["started".to_owned(), expected]);
    });
}

#[test]
fn what_cannot_be_remembered_stops_the_daemon_before_anything_depends_on_it() {
    run_test(async {
        let daemon = Daemon::start("forgetful", |diary| {
            let outputs =
                vec![remember(&"k".repeat(1 << 16)), Output::Kernel { id: OpId(1), ops: Vec::new() }];
            Scripted::new(diary, outputs)
        });
        let ended = daemon.loop_.await.unwrap();
        assert!(matches!(ended, Err(LoopError::Journal(_))), "{ended:?}");
        assert_eq!(daemon.diary.notes(), ["started"]);
    });
}

#[test]
fn what_is_due_and_what_the_kernel_says_reach_the_brain() {
    run_test(async {
        let daemon = Daemon::start("due", |diary| Scripted {
            timeout: Some(Instant::ZERO),
            ..Scripted::new(diary, Vec::new())
        });
        let peer = "192.0.2.1".parse().unwrap();
        daemon.heard.send(Heard::Xfrm(Notice::Acquire { peer })).await.unwrap();
        while daemon.diary.notes().len() < 3 {
            tokio::task::yield_now().await;
        }
        let (mut notes, _) = daemon.stop().await;
        notes.sort();
        assert_eq!(notes, ["Acquire { peer: 192.0.2.1 }", "started", "timeout"]);
    });
}

#[test]
fn a_stopped_daemon_leaves_the_kernel_as_it_is() {
    run_test(async {
        let daemon = Daemon::start("keep", |diary| Scripted::new(diary, vec![remember("circuit/1")]));
        let (notes, directory) = daemon.stop().await;
        assert_eq!(notes, ["started"]);
        assert_eq!(Journal::open(&directory.0, Storage::Anywhere).unwrap().1.records.len(), 1);
        assert!(!directory.0.join("control").exists());
    });
}

#[test]
fn a_flushed_daemon_leaves_nothing() {
    run_test(async {
        let daemon = Daemon::start("flush", |diary| Scripted::new(diary, vec![remember("circuit/1")]));
        assert_eq!(daemon.ask("POST", "/v1/stop?flush=true", "").await.0, 204);
        daemon.loop_.await.unwrap().unwrap();
        assert_eq!(daemon.diary.notes(), ["started", "flush", "dump", "execute 0", "dump"]);
        assert!(!daemon.directory.0.join("journal").exists());
    });
}

#[test]
fn a_command_is_answered_by_the_brain() {
    run_test(async {
        let daemon = Daemon::start("command", |diary| Scripted {
            on_command: |id, command| {
                let reply = match command {
                    Command::RelayShow(name) => {
                        Reply::refused(RefusalCode::NotFound, format!("no relay {name:?}"))
                    }
                    _ => Reply::Overlays(Vec::new()),
                };
                vec![Output::Reply(id, reply)]
            },
            ..Scripted::new(diary, Vec::new())
        });
        assert_eq!(daemon.ask("GET", "/v1/overlays", "").await, (200, "[]".to_owned()));
        let missing = r#"{"error":{"code":"not_found","message":"no relay \"x\""}}"#;
        assert_eq!(daemon.ask("GET", "/v1/relays/x", "").await, (404, missing.to_owned()));
        let body = r#"{"length":3,"wait":true}"#;
        assert_eq!(daemon.ask("POST", "/v1/circuits", body).await.0, 200);
        let (notes, _) = daemon.stop().await;
        assert!(notes[3].contains("length: Some(3)") && notes[3].contains("wait: true"), "{notes:?}");
    });
}

#[test]
fn a_refused_reload_says_why_and_a_good_one_what_changed() {
    run_test(async {
        let mut good = false;
        let reload: Reload<Scripted> = Box::new(move |_, _| {
            good = !good;
            if good {
                let message = "policy.yaml:3:1: unknown field".to_owned();
                return Err(Refusal { code: RefusalCode::Invalid, message });
            }
            let reloaded = Reloaded { changes: vec!["log level".to_owned()], restart: Vec::new() };
            Ok(Renewed { reloaded, towards: vec![Ipv4Addr::LOCALHOST.into()] })
        });
        let daemon = Daemon::start_reloading("reload", |diary| Scripted::new(diary, Vec::new()), reload);
        let (code, body) = daemon.ask("POST", "/v1/reload", "").await;
        assert!(code == 400 && body.contains("policy.yaml:3:1"), "{body}");
        let done = r#"{"changes":["log level"],"restart":[]}"#.to_owned();
        assert!(!daemon.diary.notes().contains(&"AddressChanged(Some(127.0.0.1))".to_owned()));
        assert_eq!(daemon.ask("POST", "/v1/reload", "").await, (200, done));
        let looked = daemon.diary.notes().contains(&"AddressChanged(Some(127.0.0.1))".to_owned());
        assert!(looked, "the address is looked up towards the new network's relays");
        let (_, events) = daemon.ask("GET", "/v1/events", "").await;
        assert!(events.contains("reload_refused") && events.contains("reload_done"), "{events}");
        daemon.stop().await;
    });
}

#[test]
fn followers_of_events_learn_no_client() {
    run_test(async {
        let peer = Private::new("198.51.100.7:4500".parse().unwrap());
        let event = Event::HandshakeRefused { peer, reason: "cookie".to_owned() };
        let daemon = Daemon::start("private", |diary| Scripted::new(diary, vec![Output::Event(event)]));
        let (_, events) = daemon.ask("GET", "/v1/events?follow=false", "").await;
        assert!(events.contains("handshake_refused") && !events.contains("198.51"), "{events}");
        daemon.stop().await;
    });
}
