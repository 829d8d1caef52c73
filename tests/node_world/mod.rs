//! Hosts with nodes, a network between them, and a kernel each that only keeps books.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ippriv::control::{Command, Event, Reply};
use ippriv::ike::SocketId;
use ippriv::network::{Network, PrivateKey, Trust};
use ippriv::node::{Binding, CommandId, Files, Input, Node, Output, Record};
use ippriv::plan::{Object, Op, OpError, Outcome};
use ippriv::policy::Policy;
use ippriv::state::State;
use ippriv::time::Instant;

/// Time for a datagram from one host to another.
pub(crate) const DELAY: Duration = Duration::from_millis(10);
/// The client's address.
pub(crate) const CLIENT: &str = "198.18.0.2";

/// A host.
pub(crate) struct Machine {
    pub(crate) node: Node,
    pub(crate) kernel: State,
    pub(crate) sockets: BTreeMap<SocketId, Binding>,
    pub(crate) journal: BTreeMap<String, Vec<u8>>,
    pub(crate) events: Vec<Event>,
    pub(crate) replies: Vec<(CommandId, Reply)>,
    /// Operations whose description has this in it fail.
    pub(crate) refuses: Option<&'static str>,
    policy: Policy,
    number: u8,
    /// Counts starts, so that no two use the same randomness.
    starts: u8,
    pub(crate) alive: bool,
}

/// A datagram on its way.
struct Flying {
    at: Instant,
    from: SocketAddr,
    to: SocketAddr,
    octets: Vec<u8>,
}

/// A datagram as somebody between two hosts sees it.
pub(crate) struct Seen {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) octets: Vec<u8>,
}

/// All hosts and what is on its way between them.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) hosts: BTreeMap<String, Machine>,
    pub(crate) seen: Vec<Seen>,
    /// Which datagrams are lost, by their number.
    pub(crate) loses: Box<dyn FnMut(u64) -> bool>,
    flying: VecDeque<Flying>,
    network: Network,
    count: u64,
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_seed([number; 32].into()).unwrap()
}

/// The name of a relay.
pub(crate) fn name(number: u8) -> String {
    format!("relay-{}", char::from(b'a' + number - 1))
}

/// A network of relays `relay-a`, `relay-b`, … at 198.18.N.2 with pools 10.(64+N).0.0/16.
pub(crate) fn network(relays: u8) -> Network {
    let operator = key(99);
    let mut text = format!(
        "network: test\nserial: 1\nvalid_from: 2026-01-01T00:00:00Z\nvalid_until: 2027-01-01T00:00:00Z\n\
         operators:\n  op: {}\nthreshold: 1\nrelays:\n",
        operator.public()
    );
    for number in 1..=relays {
        text += &format!(
            "  - name: {}\n    address: 198.18.{number}.2\n    identity: {}\n    pool: 10.{}.0.0/16\n    \
             roles: [entry, middle, exit]\n    exit: {{}}\n",
            name(number),
            key(number).public(),
            64 + number
        );
    }
    let document = Network::parse(&text).unwrap().document().clone();
    let signature = operator.sign(&document, "op".parse().unwrap());
    let text = ippriv::network::edit::add_signature(&text, &signature).unwrap();
    let trust = Trust::new([("op".parse().unwrap(), operator.public())].into(), 1).unwrap();
    let now = "2026-06-01T00:00:00Z".parse().unwrap();
    Network::parse(&text).unwrap().verify(&trust, now, None).unwrap()
}

/// The beginning of every policy.
fn policy(roles: &str) -> Policy {
    let head =
        format!("network: net.yaml\ntrust:\n  operators: {{ op: {} }}\n  threshold: 1\n", key(99).public());
    Policy::parse(&(head + roles)).unwrap()
}

impl World {
    /// Relays that serve, and a client with these circuits: lines of YAML below `circuits:`.
    pub(crate) fn new(relays: u8, circuits: &str) -> Self {
        let mut world = Self {
            now: Instant::ZERO + Duration::from_secs(1000),
            hosts: BTreeMap::new(),
            seen: Vec::new(),
            loses: Box::new(|_| false),
            flying: VecDeque::new(),
            network: network(relays),
            count: 0,
        };
        for number in 1..=relays {
            let roles = format!("relay:\n  name: {}\n  identity: id\n  exit: {{}}\n", name(number));
            world.add(&name(number), number, policy(&roles));
        }
        let roles = format!("client:\n  address: {CLIENT}\n  kill_switch: true\n  circuits:\n{circuits}");
        world.add("client", 0, policy(&roles));
        world
    }

    fn add(&mut self, host: &str, number: u8, policy: Policy) {
        let node = self.node(&policy, number, 0, Vec::new());
        let machine = Machine {
            node,
            kernel: State::default(),
            sockets: BTreeMap::new(),
            journal: BTreeMap::new(),
            events: Vec::new(),
            replies: Vec::new(),
            refuses: None,
            policy,
            number,
            starts: 0,
            alive: true,
        };
        self.hosts.insert(host.to_owned(), machine);
        self.start(host);
    }

    fn node(&self, policy: &Policy, number: u8, starts: u8, journal: Vec<Record>) -> Node {
        let identity = (number > 0).then(|| key(number).into_signing_key());
        let files = Files { identity, ..Files::default() };
        let mut seed = [number; 32];
        seed[1] = starts;
        Node::new(policy, files, self.network.clone(), seed, &journal, self.now).unwrap()
    }

    /// What the shell does at a start: the kernel gets what the node wants.
    fn start(&mut self, host: &str) {
        let now = self.now;
        let machine = self.hosts.get_mut(host).unwrap();
        machine.kernel = machine.node.desired().unwrap().state;
        machine.node.started(now);
        self.drain(host);
    }

    /// The daemon of a host is killed; its kernel goes on.
    pub(crate) fn kill(&mut self, host: &str) {
        let machine = self.hosts.get_mut(host).unwrap();
        machine.alive = false;
        machine.sockets.clear();
    }

    /// The daemon of a host is started again, and finds its journal. Gives what the kernel held before and
    /// what it is to hold.
    pub(crate) fn restart(&mut self, host: &str) -> (State, State) {
        let machine = self.hosts.get_mut(host).unwrap();
        machine.starts += 1;
        let record = |(key, value): (&String, &Vec<u8>)| Record {
            key: key.clone(),
            value: Some(value.clone().into()),
        };
        let journal = machine.journal.iter().map(record).collect();
        let (policy, number, starts) = (machine.policy.clone(), machine.number, machine.starts);
        let node = self.node(&policy, number, starts, journal);
        let machine = self.hosts.get_mut(host).unwrap();
        let before = machine.kernel.clone();
        machine.node = node;
        machine.alive = true;
        self.start(host);
        (before, self.hosts[host].node.desired().unwrap().state)
    }

    /// Sends a command.
    pub(crate) fn command(&mut self, host: &str, id: u64, command: Command) {
        self.input(host, Input::Command(CommandId(id), command));
    }

    pub(crate) fn input(&mut self, host: &str, input: Input<'_>) {
        let now = self.now;
        self.hosts.get_mut(host).unwrap().node.handle_input(now, input);
        self.drain(host);
    }

    /// Carries out what a node wants.
    pub(crate) fn drain(&mut self, host: &str) {
        let now = self.now;
        let machine = self.hosts.get_mut(host).unwrap();
        while let Some(output) = machine.node.poll_output() {
            match output {
                Output::KeyLog(_) => {}
                Output::Open(id, binding) => {
                    assert!(machine.has(&binding), "{host}: no {binding:?}");
                    machine.sockets.insert(id, binding);
                }
                Output::Close(id) => drop(machine.sockets.remove(&id)),
                Output::Transmit { socket, remote, octets } => {
                    let Some(binding) = machine.sockets.get(&socket) else { continue };
                    let from = SocketAddr::new(binding.address, binding.port);
                    self.count += 1;
                    self.seen.push(Seen { from, to: remote, octets: octets.clone() });
                    if !(self.loses)(self.count) {
                        self.flying.push_back(Flying { at: now + DELAY, from, to: remote, octets });
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
            }
        }
    }

    /// Lets time pass, and everything happen that happens meanwhile.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.flying.front().map(|flying| flying.at);
            let alive = self.hosts.values().filter(|machine| machine.alive);
            let timer = alive.filter_map(|machine| machine.node.poll_timeout()).min();
            let Some(next) = [arrival, timer].into_iter().flatten().min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                if let Some(flying) = self.flying.pop_front() {
                    self.deliver(&flying);
                }
                continue;
            }
            let now = self.now;
            let due =
                |machine: &Machine| machine.alive && machine.node.poll_timeout().is_some_and(|at| at <= now);
            let due: Vec<String> =
                self.hosts.iter().filter(|(_, machine)| due(machine)).map(|(name, _)| name.clone()).collect();
            for host in due {
                self.hosts.get_mut(&host).unwrap().node.handle_timeout(now);
                self.drain(&host);
            }
        }
    }

    fn deliver(&mut self, flying: &Flying) {
        let bound = |binding: &Binding| binding.address == flying.to.ip() && binding.port == flying.to.port();
        let receiver = self.hosts.iter().find_map(|(name, machine)| {
            let socket = machine.sockets.iter().find(|(_, binding)| bound(binding))?;
            Some((name.clone(), *socket.0))
        });
        if let Some((host, socket)) = receiver {
            self.input(&host, Input::Datagram { socket, remote: flying.from, octets: &flying.octets });
        }
    }

    /// Whether every kernel holds exactly what its node says it has to, and both ends of every SA agree.
    pub(crate) fn assert_consistent(&self) {
        let mut ends: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, machine) in &self.hosts {
            let wanted = machine.node.desired().unwrap().state;
            let missing = ippriv::plan::changes(&wanted, &machine.kernel).ops;
            let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
            assert!(missing.is_empty(), "{name}: {missing:#?}");
            for sa in machine.kernel.sas.values() {
                ends.entry(sa.id).or_default().push((name, sa));
            }
        }
        for (id, ends) in ends {
            let [(left, one), (right, other)] = &ends[..] else {
                panic!(
                    "{id}: {} ends: {:?}",
                    ends.len(),
                    ends.iter().map(|(name, _)| name).collect::<Vec<_>>()
                )
            };
            assert_eq!(one.key, other.key, "{id} {left} {right}");
            assert_ne!(one.direction.direction(), other.direction.direction(), "{id} {left} {right}");
            assert_eq!((one.suite, one.sequence), (other.suite, other.sequence), "{id} {left} {right}");
        }
    }

    pub(crate) fn client(&mut self) -> &mut Machine {
        self.hosts.get_mut("client").unwrap()
    }
}

impl Machine {
    /// Whether a socket could be bound there.
    fn has(&self, binding: &Binding) -> bool {
        let own: IpAddr =
            if self.number == 0 { CLIENT.parse().unwrap() } else { IpAddr::from([198, 18, self.number, 2]) };
        let inner = self
            .kernel
            .addresses
            .keys()
            .any(|id| id.prefix.addr() == binding.address && Some(&id.link) == binding.link.as_ref());
        binding.address == own && binding.link.is_none() || inner
    }

    /// What a kernel does: nothing is made twice, nothing is deleted that is not there.
    fn execute(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let mut failed = false;
        ops.iter()
            .map(|op| {
                if failed {
                    return Outcome::NotTried;
                }
                if self.refuses.is_some_and(|word| op.to_string().contains(word)) {
                    failed = true;
                    return Outcome::Failed(OpError::Refused { errno: 12, text: None });
                }
                assert!(self.apply(op), "{op}");
                Outcome::Done
            })
            .collect()
    }

    fn apply(&mut self, op: &Op) -> bool {
        let state = &mut self.kernel;
        macro_rules! on {
            ($map:ident, $key:expr, $object:expr) => {
                match op {
                    Op::Create(_) => state.$map.insert($key, $object).is_none(),
                    Op::Replace { .. } => state.$map.insert($key, $object).is_some(),
                    Op::Delete(_) => state.$map.remove(&$key).is_some(),
                }
            };
        }
        match op.object().clone() {
            Object::Link(link) => on!(links, link.name.clone(), link),
            Object::Sa(sa) => on!(sas, sa.id, sa),
            Object::Policy(policy) => on!(policies, policy.id, policy),
            Object::Address(address) => on!(addresses, address.id.clone(), address),
            Object::Route(route) => on!(routes, route.id, route),
            Object::Sysctl(sysctl) => on!(sysctls, sysctl.path.clone(), sysctl),
            Object::Rule(rule) => match op {
                Op::Delete(_) => state.rules.remove(&rule),
                Op::Create(_) | Op::Replace { .. } => state.rules.insert(rule),
            },
            Object::Nft(table) => {
                state.nft = if matches!(op, Op::Delete(_)) { None } else { Some(table) };
                true
            }
        }
    }
}
