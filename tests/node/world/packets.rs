//! Which SAs a packet passes, by the kernels' books, and whether those who get it can read it.

use std::net::IpAddr;

use ippriv::id::{IfId, LinkName};
use ippriv::secret::KeyMaterial;
use ippriv::state::{Direction, PolicyDirection, SaId, State};

use super::World;

/// An SA that has to be there when the packet arrives.
#[derive(Debug, Clone)]
pub(crate) struct Need {
    pub(super) host: String,
    pub(super) sa: SaId,
    key: KeyMaterial,
}

/// Who has an address, and the way there: which SAs of which hosts.
pub(crate) type Way = Vec<Need>;

fn out_sa(
    kernel: &State,
    source: IpAddr,
    to: IpAddr,
    if_id: Option<IfId>,
) -> Result<(SaId, KeyMaterial), String> {
    let fits = |sa: &&ippriv::state::Sa| {
        sa.direction.direction() == Direction::Out
            && sa.source == source
            && sa.id.destination == to
            && if_id.is_none_or(|if_id| sa.if_id == if_id)
    };
    let mut all = kernel.sas.values().filter(fits);
    let sa = all.next().ok_or_else(|| format!("no SA from {source} to {to}"))?;
    assert!(all.next().is_none(), "two SAs from {source} to {to}: the kernel would take either");
    Ok((sa.id, sa.key.clone()))
}

impl World {
    /// The relay at a public address.
    fn relay_at(&self, address: IpAddr) -> Result<String, String> {
        let found = self.hosts.iter().find(|(_, machine)| !machine.is_client() && machine.address == address);
        found.map(|(name, _)| name.clone()).ok_or_else(|| format!("no relay at {address}"))
    }

    /// The relay whose pool an address is of.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<String> {
        let IpAddr::V4(address) = address else { return None };
        let [10, second, ..] = address.octets() else { return None };
        self.relay_at(IpAddr::from([198, 18, second.checked_sub(64)?, 2])).ok()
    }

    /// What a client sends from `source` through a circuit's interface; UDP for IKE, else data.
    pub(crate) fn outward(
        &self,
        client: &str,
        link: &LinkName,
        source: IpAddr,
        to: IpAddr,
        protocol: Option<u8>,
    ) -> Result<Way, String> {
        let kernel = &self.hosts[client].kernel;
        let if_id = kernel.links.get(link).ok_or_else(|| format!("no {link}"))?.if_id;
        let fits = |policy: &&ippriv::state::Policy| {
            let selector = policy.id.selector;
            policy.id.if_id == if_id
                && policy.id.direction == PolicyDirection::Out
                && selector.source.contains(&source)
                && selector.destination.contains(&to)
                && (selector.protocol.is_none() || selector.protocol == protocol)
        };
        let policy =
            kernel.policies.values().find(fits).ok_or_else(|| format!("no policy {source} to {to}"))?;
        let mut way = Vec::new();
        let mut at: Option<String> = None;
        for template in policy.templates.iter().rev() {
            let from = template.source.ok_or("a template from nowhere")?;
            let (sa, key) = out_sa(kernel, from, template.destination, Some(if_id))?;
            let host = self.relay_at(template.destination)?;
            way.extend(self.overlay(at.as_deref(), &host)?);
            way.push(Need { host: host.clone(), sa, key });
            at = Some(host);
        }
        if protocol.is_some() {
            way.extend(self.overlay(at.as_deref(), &self.relay_at(to)?)?);
        }
        Ok(way)
    }

    /// What a relay sends to an address of a pool.
    pub(crate) fn inward(&self, from: &str, to: IpAddr) -> Result<Way, String> {
        let owner = self.owner(to).ok_or_else(|| format!("{to} is of no pool"))?;
        let mut way = self.overlay(Some(from), &owner)?;
        let kernel = &self.hosts[&owner].kernel;
        let fits = |policy: &&ippriv::state::Policy| {
            policy.id.direction == PolicyDirection::Out && policy.id.selector.destination == to.into()
        };
        let policy =
            kernel.policies.values().find(fits).ok_or_else(|| format!("{owner}: no policy to {to}"))?;
        let template = policy.templates.first().ok_or("in clear")?;
        let fits = |sa: &&ippriv::state::Sa| {
            sa.reqid == template.reqid && sa.direction.direction() == Direction::Out
        };
        let mut all = kernel.sas.values().filter(fits);
        let sa = all.next().ok_or_else(|| format!("{owner}: no SA for {to}"))?;
        assert!(all.next().is_none(), "{owner}: two SAs for {to}");
        let peer = sa.id.destination;
        let (host, mut rest) = match self.owner(peer) {
            None if !self.finds_through(peer, sa.encapsulation) => {
                return Err(format!("the NAT knows nobody at {peer} by {:?}", sa.encapsulation));
            }
            None => {
                let found = self.hosts.iter().find(|(_, host)| {
                    host.is_client() && host.kernel.sas.keys().any(|id| id.spi == sa.id.spi)
                });
                (
                    found
                        .map(|(name, _)| name.clone())
                        .ok_or_else(|| format!("nobody reads {} of {owner}", sa.id))?,
                    Vec::new(),
                )
            }
            Some(_) => {
                let has = |state: &State| state.addresses.keys().any(|id| id.prefix.addr() == peer);
                let found = self.hosts.iter().find(|(_, host)| host.is_client() && has(&host.kernel));
                let name = found.map(|(name, _)| name.clone()).ok_or_else(|| format!("nobody has {peer}"))?;
                (name, self.inward(&owner, peer)?)
            }
        };
        way.push(Need { host, sa: sa.id, key: sa.key.clone() });
        way.append(&mut rest);
        Ok(way)
    }

    /// From a relay to its neighbour, hidden in the overlay between them.
    fn overlay(&self, from: Option<&str>, to: &str) -> Result<Way, String> {
        let Some(from) = from.filter(|from| *from != to) else { return Ok(Vec::new()) };
        let (near, far) = (&self.hosts[from], &self.hosts[to]);
        let (sa, key) = out_sa(&near.kernel, near.address, far.address, None)?;
        Ok(vec![Need { host: to.to_owned(), sa, key }])
    }

    /// Why a packet that was sent that way cannot be read now.
    pub(crate) fn unreadable(&self, way: &Way) -> Option<String> {
        way.iter().find_map(|need| {
            let Need { host, sa, key } = need;
            // behind NAT, the two ends see different addresses
            let fits = |held: &ippriv::state::Sa| {
                held.id.spi == sa.spi && held.direction.direction() == Direction::In && held.key == *key
            };
            let held = self.hosts.get(host).is_some_and(|machine| machine.kernel.sas.values().any(fits));
            (!held).then(|| format!("{host} has no {sa}"))
        })
    }

    /// Every SA that a packet came through has counted it.
    pub(super) fn count(&mut self, way: &Way) {
        for Need { host, sa, .. } in way {
            *self.machine(host).packets.entry(sa.spi).or_default() += 1;
        }
    }

    /// Sends a packet both ways through the newest open circuit of a client, as far as there is one.
    pub(crate) fn probe(&self, client: &str) -> Vec<Result<Way, String>> {
        let kernel = &self.hosts[client].kernel;
        let mut sent = Vec::new();
        for route in kernel.routes.values() {
            let (ippriv::state::RouteKind::Link(link), Some(source)) = (&route.kind, route.preferred_source)
            else {
                continue;
            };
            let internet = IpAddr::from([192, 0, 2, 1]);
            sent.push(self.outward(client, link, source, internet, None));
            sent.push(
                self.owner(source)
                    .ok_or_else(|| "no exit".to_owned())
                    .and_then(|exit| self.inward(&exit, source)),
            );
        }
        sent
    }
}
