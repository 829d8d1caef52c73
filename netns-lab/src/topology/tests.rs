use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies")
}

fn shipped(name: &str) -> Topology {
    Topology::read(&folder().join(name).with_extension("yaml")).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    files
}

#[test]
fn every_shipped_topology_is_valid() {
    for path in files(&folder()) {
        let topology = Topology::read(&path).unwrap();
        assert!(!topology.description.is_empty(), "{}", path.display());
    }
}

/// Each `invalid/CASE.yaml` has its message in `invalid/CASE.err`.
#[test]
fn bad_files_are_refused_with_place_finding_and_expectation() {
    let cases = files(&folder().join("invalid"));
    assert!(cases.len() > 15);
    for path in cases {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let message = match Topology::parse(&name, &fs::read_to_string(&path).unwrap()) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        let golden = path.with_extension("err");
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(message, expected.trim_end(), "{}", golden.display());
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Topology::read(Path::new("/nowhere/x.yaml")).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/x.yaml: found No such file"), "{error}");
}

#[test]
fn europe_has_the_planned_addresses() {
    let europe = shipped("europe");
    let address = |name: &str| {
        let (_, here, _) = europe.ends_of(europe.find(name).unwrap()).next().unwrap();
        (here.address4.to_string(), here.address6.to_string())
    };
    assert_eq!(address("client"), ("198.18.5.2/24".to_owned(), "2001:db8:5::2/64".to_owned()));
    assert_eq!(address("server"), ("198.18.9.2/24".to_owned(), "2001:db8:9::2/64".to_owned()));
    let relays: Vec<_> =
        europe.relays().map(|(id, relay)| (europe.node(id).name.as_str(), relay.exit)).collect();
    assert_eq!(relays, [("entry", false), ("middle", false), ("exit", true)]);
    let (_, middle) = europe.relays().nth(1).unwrap();
    assert_eq!(middle.pool.to_string(), "10.65.0.0/16");
    assert_eq!(middle.pool6.unwrap().to_string(), "fd00:65::/64");
    let delays: Vec<_> = europe.links[..4].iter().map(|link| link.ends[0].egress.delay).collect();
    assert_eq!(delays, [5, 4, 4, 4].map(Delay::ms));
}

#[test]
fn narrow_is_europe_with_one_small_mtu() {
    let mut europe = shipped("europe");
    let narrow = shipped("narrow");
    for end in &mut europe.links[1].ends {
        end.egress.mtu = 1400;
    }
    assert_eq!(narrow.links, europe.links);
    assert_eq!(narrow.nodes, europe.nodes);
}

#[test]
fn code_and_files_make_the_same_chain() {
    let (file, code) = (shipped("five"), Topology::chain(5).unwrap());
    assert_eq!((file.nodes, file.links), (code.nodes, code.links));
}

#[test]
fn chains_end_where_the_address_plan_does() {
    let long = Topology::chain(192).unwrap();
    assert_eq!(long.relays().last().unwrap().1.pool.to_string(), "10.255.0.0/16");
    for relays in [0, 193, usize::MAX] {
        let error = Topology::chain(relays).unwrap_err().to_string();
        assert_eq!(error, format!("chain-{relays}: found a chain of {relays} relays, expected 1 to 192"));
    }
}

#[test]
fn directions_differ_where_the_file_says_so() {
    let text = "
nodes: [{ name: a, role: host }, { name: b, role: host }]
links: [{ between: [a, b], rate: 10mbit, delay: 5ms, mtu: 1400, to: { rate: 1mbit }, from: { loss: 1%, mtu: 1300 } }]
";
    let topology = Topology::parse("x.yaml", text).unwrap();
    let [to, from] = &topology.links[0].ends;
    assert_eq!((to.egress.rate, from.egress.rate), (Some(Rate::mbit(1)), Some(Rate::mbit(10))));
    assert_eq!((to.egress.loss.ppm(), from.egress.loss.ppm()), (0, 10_000));
    assert_eq!((to.egress.mtu, from.egress.mtu), (1400, 1300));
    assert_eq!((to.egress.delay, from.egress.delay), (Delay::ms(5), Delay::ms(5)));
}

#[test]
fn given_addresses_win_over_the_plan() {
    let text = "
nodes: [{ name: a, role: host }, { name: b, role: host }]
links: [{ between: [a, b], rate: 1mbit, addresses: [192.0.2.9/29, 192.0.2.10/29] }]
";
    let topology = Topology::parse("x.yaml", text).unwrap();
    let [a, b] = &topology.links[0].ends;
    assert_eq!(
        (a.address4.to_string(), b.address4.to_string()),
        ("192.0.2.9/29".into(), "192.0.2.10/29".into())
    );
    assert_eq!(a.address6.to_string(), "2001:db8:1::1/64");
}

fn routes(topology: &Topology, name: &str) -> Vec<String> {
    let routes = topology.routes(topology.find(name).unwrap());
    routes
        .iter()
        .map(|route| format!("{} {} via {} {}", route.to4, route.to6, route.via4, route.via6))
        .collect()
}

#[test]
fn hosts_have_a_default_route_and_routers_one_per_network() {
    let europe = shipped("europe");
    assert_eq!(routes(&europe, "client"), ["0.0.0.0/0 ::/0 via 198.18.5.1 2001:db8:5::1"]);
    let munich = routes(&europe, "munich");
    assert_eq!(munich.len(), 6, "9 links, 3 of them its own: {munich:?}");
    assert_eq!(munich[0], "198.18.3.0/24 2001:db8:3::/64 via 198.18.2.2 2001:db8:2::2");
    assert!(munich.contains(&"198.18.5.0/24 2001:db8:5::/64 via 198.18.1.1 2001:db8:1::1".to_owned()));
}

#[test]
fn the_quicker_way_wins_then_the_shorter_one() {
    let text = "
nodes: [{ name: a, role: router }, { name: b, role: router }, { name: c, role: router }, { name: d, role: host }]
links:
  - { between: [a, b], rate: 1mbit, delay: 9ms }
  - { between: [a, c], rate: 1mbit, delay: 4ms }
  - { between: [c, b], rate: 1mbit, delay: 4ms }
  - { between: [b, d], rate: 1mbit }
";
    let quick = Topology::parse("x.yaml", text).unwrap();
    assert!(
        routes(&quick, "a")
            .contains(&"198.18.4.0/24 2001:db8:4::/64 via 198.18.2.2 2001:db8:2::2".to_owned())
    );
    let short = Topology::parse("x.yaml", &text.replace("9ms", "8ms")).unwrap();
    assert!(
        routes(&short, "a")
            .contains(&"198.18.4.0/24 2001:db8:4::/64 via 198.18.1.2 2001:db8:1::2".to_owned())
    );
}

#[test]
fn hosts_do_not_forward() {
    let text = "
nodes: [{ name: a, role: router }, { name: h, role: host }, { name: b, role: router }, { name: c, role: host }]
links:
  - { between: [a, h], rate: 1mbit }
  - { between: [h, b], rate: 1mbit }
  - { between: [b, c], rate: 1mbit }
  - { between: [c, a], rate: 1mbit }
";
    let ring = Topology::parse("x.yaml", text).unwrap();
    let own = "198.18.2.0/24 2001:db8:2::/64 via 198.18.1.2 2001:db8:1::2";
    let far = "198.18.3.0/24 2001:db8:3::/64 via 198.18.4.1 2001:db8:4::1";
    assert_eq!(routes(&ring, "a"), [own, far], "each host is reached at both its addresses, none is passed");
}

#[test]
fn every_pair_of_the_public_network_is_connected_both_ways() {
    for topology in [shipped("europe"), shipped("five"), Topology::chain(1).unwrap()] {
        for (from, to) in topology.node_ids().flat_map(|from| topology.node_ids().map(move |to| (from, to))) {
            let (_, target, _) = topology.ends_of(to).next().unwrap();
            let path = topology.path(from, target.address4.addr());
            let last = path.last().map_or(from, |(link, end)| {
                topology.link(*link).ends.iter().find(|other| other.node != end.node).unwrap().node
            });
            assert_eq!(last, to, "{from:?} {path:?}");
        }
    }
    let europe = shipped("europe");
    let way = europe.path(europe.find("client").unwrap(), "198.18.9.2".parse().unwrap());
    let names: Vec<_> = way.iter().map(|(_, end)| end.interface.as_str()).collect();
    assert_eq!(names, ["trento", "munich", "frankfurt", "amsterdam", "london", "server"]);
}

#[test]
fn what_is_behind_a_nat_box_cannot_be_reached_but_can_reach() {
    let nat = shipped("nat");
    let inside =
        nat.links.iter().find(|link| link.ends[1].interface == "box" || link.ends[0].interface == "box");
    assert!(inside.is_some());
    let private = nat.links.iter().filter(|link| link.ends[0].address4.addr().octets()[0] == 172);
    assert_eq!(private.map(|link| link.name.as_str()).collect::<Vec<_>>(), ["box-client"]);
    assert!(routes(&nat, "munich").iter().all(|route| !route.starts_with("172.")));
    assert!(routes(&nat, "box").last().unwrap().starts_with("0.0.0.0/0"));
    assert_eq!(routes(&nat, "client").len(), 1);
    let (client, server) = (nat.find("client").unwrap(), nat.find("server").unwrap());
    assert_eq!(nat.path(server, "172.16.6.2".parse().unwrap()).len(), 1, "the first router knows no way");
    assert_eq!(nat.path(client, "198.18.10.2".parse().unwrap()).len(), 7);
}
