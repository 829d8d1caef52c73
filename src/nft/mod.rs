//! Our nftables table as text for `nft -f`, and read back from `nft list table`.
//!
//! Every rule carries a comment with a hash of its text as we wrote it. `nft` prints rules in its own words,
//! so the hash tells which of our rules it is, without any understanding of nft's expressions. Who changes a
//! rule and keeps our comment is therefore not noticed; every other change is.

mod list;
mod script;

pub use list::{Unreadable, parse};
pub use script::{Unwritable, create, delete, replace};

use crate::state::NftHook;

const COMMENT: &str = "ippriv ";
/// The types of sets that we have.
const IPV4: &str = "ipv4_addr";
const IPV6: &str = "ipv6_addr";

/// The comment of the rule `text`: a name of ours and 16 hexadecimal digits of FNV-1a.
fn comment(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{COMMENT}{hash:016x}")
}

/// What nft calls a hook: type, place, priority as a word and as a number.
struct HookWords {
    hook: NftHook,
    kind: &'static str,
    place: &'static str,
    priority: &'static str,
    number: i64,
}

const HOOKS: [HookWords; 7] = {
    use crate::state::NftHook::{
        Forward, ForwardMangle, Input, Output, PostroutingLast, PostroutingNat, PreroutingMangle,
    };
    [
        HookWords { hook: Input, kind: "filter", place: "input", priority: "filter", number: 0 },
        HookWords { hook: Forward, kind: "filter", place: "forward", priority: "filter", number: 0 },
        HookWords { hook: Output, kind: "filter", place: "output", priority: "filter", number: 0 },
        HookWords {
            hook: PostroutingNat,
            kind: "nat",
            place: "postrouting",
            priority: "srcnat",
            number: 100,
        },
        HookWords { hook: ForwardMangle, kind: "filter", place: "forward", priority: "mangle", number: -150 },
        HookWords {
            hook: PreroutingMangle,
            kind: "filter",
            place: "prerouting",
            priority: "mangle",
            number: -150,
        },
        HookWords {
            hook: PostroutingLast,
            kind: "filter",
            place: "postrouting",
            priority: "srcnat + 1",
            number: 101,
        },
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(comment(""), "ippriv cbf29ce484222325");
        assert_eq!(comment("a"), "ippriv af63dc4c8601ec8c");
    }
}
