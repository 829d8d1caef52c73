//! From an operation to the requests that carry it out.

use std::net::IpAddr;

use super::xfrm::{delete_policy, delete_sa, make_policy, make_sa, update_sa};
use super::{LinkIndexes, Message, addr, link, route, rule};
use crate::id::LinkName;
use crate::plan::{Object, Op};

/// An object that the kernel would refuse or misunderstand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unencodable {
    /// The key does not fit the suite; so too for the stand-in of an SA that someone changed.
    #[error("key: found {found} octets, expected {expected}")]
    KeyLength {
        /// Octets of the key.
        found: usize,
        /// Octets the suite takes.
        expected: usize,
    },
    /// The window is not one the kernel takes.
    #[error("replay window {0}: expected a multiple of 32, from 32 to 4096")]
    ReplayWindow(u32),
    /// A policy without templates would let packets pass in clear, and more than six cannot be.
    #[error("found {0} templates, expected 1 to 6")]
    Templates(usize),
    /// Two addresses that must be of one family are not.
    #[error("{0} and {1}: expected addresses of one family")]
    MixedFamilies(IpAddr, IpAddr),
    /// A route with metric 0, which IPv6 would turn into 1024.
    #[error("route metric 0: expected at least 1")]
    NoMetric,
    /// The name cannot be one of a congestion control algorithm.
    #[error("congestion control {0:?}: expected 1 to 15 characters")]
    CongestionControl(String),
    /// There is no such interface.
    #[error("no interface {0}")]
    UnknownLink(LinkName),
    /// A stand-in for an object that someone changed into a form we have no words for.
    #[error("someone had changed this object to a form that cannot be restored")]
    Altered,
}

/// Whether an object may take the place of one with the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// It must not exist.
    Refuse,
    /// It is replaced, with no moment in between.
    Replace,
}

/// The way a request has to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// A `NETLINK_XFRM` socket.
    Xfrm,
    /// A `NETLINK_ROUTE` socket.
    Route,
    /// A `NETLINK_NETFILTER` socket.
    Netfilter,
}

/// One request, and how to undo it should a later one of the same operation be refused.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to send.
    pub message: Message,
    /// How to undo it.
    pub undo: Undo,
}

/// How to undo a request.
#[derive(Debug, Clone)]
pub enum Undo {
    /// There is nothing to undo: no request follows, or undoing those before it undoes this one.
    Nothing,
    /// By sending this.
    Send(Message),
    /// Not at all, for it removed an object that cannot be made again.
    Impossible(Unencodable),
}

/// The requests that carry `op` out, in order: one where the kernel can do it in one. Operations on
/// nftables and sysctls have no netlink requests here; they give none.
///
/// # Errors
/// [`Unencodable`] when the kernel would refuse or misunderstand the object.
pub fn requests(op: &Op, links: &LinkIndexes) -> Result<Vec<Request>, Unencodable> {
    match op {
        Op::Create(Object::Link(link)) => {
            let create = Request { message: link::create(link), undo: Undo::Send(link::delete(&link.name)) };
            let without = link.has_ipv6().then(|| only(link::without_addresses(&link.name)));
            let up = only(link::change(link, link));
            Ok(std::iter::once(create).chain(without).chain([up]).collect())
        }
        Op::Create(object) => Ok(create(object, links)?.into_iter().map(only).collect()),
        Op::Delete(object) => Ok(delete(object, links)?.into_iter().map(only).collect()),
        Op::Replace { old, new } => replace(old, new, links),
    }
}

const fn only(message: Message) -> Request {
    Request { message, undo: Undo::Nothing }
}

fn create(object: &Object, links: &LinkIndexes) -> Result<Option<Message>, Unencodable> {
    match object {
        Object::Link(link) => Ok(Some(link::create(link))),
        Object::Sa(sa) => make_sa(sa).map(Some),
        Object::Policy(policy) => make_policy(policy, Existing::Refuse).map(Some),
        Object::Address(address) => addr::create(address, links).map(Some),
        Object::Route(route) => route::make(route, Existing::Refuse, links).map(Some),
        Object::Rule(rule) => rule::create(rule).map(Some),
        Object::Nft(_) | Object::Sysctl(_) => Ok(None),
    }
}

fn delete(object: &Object, links: &LinkIndexes) -> Result<Option<Message>, Unencodable> {
    match object {
        Object::Link(link) => Ok(Some(link::delete(&link.name))),
        Object::Sa(sa) => Ok(Some(delete_sa(sa.id))),
        Object::Policy(policy) => delete_policy(&policy.id).map(Some),
        Object::Address(address) => addr::delete(address, links).map(Some),
        Object::Route(route) => Ok(Some(route::delete(route.id))),
        Object::Rule(rule) => rule::delete(rule).map(Some),
        Object::Nft(_) | Object::Sysctl(_) => Ok(None),
    }
}

/// In place where the kernel can; else the old object goes and the new one comes, and should that fail, the
/// old one comes back.
fn replace(old: &Object, new: &Object, links: &LinkIndexes) -> Result<Vec<Request>, Unencodable> {
    match (old, new) {
        (Object::Link(old), Object::Link(new)) => {
            let change = only(link::change(old, new));
            let gets_ipv6 = new.has_ipv6() && !old.has_ipv6();
            let without = gets_ipv6.then(|| only(link::without_addresses(&new.name)));
            Ok(std::iter::once(change).chain(without).collect())
        }
        (_, Object::Policy(new)) => Ok(vec![only(make_policy(new, Existing::Replace)?)]),
        (_, Object::Route(new)) => Ok(vec![only(route::make(new, Existing::Replace, links)?)]),
        (Object::Sa(old), Object::Sa(new))
            if old.differs_in_ports_only(new) || old.differs_in_interface_only(new) =>
        {
            Ok(vec![only(update_sa(new)?)])
        }
        _ => {
            let undo = match create(old, links) {
                Ok(message) => message.map_or(Undo::Nothing, Undo::Send),
                Err(error) => Undo::Impossible(error),
            };
            let first = delete(old, links)?.map(|message| Request { message, undo });
            let second = create(new, links)?.map(only);
            Ok(first.into_iter().chain(second).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::IfId;
    use crate::state::Link;

    fn link(mtu: u32) -> Object {
        let (name, if_id) = ("ippc1".parse().unwrap(), IfId::new(7).unwrap());
        Object::Link(Link { name, if_id, mtu: mtu.try_into().unwrap(), up: true })
    }

    fn count(op: &Op) -> usize {
        requests(op, &LinkIndexes::default()).unwrap().len()
    }

    #[test]
    fn settings_of_ipv6_go_only_to_links_that_have_it() {
        assert_eq!(count(&Op::Create(link(1280))), 3);
        assert_eq!(count(&Op::Create(link(1279))), 2);
        assert_eq!(count(&Op::Replace { old: link(1279), new: link(1280) }), 2);
        assert_eq!(count(&Op::Replace { old: link(1280), new: link(1290) }), 1);
    }
}
