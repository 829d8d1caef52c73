//! Random hosts from a seed.

use ippriv::suite::Suite;
use ippriv::telescope::Host;

use super::{Circuit, as_host, client, net, relay};

/// Marsaglia's xorshift64: enough for choosing test cases.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % u64::try_from(bound).expect("small")).expect("small")
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn circuit(&mut self, number: u16) -> Circuit {
        let mut relays: Vec<u8> = (1..=6).collect();
        for last in (1..relays.len()).rev() {
            let other = self.below(last + 1);
            relays.swap(last, other);
        }
        relays.truncate(1 + self.below(5));
        let suite = Suite::ALL[self.below(Suite::ALL.len())];
        Circuit {
            number,
            client: super::CLIENT,
            dual_stack: relays.len() <= 3 && self.chance(40),
            relays,
            suite,
            generation: u8::try_from(self.below(3)).expect("small"),
            traffic: if self.chance(50) { vec![net(&format!("203.0.{number}.0/24"))] } else { Vec::new() },
        }
    }

    /// A host with either role, both or none.
    pub(crate) fn host(&mut self) -> Host {
        let mut circuits = Vec::new();
        for number in 1..=6 {
            if self.chance(50) {
                circuits.push(self.circuit(number));
            }
        }
        let own = self.chance(70).then(|| {
            let mut own = client(&circuits);
            own.kill_switch = self.chance(50);
            own.allow.extend(self.chance(30).then(|| net("192.0.2.0/24")));
            own
        });
        if own.is_some() {
            circuits = circuits.into_iter().map(Circuit::of_another).collect();
        }
        let relaying =
            self.chance(60).then(|| relay(u8::try_from(1 + self.below(6)).expect("small"), &circuits));
        as_host(own, relaying)
    }
}
