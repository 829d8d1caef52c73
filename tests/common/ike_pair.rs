//! Two hosts with an [`Endpoint`] each, a link between them that loses, doubles, delays and bends, and a
//! stand-in for their kernels. Time is virtual and everything follows from a seed.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ippriv::entropy::{Entropy, Seeded};
use ippriv::ike::crypto::{PublicKey, SigningKey};
use ippriv::ike::proposal::{EspOffer, IkeOffer};
use ippriv::ike::wire::{Id, TrafficSelector};
use ippriv::ike::{
    AddressRequest, Addresses, Anonymous, ChildAnswer, ChildId, ChildKeys, ChildRefusal, Connect,
    Credentials, Encapsulate, Endpoint, Event, Family, HalfOpen, Lifetimes, Outbound, Output, OwnAuth, Path,
    PeerTable, Proposals, Retransmission, SaHandle, Settings, SocketId,
};
use ippriv::secret::KeyMaterial;
use ippriv::time::Instant;

pub(crate) const CLIENT: usize = 0;
pub(crate) const RELAY: usize = 1;

/// What a link does to datagrams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// Lost of a thousand.
    pub(crate) loss: u64,
    /// Doubled of a thousand.
    pub(crate) double: u64,
    /// The shortest and the longest delay, in milliseconds; what lies between reorders.
    pub(crate) delay: (u64, u64),
    /// Longer datagrams vanish.
    pub(crate) mtu: usize,
    /// The port that a NAT gives the client.
    pub(crate) nat: Option<u16>,
}

impl Default for Link {
    fn default() -> Self {
        Self { loss: 0, double: 0, delay: (10, 10), mtu: 65_535, nat: None }
    }
}

/// A child SA in the kernel of a host.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    pub(crate) keys: ChildKeys,
    /// Whether the outbound SA may be used.
    pub(crate) usable: bool,
}

/// One end.
pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) kernel: BTreeMap<(SaHandle, ChildId), Installed>,
    /// What it sends through, per connection.
    pub(crate) active: BTreeMap<SaHandle, ChildId>,
    pub(crate) events: Vec<(SaHandle, Event)>,
    /// What it answers when its kernel is asked.
    pub(crate) install: Result<(), ChildRefusal>,
    pub(crate) answer: Result<ChildAnswer, ChildRefusal>,
    /// How long its kernel takes, in milliseconds; at once when `None`.
    pub(crate) slow: Option<u64>,
    /// Journal: the last snapshot as text.
    pub(crate) journal: BTreeMap<SaHandle, String>,
    pub(crate) sent: u64,
}

#[derive(Debug, Clone)]
enum Parcel {
    Ike { to: usize, local: SocketAddr, from: SocketAddr, octets: Vec<u8> },
    Esp { to: usize, spi: u32 },
    Answer { host: usize, handle: SaHandle },
    Install { host: usize, handle: SaHandle, keys: Box<ChildKeys> },
}

/// The two of them.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) hosts: [Host; 2],
    pub(crate) link: Link,
    under_way: BTreeMap<(Instant, u64), Parcel>,
    sequence: u64,
    pub(crate) rng: Seeded,
    pub(crate) trace: Vec<String>,
    /// Sends data in both directions every so many milliseconds.
    pub(crate) traffic: Option<u64>,
    pub(crate) delivered: u64,
    pub(crate) data_lost: u64,
    next_data: Instant,
    /// Decides about each IKE datagram before the link does.
    pub(crate) filter: Option<Filter>,
}

/// Sees the sender, how many datagrams it has sent, and the datagram.
pub(crate) type Filter = Box<dyn FnMut(usize, u64, &mut Vec<u8>) -> Verdict>;

/// What a filter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Drop,
    /// Arrives so many milliseconds later.
    Delay(u64),
}

pub(crate) fn signing_key(octet: u8) -> SigningKey {
    SigningKey::from_seed(&[octet; 32]).unwrap()
}

pub(crate) fn relay_id() -> Id {
    Id::fqdn("relay-a.example")
}

pub(crate) fn relay_key() -> PublicKey {
    signing_key(7).public()
}

pub(crate) fn published() -> KeyMaterial {
    KeyMaterial::new(b"everyone knows this secret, it is published".to_vec())
}

/// Settings without IKE_INTERMEDIATE, which has tests of its own.
pub(crate) fn settings() -> Settings {
    let classic = IkeOffer::default().without_additional();
    Settings {
        proposals: Proposals { ike: IkeOffer(classic.0), esp: EspOffer::default() },
        lifetimes: Lifetimes { probe: None, ..Lifetimes::default() },
        connecting: Retransmission::CONNECTING,
        established: Retransmission::ESTABLISHED,
        half_open: HalfOpen::default(),
        credentials: Some(Arc::new(Credentials { identity: relay_id(), key: signing_key(7) })),
        peers: PeerTable {
            anonymous: Anonymous { null: true, published_secret: Some(published()) },
            ..PeerTable::default()
        },
        datagram: 1200,
    }
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Host {
    fn new(settings: Settings, seed: [u8; 32], address: SocketAddr) -> Self {
        let given: IpAddr = "10.64.0.7".parse().unwrap();
        let answer = ChildAnswer {
            given: Addresses { addresses: vec![given], dns: vec!["10.64.0.1".parse().unwrap()] },
            remote: vec![TrafficSelector::host(given)],
            local: vec![TrafficSelector::any_v4()],
        };
        Self {
            endpoint: Endpoint::new(settings, Seeded::new(seed)),
            address,
            kernel: BTreeMap::new(),
            active: BTreeMap::new(),
            events: Vec::new(),
            install: Ok(()),
            answer: Ok(answer),
            slow: None,
            journal: BTreeMap::new(),
            sent: 0,
        }
    }
}

impl Pair {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, settings(), settings())
    }

    pub(crate) fn with(seed: u64, mut client: Settings, relay: Settings) -> Self {
        client.credentials = None;
        let mut rng = Seeded::new([0x5a; 32]);
        for _ in 0..=seed % 16 {
            rng.u64();
        }
        let mut octets = [0; 32];
        octets[..8].copy_from_slice(&seed.to_be_bytes());
        let mut seeds = Seeded::new(octets);
        let mut fresh = || {
            let mut seed = [0; 32];
            seeds.public_fill(&mut seed);
            seed
        };
        let hosts = [
            Host::new(client, fresh(), "192.0.2.1:500".parse().unwrap()),
            Host::new(relay, fresh(), "198.51.100.1:500".parse().unwrap()),
        ];
        Self {
            now: Instant::from_epoch(Duration::from_secs(1000)),
            hosts,
            link: Link::default(),
            under_way: BTreeMap::new(),
            sequence: 0,
            rng: Seeded::new(fresh()),
            trace: Vec::new(),
            traffic: None,
            delivered: 0,
            data_lost: 0,
            next_data: Instant::ZERO,
            filter: None,
        }
    }

    pub(crate) fn path(&self, host: usize) -> Path {
        Path { socket: SocketId(0), local: self.hosts[host].address, remote: self.hosts[1 - host].address }
    }

    /// What a client asks for.
    pub(crate) fn wish(&self, own: OwnAuth) -> Connect {
        let path = self.path(CLIENT);
        let port = |mut address: SocketAddr| {
            address.set_port(4500);
            address
        };
        let float = Path { socket: SocketId(1), local: port(path.local), remote: port(path.remote) };
        Connect {
            path,
            float: Some(float),
            encapsulate: Encapsulate::BehindNat,
            peer: relay_id(),
            peer_key: relay_key(),
            own,
            request: Some(AddressRequest { family: Some(Family::V4) }),
            local: vec![TrafficSelector::any_v4()],
            remote: vec![TrafficSelector::any_v4()],
            datagram: None,
        }
    }

    pub(crate) fn connect(&mut self, own: OwnAuth) -> SaHandle {
        let wish = self.wish(own);
        let handle = self.hosts[CLIENT].endpoint.connect(self.now, wish);
        self.drain();
        handle
    }

    /// A connection that stands, and its handles at both ends.
    pub(crate) fn connected(&mut self) -> (SaHandle, SaHandle) {
        let ours = self.connect(OwnAuth::Null);
        self.run(Duration::from_millis(500));
        self.assert_agreement(1);
        // Only with the next request does the relay know that its response has come.
        self.at(CLIENT, |endpoint, now| endpoint.probe(now, ours));
        self.run(Duration::from_millis(100));
        let theirs = *self.hosts[RELAY].active.keys().last().expect("the relay has it");
        (ours, theirs)
    }

    /// Does something at a host, and what follows from it at once.
    pub(crate) fn at<T>(&mut self, host: usize, act: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let result = act(&mut self.hosts[host].endpoint, self.now);
        self.drain();
        result
    }

    /// A host's process ends and another one starts from the journal. The kernel goes on meanwhile.
    pub(crate) fn restart(&mut self, at: usize) {
        let mut seed = [0; 32];
        self.rng.public_fill(&mut seed);
        let host = &mut self.hosts[at];
        let settings = host.endpoint.settings().clone();
        host.endpoint = Endpoint::new(settings, Seeded::new(seed));
        let journal = std::mem::take(&mut host.journal);
        let active = std::mem::take(&mut host.active);
        let mut kernel = std::mem::take(&mut host.kernel);
        self.under_way.retain(|_, parcel| match parcel {
            Parcel::Answer { host, .. } | Parcel::Install { host, .. } => *host != at,
            Parcel::Ike { .. } | Parcel::Esp { .. } => true,
        });
        for (old, text) in journal {
            let host = &mut self.hosts[at];
            let saved = serde_json::from_str(&text).expect("the journal holds what was written");
            let Ok(new) = host.endpoint.restore(self.now, saved) else { continue };
            for keys in host.endpoint.children(new) {
                let child = keys.child;
                let usable = kernel.remove(&(old, child)).is_none_or(|known| known.usable);
                host.kernel.insert((new, child), Installed { keys, usable });
            }
            host.active.extend(active.get(&old).map(|child| (new, *child)));
        }
        self.drain();
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Until nothing is under way and nothing is due within a minute, or `time` is over.
    fn step(&mut self, end: Instant) -> bool {
        let parcel = self.under_way.first_key_value().map(|((at, _), _)| *at);
        let timers = self.hosts.iter().filter_map(|host| host.endpoint.poll_timeout()).min();
        let data = self.traffic.map(|_| self.next_data.max(self.now));
        let Some(at) = [parcel, timers, data].into_iter().flatten().min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(at);
        if data.is_some_and(|data| data <= self.now) {
            self.send_data();
        }
        while let Some(entry) = self.under_way.first_entry()
            && entry.key().0 <= self.now
        {
            let parcel = entry.remove();
            self.arrive(parcel);
            self.drain();
        }
        for host in 0..2 {
            self.hosts[host].endpoint.handle_timeout(self.now);
        }
        self.drain();
        true
    }

    fn arrive(&mut self, parcel: Parcel) {
        let now = self.now;
        match parcel {
            Parcel::Ike { to, local, from, octets } => {
                let mut local = local;
                if to == CLIENT {
                    // The NAT knows where it belongs.
                    local.set_ip(self.hosts[CLIENT].address.ip());
                    if self.link.nat.is_some() {
                        local.set_port(from.port());
                    }
                }
                let path = Path { socket: SocketId(0), local, remote: from };
                self.hosts[to].endpoint.handle_datagram(now, path, &octets);
            }
            Parcel::Esp { to, spi } => {
                let known =
                    self.hosts[to].kernel.values().any(|child| child.keys.inbound_keys.spi.get() == spi);
                if known { self.delivered += 1 } else { self.data_lost += 1 }
            }
            Parcel::Answer { host, handle } => {
                let answer = self.hosts[host].answer.clone();
                self.hosts[host].endpoint.answer_child(now, handle, answer);
            }
            Parcel::Install { host, handle, keys } => self.install(host, handle, *keys),
        }
    }

    fn install(&mut self, at: usize, handle: SaHandle, keys: ChildKeys) {
        let host = &mut self.hosts[at];
        let child = keys.child;
        if host.install.is_ok() {
            let usable = keys.outbound == Outbound::Now;
            let installed = Installed { keys, usable };
            assert!(host.kernel.insert((handle, child), installed).is_none(), "installed twice");
            if usable {
                host.active.insert(handle, child);
            }
        }
        host.endpoint.child_installed(self.now, handle, child, host.install);
    }

    fn send_data(&mut self) {
        let Some(every) = self.traffic else { return };
        self.next_data = self.now + Duration::from_millis(every);
        for host in 0..2 {
            let spis: Vec<u32> = self.hosts[host]
                .active
                .iter()
                .filter_map(|(handle, child)| self.hosts[host].kernel.get(&(*handle, *child)))
                .map(|child| child.keys.outbound_keys.spi.get())
                .collect();
            for spi in spis {
                self.post(self.link.delay.0, Parcel::Esp { to: 1 - host, spi });
            }
        }
    }

    fn post(&mut self, delay: u64, parcel: Parcel) {
        self.sequence += 1;
        self.under_way.insert((self.now + Duration::from_millis(delay), self.sequence), parcel);
    }

    /// Follows every output of both hosts.
    pub(crate) fn drain(&mut self) {
        loop {
            let mut quiet = true;
            for host in 0..2 {
                while let Some(output) = self.hosts[host].endpoint.poll_output() {
                    quiet = false;
                    self.follow(host, output);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn follow(&mut self, host: usize, output: Output) {
        match output {
            Output::Transmit { path, datagram } => self.transmit(host, path, datagram),
            Output::Changed(handle) => {
                let endpoint = &self.hosts[host].endpoint;
                let text = endpoint.snapshot(handle).map(|saved| serde_json::to_string(&saved).unwrap());
                self.hosts[host].journal.extend(text.map(|text| (handle, text)));
            }
            Output::Event(handle, event) => {
                self.trace.push(format!("{:?} {host} {handle} {event:?}", self.now));
                self.react(host, handle, &event);
                self.hosts[host].events.push((handle, event));
            }
        }
    }

    fn react(&mut self, at: usize, handle: SaHandle, event: &Event) {
        let slow = self.hosts[at].slow;
        let host = &mut self.hosts[at];
        match event {
            Event::ChildWanted(_) => self.post(slow.unwrap_or(0), Parcel::Answer { host: at, handle }),
            Event::ChildKeys(keys) => {
                let keys = keys.clone();
                self.post(slow.unwrap_or(0), Parcel::Install { host: at, handle, keys });
            }
            Event::ChildUse(child) => {
                let installed = host.kernel.get_mut(&(handle, *child)).expect("use of what is installed");
                installed.usable = true;
                host.active.insert(handle, *child);
            }
            Event::ChildGone(child) => {
                // It may be gone before it was installed.
                self.under_way.retain(|_, parcel| {
                    !matches!(parcel, Parcel::Install { host, handle: sa, keys }
                        if (*host, *sa, keys.child) == (at, handle, *child))
                });
                host.kernel.remove(&(handle, *child));
                if host.active.get(&handle) == Some(child) {
                    host.active.remove(&handle);
                    let other = host
                        .kernel
                        .iter()
                        .rfind(|((sa, _), child)| *sa == handle && child.usable)
                        .map(|(key, _)| key.1);
                    host.active.extend(other.map(|child| (handle, child)));
                }
            }
            Event::Closed(_) => {
                assert!(!host.kernel.keys().any(|(sa, _)| *sa == handle), "children outlive {handle}");
                host.journal.remove(&handle);
            }
            Event::Established(_) | Event::PathChanged(_) | Event::ChildFailed(..) | Event::Refused(..) => {}
        }
    }

    fn transmit(&mut self, from: usize, path: Path, mut octets: Vec<u8>) {
        self.hosts[from].sent += 1;
        let nth = self.hosts[from].sent;
        let length = octets.len();
        self.trace.push(format!("{:?} {from} {} > {}: {length}", self.now, path.local, path.remote));
        let verdict = match &mut self.filter {
            Some(filter) => filter(from, nth, &mut octets),
            None => Verdict::Pass,
        };
        let (low, high) = self.link.delay;
        let lost = self.rng.below(1000) < self.link.loss || length > self.link.mtu;
        let copies = if self.rng.below(1000) < self.link.double { 2 } else { 1 };
        for _ in 0..copies {
            let delay = low + self.rng.below(high - low + 1);
            let extra = match verdict {
                Verdict::Pass => 0,
                Verdict::Drop => continue,
                Verdict::Delay(by) => by,
            };
            if lost {
                continue;
            }
            let mut source = path.local;
            if let (Some(port), true) = (self.link.nat, from == CLIENT) {
                source = SocketAddr::new("203.0.113.9".parse().unwrap(), port);
            }
            let parcel =
                Parcel::Ike { to: 1 - from, local: path.remote, from: source, octets: octets.clone() };
            self.post(delay + extra, parcel);
        }
    }

    /// Both kernels hold the same child SAs with the same keys, and there are `count`.
    pub(crate) fn assert_agreement(&self, count: usize) {
        type Side = (u32, Vec<u8>);
        let mirror = |host: usize| {
            let mut sides: Vec<(Side, Side, String)> = self.hosts[host]
                .kernel
                .values()
                .map(|Installed { keys, .. }| {
                    let side =
                        |keys: &ippriv::ike::DirectionKeys| (keys.spi.get(), keys.key.expose().to_vec());
                    let (inbound, outbound) = (side(&keys.inbound_keys), side(&keys.outbound_keys));
                    let (ours, theirs) = (format!("{:?}", keys.local), format!("{:?}", keys.remote));
                    let rest = format!("{:?} {:?}", keys.suite, keys.sequence_numbers);
                    match host {
                        CLIENT => (inbound, outbound, format!("{ours} {theirs} {rest}")),
                        _ => (outbound, inbound, format!("{theirs} {ours} {rest}")),
                    }
                })
                .collect();
            sides.sort();
            sides
        };
        assert_eq!(mirror(CLIENT), mirror(RELAY));
        assert_eq!(self.hosts[CLIENT].kernel.len(), count, "child SAs");
    }

    /// Why connections of a host ended.
    pub(crate) fn closed(&self, host: usize) -> Vec<String> {
        let reasons = self.hosts[host].events.iter().filter_map(|(_, event)| match event {
            Event::Closed(reason) => Some(reason.to_string()),
            _ => None,
        });
        reasons.collect()
    }

    /// The one child of a connection.
    pub(crate) fn child(&self, host: usize, handle: SaHandle) -> ChildId {
        self.hosts[host].active[&handle]
    }

    pub(crate) fn count(&self, host: usize, wanted: impl Fn(&Event) -> bool) -> usize {
        self.hosts[host].events.iter().filter(|(_, event)| wanted(event)).count()
    }
}
