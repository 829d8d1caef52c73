//! The marks by which we know our own objects in a kernel that others use too.
//!
//! Nothing without these marks is ever changed or deleted. An SA or policy is ours only when both its
//! interface identifier and its reqids lie in our range; a route or rule only with our protocol number *and*
//! our table or priority range; an xfrm interface by its identifier and name prefix; nftables objects by
//! their table.

use crate::id::{IfId, LinkName, Reqid, TableId};

/// First number of the range used for interface identifiers, reqids and tables ("IP" in ASCII, then 0).
pub const FIRST: u32 = 0x4950_0000;
/// Last number of that range: 2^20 numbers.
pub const LAST: u32 = FIRST | 0x000f_ffff;
/// Protocol number of our routes and rules (`/etc/iproute2/rt_protos`); unassigned by the kernel and iproute2.
pub const PROTOCOL: u8 = 73;
/// Priority of our first rule; `main` has 32766.
pub const FIRST_RULE: u32 = 4950;
/// Priority of our last rule.
pub const LAST_RULE: u32 = 4999;
/// What every interface of ours is called: `ippt` telescopes, `ippo…` overlays, `ippc…` circuits.
pub const LINK_PREFIX: &str = "ipp";
/// Family and name of our nftables table.
pub const NFT_TABLE: &str = "ippriv";

/// Whether `number` lies in our range.
#[must_use]
pub const fn in_range(number: u32) -> bool {
    FIRST <= number && number <= LAST
}

/// Whether an xfrm interface is ours.
#[must_use]
pub fn owns_link(name: &LinkName, if_id: Option<IfId>) -> bool {
    name.as_str().starts_with(LINK_PREFIX) && if_id.is_some_and(|id| in_range(id.get()))
}

/// Whether an SA is ours.
#[must_use]
pub fn owns_sa(if_id: Option<IfId>, reqid: Reqid) -> bool {
    if_id.is_some_and(|id| in_range(id.get())) && in_range(reqid.0)
}

/// Whether a policy is ours: every one we make has templates, all with reqids of ours.
#[must_use]
pub fn owns_policy(if_id: Option<IfId>, mut reqids: impl Iterator<Item = Reqid>) -> bool {
    let first = reqids.next();
    if_id.is_some_and(|id| in_range(id.get()))
        && first.is_some_and(|reqid| in_range(reqid.0))
        && reqids.all(|reqid| in_range(reqid.0))
}

/// Whether a route is ours.
#[must_use]
pub const fn owns_route(protocol: u8, table: TableId) -> bool {
    protocol == PROTOCOL && in_range(table.0)
}

/// Whether a rule is ours.
#[must_use]
pub const fn owns_rule(protocol: u8, priority: u32) -> bool {
    protocol == PROTOCOL && FIRST_RULE <= priority && priority <= LAST_RULE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_alone_is_not_enough() {
        let ours = IfId::new(FIRST + 1);
        let theirs = IfId::new(7);
        assert!(owns_sa(ours, Reqid(LAST)));
        assert!(!owns_sa(ours, Reqid(LAST + 1)));
        assert!(!owns_sa(theirs, Reqid(FIRST)));
        assert!(!owns_sa(None, Reqid(FIRST)));
        assert!(!owns_policy(ours, [].into_iter()));
        assert!(!owns_policy(ours, [Reqid(FIRST), Reqid(1)].into_iter()));
        assert!(!owns_route(PROTOCOL, TableId::MAIN));
        assert!(!owns_route(4, TableId(FIRST)));
        assert!(!owns_rule(PROTOCOL, 100));
        let name = |text: &str| text.parse::<LinkName>().unwrap();
        assert!(owns_link(&name("ippc1"), ours));
        assert!(!owns_link(&name("ippc1"), theirs));
        assert!(!owns_link(&name("vpn0"), ours));
    }
}
