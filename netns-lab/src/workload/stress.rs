//! As much as a circuit carries while one of its relays is busy with other work (paper 003, Fig. 11).
//!
//! The work is the paper's own: `stress` with some kinds of workers in turn, with a pause before each and after the
//! last. Goodput is told second by second, and for each kind of work.
//!
//! All nodes of the lab share one processor, and only one relay is to be busy. So that relay's processes are in a
//! control group of their own, and those of all other nodes in one that gets what it wants first: the relay has what
//! is left, as if it had a slower processor for itself. The kernel's work for packets is in neither, as on any router.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::accounts::processes_of;
use super::stage::{receivers_report, window_arguments, words};
use super::stream::direction_word;
use super::{Arena, Outcome, Sample};
use crate::bundle::STRESS;
use crate::net::{Background, Node};
use crate::traffic::{Direction, StreamReport, Window, sleep_until};

const PORT: u16 = 5007;
const CONNECT: Duration = Duration::from_secs(2);
/// Octets of a write.
const CHUNK: u32 = 65536;
/// Over how much time goodput is told, and what phases are whole multiples of.
const BIN: Duration = Duration::from_secs(1);
/// How much longer than it should a load may take to end.
const GRACE: Duration = Duration::from_secs(60);
/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";
/// The groups of the busy relay and of all others, with their weights.
const WEIGHTS: [(&str, u32); 2] = [("relay", 100), ("others", 10_000)];
/// What the phases without any load are called.
const IDLE: &str = "no load";

/// What can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The busy relay.
    pub relay: String,
    /// What it is busy with, in turn.
    pub loads: Vec<Load>,
    /// Workers of each.
    pub workers: u16,
    /// Octets that each worker of `memory` and `disk` works on.
    pub worker_bytes: u32,
    /// Seconds of each load.
    pub load_s: u32,
    /// Seconds of the pauses before, between and after loads.
    pub pause_s: u32,
    /// The niceness of the system's own processes on that relay.
    pub nice: i8,
    /// Flows at once.
    pub flows: u16,
    /// Which way the payload goes: `put` to the server, `get` to the client.
    pub direction: Direction,
    /// The circuit, by its place in the experiment's list.
    pub circuit: usize,
}

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Square roots.
    Cpu,
    /// `sync`.
    Io,
    /// Memory that is got, written and given back.
    Memory,
    /// Files that are written and removed.
    Disk,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            relay: "middle".to_owned(),
            loads: vec![Load::Cpu, Load::Io, Load::Memory, Load::Disk],
            workers: 20,
            worker_bytes: 8 << 20,
            load_s: 20,
            pause_s: 20,
            nice: 0,
            flows: 1,
            direction: Direction::Get,
            circuit: 0,
        }
    }
}

impl Load {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }

    /// The arguments of `stress` for it.
    fn arguments(self, settings: &Settings) -> Vec<String> {
        let (workers, octets) = (settings.workers.to_string(), settings.worker_bytes.to_string());
        match self {
            Self::Cpu => words(&["--cpu", &workers]),
            Self::Io => words(&["--io", &workers]),
            Self::Memory => words(&["--vm", &workers, "--vm-bytes", &octets]),
            Self::Disk => words(&["--hdd", &workers, "--hdd-bytes", &octets]),
        }
    }
}

impl Settings {
    /// When each phase begins, in seconds from the window's opening, with its load; and how long all take.
    fn phases(&self) -> (Vec<(u32, Option<Load>)>, u32) {
        let mut at = 0;
        let mut phases = Vec::new();
        for load in &self.loads {
            phases.push((at, None));
            phases.push((at + self.pause_s, Some(*load)));
            at += self.pause_s + self.load_s;
        }
        phases.push((at, None));
        (phases, at + self.pause_s)
    }
}

/// Gets what the workload needs from outside.
pub(super) fn prepare() -> Outcome<()> {
    Ok(STRESS.ensure().map(drop)?)
}

pub(super) fn run(settings: &Settings, arena: Arena<'_>) -> Outcome<Vec<Sample>> {
    let relay = arena.net.node(&settings.relay)?;
    let (phases, seconds) = settings.phases();
    let system = processes_of(relay)?;
    for pid in &system {
        let (pid, nice) = (pid.to_string(), settings.nice.to_string());
        relay.run(&["renice", "--priority", &nice, "--pid", &pid])?;
    }
    let groups = Groups::make()?;
    let window = Window::after(CONNECT, Duration::from_secs(seconds.into()));
    let arguments = [window_arguments(window), words(&["--bin-ms", &BIN.as_millis().to_string()])].concat();
    let mut servers =
        arena.serve(&[settings.circuit], PORT, &[words(&["stream-serve"]), arguments.clone()].concat())?;
    let mut argv = [words(&["stream"]), arguments].concat();
    argv.extend(words(&["--flows", &settings.flows.to_string()]));
    argv.extend(words(&["--chunk", &CHUNK.to_string(), "--answer-every", "0"]));
    let client = arena.spawn(settings.circuit, PORT, &argv, &words(&[direction_word(settings.direction)]))?;
    groups.part(relay, arena)?;
    for (begins, load) in &phases {
        sleep_until(window.opens + Duration::from_secs((*begins).into()).as_nanos() as u64);
        if let Some(load) = load {
            let load = groups.start(relay, *load, settings)?;
            let ended = load.wait(Duration::from_secs(settings.load_s.into()) + GRACE)?;
            if !ended.status.success() {
                return Err(format!("stress ended with {}: {}", ended.status, ended.stderr.trim_end()).into());
            }
        }
    }
    sleep_until(window.closes);
    let carried: StreamReport = receivers_report(settings.direction, client, &mut servers)?;
    Ok(samples(settings, &carried))
}

/// The control groups.
struct Groups(PathBuf);

impl Groups {
    fn make() -> Outcome<Self> {
        let base = PathBuf::from(GROUPS);
        let file = |path: PathBuf, text: &str| {
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        if !base.join("cgroup.controllers").exists() {
            let mount =
                std::process::Command::new("mount").args(["-t", "cgroup2", "cgroup", GROUPS]).output()?;
            if !mount.status.success() {
                return Err(
                    format!("mount cgroup: {}", String::from_utf8_lossy(&mount.stderr).trim_end()).into()
                );
            }
        }
        file(base.join("cgroup.subtree_control"), "+cpu")?;
        for (name, weight) in WEIGHTS {
            let path = base.join(name);
            fs::create_dir_all(&path)?;
            file(path.join("cpu.weight"), &weight.to_string())?;
        }
        Ok(Self(base))
    }

    /// Puts every node's processes where they belong, and the workload's own with the others.
    fn part(&self, relay: Node<'_>, arena: Arena<'_>) -> Outcome<()> {
        for node in arena.net.nodes() {
            let group = if node.name() == relay.name() { "relay" } else { "others" };
            for pid in processes_of(node)? {
                self.put(group, pid)?;
            }
        }
        self.put("others", std::process::id())
    }

    fn put(&self, group: &str, pid: u32) -> Outcome<()> {
        let path = self.0.join(group).join("cgroup.procs");
        Ok(fs::write(&path, pid.to_string())
            .map_err(|error| format!("{}: {pid}: {error}", path.display()))?)
    }

    /// Starts a load, which joins the relay's group by itself, in a directory of a disk.
    fn start(&self, relay: Node<'_>, load: Load, settings: &Settings) -> Outcome<Background> {
        let program = STRESS.root()?.join(STRESS.witness());
        let group = self.0.join("relay/cgroup.procs");
        let folder = disk(load)?;
        let script = "echo $$ >\"$0\" && cd \"$1\" && shift && exec \"$@\"";
        let (group, folder, program) = (path(&group), path(&folder), path(&program));
        let mut argv = words(&["sh", "-c", script, &group, &folder, &program, "--quiet"]);
        argv.extend(words(&["--timeout", &format!("{}s", settings.load_s)]));
        argv.extend(load.arguments(settings));
        Ok(relay.spawn(&argv.iter().map(String::as_str).collect::<Vec<_>>())?)
    }
}

/// Where a load works: a disk of the machine's, if it is about disks.
fn disk(load: Load) -> Outcome<PathBuf> {
    Ok(if load == Load::Disk { crate::guest::disk()? } else { PathBuf::from("/tmp") })
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Of each second's beginning: goodput in it; of each kind of load: goodput meanwhile.
fn samples(settings: &Settings, carried: &StreamReport) -> Vec<Sample> {
    let (phases, seconds) = settings.phases();
    let mut samples = vec![Sample::new("bulk", "goodput", "sum", "Mbit/s", carried.mbit_s)];
    for (at, rate) in carried.bins.iter().enumerate() {
        samples.push(Sample::new(&format!("t={at}"), "goodput", "each", "Mbit/s", *rate));
    }
    let ends = phases.iter().skip(1).map(|(begins, _)| *begins).chain([seconds]);
    let mut by_load: Vec<(&str, Vec<f64>)> = Vec::new();
    for ((begins, load), ends) in phases.iter().zip(ends) {
        let name = load.map_or(IDLE, Load::name);
        let bins = carried.bins.iter().take(ends as usize).skip(*begins as usize);
        match by_load.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rates)) => rates.extend(bins),
            None => by_load.push((name, bins.copied().collect())),
        }
    }
    for (name, rates) in by_load.iter().filter(|(_, rates)| !rates.is_empty()) {
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        samples.push(Sample::new(name, "goodput", "mean", "Mbit/s", mean));
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { loads: vec![Load::Cpu, Load::Disk], load_s: 2, pause_s: 1, ..Settings::default() }
    }

    #[test]
    fn loads_have_pauses_around_them() {
        let (phases, seconds) = settings().phases();
        assert_eq!(seconds, 7);
        assert_eq!(phases, [(0, None), (1, Some(Load::Cpu)), (3, None), (4, Some(Load::Disk)), (6, None)]);
    }

    #[test]
    fn goodput_is_told_by_second_and_by_load() {
        let carried =
            StreamReport { bins: vec![9.0, 1.0, 2.0, 9.0, 3.0, 5.0, 6.0], ..StreamReport::default() };
        let samples = samples(&settings(), &carried);
        let of = |name: &str| samples.iter().find(|sample| sample.of == name).map(|sample| sample.value);
        assert_eq!([of("t=1"), of("cpu"), of("disk"), of(IDLE)], [1.0, 1.5, 4.0, 8.0].map(Some));
    }

    #[test]
    fn the_work_is_that_of_the_paper() {
        let arguments = Load::Memory.arguments(&settings()).join(" ");
        assert_eq!(arguments, "--vm 20 --vm-bytes 8388608");
    }
}
