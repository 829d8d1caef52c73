//! Hosts with nodes, a network between them, and a kernel each that only keeps books.
//!
//! What a client's node sends from inside a circuit is carried by the circuit's SAs: it arrives when every
//! host on its way can read it by then.

mod machine;
mod nat;
mod packets;
mod setup;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ippriv::control::{CircuitState, CircuitView, Command, Event, Reply};
use ippriv::entropy::{Entropy, Seeded};
use ippriv::id::LinkName;
use ippriv::network::Network;
use ippriv::node::{Binding, CommandId, Files, Input, Node, Output, Record};
use ippriv::plan::Op;
use ippriv::policy::Policy;
use ippriv::state::State;
use ippriv::time::Instant;
pub(crate) use machine::Machine;
use nat::Nat;
use packets::Way;
pub(crate) use setup::{Setup, circuit, client_address, key, relay};

/// Time for a datagram from one host to another.
pub(crate) const DELAY: Duration = Duration::from_millis(10);

/// A datagram as somebody between two hosts sees it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// The interface that its socket is bound to.
    pub(crate) link: Option<LinkName>,
    pub(crate) octets: Vec<u8>,
}

/// A datagram or a packet of data on its way.
enum Flying {
    Ike(Seen, Way),
    Data(Way),
}

/// What the links do to datagrams.
#[derive(Clone, Copy, Default)]
pub(crate) struct Links {
    /// Datagrams lost, in percent.
    pub(crate) loss: u64,
    /// Datagrams that arrive twice, in percent.
    pub(crate) twice: u64,
    /// How much later a datagram may arrive than others, in milliseconds.
    pub(crate) jitter: u64,
    /// Packets lost on each link, in percent. There are two from one host to the next.
    pub(crate) each: u64,
}

/// All hosts and what is on its way between them.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) hosts: BTreeMap<String, Machine>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) links: Links,
    /// Whether clients are behind one NAT.
    pub(crate) nat: bool,
    /// A host that dies instead of carrying out the output with this number.
    pub(crate) dies: Option<(String, u64)>,
    /// Whether to look for leaks after every output of a client.
    pub(crate) watched: bool,
    /// Packets of data that nobody could read, and why.
    pub(crate) lost: Vec<String>,
    /// Packets of data that arrived.
    pub(crate) arrived: u64,
    flying: BTreeMap<(Instant, u64), Flying>,
    mappings: Nat,
    probes: Option<(String, Instant, Duration)>,
    setup: Setup,
    network: Network,
    entropy: Seeded,
    count: u64,
}

impl World {
    /// Relays that serve, and clients.
    pub(crate) fn new(setup: Setup) -> Self {
        Self::with(setup, |_| {})
    }

    /// The same, with something done before the first datagram.
    pub(crate) fn with(setup: Setup, prepare: impl FnOnce(&mut Self)) -> Self {
        let mut world = Self {
            now: Instant::ZERO + Duration::from_secs(1000),
            hosts: BTreeMap::new(),
            seen: Vec::new(),
            links: Links::default(),
            nat: false,
            dies: None,
            watched: true,
            lost: Vec::new(),
            arrived: 0,
            flying: BTreeMap::new(),
            mappings: Nat::default(),
            probes: None,
            network: setup.network(1),
            entropy: Seeded::new([setup.seed; 32]),
            setup,
            count: 0,
        };
        prepare(&mut world);
        for number in 1..=world.setup.relays {
            let policy = world.setup.relay_policy(number);
            world.add(&relay(number), number, policy, IpAddr::from([198, 18, number, 2]));
        }
        for number in 1..=world.setup.clients {
            let policy = world.setup.client_policy(number);
            let address = client_address(number).parse().unwrap();
            world.add(&setup::client(number), 0, policy, address);
        }
        world
    }

    /// A client with circuits, lines of YAML below `circuits:`.
    pub(crate) fn simple(relays: u8, circuits: &str) -> Self {
        Self::new(Setup { relays, circuits: circuits.to_owned(), ..Setup::default() })
    }

    fn add(&mut self, host: &str, number: u8, policy: Policy, address: IpAddr) {
        let node = self.node(&policy, number, 0, &[], address);
        self.hosts.insert(host.to_owned(), Machine::new(node, policy, number, address));
        self.start(host);
    }

    fn node(&self, policy: &Policy, number: u8, starts: u16, journal: &[Record], address: IpAddr) -> Node {
        let mut seed = [number; 32];
        seed[8..10].copy_from_slice(&starts.to_be_bytes());
        seed[2] = self.setup.seed;
        if let IpAddr::V4(address) = address {
            seed[3..7].copy_from_slice(&address.octets());
        }
        Node::new(policy, files(number), self.network.clone(), seed, journal, self.now).unwrap()
    }

    /// What the shell does at a start: the kernel gets what the node wants.
    fn start(&mut self, host: &str) -> Vec<Op> {
        let now = self.now;
        let machine = self.machine(host);
        let wanted = machine.node.desired().unwrap().state;
        let ops = ippriv::plan::changes(&wanted, &machine.kernel).ops;
        machine.execute(&ops);
        machine.outputs = 0;
        machine.node.started(now);
        self.drain(host);
        ops
    }

    pub(crate) fn machine(&mut self, host: &str) -> &mut Machine {
        self.hosts.get_mut(host).unwrap()
    }

    pub(crate) fn client(&mut self) -> &mut Machine {
        self.machine("client")
    }

    /// The daemon of a host is killed; its kernel goes on.
    pub(crate) fn kill(&mut self, host: &str) {
        let machine = self.machine(host);
        machine.alive = false;
        machine.sockets.clear();
    }

    /// The daemon of a host is started again, and finds its journal. Gives what changes in the kernel.
    pub(crate) fn restart(&mut self, host: &str) -> Vec<Op> {
        let machine = self.machine(host);
        machine.starts = machine.starts.wrapping_add(1);
        machine.sockets.clear();
        let record = |(key, value): (&String, &Vec<u8>)| Record {
            key: key.clone(),
            value: Some(value.clone().into()),
        };
        let journal: Vec<Record> = machine.journal.iter().map(record).collect();
        let (policy, number, starts) = (machine.policy.clone(), machine.number, machine.starts);
        let address = machine.address;
        let node = self.node(&policy, number, starts, &journal, address);
        let machine = self.machine(host);
        machine.node = node;
        machine.alive = true;
        self.start(host)
    }

    /// A host starts again after a reboot: its kernel and its journal are empty.
    pub(crate) fn reboot(&mut self, host: &str) {
        self.kill(host);
        let machine = self.machine(host);
        machine.journal.clear();
        machine.kernel = State::default();
        self.restart(host);
    }

    /// Reads policy and network again: the policy that `change` makes of this setup.
    pub(crate) fn reload(
        &mut self,
        host: &str,
        change: impl FnOnce(&mut Setup),
    ) -> Result<ippriv::control::Reloaded, String> {
        let mut setup = self.setup.clone();
        change(&mut setup);
        let network = setup.network(2);
        let now = self.now;
        let machine = self.machine(host);
        let policy = match machine.number {
            0 => setup.client_policy(1),
            number => setup.relay_policy(number),
        };
        let old = machine.policy.clone();
        let result = machine.node.reload(now, &old, &policy, files(machine.number), network);
        if result.is_ok() {
            machine.policy = policy;
        }
        self.drain(host);
        result.map_err(|error| error.to_string())
    }

    /// Sends a command.
    pub(crate) fn command(&mut self, host: &str, id: u64, command: Command) {
        self.input(host, Input::Command(CommandId(id), command));
    }

    /// Sends a command that is answered at once.
    pub(crate) fn ask(&mut self, host: &str, command: Command) -> Reply {
        self.machine(host).replies.clear();
        self.command(host, 999, command);
        let replies = &mut self.machine(host).replies;
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.pop().unwrap().1
    }

    pub(crate) fn circuits(&mut self, host: &str) -> Vec<CircuitView> {
        match self.ask(host, Command::CircuitList) {
            Reply::Circuits(circuits) => circuits,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the first circuit of the client is open.
    pub(crate) fn is_open(&mut self) -> bool {
        self.circuits("client").first().is_some_and(|circuit| circuit.state == CircuitState::Open)
    }

    /// Lets time pass until the first circuit of the client is open.
    pub(crate) fn run_until_open(&mut self, most: Duration) {
        let end = self.now + most;
        while !self.is_open() {
            assert!(self.now < end, "{:#?}", self.client().events);
            self.run(Duration::from_millis(100));
        }
    }

    pub(crate) fn input(&mut self, host: &str, input: Input<'_>) {
        let now = self.now;
        self.machine(host).node.handle_input(now, input);
        self.drain(host);
    }

    /// Ends everything on a host in order.
    pub(crate) fn flush(&mut self, host: &str) {
        let now = self.now;
        self.machine(host).node.flush(now);
        self.drain(host);
    }

    /// From now on a packet goes both ways through the circuits of a client, every so often.
    pub(crate) fn probe_every(&mut self, client: &str, interval: Duration) {
        self.probes = Some((client.to_owned(), self.now, interval));
    }

    /// Carries out what a node wants.
    fn drain(&mut self, host: &str) {
        let now = self.now;
        loop {
            let dies = self.dies.as_ref().filter(|(name, _)| name == host).map(|(_, number)| *number);
            let machine = self.machine(host);
            let Some(output) = machine.node.poll_output() else { return };
            machine.outputs += 1;
            if dies == Some(machine.outputs) {
                self.dies = None;
                return self.kill(host);
            }
            match output {
                Output::Open(id, binding) => {
                    if machine.has(&binding) {
                        machine.sockets.insert(id, binding);
                    } else {
                        machine.node.handle_input(now, Input::NotOpened { socket: id, errno: 99 });
                    }
                }
                Output::Close(id) => drop(machine.sockets.remove(&id)),
                Output::Transmit { socket, remote, octets } => {
                    if let Some(binding) = machine.sockets.get(&socket).cloned() {
                        self.transmit(host, &binding, remote, octets);
                    }
                }
                Output::Kernel { id, ops } => {
                    let outcomes = machine.execute(&ops);
                    machine.node.handle_input(now, Input::Kernel { id, outcomes });
                }
                Output::Journal(Record { key, value: Some(value) }) => {
                    machine.journal.insert(key, value.to_vec());
                }
                Output::Journal(Record { key, value: None }) => drop(machine.journal.remove(&key)),
                Output::Event(event) => machine.events.push(event),
                Output::Reply(id, reply) => machine.replies.push((id, reply)),
                Output::Lend { id, circuit, link, process } => {
                    let result = machine.lend(link, process);
                    machine.node.handle_input(now, Input::Lent { id, circuit, result });
                }
                Output::Count(sas) => {
                    let counts = machine.count(&sas);
                    machine.node.handle_input(now, Input::Counted(counts));
                }
                Output::Watch(process) => drop(machine.watched.insert(process)),
                Output::KeyLog(_) => {}
            }
            if self.watched {
                assert!(self.hosts[host].node.desired().is_ok(), "{host}");
                self.hosts[host].assert_closed();
            }
        }
    }

    fn transmit(&mut self, host: &str, binding: &Binding, remote: SocketAddr, octets: Vec<u8>) {
        let way = match &binding.link {
            Some(link) => self.outward(host, link, binding.address, remote.ip(), Some(17)),
            None if self.owner(remote.ip()).is_some() => self.inward(host, remote.ip()),
            None => Ok(Vec::new()),
        };
        let from = SocketAddr::new(binding.address, binding.port);
        let seen = Seen { from, to: remote, link: binding.link.clone(), octets };
        self.seen.push(seen.clone());
        // the kernel drops what it has no way for
        let Ok(way) = way else { return };
        let Links { loss, twice, jitter, each } = self.links;
        let links = 2 * way.iter().map(|need| &need.host).collect::<BTreeSet<_>>().len().max(1);
        let copies = 1 + u8::from(self.entropy.below(100) < twice);
        for _ in 0..copies {
            let lost = self.entropy.below(100) < loss
                || each > 0 && (0..links).any(|_| self.entropy.below(100) < each);
            if lost {
                continue;
            }
            let later = Duration::from_millis(self.entropy.below(jitter + 1));
            self.fly(DELAY + later, Flying::Ike(seen.clone(), way.clone()));
        }
    }

    fn fly(&mut self, delay: Duration, flying: Flying) {
        self.count += 1;
        self.flying.insert((self.now + delay, self.count), flying);
    }

    /// Lets time pass, and everything happen that happens meanwhile.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let alive = self.hosts.values().filter(|machine| machine.alive);
            let timer = alive.filter_map(|machine| machine.node.poll_timeout()).min();
            let probe = self.probes.as_ref().map(|(_, at, _)| *at);
            let next = [arrival, timer, probe].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                if let Some((_, flying)) = self.flying.pop_first() {
                    self.deliver(flying);
                }
            } else if probe == Some(next) {
                self.send_probes();
            } else {
                self.timers();
            }
        }
    }

    fn send_probes(&mut self) {
        let Some((client, at, interval)) = self.probes.clone() else { return };
        self.probes = Some((client.clone(), at + interval, interval));
        for sent in self.probe(&client) {
            match sent {
                Ok(way) => self.fly(DELAY, Flying::Data(way)),
                Err(why) => self.lost.push(why),
            }
        }
    }

    fn timers(&mut self) {
        let now = self.now;
        let due =
            |machine: &Machine| machine.alive && machine.node.poll_timeout().is_some_and(|at| at <= now);
        let due: Vec<String> =
            self.hosts.iter().filter(|(_, machine)| due(machine)).map(|(name, _)| name.clone()).collect();
        for host in due {
            self.machine(&host).node.handle_timeout(now);
            self.drain(&host);
        }
    }

    fn deliver(&mut self, flying: Flying) {
        let (Seen { mut from, mut to, octets, .. }, way) = match flying {
            Flying::Ike(seen, way) => (seen, way),
            Flying::Data(way) => {
                match self.unreadable(&way) {
                    None => {
                        self.arrived += 1;
                        self.count(&way);
                        self.heard_through(&way);
                    }
                    Some(why) => self.lost.push(format!("{:?}: {why}", self.now)),
                }
                return;
            }
        };
        if self.unreadable(&way).is_some() {
            return;
        }
        self.count(&way);
        (from, to) = self.translate(from, to);
        let bound = |binding: &Binding| binding.address == to.ip() && binding.port == to.port();
        let receiver = self.hosts.iter().find_map(|(name, machine)| {
            let socket = machine.sockets.iter().find(|(_, binding)| bound(binding))?;
            Some((name.clone(), *socket.0))
        });
        if let Some((host, socket)) = receiver {
            self.input(&host, Input::Datagram { socket, remote: from, octets: &octets });
        }
    }

    /// Panics unless every kernel holds exactly what its node says it has to, and both ends of every SA agree.
    pub(crate) fn assert_consistent(&self) {
        let wrong = self.inconsistency();
        assert!(wrong.is_none(), "{wrong:#?}");
    }

    /// Lets time pass until nothing is under way, with up to two minutes for it.
    pub(crate) fn settle(&mut self) {
        for _ in 0..12 {
            if self.inconsistency().is_none() {
                return;
            }
            self.run(Duration::from_secs(10));
        }
        self.assert_consistent();
    }

    fn inconsistency(&self) -> Option<String> {
        let mut ends: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, machine) in &self.hosts {
            let wanted = machine.node.desired().unwrap().state;
            let missing = ippriv::plan::changes(&wanted, &machine.kernel).ops;
            if !missing.is_empty() {
                return Some(format!(
                    "{name}: {:#?}",
                    missing.iter().map(ToString::to_string).collect::<Vec<_>>()
                ));
            }
            for sa in machine.kernel.sas.values() {
                ends.entry(sa.id.spi).or_default().push((name, sa));
            }
        }
        ends.into_iter().find_map(|(id, ends)| {
            let agree = match &ends[..] {
                [(_, one), (_, other)] => {
                    one.key == other.key
                        && one.direction.direction() != other.direction.direction()
                        && (one.suite, one.sequence) == (other.suite, other.sequence)
                }
                _ => false,
            };
            let names: Vec<_> = ends.iter().map(|(name, _)| name).collect();
            (!agree).then(|| format!("{id}: {names:?}"))
        })
    }

    /// How many SAs a host has.
    pub(crate) fn sas(&self, host: &str) -> usize {
        self.hosts[host].kernel.sas.len()
    }

    /// The reasons for which circuits of the client failed, with the hop at fault.
    pub(crate) fn failures(&self) -> Vec<(Option<u8>, String)> {
        let failed = |event: &Event| match event {
            Event::CircuitFailed { hop, reason, .. } => Some((*hop, reason.clone())),
            _ => None,
        };
        self.hosts["client"].events.iter().filter_map(failed).collect()
    }
}

fn files(number: u8) -> Files {
    let identity = (number > 0).then(|| key(number).into_signing_key());
    Files { identity, ..Files::default() }
}
