//! What the kernel holds.

use std::collections::{BTreeMap, BTreeSet};

use ippriv::netlink::{
    AddressDump, Channel, Dump, LinkDump, LinkIndexes, Parsed, PolicyDump, RouteDump, RuleDump, SaDump,
    SaPackets,
};
use ippriv::state::{Current, SaId, State, Sysctl};
use ippriv::telescope::settings;

use super::socket::{Socket, SocketError};
use super::{KernelError, nft, sysctl};

/// `EPERM` and `ESRCH` of `asm-generic/errno-base.h`, the same everywhere.
const EPERM: i32 = 1;
const ESRCH: i32 = 3;

pub(super) fn dump(desired: &State) -> Result<Current, KernelError> {
    let mut current = Current::default();
    xfrm(&mut current)?;
    route(&mut current, desired)?;
    current.owned.nft = nft::read(desired.nft.as_ref())?;
    current.owned.sysctls = sysctls(&current.owned, desired);
    Ok(current)
}

pub(super) fn count(sas: &[SaId]) -> Result<Vec<(SaId, u64)>, KernelError> {
    let mut socket = open(Channel::Xfrm)?;
    let mut counts = Vec::with_capacity(sas.len());
    for id in sas {
        match socket.dump(&SaPackets(*id)) {
            Ok(packets) => counts.extend(packets.into_iter().map(|packets| (*id, packets))),
            Err(SocketError::Refused(refusal)) if refusal.errno == ESRCH => {}
            Err(error) => return Err(KernelError::Netlink { what: "an SA", error }),
        }
    }
    Ok(counts)
}

fn open(channel: Channel) -> Result<Socket, KernelError> {
    Socket::open(channel).map_err(|error| KernelError::Netlink { what: "the kernel's state", error })
}

fn ask<D: Dump>(socket: &mut Socket, what: &'static str, dump: &D) -> Result<Vec<D::Item>, KernelError> {
    socket.dump(dump).map_err(|error| match error {
        SocketError::Refused(refusal) if refusal.errno == EPERM => KernelError::Privilege { what },
        error => KernelError::Netlink { what, error },
    })
}

/// Sorts what was found into ours, by identity, and others'.
fn sort<T, I: Ord>(
    found: Vec<Parsed<T, I>>,
    id: impl Fn(&T) -> I,
    ours: &mut BTreeMap<I, T>,
    foreign: &mut BTreeSet<I>,
) {
    for object in found {
        match object {
            Parsed::Ours(object) => {
                ours.insert(id(&object), object);
            }
            Parsed::Foreign(id) => {
                foreign.insert(id);
            }
            Parsed::Irrelevant => {}
        }
    }
}

fn xfrm(current: &mut Current) -> Result<(), KernelError> {
    let mut socket = open(Channel::Xfrm)?;
    let sas = ask(&mut socket, "SAs", &SaDump)?;
    sort(sas, |sa| sa.id, &mut current.owned.sas, &mut current.foreign_sas);
    let policies = ask(&mut socket, "policies", &PolicyDump)?;
    sort(policies, |policy| policy.id, &mut current.owned.policies, &mut current.foreign_policies);
    Ok(())
}

fn route(current: &mut Current, desired: &State) -> Result<(), KernelError> {
    let mut socket = open(Channel::Route)?;
    let mut all = LinkIndexes::default();
    let mut ours = LinkIndexes::default();
    for entry in ask(&mut socket, "interfaces", &LinkDump)? {
        if let Some(name) = &entry.name {
            all.insert(name.clone(), entry.index);
        }
        match entry.ours {
            Some(link) => {
                ours.insert(link.name.clone(), entry.index);
                current.owned.links.insert(link.name.clone(), link);
            }
            None => {
                current.foreign_links.extend(entry.name);
                current.foreign_if_ids.extend(entry.if_id);
            }
        }
    }

    let addresses = ask(&mut socket, "addresses", &AddressDump { links: &ours })?;
    let mut none = BTreeSet::new();
    sort(addresses, |address| address.id.clone(), &mut current.owned.addresses, &mut none);

    current.owned.rules.extend(ask(&mut socket, "rules", &RuleDump)?.into_iter().flatten());

    let mut routes = |table, current: &mut Current| {
        let routes = ask(&mut socket, "routes", &RouteDump { table, links: &all })?;
        sort(routes, |route| route.id, &mut current.owned.routes, &mut current.foreign_routes);
        Ok::<_, KernelError>(())
    };
    routes(None, current)?;
    let tables = |state: &State| state.routes.keys().map(|id| id.table).collect::<BTreeSet<_>>();
    for table in tables(desired).union(&tables(&current.owned)) {
        routes(Some(*table), current)?;
    }
    Ok(())
}

/// The settings that are wanted, of interfaces that exist, and those of interfaces that are not wanted: they
/// go with them, and would have to come back with them.
fn sysctls(owned: &State, desired: &State) -> BTreeMap<String, Sysctl> {
    let existing = desired.sysctls.values().filter(|sysctl| owned.links.contains_key(&sysctl.link)).cloned();
    let unwanted = owned.links.keys().filter(|name| !desired.links.contains_key(*name));
    let read = |wanted: Sysctl| Some(Sysctl { value: sysctl::read(&wanted)?, ..wanted });
    existing
        .chain(unwanted.flat_map(settings))
        .filter_map(read)
        .map(|sysctl| (sysctl.path.clone(), sysctl))
        .collect()
}
