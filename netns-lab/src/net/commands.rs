//! The batches handed to `ip`, `tc` and `nft`: pure text, a function of the topology.

use std::fmt::Write as _;

use crate::topology::{Delay, Egress, NodeId, Role, Share, Topology};

/// `ip -batch`, outside all namespaces.
pub(super) fn namespaces(topology: &Topology) -> String {
    topology.nodes.iter().map(|node| format!("netns add {}\n", node.name)).collect()
}

/// `ip -batch`, outside all namespaces.
pub(super) fn removal(topology: &Topology) -> String {
    topology.nodes.iter().map(|node| format!("netns del {}\n", node.name)).collect()
}

/// `ip -batch`, outside all namespaces: every veth pair, each end in its node with its final name.
pub(super) fn cables(topology: &Topology) -> String {
    let mut batch = String::new();
    for link in &topology.links {
        let [first, second] = &link.ends;
        let _ = writeln!(
            batch,
            "link add {} address {} netns {} type veth peer name {} address {} netns {}",
            first.interface,
            first.mac,
            topology.node(first.node).name,
            second.interface,
            second.mac,
            topology.node(second.node).name,
        );
    }
    batch
}

/// Settings of a namespace, made before its interfaces exist so that they inherit them.
pub(super) fn sysctls(role: &Role) -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        ("net/ipv4/tcp_no_metrics_save", "1"),
    ];
    // No packet that nobody asked for: no solicitation, no duplicate detection, no link-local address.
    // Group membership is reported at once, not at a random moment.
    for (all, default, value) in [
        ("net/ipv6/conf/all/accept_dad", "net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/all/dad_transmits", "net/ipv6/conf/default/dad_transmits", "0"),
        ("net/ipv6/conf/all/accept_ra", "net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/all/router_solicitations", "net/ipv6/conf/default/router_solicitations", "0"),
        (
            "net/ipv6/conf/all/mldv2_unsolicited_report_interval",
            "net/ipv6/conf/default/mldv2_unsolicited_report_interval",
            "0",
        ),
    ] {
        settings.extend([(all, value), (default, value)]);
    }
    settings.push(("net/ipv6/conf/default/addr_gen_mode", "1"));
    if role.forwards() {
        settings.push(("net/ipv4/ip_forward", "1"));
        settings.push(("net/ipv6/conf/all/forwarding", "1"));
    }
    settings
}

/// `ip -batch` in the node's namespace: addresses, neighbours, links up, routes.
pub(super) fn interfaces(topology: &Topology, node: NodeId) -> String {
    let mut batch = String::from("link set lo up\n");
    for (_, here, there) in topology.ends_of(node) {
        let (name, mac) = (&here.interface, there.mac);
        let _ = writeln!(batch, "addr add {} dev {name}", here.address4);
        let _ = writeln!(batch, "addr add {} dev {name} nodad", here.address6);
        let _ = writeln!(batch, "link set {name} mtu {} gso_max_segs 1 up", here.egress.mtu);
        for address in [there.address4.addr().to_string(), there.address6.addr().to_string()] {
            let _ = writeln!(batch, "neigh replace {address} lladdr {mac} dev {name} nud permanent");
        }
    }
    for route in topology.routes(node) {
        let _ = writeln!(batch, "route add {} via {} dev {}", route.to4, route.via4, route.interface);
        let _ = writeln!(batch, "route add {} via {} dev {}", route.to6, route.via6, route.interface);
    }
    batch
}

/// `tc -batch` in the node's namespace.
pub(super) fn queues(topology: &Topology, node: NodeId) -> String {
    topology.ends_of(node).map(|(_, here, _)| format!("{}\n", queue(&here.interface, &here.egress))).collect()
}

/// A netem queue. With a rate it sends in order whatever the jitter, as each packet waits for the one before.
pub(crate) fn queue(interface: &str, egress: &Egress) -> String {
    let mut line = format!("qdisc replace dev {interface} root netem limit {}", egress.queue);
    if egress.delay != Delay::ZERO {
        let _ = write!(line, " delay {}", egress.delay);
        if egress.jitter != Delay::ZERO {
            let _ = write!(line, " {}", egress.jitter);
        }
    }
    if egress.loss != Share::NONE {
        let _ = write!(line, " loss {}", egress.loss);
    }
    if egress.reorder != Share::NONE {
        let _ = write!(line, " reorder {}", egress.reorder);
    }
    if let Some(rate) = egress.rate {
        let _ = write!(line, " rate {rate}");
    }
    line
}

/// `nft -f` in the namespace of a NAT box.
pub(super) fn masquerade(outside: &str) -> String {
    format!(
        "table inet lab {{ chain leaving {{ type nat hook postrouting priority srcnat; oifname \"{outside}\" masquerade; }}; }}\n"
    )
}

/// What `ethtool -K` switches off: whatever makes the kernel handle several packets as one, or leaves checksums
/// to hardware that is not there. netem would drop and count such a packet as one.
pub(super) const OFFLOADS_OFF: [&str; 14] = [
    "tx",
    "off",
    "sg",
    "off",
    "tso",
    "off",
    "gso",
    "off",
    "gro",
    "off",
    "tx-udp-segmentation",
    "off",
    "rx-gro-list",
    "off",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(batch: &str) -> Vec<&str> {
        batch.lines().collect()
    }

    fn pair() -> Topology {
        let text = "
nodes: [{ name: box, role: nat, outside: b }, { name: b, role: host }]
links:
  - { between: [box, b], rate: 20mbit, delay: 5ms, jitter: 1ms, loss: 0.5%, queue: 60, mtu: 1400,
      from: { reorder: 2%, jitter: 0ms } }
";
        Topology::parse("pair.yaml", text).unwrap()
    }

    #[test]
    fn a_cable_has_both_ends_named_after_the_other_node() {
        assert_eq!(lines(&namespaces(&pair())), ["netns add box", "netns add b"]);
        assert_eq!(lines(&removal(&pair())), ["netns del box", "netns del b"]);
        assert_eq!(
            lines(&cables(&pair())),
            ["link add b address 02:00:00:00:01:01 netns box type veth \
              peer name box address 02:00:00:00:01:02 netns b"]
        );
    }

    #[test]
    fn an_interface_is_complete_before_it_is_routed_to() {
        let pair = pair();
        assert_eq!(
            lines(&interfaces(&pair, pair.find("b").unwrap())),
            [
                "link set lo up",
                "addr add 198.18.1.2/24 dev box",
                "addr add 2001:db8:1::2/64 dev box nodad",
                "link set box mtu 1400 gso_max_segs 1 up",
                "neigh replace 198.18.1.1 lladdr 02:00:00:00:01:01 dev box nud permanent",
                "neigh replace 2001:db8:1::1 lladdr 02:00:00:00:01:01 dev box nud permanent",
                "route add 0.0.0.0/0 via 198.18.1.1 dev box",
                "route add ::/0 via 2001:db8:1::1 dev box",
            ]
        );
    }

    #[test]
    fn queues_say_only_what_the_link_does() {
        let pair = pair();
        let at = |name| queues(&pair, pair.find(name).unwrap());
        assert_eq!(
            at("box"),
            "qdisc replace dev b root netem limit 60 delay 5000us 1000us loss 0.5000% rate 20000000bit\n"
        );
        assert_eq!(
            at("b"),
            "qdisc replace dev box root netem limit 60 delay 5000us loss 0.5000% reorder 2.0000% rate 20000000bit\n"
        );
        let chain = Topology::chain(1).unwrap();
        let client = queues(&chain, chain.find("client").unwrap());
        assert_eq!(client, "qdisc replace dev router0 root netem limit 100 rate 100000000bit\n");
    }

    #[test]
    fn only_forwarders_forward_and_only_nat_boxes_masquerade() {
        let forward = ("net/ipv4/ip_forward", "1");
        assert!(sysctls(&Role::Router).contains(&forward));
        assert!(!sysctls(&Role::Client).contains(&forward));
        let pair = pair();
        let outside = |name| {
            let id = pair.find(name).unwrap();
            pair.node(id).role.masquerades(&pair, id)
        };
        assert_eq!((outside("box"), outside("b")), (Some("b".to_owned()), None));
        assert!(masquerade("b").contains("oifname \"b\" masquerade"));
    }
}
