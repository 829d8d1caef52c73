//! The soak: clients rotate circuits for hours of virtual time while keys are replaced and hosts die, and after
//! each round everything has to be as it was before the first.
//!
//! A round has a busy part and a quiet one. In the busy part clients go from circuit to circuit and troubles befall
//! hosts; then all circuits are closed, and the quiet part is long enough for relays to find out about the clients
//! that said no goodbye. At its end all that could leak is counted on every host.

mod census;
mod client;
mod control;
mod death;
mod host;
mod log;
mod place;
mod report;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::UdpSocket;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::daemons::Daemons;
use crate::scenario::dice::Dice;
use crate::scenario::{Lab, Scenario};
use census::Census;
use client::{Client, Tally, Work};
use control::Control;
use death::Troubles;
pub use host::{SoakError, Soaked, in_lab, run_in_lab};
use log::Logs;
pub use report::Report;
use report::{Checkpoint, Story};

pub(crate) const ALL: &[Scenario] = &[Scenario {
    name: "ike-soak-short",
    about: "clients rotate circuits while hosts die, and nothing is left: a short form of `cargo lab soak`",
    run: |verdicts| {
        run(&Settings::short(), &mut |line| eprintln!("{line}"))?.judge(verdicts);
        Ok(())
    },
}];

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Time for overlays to be there.
const OVERLAYS: Duration = Duration::from_secs(60);
/// From the beginning of a round until the first trouble.
const CALM: Duration = Duration::from_secs(60);
/// How often, and after how long each time, a host that is not as before is counted again: an SA that was replaced
/// lives on for some seconds, and who is probed at that moment looks busy.
const RECOUNTS: u32 = 6;
const RECOUNT: Duration = Duration::from_secs(10);

/// How long, and how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Rounds, one after the other.
    pub rounds: u32,
    /// The part of a round in which something happens.
    pub busy: Duration,
    /// The rest of it: longer than relays take to notice that a client is gone, and addresses rest.
    pub quiet: Duration,
    /// Relays; the last two are exits.
    pub relays: usize,
    /// Clients.
    pub clients: usize,
    /// Mean time until a client goes over to the next circuit.
    pub rotation: Duration,
    /// What befalls hosts in a round.
    pub deaths: Deaths,
}

/// How often what happens in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deaths {
    /// Daemons of relays are killed, and start again within a minute.
    pub relay_kills: u32,
    /// The same with clients.
    pub client_kills: u32,
    /// Relays cannot be reached for up to six minutes.
    pub relay_absences: u32,
    /// The same with clients.
    pub client_absences: u32,
    /// Relays boot, in every other round.
    pub relay_reboots: u32,
    /// Clients boot.
    pub client_reboots: u32,
}

impl Settings {
    /// Rounds of an hour.
    #[must_use]
    pub fn full(hours: u32, clients: usize) -> Self {
        Self {
            rounds: hours,
            busy: Duration::from_secs(48 * 60),
            quiet: Duration::from_secs(12 * 60),
            relays: 5,
            clients,
            rotation: Duration::from_secs(10 * 60),
            deaths: Deaths {
                relay_kills: 3,
                client_kills: 4,
                relay_absences: 1,
                client_absences: 3,
                relay_reboots: 1,
                client_reboots: 2,
            },
        }
    }

    /// What fits in a test.
    #[must_use]
    pub fn short() -> Self {
        Self {
            rounds: 2,
            busy: Duration::from_secs(12 * 60),
            quiet: Duration::from_secs(12 * 60),
            relays: 4,
            clients: 5,
            rotation: Duration::from_secs(90),
            deaths: Deaths {
                relay_kills: 1,
                client_kills: 2,
                relay_absences: 1,
                client_absences: 1,
                relay_reboots: 1,
                client_reboots: 1,
            },
        }
    }
}

/// Time since the soak began.
#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(instant())
    }

    fn now(self) -> Duration {
        instant() - self.0
    }

    fn sleep_until(self, time: Duration) {
        thread::sleep(time.saturating_sub(self.now()));
    }
}

#[expect(clippy::disallowed_methods, reason = "what clients and deaths do goes by the lab's clock")]
fn instant() -> Instant {
    Instant::now()
}

/// Runs the soak in this process, which has to be inside the lab; `say` gets a line after each round.
///
/// # Errors
/// Whatever keeps it from going on; what it finds is in the report instead.
pub fn run(settings: &Settings, say: &mut dyn FnMut(&str)) -> Result<Report, Box<dyn Error>> {
    let lab = place::build(settings)?;
    let server = lab.address4(place::SERVER)?;
    answer(&lab)?;
    let mut daemons = Daemons::start_all(&lab.net, &place::plan(settings, server))?;
    if !daemons.wait_overlays(OVERLAYS)? {
        return Err("found overlays down, expected all up".into());
    }
    let mut dice = Dice::seeded(0)?;
    let clock = Clock::start();
    let (troubles, tally, mut logs) = (Troubles::default(), Mutex::new(Tally::default()), Logs::default());
    close_all(&lab, settings, &tally)?;
    clock.sleep_until(settings.quiet);
    let mut checkpoints = vec![Checkpoint::new(clock.now(), count(&lab, &daemons, settings, None)?)];
    for round in 0..settings.rounds {
        let begin = clock.now();
        let until = begin + settings.busy;
        for keeper in place::keepers(settings) {
            // Its circuit was closed; the next daemon goes by the policy again.
            daemons.kill(&keeper)?;
            daemons.start(&keeper)?;
        }
        troubles.draw(settings, (begin + CALM, until), round, &mut dice);
        let work = Work { settings, clock, until, troubles: &troubles, tally: &tally, server };
        busy(&lab, &mut daemons, work, begin, round)?;
        close_all(&lab, settings, &tally)?;
        clock.sleep_until(until + settings.quiet);
        let hosts = count(&lab, &daemons, settings, checkpoints.first())?;
        for host in hosts.keys() {
            logs.read(host, &lab.net.node(host)?.folder());
        }
        checkpoints.push(Checkpoint::new(clock.now(), hosts));
        let story = Story::new(&troubles, &tally, &logs);
        say(&report::line(round + 1, &story, &checkpoints));
    }
    let story = Story::new(&troubles, &tally, &logs);
    Ok(Report::new(settings, story, checkpoints))
}

/// Has the server send back whatever it gets, as long as the lab is there.
fn answer(lab: &Lab) -> Outcome {
    let address = lab.address4(place::SERVER)?;
    let socket = lab.net.node(place::SERVER)?.enter(|| UdpSocket::bind((address, place::PORT)))??;
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // One that is refused is missed by the client.
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    Ok(())
}

/// The busy part of a round.
fn busy(lab: &Lab, daemons: &mut Daemons<'_>, work: Work<'_>, begin: Duration, round: u32) -> Outcome {
    let keepers = place::keepers(work.settings);
    let names = place::clients(work.settings);
    let mut clients = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let dice = Dice::seeded(1 + u64::from(round) * names.len() as u64 + place as u64)?;
        let control = Control::at(&Daemons::socket(&lab.net, name)?);
        clients.push((lab.net.node(name)?, Client { work, name, control, dice }));
    }
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (node, client) in clients {
            let keeps = keepers.iter().any(|keeper| keeper == client.name);
            let task = move || if keeps { client.keep() } else { client.rotate() };
            threads.push(scope.spawn(move || node.enter(task)));
        }
        let happened = work.troubles.happen(begin, work.clock, lab, daemons);
        for thread in threads {
            thread.join().map_err(|_| "a client's thread panicked")??;
        }
        happened
    })
}

/// Closes all circuits of all clients.
fn close_all(lab: &Lab, settings: &Settings, tally: &Mutex<Tally>) -> Outcome {
    for name in place::clients(settings) {
        let control = Control::at(&Daemons::socket(&lab.net, &name)?);
        for circuit in control.circuits()? {
            if let Err(error) = control.close(&circuit) {
                client::complain(tally, format!("{name}: circuit {} is not closed: {error}", circuit.number));
            }
        }
    }
    Ok(())
}

/// Counts what there is on every host; twice where it is not what it was in the beginning.
fn count(
    lab: &Lab,
    daemons: &Daemons<'_>,
    settings: &Settings,
    beginning: Option<&Checkpoint>,
) -> Outcome<BTreeMap<String, Census>> {
    let mut hosts = BTreeMap::new();
    for host in place::relays(settings).into_iter().chain(place::clients(settings)) {
        let mut census = Census::of(lab, daemons, &host)?;
        let before = beginning.and_then(|beginning| beginning.hosts.get(&host));
        for _ in 0..RECOUNTS {
            if before.is_none_or(|before| census.differs(before).is_empty()) {
                break;
            }
            thread::sleep(RECOUNT);
            census = Census::of(lab, daemons, &host)?;
        }
        hosts.insert(host, census);
    }
    Ok(hosts)
}
