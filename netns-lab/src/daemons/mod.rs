//! Hosts run by `ipprivd`: identity keys, a signed network document, a policy each, and the daemons.
//!
//! Nothing is dealt out beforehand but what operators of a real network publish and configure: circuits and
//! overlays come from IKEv2.

mod files;
mod manager;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use ippriv::network::{Document, Relay};
use serde_json::Value;

use crate::net::{Background, Net, NetError, Node, RawOutput};
use crate::scenario::LabError;

pub use files::{CircuitPlan, Plan};
use manager::Manager;

/// How long a daemon may take to serve.
const START: Duration = Duration::from_secs(20);
/// How long a daemon may take to stop.
const STOP: Duration = Duration::from_secs(30);
/// How often the state of circuits is looked at.
const POLL: Duration = Duration::from_millis(20);
/// The same of overlays, which take longer when a neighbour is not there at the first attempt.
const POLL_OVERLAYS: Duration = Duration::from_millis(250);

/// The daemons of a network, killed when dropped.
#[derive(Debug)]
pub struct Daemons<'net> {
    net: &'net Net,
    published: files::Published,
    running: BTreeMap<String, Background>,
    key_log: bool,
    /// The hosts with a service manager; the others' daemons are started by hand.
    managers: BTreeMap<String, Manager>,
}

impl<'net> Daemons<'net> {
    /// Writes every host's files. Nothing runs yet.
    ///
    /// # Errors
    /// [`LabError`] when a file cannot be made or written.
    pub fn prepare(net: &'net Net, plan: &Plan) -> Result<Self, LabError> {
        let published = files::write(net, plan)?;
        let mut managers = BTreeMap::new();
        for host in &plan.managed {
            let path = net.node(host)?.folder().join(files::NOTIFY);
            managers.insert(host.clone(), Manager::listen(&path).map_err(files::failed)?);
        }
        Ok(Self { net, published, running: BTreeMap::new(), key_log: plan.key_log, managers })
    }

    /// Writes every host's files and starts all daemons, the clients' last.
    ///
    /// # Errors
    /// [`LabError`] with what a daemon that does not start says.
    pub fn start_all(net: &'net Net, plan: &Plan) -> Result<Self, LabError> {
        let mut daemons = Self::prepare(net, plan)?;
        for relay in net.relays().filter(|relay| plan.runs(relay.name())) {
            daemons.start(relay.name())?;
        }
        for client in plan.clients() {
            daemons.start(client)?;
        }
        Ok(daemons)
    }

    /// All relays as the network document describes them.
    #[must_use]
    pub fn relays(&self) -> &[Relay] {
        &self.published.document.relays
    }

    /// Changes a host's policy: replaces what is found there. The daemon is told nothing.
    ///
    /// # Errors
    /// [`LabError`] when the file cannot be read or written, or has nothing to replace.
    pub fn edit_policy(&self, host: &str, old: &str, new: &str) -> Result<(), LabError> {
        let node = self.net.node(host)?;
        let path = node.folder().join(files::POLICY);
        let text = std::fs::read_to_string(path).map_err(files::failed)?;
        if !text.contains(old) {
            return Err(files::failed(format!("{old:?} is not in the policy of {host}: {text}")));
        }
        node.write_file(files::POLICY, text.replace(old, new).as_bytes())?;
        Ok(())
    }

    /// Changes the network document, signs it and gives it to these hosts. The daemons are told nothing.
    ///
    /// # Errors
    /// [`LabError`] when it makes no sense or cannot be written.
    pub fn publish(&mut self, hosts: &[String], change: impl FnOnce(&mut Document)) -> Result<(), LabError> {
        change(&mut self.published.document);
        let text = self.published.text()?;
        for host in hosts {
            self.net.node(host)?.write_file(files::NETWORK, text.as_bytes())?;
        }
        Ok(())
    }

    /// Starts one daemon and waits until it serves.
    ///
    /// # Errors
    /// [`LabError`] with what it says when it does not.
    pub fn start(&mut self, name: &str) -> Result<(), LabError> {
        let node = self.net.node(name)?;
        let policy = node.folder().join(files::POLICY).to_string_lossy().into_owned();
        let keys = self.keys(name)?.to_string_lossy().into_owned();
        let mut argv = vec!["ipprivd", "run", "--policy", &policy];
        if self.key_log {
            argv.extend(["--danger-keylog", &keys]);
        }
        let mut daemon = match self.managers.get(name) {
            None => node.spawn(&argv)?,
            Some(manager) => managed(node, manager, &argv)?,
        };
        daemon.wait_for("serves", START)?;
        self.running.insert(name.to_owned(), daemon);
        Ok(())
    }

    /// Where a host's daemon writes its keys, if it does.
    ///
    /// # Errors
    /// [`LabError`] for an unknown host.
    pub fn keys(&self, name: &str) -> Result<PathBuf, LabError> {
        Ok(self.net.node(name)?.folder().join(files::KEYS))
    }

    /// Kills a daemon the hard way; its kernel goes on.
    ///
    /// # Errors
    /// [`LabError`] when it does not run or does not die.
    pub fn kill(&mut self, name: &str) -> Result<(), LabError> {
        if let Some(daemon) = self.running.remove(name) {
            daemon.signal(rustix::process::Signal::KILL)?;
            daemon.wait(STOP)?;
        }
        Ok(())
    }

    /// Waits until a daemon that was told to stop has done so.
    ///
    /// # Errors
    /// [`LabError`] when it does not.
    pub fn wait_stopped(&mut self, name: &str) -> Result<(), LabError> {
        if let Some(daemon) = self.running.remove(name) {
            daemon.wait(STOP)?;
        }
        Ok(())
    }

    /// Whether a daemon still runs.
    ///
    /// # Errors
    /// [`LabError`] when that cannot be found out.
    pub fn is_running(&mut self, name: &str) -> Result<bool, LabError> {
        match self.running.get_mut(name) {
            Some(daemon) => Ok(daemon.ended()?.is_none()),
            None => Ok(false),
        }
    }

    /// The process id of a daemon that was started.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<u32> {
        self.running.get(name).map(Background::id)
    }

    /// Where a host's daemon is asked.
    ///
    /// # Errors
    /// [`LabError`] for an unknown host.
    pub fn socket(net: &Net, name: &str) -> Result<PathBuf, LabError> {
        Ok(net.node(name)?.folder().join(files::SOCKET))
    }

    /// What a daemon has logged so far.
    ///
    /// # Errors
    /// [`LabError`] when its output cannot be read.
    pub fn log(&self, name: &str) -> Result<String, LabError> {
        Ok(self.running.get(name).map(Background::stderr).transpose()?.unwrap_or_default())
    }

    /// Runs `ippriv` on a host and gives its standard output.
    ///
    /// # Errors
    /// [`LabError`] with what it says when it fails.
    pub fn ippriv(&self, name: &str, arguments: &[&str]) -> Result<String, LabError> {
        let argv = self.argv(name, arguments)?;
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        Ok(self.net.node(name)?.run(&argv)?.stdout)
    }

    /// Runs `ippriv` on a host, whatever comes of it.
    ///
    /// # Errors
    /// [`LabError`] when it cannot be started.
    pub fn try_ippriv(&self, name: &str, arguments: &[&str]) -> Result<RawOutput, LabError> {
        let argv = self.argv(name, arguments)?;
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        Ok(self.net.node(name)?.try_run(&argv)?)
    }

    fn argv(&self, name: &str, arguments: &[&str]) -> Result<Vec<String>, NetError> {
        let socket = self.net.node(name)?.folder().join(files::SOCKET).to_string_lossy().into_owned();
        // what comes after `--` is another program's
        let own = arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
        let (arguments, command) = arguments.split_at(own);
        let option = ["--socket", socket.as_str()];
        let all = ["ippriv"].iter().chain(arguments).chain(&option).chain(command);
        Ok(all.map(ToString::to_string).collect())
    }

    /// Starts `ippriv` on a host.
    ///
    /// # Errors
    /// [`LabError`] when it cannot be started.
    pub fn spawn_ippriv(&self, name: &str, arguments: &[&str]) -> Result<Background, LabError> {
        let argv = self.argv(name, arguments)?;
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        Ok(self.net.node(name)?.spawn(&argv)?)
    }

    /// The JSON that `ippriv` gives on a host.
    ///
    /// # Errors
    /// [`LabError`] with what it says when it fails.
    pub fn json(&self, name: &str, arguments: &[&str]) -> Result<Value, LabError> {
        let text = self.ippriv(name, &[arguments, &["--json"]].concat())?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// What `ippriv NOUN list` gives on a host.
    ///
    /// # Errors
    /// [`LabError`] with what `ippriv` says when it fails.
    pub fn list(&self, name: &str, noun: &str) -> Result<Vec<Value>, LabError> {
        let list = self.json(name, &[noun, "list"])?;
        Ok(list.as_array().or_else(|| list[format!("{noun}s")].as_array()).cloned().unwrap_or_default())
    }

    /// The circuits of a client.
    ///
    /// # Errors
    /// [`LabError`] with what `ippriv` says when it fails.
    pub fn circuits(&self, client: &str) -> Result<Vec<Value>, LabError> {
        let list = self.json(client, &["circuit", "list"])?;
        Ok(list.as_array().or_else(|| list["circuits"].as_array()).cloned().unwrap_or_default())
    }

    /// Waits until all circuits of a client are open; `false` when they are not in time.
    ///
    /// # Errors
    /// [`LabError`] with what `ippriv` says when it fails.
    pub fn wait_open(&self, client: &str, limit: Duration) -> Result<bool, LabError> {
        let polls = limit.as_millis() / POLL.as_millis();
        for _ in 0..polls.max(1) {
            let circuits = self.circuits(client)?;
            if !circuits.is_empty() && circuits.iter().all(|circuit| circuit["state"] == "open") {
                return Ok(true);
            }
            thread::sleep(POLL);
        }
        Ok(false)
    }

    /// Waits until every overlay of the relays is up; `false` when they are not in time.
    ///
    /// # Errors
    /// [`LabError`] with what `ippriv` says when it fails.
    pub fn wait_overlays(&self, limit: Duration) -> Result<bool, LabError> {
        let polls = limit.as_millis() / POLL_OVERLAYS.as_millis();
        for _ in 0..polls.max(1) {
            let mut up = true;
            for relay in self.net.relays().filter(|relay| self.running.contains_key(relay.name())) {
                let list = self.json(relay.name(), &["overlay", "list"])?;
                let list =
                    list.as_array().or_else(|| list["overlays"].as_array()).cloned().unwrap_or_default();
                up &= list.iter().all(|overlay| overlay["state"] == "up");
            }
            if up {
                return Ok(true);
            }
            thread::sleep(POLL_OVERLAYS);
        }
        Ok(false)
    }
}

/// Starts a daemon as its service manager does. What is kept goes along as standard input: one socket.
fn managed(node: Node<'_>, manager: &Manager, argv: &[&str]) -> Result<Background, LabError> {
    let mut kept = manager.kept().map_err(files::failed)?;
    let given = kept.pop();
    if let Some((second, _)) = kept.pop() {
        return Err(files::failed(format!("the daemon of {} has {second} kept as well", node.name())));
    }
    let script = manager.script(given.as_ref().map(|(name, _)| name.as_str()));
    let argv = [&["sh", "-c", &script][..], argv].concat();
    Ok(match given {
        None => node.spawn(&argv)?,
        Some((_, file)) => node.spawn_given(&argv, file)?,
    })
}
