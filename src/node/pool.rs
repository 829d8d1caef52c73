//! Addresses that a relay hands out: at random, and not again for a while after they came back.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use crate::entropy::Entropy;
use crate::time::Instant;

/// Random draws before the pool is searched from a random place on: with half of the addresses taken, all
/// of them fail once in 65,536 times.
const DRAWS: usize = 16;

/// The addresses of one prefix. Which one a client gets says nothing about who came before it, and an address
/// rests before it is used again, so that late packets of one circuit do not reach another.
#[derive(Debug)]
pub(super) struct Pool {
    prefix: IpNet,
    quarantine: Duration,
    taken: BTreeSet<u64>,
    resting: VecDeque<(Instant, u64)>,
}

impl Pool {
    /// A pool of all host addresses of `prefix`; of a large IPv6 prefix, the first 2^62.
    pub(super) const fn new(prefix: IpNet, quarantine: Duration) -> Self {
        Self { prefix, quarantine, taken: BTreeSet::new(), resting: VecDeque::new() }
    }

    /// How many addresses there are, the network's own and the broadcast address left out.
    fn size(&self) -> u64 {
        let host_bits = u32::from(self.prefix.max_prefix_len() - self.prefix.prefix_len());
        (1_u64 << host_bits.min(62)).saturating_sub(2)
    }

    /// Takes an address, or `None` when all are taken or resting.
    pub(super) fn take(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Option<IpAddr> {
        self.wake(now);
        let size = self.size();
        if u64::try_from(self.taken.len()).is_ok_and(|taken| taken >= size) {
            return None;
        }
        let drawn = (0..DRAWS).map(|_| 1 + entropy.below(size)).find(|offset| !self.taken.contains(offset));
        let offset = drawn.or_else(|| {
            let start = entropy.below(size);
            (0..size).map(|step| 1 + (start + step) % size).find(|offset| !self.taken.contains(offset))
        })?;
        self.taken.insert(offset);
        Some(self.address(offset))
    }

    /// How many addresses are with clients; those that rest are not.
    pub(super) fn handed_out(&self) -> usize {
        self.taken.len().saturating_sub(self.resting.len())
    }

    /// Marks an address as taken that was handed out before a restart.
    pub(super) fn retake(&mut self, address: IpAddr) {
        if let Some(offset) = self.offset(address) {
            self.taken.insert(offset);
        }
    }

    /// Takes an address back; it rests first.
    pub(super) fn give_back(&mut self, now: Instant, address: IpAddr) {
        let Some(offset) = self.offset(address) else { return };
        if self.taken.contains(&offset) {
            self.resting.push_back((now + self.quarantine, offset));
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some((until, offset)) = self.resting.front() {
            if *until > now {
                break;
            }
            self.taken.remove(offset);
            self.resting.pop_front();
        }
    }

    fn address(&self, offset: u64) -> IpAddr {
        match self.prefix {
            IpNet::V4(net) => {
                let offset = u32::try_from(offset).unwrap_or_default();
                IpAddr::V4(Ipv4Addr::from_bits(net.network().to_bits() + offset))
            }
            IpNet::V6(net) => IpAddr::V6(Ipv6Addr::from_bits(net.network().to_bits() + u128::from(offset))),
        }
    }

    fn offset(&self, address: IpAddr) -> Option<u64> {
        match (self.prefix, address) {
            (IpNet::V4(net), IpAddr::V4(address)) if net.contains(&address) => {
                Some(u64::from(address.to_bits() - net.network().to_bits()))
            }
            (IpNet::V6(net), IpAddr::V6(address)) if net.contains(&address) => {
                u64::try_from(address.to_bits() - net.network().to_bits()).ok()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Seeded;

    const QUARANTINE: Duration = Duration::from_secs(300);

    fn pool(prefix: &str) -> (Pool, Seeded) {
        (Pool::new(prefix.parse().unwrap(), QUARANTINE), Seeded::new([1; 32]))
    }

    #[test]
    fn every_host_address_is_handed_out_once_and_in_no_order() {
        let (mut pool, mut entropy) = pool("10.9.0.0/24");
        let taken: Vec<_> = std::iter::from_fn(|| pool.take(Instant::ZERO, &mut entropy)).collect();
        assert_eq!(taken.len(), 254);
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 254);
        assert!(!taken.is_sorted());
        for kept in ["10.9.0.0", "10.9.0.255"] {
            assert!(!taken.contains(&kept.parse().unwrap()), "{kept}");
        }
    }

    #[test]
    fn an_address_rests_before_it_is_used_again() {
        let (mut pool, mut entropy) = pool("10.9.0.0/30");
        let first = pool.take(Instant::ZERO, &mut entropy).unwrap();
        let second = pool.take(Instant::ZERO, &mut entropy).unwrap();
        assert_ne!(first, second);
        pool.give_back(Instant::ZERO, first);
        assert_eq!(pool.take(Instant::ZERO, &mut entropy), None, "resting");
        assert_eq!(pool.take(Instant::ZERO + QUARANTINE, &mut entropy), Some(first));
    }

    #[test]
    fn what_was_handed_out_before_a_restart_stays_taken() {
        let (mut pool, mut entropy) = pool("10.9.0.0/30");
        pool.retake("10.9.0.1".parse().unwrap());
        assert_eq!(pool.take(Instant::ZERO, &mut entropy), "10.9.0.2".parse().ok());
        pool.give_back(Instant::ZERO, "10.8.0.1".parse().unwrap());
        assert_eq!(pool.take(Instant::ZERO + QUARANTINE, &mut entropy), None, "another's address");
    }

    #[test]
    fn large_prefixes_of_ipv6_have_room() {
        let (mut pool, mut entropy) = pool("fd00:9::/64");
        let address = pool.take(Instant::ZERO, &mut entropy).unwrap();
        assert!("fd00:9::/64".parse::<IpNet>().unwrap().contains(&address), "{address}");
    }
}
