//! What a daemon says of its security associations, whichever daemon it is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// An IKE SA and the ESP SAs made through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeSa {
    /// The name of its connection in the configuration.
    pub connection: String,
    /// The daemon's number for it: one that replaces another has its own.
    pub number: u32,
    /// The peer's address.
    pub remote: IpAddr,
    /// Whether both have authenticated.
    pub established: bool,
    /// The addresses the peer gave us.
    pub given: Vec<IpAddr>,
    /// Its pairs of ESP SAs.
    pub children: Vec<ChildSa>,
}

/// A pair of ESP SAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSa {
    /// Its name in the configuration.
    pub name: String,
    /// Whether the kernel has it.
    pub installed: bool,
    /// The index of what comes in.
    pub spi_in: u32,
    /// The index of what goes out.
    pub spi_out: u32,
}

/// A section of strongSwan's raw output: `name {key=value list=[a b] section {…}}`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Section {
    values: BTreeMap<String, String>,
    sections: Vec<(String, Self)>,
}

/// Reads `swanctl --list-sas --raw`: a line `list-sa event {NAME {…}}` for each IKE SA.
pub(super) fn from_swanctl(raw: &str) -> Vec<IkeSa> {
    let events = raw.lines().filter_map(|line| line.strip_prefix("list-sa event "));
    let sections = events.filter_map(|text| Some(parse(text.trim().strip_prefix('{')?).0));
    sections.flat_map(|event| event.sections).filter_map(|(name, sa)| ike_sa(name, &sa)).collect()
}

fn ike_sa(connection: String, sa: &Section) -> Option<IkeSa> {
    let value = |name: &str| sa.values.get(name).map(String::as_str);
    let given = value("local-vips").unwrap_or_default().split(' ').filter_map(|text| text.parse().ok());
    let children = sa.sections.iter().find(|(name, _)| name == "child-sas");
    let children = children.into_iter().flat_map(|(_, list)| &list.sections);
    Some(IkeSa {
        connection,
        number: value("uniqueid")?.parse().ok()?,
        remote: value("remote-host")?.parse().ok()?,
        established: value("state") == Some("ESTABLISHED"),
        given: given.collect(),
        children: children.filter_map(|(_, child)| child_sa(child)).collect(),
    })
}

fn child_sa(child: &Section) -> Option<ChildSa> {
    let value = |name: &str| child.values.get(name).map(String::as_str);
    let spi = |name: &str| value(name).and_then(|text| u32::from_str_radix(text, 16).ok());
    Some(ChildSa {
        name: value("name")?.to_owned(),
        installed: value("state") == Some("INSTALLED"),
        // A child that is still negotiated has none.
        spi_in: spi("spi-in").unwrap_or(0),
        spi_out: spi("spi-out").unwrap_or(0),
    })
}

/// Reads up to the section's closing brace; returns what follows that too.
fn parse(mut rest: &str) -> (Section, &str) {
    let mut section = Section::default();
    loop {
        rest = rest.trim_start();
        let end = rest.find(['=', ' ', '{', '}']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = after.trim_start();
        if let Some(inside) = after.strip_prefix('{') {
            let (inner, following) = parse(inside);
            section.sections.push((name.to_owned(), inner));
            rest = following;
        } else if let Some(value) = after.strip_prefix('=') {
            let list = value.strip_prefix('[');
            let (value, stops) = list.map_or((value, [' ', '}']), |list| (list, [']', ']']));
            let (value, following) = value.split_at(value.find(stops).unwrap_or(value.len()));
            section.values.insert(name.to_owned(), value.to_owned());
            rest = following.strip_prefix(']').unwrap_or(following);
        } else {
            return (section, after.strip_prefix('}').unwrap_or(after));
        }
    }
}

/// Reads `ipsec whack --showstates`: a line for each state, and one more for those of ESP SAs.
pub(super) fn from_whack(states: &str) -> Vec<IkeSa> {
    let mut sas: BTreeMap<u32, IkeSa> = BTreeMap::new();
    let mut owners: BTreeMap<u32, u32> = BTreeMap::new();
    let mut children = BTreeMap::new();
    for line in states.lines() {
        let Some((number, connection, rest)) = state_line(line) else { continue };
        if let Some((address, state)) = rest.split_once(" STATE_V2_") {
            let owner =
                state.split_once("IKE SA #").and_then(|(_, rest)| rest.split(';').next()?.parse().ok());
            if let Some(owner) = owner {
                owners.insert(number, owner);
                continue;
            }
            // Where the connection says who the peer is, the state does not.
            let remote = address.rsplit_once(':').and_then(|(address, _)| address.trim().parse().ok());
            let sa = IkeSa {
                connection,
                number,
                remote: remote.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                established: state.starts_with("ESTABLISHED_IKE_SA"),
                given: Vec::new(),
                children: Vec::new(),
            };
            sas.insert(number, sa);
        } else if let Some([out, r#in]) = esp(rest) {
            let child = ChildSa { name: connection, installed: true, spi_in: r#in.0, spi_out: out.0 };
            children.insert(number, (out.1, child));
        }
    }
    // An IKE SA that has replaced another has a later number than the ESP SAs it took over.
    for (number, (remote, child)) in children {
        if let Some(sa) = owners.get(&number).and_then(|owner| sas.get_mut(owner)) {
            sa.remote = remote;
            sa.children.push(child);
        }
    }
    sas.into_values().collect()
}

/// Reads `000 #NUMBER: "CONNECTION"[INSTANCE] REST`; the instance may be missing.
fn state_line(line: &str) -> Option<(u32, String, &str)> {
    let (number, rest) = line.strip_prefix("000 #")?.split_once(": \"")?;
    let (connection, rest) = rest.split_once('"')?;
    let rest = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(rest, |(_, rest)| rest);
    Some((number.parse().ok()?, connection.to_owned(), rest))
}

/// The two `esp.SPI@RECEIVER` of a line: that of the peer, then ours.
fn esp(line: &str) -> Option<[(u32, IpAddr); 2]> {
    let mut found = line.split(' ').filter_map(|word| {
        let (spi, receiver) = word.strip_prefix("esp.")?.split_once('@')?;
        Some((u32::from_str_radix(spi, 16).ok()?, receiver.parse().ok()?))
    });
    Some([found.next()?, found.next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strongswans_list_is_read() {
        let raw = "list-sa event {hop1 {uniqueid=1 version=2 state=ESTABLISHED local-host=198.18.5.2 local-port=4500 \
                   local-id=x remote-host=198.18.6.2 remote-id=relay1 local-vips=[10.64.0.1 fd00::1] tasks-active=[] \
                   child-sas {net-1 {name=net uniqueid=1 state=INSTALLED spi-in=c8f3e65d spi-out=0000beef \
                   local-ts=[10.64.0.1/32] remote-ts=[0.0.0.0/0]}}}}\nlist-sas reply {}\n";
        let child = ChildSa { name: "net".into(), installed: true, spi_in: 0xc8f3_e65d, spi_out: 0xbeef };
        let sa = IkeSa {
            connection: "hop1".into(),
            number: 1,
            remote: "198.18.6.2".parse().unwrap(),
            established: true,
            given: vec!["10.64.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            children: vec![child],
        };
        assert_eq!(from_swanctl(raw), [sa]);
        for cut in 0..raw.len() {
            from_swanctl(&raw[..cut]);
        }
    }

    #[test]
    fn libreswans_list_is_read() {
        let states = "000 #1: \"overlay\":500 STATE_V2_PARENT_I1 (sent IKE_SA_INIT request); RETRANSMIT in 0s; idle;\n\
            000 #1: pending CHILD SA for \"overlay\"\n\
            000 #2: \"clients\"[1] 198.18.4.2:500 STATE_V2_ESTABLISHED_IKE_SA (established IKE SA); EXPIRE in 28799s; newest; idle;\n\
            000 #3: \"clients\"[1] 198.18.4.2:500 STATE_V2_ESTABLISHED_CHILD_SA (established Child SA); newest; IKE SA #2; idle;\n\
            000 #3: \"clients\"[1] 198.18.4.2 esp.a82a5e11@198.18.4.2 esp.9991c600@198.18.5.2 tun.0@198.18.4.2 Traffic: ESPin=0B\n";
        let sas = from_whack(states);
        assert_eq!((sas.len(), sas[0].established, sas[1].established), (2, false, true));
        assert_eq!(sas[1].remote.to_string(), "198.18.4.2");
        let child = &sas[1].children[0];
        assert_eq!((child.spi_in, child.spi_out), (0x9991_c600, 0xa82a_5e11));
        for cut in 0..states.len() {
            from_whack(&states[..cut]);
        }
    }
}
