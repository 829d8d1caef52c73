//! Narrowing of traffic selectors (RFC 7296 §2.9).

use crate::ike::wire::TrafficSelector;

/// The most selectors we agree to.
const MOST: usize = 16;

/// What both lists allow, in the order of `asked`; nothing twice.
pub(super) fn narrow(asked: &[TrafficSelector], allowed: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let mut common: Vec<TrafficSelector> = Vec::new();
    for one in asked {
        for other in allowed {
            let Some(both) = one.intersect(other) else { continue };
            if common.len() < MOST && !common.iter().any(|known| known.contains(&both)) {
                common.push(both);
            }
        }
    }
    common
}

/// Whether every one of `narrowed` lies in one of `asked`: a responder may narrow, never widen.
pub(super) fn lie_within(narrowed: &[TrafficSelector], asked: &[TrafficSelector]) -> bool {
    !narrowed.is_empty() && narrowed.iter().all(|one| asked.iter().any(|other| other.contains(one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> TrafficSelector {
        TrafficSelector::host(text.parse().unwrap())
    }

    #[test]
    fn narrowing_keeps_what_both_allow() {
        let any = [TrafficSelector::any_v4(), TrafficSelector::any_v6()];
        assert_eq!(narrow(&any, &[host("10.1.2.3")]), [host("10.1.2.3")]);
        assert_eq!(narrow(&[host("10.1.2.3")], &any), [host("10.1.2.3")]);
        assert_eq!(narrow(&[host("10.1.2.3")], &[host("10.1.2.4")]), []);
        assert_eq!(narrow(&any, &[any[0], host("10.1.2.3")]), [any[0]]);
    }

    #[test]
    fn a_responder_may_not_widen() {
        assert!(lie_within(&[host("10.1.2.3")], &[TrafficSelector::any_v4()]));
        assert!(!lie_within(&[TrafficSelector::any_v4()], &[host("10.1.2.3")]));
        assert!(!lie_within(&[], &[TrafficSelector::any_v4()]));
    }
}
