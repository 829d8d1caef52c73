//! Random hosts. In virtual time the kernel's randomness is seeded, so that a failure happens again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use ippriv::id::Mtu;
use ippriv::state::{RouteMetrics, UdpEncapsulation};
use ippriv::suite::Suite;
use ippriv::telescope::{
    Client, ExitPolicy, Hop, Host, Neighbour, Relay, RelayCircuit, Stage, Telescope, TunnelKeys,
};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::deal::{self, DealError};

/// A source of choices: xorshift64* (Vigna 2014) seeded by the kernel.
pub(crate) struct Dice(u64);

impl Dice {
    /// Series of different numbers give different choices.
    pub(crate) fn seeded(series: u64) -> io::Result<Self> {
        let mut seed = [0; 8];
        getrandom(&mut seed, GetRandomFlags::empty())?;
        Ok(Self(u64::from_ne_bytes(seed).wrapping_add(series << 32) | 1))
    }

    /// A number from 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = u64::from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32);
        ((high * u64::from(end)) >> 32) as u32
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(usize::try_from(self.below(u32::try_from(of.len()).ok()?)).ok()?).copied()
    }

    /// A host whose numbers are drawn from few, so that it has much in common with the one before. It may
    /// contradict itself.
    pub(super) fn host(&mut self) -> Result<Host, DealError> {
        let client = if self.one_in(4) { None } else { Some(self.client()?) };
        let relay = if self.one_in(3) { None } else { Some(self.relay()?) };
        Ok(Host { client, relay })
    }

    fn keys(&mut self, spi: u32) -> Result<TunnelKeys, DealError> {
        let suite = self.pick(&Suite::ALL).unwrap_or(Suite::AesGcm128);
        let (mut keys, other) = deal::tunnel(suite, spi)?;
        if self.one_in(5) {
            let mut more = other.r#in;
            more.iter_mut().for_each(|sa| sa.spi = keys.out.spi);
            keys.r#in.append(&mut more);
        }
        Ok(keys)
    }

    fn client(&mut self) -> Result<Client, DealError> {
        let mut circuits = Vec::new();
        for number in 1..=6 {
            if self.one_in(2) {
                circuits.push(self.telescope(number)?);
            }
        }
        let allow = ["198.51.100.0/24", "203.0.113.7/32", "2001:db8:a::/48"];
        Ok(Client {
            address: Ipv4Addr::new(198, 18, 1, 2).into(),
            path_mtu: Mtu::ETHERNET,
            kill_switch: self.one_in(3),
            allow: allow
                .into_iter()
                .filter(|_| self.one_in(2))
                .filter_map(|prefix| prefix.parse().ok())
                .collect(),
            guarded: Vec::new(),
            circuits,
        })
    }

    fn telescope(&mut self, number: u32) -> Result<Telescope, DealError> {
        let count = 1 + self.below(5);
        let ipv6 = count <= 3 && self.one_in(2);
        let udp = self.one_in(4).then_some(UdpEncapsulation { source_port: 4500, destination_port: 4500 });
        let mut hops = Vec::new();
        for layer in 0..count {
            let third = u8::try_from(layer).unwrap_or_default();
            let fourth = u8::try_from(10 * number + self.below(2)).unwrap_or_default();
            hops.push(Hop {
                relay: Ipv4Addr::new(
                    198,
                    18,
                    100 + third,
                    1 + u8::try_from(self.below(2)).unwrap_or_default(),
                )
                .into(),
                address: Ipv4Addr::new(10, 80, third, fourth).into(),
                address6: (ipv6 && layer + 1 == count)
                    .then(|| Ipv6Addr::new(0xfd00, 0x80, 0, 0, 0, 0, 0, u16::from(fourth))),
                keys: self.keys(64 * number + 4 * layer)?,
                encapsulation: udp.filter(|_| layer == 0),
            });
        }
        let traffic: Vec<IpNet> = [format!("{}.0.0.0/8", 20 + number), format!("2001:db8:{number}::/48")]
            .iter()
            .filter(|_| self.one_in(2))
            .filter_map(|prefix| prefix.parse().ok())
            .collect();
        let options = RouteMetrics {
            advmss: self.one_in(3).then_some(1200),
            initcwnd: self.one_in(3).then_some(20),
            congestion_control: self.one_in(3).then(|| "cubic".to_owned()),
        };
        Ok(Telescope { number: number.try_into()?, hops, traffic, mtu: None, options, stage: Stage::Static })
    }

    fn relay(&mut self) -> Result<Relay, DealError> {
        let address: IpAddr = Ipv4Addr::new(198, 18, 2, 2).into();
        let exit = self.one_in(2).then(ExitPolicy::default);
        let pool6 = if exit.is_some() && self.one_in(2) { "fd00:64::/64".parse().ok() } else { None };
        let mut neighbours = Vec::new();
        for number in 1..=3_u8 {
            if self.one_in(2) {
                neighbours.push(Neighbour {
                    number: u32::from(number).try_into()?,
                    address: Ipv4Addr::new(198, 18, 50, number).into(),
                    pool: IpNet::new_assert(Ipv4Addr::new(10, 90 + number, 0, 0).into(), 16),
                    keys: Some(self.keys(deal::OVERLAY_SPIS + 4 * u32::from(number))?),
                    tfc_padding: self.one_in(3).then_some(1400),
                });
            }
        }
        let mut circuits = Vec::new();
        for number in 1..=6_u8 {
            if self.one_in(2) {
                circuits.push(RelayCircuit {
                    number: u32::from(number).try_into()?,
                    peer: Ipv4Addr::new(198, 18, 60, number).into(),
                    address: Ipv4Addr::new(10, 64, 0, number + 1).into(),
                    address6: pool6
                        .filter(|_| self.one_in(2))
                        .map(|_: IpNet| Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, u16::from(number) + 1)),
                    keys: self.keys(0x1_0000 + 4 * u32::from(number))?,
                    encapsulation: None,
                });
            }
        }
        let pool = IpNet::new_assert(Ipv4Addr::new(10, 64, 0, 0).into(), 16);
        Ok(Relay { address, pool, pool6, exit, neighbours, circuits })
    }
}
