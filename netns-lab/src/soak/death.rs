//! What befalls hosts: daemons killed the hard way, hosts that cannot be reached for minutes, hosts that boot again
//! and remember nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Clock, Outcome, Settings, place};
use crate::daemons::Daemons;
use crate::scenario::Lab;
use crate::scenario::dice::Dice;

/// What happened to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Its daemon was killed; the kernel went on, and another daemon took over.
    Killed,
    /// No packet reached or left it.
    Absent,
    /// It booted: whatever its kernel and its runtime directory held of ours is gone.
    Rebooted,
}

/// Something that befell a host, in time since the soak began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) host: String,
    pub(super) kind: Kind,
    pub(super) from: Duration,
    pub(super) until: Duration,
}

/// All that befell hosts, and what is yet to in this round.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<Vec<Trouble>>);

/// What may suffer from a trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Packets of a circuit that stands: the death of a daemon is nothing to them.
    Packets,
    /// Everything else that people or daemons do.
    Work,
}

/// How long after a daemon's death work may still suffer from it.
const AFTER_KILL: Duration = Duration::from_secs(60);
/// The same after a host came back: relays look after silent neighbours every five minutes only, and try for
/// three quarters of a minute before they believe what they see.
const AFTER_RETURN: Duration = Duration::from_secs(430);
/// Time between two troubles of one host, so that they are two.
const APART: Duration = Duration::from_secs(20);
/// How often a time is drawn before a trouble is left out.
const DRAWS: usize = 200;

impl Trouble {
    /// Whether something of `hosts` that took place from `from` until `until` may have suffered from it.
    fn excuses(&self, of: Of, hosts: &[&str], (from, until): (Duration, Duration)) -> bool {
        let after = match (self.kind, of) {
            (Kind::Killed, Of::Packets) => return false,
            (Kind::Killed, Of::Work) => AFTER_KILL,
            (Kind::Absent | Kind::Rebooted, _) => AFTER_RETURN,
        };
        hosts.contains(&self.host.as_str()) && self.from <= until && from <= self.until + after
    }
}

impl Troubles {
    /// Draws what befalls hosts from `from` until `until`.
    pub(super) fn draw(
        &self,
        settings: &Settings,
        (from, until): (Duration, Duration),
        round: u32,
        dice: &mut Dice,
    ) {
        let mortal = |hosts: Vec<String>| -> Vec<String> {
            let witnesses = place::witnesses(settings);
            hosts.into_iter().filter(|host| !witnesses.contains(host)).collect()
        };
        let (relays, clients) = (place::relays(settings), place::clients(settings));
        let (mortal_relays, mortal_clients) = (mortal(relays.clone()), mortal(clients.clone()));
        let deaths = &settings.deaths;
        // A relay that boots takes a third of all circuits with it: every other round is enough.
        let relay_boots = if round.is_multiple_of(2) { deaths.relay_reboots } else { 0 };
        for (count, kind, hosts) in [
            (deaths.relay_kills, Kind::Killed, &mortal_relays),
            (deaths.client_kills, Kind::Killed, &mortal_clients),
            (deaths.relay_absences, Kind::Absent, &relays),
            (deaths.client_absences, Kind::Absent, &clients),
            (relay_boots, Kind::Rebooted, &mortal_relays),
            (deaths.client_reboots, Kind::Rebooted, &mortal_clients),
        ] {
            for _ in 0..count {
                self.draw_one(kind, hosts, (from, until), dice);
            }
        }
    }

    fn draw_one(&self, kind: Kind, hosts: &[String], (from, until): (Duration, Duration), dice: &mut Dice) {
        let (least, most) = match kind {
            Kind::Killed => (1, 60),
            Kind::Absent => (20, 360),
            Kind::Rebooted => (20, 90),
        };
        let room = u32::try_from((until - from).as_secs()).unwrap_or(u32::MAX);
        let most = most.min(room / 3).max(least);
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..DRAWS {
            let length = least + dice.below(most - least + 1);
            let begin = from + Duration::from_secs(u64::from(dice.below(room.saturating_sub(length).max(1))));
            let end = begin + Duration::from_secs(u64::from(length));
            let drawn = usize::try_from(dice.below(u32::try_from(hosts.len()).unwrap_or(u32::MAX)));
            let Some(host) = drawn.ok().and_then(|drawn| hosts.get(drawn)) else { return };
            let same = |other: &&Trouble| other.host == *host;
            if troubles
                .iter()
                .filter(same)
                .all(|other| other.until + APART <= begin || end + APART <= other.from)
            {
                return troubles.push(Trouble { host: host.clone(), kind, from: begin, until: end });
            }
        }
    }

    /// Whether something of `hosts` that took place from `from` until `until` may have suffered from any of them.
    pub(super) fn excuse(&self, of: Of, hosts: &[&str], span: (Duration, Duration)) -> bool {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.iter().any(|trouble| trouble.excuses(of, hosts, span))
    }

    /// All of them, a line each.
    pub(super) fn told(&self) -> String {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |trouble: &Trouble| {
            let Trouble { host, kind, from, until } = trouble;
            format!("{host} {kind:?} from {} s until {} s", from.as_secs(), until.as_secs())
        };
        troubles.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// How many there were of a kind.
    pub(super) fn count(&self, kind: Kind) -> usize {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.iter().filter(|trouble| trouble.kind == kind).count()
    }

    /// Lets happen what begins from `from` on, until the last of it is over.
    pub(super) fn happen(
        &self,
        from: Duration,
        clock: Clock,
        lab: &Lab,
        daemons: &mut Daemons<'_>,
    ) -> Outcome {
        let mut steps = Vec::new();
        for trouble in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if trouble.from >= from {
                steps
                    .extend([(trouble.from, true, trouble.clone()), (trouble.until, false, trouble.clone())]);
            }
        }
        steps.sort_by(|one, other| one.0.cmp(&other.0).then_with(|| one.2.host.cmp(&other.2.host)));
        for (at, begins, trouble) in steps {
            clock.sleep_until(at);
            if begins { trouble.begin(lab, daemons)? } else { trouble.end(lab, daemons)? }
        }
        Ok(())
    }
}

impl Trouble {
    fn begin(&self, lab: &Lab, daemons: &mut Daemons<'_>) -> Outcome {
        match self.kind {
            Kind::Killed => daemons.kill(&self.host)?,
            Kind::Absent => self.reachable(lab, "add")?,
            Kind::Rebooted => {
                daemons.kill(&self.host)?;
                forget(lab, &self.host)?;
            }
        }
        Ok(())
    }

    fn end(&self, lab: &Lab, daemons: &mut Daemons<'_>) -> Outcome {
        match self.kind {
            Kind::Killed | Kind::Rebooted => daemons.start(&self.host)?,
            Kind::Absent => self.reachable(lab, "delete")?,
        }
        Ok(())
    }

    fn reachable(&self, lab: &Lab, change: &str) -> Outcome {
        let address = lab.address4(&self.host)?;
        lab.on(place::ROUTER, &["nft", &format!("{change} element {} {{ {address} }}", place::GONE)])?;
        Ok(())
    }
}

/// Removes all that a boot removes.
fn forget(lab: &Lab, host: &str) -> Outcome {
    let journal = lab.net.node(host)?.folder().join("journal");
    let script = "ip xfrm state flush; ip xfrm policy flush; nft delete table inet ippriv 2>/dev/null; \
        for link in $(ip -br link | grep -o '^ipp[a-z0-9]*'); do ip link del $link; done; \
        for family in -4 -6; do ip $family rule flush protocol 73; \
        ip $family route flush table all protocol 73; done; rm -f \"$1\"";
    lab.on(host, &["sh", "-c", script, "sh", &journal.to_string_lossy()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_death_excuses_what_it_touches_for_a_while() {
        let killed =
            Trouble { host: "relay1".into(), kind: Kind::Killed, from: seconds(100), until: seconds(110) };
        let absent = Trouble { kind: Kind::Absent, ..killed.clone() };
        let hosts = ["client1", "relay1"];
        assert!(killed.excuses(Of::Work, &hosts, (seconds(90), seconds(100))));
        assert!(killed.excuses(Of::Work, &hosts, (seconds(170), seconds(171))));
        assert!(!killed.excuses(Of::Work, &hosts, (seconds(171), seconds(172))));
        assert!(!killed.excuses(Of::Work, &["relay2"], (seconds(100), seconds(101))));
        assert!(!killed.excuses(Of::Packets, &hosts, (seconds(100), seconds(101))));
        assert!(absent.excuses(Of::Packets, &hosts, (seconds(100), seconds(101))));
        assert!(!absent.excuses(Of::Packets, &hosts, (seconds(98), seconds(99))));
    }

    #[test]
    fn troubles_of_a_host_do_not_touch_and_spare_witnesses() {
        let settings = Settings::full(1, 20);
        let troubles = Troubles::default();
        let mut dice = Dice::seeded(7).unwrap();
        troubles.draw(&settings, (seconds(60), seconds(2700)), 0, &mut dice);
        let list = troubles.0.lock().unwrap().clone();
        assert!(list.len() > 10, "{list:?}");
        for (place, one) in list.iter().enumerate() {
            assert!(one.from < one.until && one.until <= seconds(2700), "{one:?}");
            assert!(one.kind == Kind::Absent || !place::witnesses(&settings).contains(&one.host), "{one:?}");
            for other in list.iter().skip(place + 1).filter(|other| other.host == one.host) {
                assert!(one.until < other.from || other.until < one.from, "{one:?} {other:?}");
            }
        }
    }
}
