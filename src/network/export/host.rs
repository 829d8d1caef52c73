//! The host's part of a relay, whatever the daemon: interfaces, routes, rules and the firewall, as a shell script.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::ForeignRelay;
use super::file::{Access, File};
use crate::network::ExitSummary;
use crate::telescope::ExitPolicy;

/// Where the script is.
pub(super) const SCRIPT: &str = "/etc/ippriv/relay-up";
/// The unit that runs it.
const UNIT: &str = "/etc/systemd/system/ippriv-relay.service";
/// Identifier of the xfrm interface where all telescopes end.
pub(super) const TELESCOPES: u32 = 100;
/// Identifier of the first neighbour's; the others follow.
pub(super) const FIRST_OVERLAY: u32 = TELESCOPES + 1;
/// Priority of the first rule and number of the table of neighbours.
const RULE: u32 = 4900;

/// What the daemon calls an xfrm interface.
pub(super) type InterfaceName = fn(u32) -> String;

/// The script and the unit, and the commands that run it at once and at every start.
pub(super) fn files(relay: &ForeignRelay<'_>, name: InterfaceName, service: &str) -> [File; 2] {
    [
        File::new(SCRIPT, Access::Program, script(relay, name, service)),
        File::new(UNIT, Access::Everybody, unit(relay, service)),
    ]
}

/// The commands that bring a host's part up, now and whenever it starts, and then its daemon.
pub(super) fn commands(service: &str) -> Vec<String> {
    vec![
        "systemctl daemon-reload".to_owned(),
        format!("systemctl enable ippriv-relay.service {service}"),
        "systemctl restart ippriv-relay.service".to_owned(),
        format!("systemctl restart {service}"),
    ]
}

fn unit(relay: &ForeignRelay<'_>, service: &str) -> String {
    format!(
        "[Unit]\n\
         Description=Interfaces, routes and firewall of the ippriv relay {}\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         # The daemon is never to run without them.\n\
         Before={service}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/bin/sh {SCRIPT}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n\
         RequiredBy={service}\n",
        relay.relay.name
    )
}

fn script(relay: &ForeignRelay<'_>, name: InterfaceName, service: &str) -> String {
    let mut text = format!(
        "#!/bin/sh\n\
         # Interfaces, routes and firewall of the ippriv relay {}, to be run by root before {service}.\n\
         # It can be run again: what is there stays, the firewall's table is replaced in one step.\n\
         set -eu\n\n",
        relay.relay.name
    );
    firewall(&mut text, relay, name);
    interfaces(&mut text, relay, name);
    routes(&mut text, relay, name);
    forwarding(&mut text, relay);
    text
}

fn interfaces(text: &mut String, relay: &ForeignRelay<'_>, name: InterfaceName) {
    text.push_str(
        "interface() { # NAME IDENTIFIER\n    \
             ip link show dev \"$1\" >/dev/null 2>&1 || ip link add \"$1\" type xfrm dev lo if_id \"$2\"\n    \
             ip link set \"$1\" mtu 1500 up\n    \
             # The host would tell senders of a better way than through it.\n    \
             echo 0 >\"/proc/sys/net/ipv4/conf/$1/send_redirects\"\n    \
             # Answers go back another way than questions came.\n    \
             echo 2 >\"/proc/sys/net/ipv4/conf/$1/rp_filter\"\n    \
             echo 1 >\"/proc/sys/net/ipv4/conf/$1/forwarding\"\n\
         }\n\
         # All telescopes share one interface of their own: what comes out of a telescope would else keep the\n\
         # overlay's interface, be looked up among the overlay's policies, and be dropped.\n",
    );
    let _ = writeln!(text, "interface {} {TELESCOPES}", name(TELESCOPES));
    if !relay.neighbours.is_empty() {
        text.push_str(
            "# One for each neighbour's overlay tunnel. Where the tunnel is missing, packets sent there are dropped.\n",
        );
    }
    for (id, neighbour) in relay.overlays() {
        let _ = writeln!(text, "interface {} {id} # {}", name(id), neighbour.relay.name);
    }
    text.push('\n');
}

fn routes(text: &mut String, relay: &ForeignRelay<'_>, name: InterfaceName) {
    let telescopes = name(TELESCOPES);
    text.push_str(
        "rule() { # PRIORITY RULE...\n    \
             while ip \"$family\" rule del priority \"$@\" 2>/dev/null; do :; done\n    \
             ip \"$family\" rule add priority \"$@\"\n\
         }\n\
         family=-4\n\
         # To the client at the end of a telescope. The addresses of all relays' pools differ.\n",
    );
    let _ = writeln!(text, "ip -4 route replace {} dev {telescopes}", relay.relay.pool);
    if !relay.neighbours.is_empty() {
        text.push_str(
            "# Clients' layers go through the overlay both ways: back to an address of the neighbour's pool, and out\n\
             # of a telescope to the neighbour itself. The overlay's own packets to the neighbour do not.\n",
        );
    }
    for (id, neighbour) in relay.overlays() {
        let overlay = name(id);
        let _ = writeln!(text, "ip -4 route replace {} dev {overlay}", neighbour.relay.pool);
        let _ = writeln!(text, "ip -4 route replace {} dev {overlay} table {RULE}", neighbour.relay.address);
    }
    let _ = writeln!(text, "rule {RULE} iif {telescopes} lookup {RULE}");
    let nowhere = RULE + 1;
    match relay.relay.exit {
        Some(_) => {
            if let Some(pool6) = relay.relay.pool6 {
                let _ = writeln!(text, "ip -6 route replace {pool6} dev {telescopes}");
            }
        }
        None => {
            text.push_str(
                "# This relay is no exit: nothing else that comes out of a telescope goes anywhere.\n",
            );
            let _ = writeln!(text, "rule {nowhere} iif {telescopes} unreachable");
            text.push_str("family=-6\n");
            let _ = writeln!(text, "rule {nowhere} iif {telescopes} unreachable");
        }
    }
    text.push('\n');
}

fn forwarding(text: &mut String, relay: &ForeignRelay<'_>) {
    if relay.relay.exit.is_none() {
        return;
    }
    text.push_str(
        "# Answers from the internet come in by the uplink.\necho 1 >/proc/sys/net/ipv4/ip_forward\n",
    );
    if relay.relay.pool6.is_some() {
        text.push_str("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding\n");
    }
}

/// A set of interfaces, addresses or ports in nft's words.
fn set<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{ {} }}", items.join(", "))
}

fn firewall(text: &mut String, relay: &ForeignRelay<'_>, name: InterfaceName) {
    let telescopes = name(TELESCOPES);
    let overlays: Vec<String> = relay.overlays().map(|(id, _)| name(id)).collect();
    let tunnels = set(std::iter::once(&telescopes).chain(&overlays).map(|name| format!("\"{name}\"")));
    let pools = std::iter::once(relay.relay.pool).chain(relay.neighbours.iter().map(|peer| peer.relay.pool));
    let pools = set(pools);
    let pool = relay.relay.pool;
    let mut rule = |line: &str| {
        let _ = writeln!(text, "{line}");
    };
    rule("# First of all, so that nothing passes before it is there.");
    rule("nft -f - <<'EOF'");
    rule("table inet ippriv_relay");
    rule("delete table inet ippriv_relay");
    rule("table inet ippriv_relay {");
    rule("    chain input {");
    rule("        type filter hook input priority filter; policy accept;");
    rule("        # Addresses of pools are used inside tunnels and nowhere else.");
    rule(&format!("        ip saddr {pools} iifname != {tunnels} drop"));
    rule(&format!("        ip saddr {pool} iifname != \"{telescopes}\" drop"));
    if !overlays.is_empty() {
        let overlays = set(overlays.iter().map(|name| format!("\"{name}\"")));
        rule("        # A neighbour brings layers and their IKE to this host, no other service.");
        rule(&format!("        iifname {overlays} meta l4proto != {{ esp, udp }} drop"));
        rule(&format!("        iifname {overlays} udp dport != {{ 500, 4500 }} drop"));
    }
    rule("    }");
    rule("    chain forward {");
    rule("        type filter hook forward priority filter; policy accept;");
    rule(&format!("        ip daddr {pools} oifname != {tunnels} drop"));
    rule(&format!("        ip saddr {pool} iifname != \"{telescopes}\" drop"));
    rule("        # Clients do not reach each other.");
    rule(&format!("        iifname \"{telescopes}\" oifname \"{telescopes}\" drop"));
    for (id, neighbour) in relay.overlays() {
        let (overlay, address) = (name(id), neighbour.relay.address);
        rule(&format!("        iifname \"{telescopes}\" ip daddr {address} oifname != \"{overlay}\" drop"));
        rule(&format!("        iifname \"{overlay}\" oifname != \"{telescopes}\" drop"));
        rule(&format!("        oifname \"{overlay}\" ip daddr != {address} drop"));
    }
    let leaving = format!("iifname \"{telescopes}\" oifname != {tunnels}");
    match &relay.relay.exit {
        None => rule(&format!("        {leaving} drop")),
        Some(summary) => exit(&mut rule, &leaving, summary),
    }
    rule("    }");
    rule("    chain output {");
    rule("        type filter hook output priority filter; policy accept;");
    rule(&format!("        ip daddr {pools} oifname != {tunnels} drop"));
    rule("    }");
    rule("    chain mangle {");
    rule("        type route hook output priority mangle; policy accept;");
    rule("        # Outer headers say nothing about what is inside.");
    rule("        meta l4proto esp ip dscp set cs0");
    rule("    }");
    if relay.relay.exit.is_some() {
        rule("    chain postrouting {");
        rule("        type nat hook postrouting priority srcnat; policy accept;");
        rule("        # Destinations see the exit's address; answers find their way back by it.");
        rule(&format!("        ip saddr {pool} oifname != {tunnels} masquerade fully-random"));
        if let Some(pool6) = relay.relay.pool6 {
            rule(&format!("        ip6 saddr {pool6} oifname != {tunnels} masquerade fully-random"));
        }
        rule("    }");
        rule("    chain last {");
        rule("        type filter hook postrouting priority srcnat + 1; policy accept;");
        rule(
            "        # What connection tracking left alone has kept an address of the pool. Packets that a tunnel",
        );
        rule("        # encrypts come by here a second time, on the uplink already.");
        rule(&format!("        ip saddr {pool} oifname != {tunnels} rt ipsec missing drop"));
        if let Some(pool6) = relay.relay.pool6 {
            rule(&format!("        ip6 saddr {pool6} oifname != {tunnels} rt ipsec missing drop"));
        }
        rule("    }");
    }
    rule("}");
    rule("EOF\n");
}

/// What leaves at an exit: nothing to the networks around it, and only the ports of the network document.
fn exit(rule: &mut impl FnMut(&str), leaving: &str, summary: &ExitSummary) {
    let rejected = ExitPolicy::default().reject;
    let of = |v4: bool| set(rejected.iter().filter(move |prefix: &&IpNet| prefix.addr().is_ipv4() == v4));
    rule(
        "        # Networks that are nobody's on the internet, those around this host among them (RFC 6890).",
    );
    rule(&format!("        {leaving} ip daddr {} reject with icmpx type admin-prohibited", of(true)));
    rule(&format!("        {leaving} ip6 daddr {} reject with icmpx type admin-prohibited", of(false)));
    for (protocol, allowed) in [("tcp", &summary.tcp_ports), ("udp", &summary.udp_ports)] {
        match allowed.as_deref() {
            None => {}
            Some([]) => rule(&format!("        {leaving} meta l4proto {protocol} drop")),
            Some(ranges) => {
                let ports = set(ranges.iter().map(|(first, last)| {
                    if first == last { first.to_string() } else { format!("{first}-{last}") }
                }));
                rule(&format!(
                    "        {leaving} {protocol} dport != {ports} reject with icmpx type admin-prohibited"
                ));
            }
        }
    }
}
