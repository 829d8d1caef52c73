//! What may be seen of a telescope from outside, whoever built it.

use std::net::IpAddr;

use crate::capture::{Ip, LinkCapture, Transport};
use crate::net::{Net, NetError};
use crate::scenario::Verdicts;

/// IKE's port, and that of IKE and ESP in UDP.
const IKE_PORTS: [u16; 2] = [500, 4500];
/// Strangers that evidence lists.
const SHOWN: usize = 3;

/// Who talks to whom on the way of a telescope.
pub(super) struct Route {
    stretches: Vec<Stretch>,
}

struct Stretch {
    name: String,
    ends: [IpAddr; 2],
    shows: Shows,
}

/// What a stretch shows to whom looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// ESP, and the IKE of its outermost layer.
    EspAndIke,
    /// ESP only.
    Esp,
    /// What the client sends.
    Clear,
}

impl Route {
    /// From `client` through `relays` to `server`, with overlays that were there before.
    pub(super) fn new(net: &Net, relays: &[&str]) -> Result<Self, NetError> {
        let names: Vec<&str> =
            ["client"].into_iter().chain(relays.iter().copied()).chain(["server"]).collect();
        let mut stretches = Vec::new();
        for (position, pair) in names.windows(2).enumerate() {
            let shows = match position {
                0 => Shows::EspAndIke,
                last if last == relays.len() => Shows::Clear,
                _ => Shows::Esp,
            };
            let ends = [net.node(pair[0])?.address4().into(), net.node(pair[1])?.address4().into()];
            stretches.push(Stretch { name: pair.join(" and "), ends, shows });
        }
        Ok(Self { stretches })
    }

    /// Every stretch has packets, and there is nothing else on any link.
    pub(super) fn judge(&self, verdicts: &mut Verdicts, captures: &[LinkCapture]) {
        for stretch in &self.stretches {
            let packets = |esp: bool| -> usize {
                let like = |ip: &Ip| stretch.is_of(ip) && ip.esp().is_some() == esp;
                captures.iter().map(|capture| capture.count(like)).sum()
            };
            let (esp, other) = (packets(true), packets(false));
            let right = match stretch.shows {
                Shows::EspAndIke => esp > 0 && other > 0,
                Shows::Esp => esp > 0 && other == 0,
                Shows::Clear => esp == 0 && other > 0,
            };
            let evidence = format!("{esp} packets of ESP, {other} others");
            verdicts.check(format!("{:?} between {}", stretch.shows, stretch.name), right, evidence);
        }
        let missed: u64 = captures.iter().map(|capture| capture.missed).sum();
        verdicts.equal("packets missed", &missed, &0);
        let strangers: Vec<String> = captures
            .iter()
            .flat_map(LinkCapture::ip)
            .filter(|ip| ip.source.is_ipv4() && !self.stretches.iter().any(|stretch| stretch.allows(ip)))
            .map(ToString::to_string)
            .collect();
        let shown = strangers.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
        verdicts.check(
            "nothing else is on any link",
            strangers.is_empty(),
            format!("{} packets: {shown}", strangers.len()),
        );
    }
}

impl Stretch {
    fn is_of(&self, ip: &Ip) -> bool {
        let [near, far] = self.ends;
        [[near, far], [far, near]].contains(&[ip.source, ip.destination])
    }

    fn allows(&self, ip: &Ip) -> bool {
        let ike = match ip.transport {
            Transport::Udp { source, destination, esp: None } => {
                IKE_PORTS.contains(&source) && IKE_PORTS.contains(&destination)
            }
            _ => false,
        };
        self.is_of(ip)
            && match self.shows {
                Shows::EspAndIke => ike || ip.esp().is_some(),
                Shows::Esp => ip.esp().is_some(),
                Shows::Clear => ip.esp().is_none(),
            }
    }
}
