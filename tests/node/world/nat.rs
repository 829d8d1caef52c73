//! The NAT that clients are behind, if they are.

use std::net::{IpAddr, SocketAddr};

use ippriv::node::Input;
use ippriv::state::{Direction, SaId, UdpEncapsulation};

use super::{Way, World};

/// The public address of clients behind NAT.
const NAT: &str = "198.18.200.1";
/// Ports that the NAT goes on by when it forgets.
const STEP: u16 = 1000;

/// What a NAT remembers.
pub(super) struct Nat {
    public: IpAddr,
    first: u16,
    inside: Vec<SocketAddr>,
}

impl Default for Nat {
    fn default() -> Self {
        Self { public: NAT.parse().unwrap(), first: 20_000, inside: Vec::new() }
    }
}

impl Nat {
    fn outside(&mut self, from: SocketAddr) -> SocketAddr {
        let known = self.inside.iter().position(|port| *port == from);
        let place = known.unwrap_or_else(|| {
            self.inside.push(from);
            self.inside.len() - 1
        });
        SocketAddr::new(self.public, self.first + u16::try_from(place).unwrap())
    }
}

const fn is_behind(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets(), [198, 18, 0, _]))
}

impl World {
    /// The NAT forgets everything, and goes on with other ports, perhaps with another address.
    pub(crate) fn nat_forgets(&mut self, public: Option<&str>) {
        self.mappings.first += STEP;
        self.mappings.inside.clear();
        if let Some(public) = public {
            self.mappings.public = public.parse().unwrap();
        }
    }

    /// What NAT makes of the addresses of a datagram.
    pub(super) fn translate(&mut self, from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
        if self.nat && is_behind(from.ip()) {
            return (self.mappings.outside(from), to);
        }
        (from, self.behind(to).unwrap_or(to))
    }

    /// Who is behind a port of the NAT.
    fn behind(&self, to: SocketAddr) -> Option<SocketAddr> {
        let Nat { public, first, inside } = &self.mappings;
        inside.get(usize::from(to.port().checked_sub(*first)?)).copied().filter(|_| to.ip() == *public)
    }

    /// Whether what a relay sends in UDP finds through the NAT.
    pub(super) fn finds_through(&self, to: IpAddr, ports: Option<UdpEncapsulation>) -> bool {
        !self.nat
            || ports.is_some_and(|ports| self.behind(SocketAddr::new(to, ports.destination_port)).is_some())
    }

    /// A packet has arrived: the entry's kernel says so if it came by another port than before.
    pub(super) fn heard_through(&mut self, way: &Way) {
        let Some(need) = way.first().filter(|_| self.nat) else { return };
        let sends = |host: &super::Machine| {
            let sa = host.kernel.sas.get(&need.sa);
            host.is_client() && sa.is_some_and(|sa| sa.direction.direction() == Direction::Out)
        };
        let Some(from) = self.hosts.values().find(|host| sends(host)).map(|host| host.address) else {
            return;
        };
        let remote = self.mappings.outside(SocketAddr::new(from, 4500));
        let entry = &self.hosts[&need.host];
        let Some(held) = entry.kernel.sas.get(&need.sa) else { return };
        let known = held.encapsulation.map(|ports| SocketAddr::new(held.source, ports.source_port));
        if entry.alive && known != Some(remote) {
            self.mapping(&need.host.clone(), need.sa, remote);
        }
    }

    /// The kernel of a host says that packets of an SA come from elsewhere.
    pub(crate) fn mapping(&mut self, host: &str, sa: SaId, remote: SocketAddr) {
        self.input(host, Input::Mapping { sa, remote });
    }
}
