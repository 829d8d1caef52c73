//! A host's roles as the file that `ippriv` reads: the other way round of the core's `config`.

use ippriv::state::UdpEncapsulation;
use ippriv::telescope::{
    Client, ExitPolicy, Hop, Host, Neighbour, Relay, RelayCircuit, SaKeys, Telescope, TunnelKeys,
};
use serde_json::{Map, Value, json};

pub(super) fn host(host: &Host) -> Value {
    let mut file = Map::new();
    file.insert("lab".into(), true.into());
    if let Some(role) = &host.client {
        file.insert("client".into(), client(role));
    }
    if let Some(role) = &host.relay {
        file.insert("relay".into(), relay(role));
    }
    Value::Object(file)
}

/// An object without the fields that have nothing to say.
fn given(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    object
}

/// `fields`, with the suite and keys beside them.
fn with_keys(fields: Value, keys: &TunnelKeys) -> Value {
    let sa = |sa: &SaKeys| {
        let key: String = sa.key.expose().iter().map(|octet| format!("{octet:02x}")).collect();
        json!({ "spi": sa.spi.get(), "key": key })
    };
    let mut object = given(fields);
    object["suite"] = keys.suite.name().into();
    object["out"] = sa(&keys.out);
    object["in"] = keys.r#in.iter().map(sa).collect();
    object
}

fn udp(ports: Option<UdpEncapsulation>) -> Value {
    ports.map_or(
        Value::Null,
        |ports| json!({ "source_port": ports.source_port, "destination_port": ports.destination_port }),
    )
}

fn client(client: &Client) -> Value {
    json!({
        "address": client.address,
        "path_mtu": client.path_mtu,
        "kill_switch": client.kill_switch,
        "allow": client.allow,
        "circuits": client.circuits.iter().map(telescope).collect::<Vec<_>>(),
    })
}

fn telescope(circuit: &Telescope) -> Value {
    given(json!({
        "number": circuit.number.get(),
        "traffic": circuit.traffic,
        "mtu": circuit.mtu,
        "advmss": circuit.options.advmss,
        "initcwnd": circuit.options.initcwnd,
        "congestion_control": circuit.options.congestion_control,
        "hops": circuit.hops.iter().map(hop).collect::<Vec<_>>(),
    }))
}

fn hop(hop: &Hop) -> Value {
    let fields = json!({
        "relay": hop.relay,
        "address": hop.address,
        "address6": hop.address6,
        "udp": udp(hop.encapsulation),
    });
    with_keys(fields, &hop.keys)
}

fn relay(relay: &Relay) -> Value {
    given(json!({
        "address": relay.address,
        "pool": relay.pool,
        "pool6": relay.pool6,
        "exit": relay.exit.as_ref().map(exit),
        "neighbours": relay.neighbours.iter().map(neighbour).collect::<Vec<_>>(),
        "circuits": relay.circuits.iter().map(circuit).collect::<Vec<_>>(),
    }))
}

fn exit(policy: &ExitPolicy) -> Value {
    let ports = |ports: &Option<Vec<(u16, u16)>>| {
        ports
            .as_ref()
            .map(|ranges| ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect::<Vec<_>>())
    };
    given(json!({
        "reject": policy.reject,
        "tcp_ports": ports(&policy.tcp_ports),
        "udp_ports": ports(&policy.udp_ports),
    }))
}

fn neighbour(peer: &Neighbour) -> Value {
    let fields = json!({
        "number": peer.number.get(),
        "address": peer.address,
        "pool": peer.pool,
        "tfc_padding": peer.tfc_padding,
    });
    match &peer.keys {
        Some(keys) => with_keys(fields, keys),
        None => given(fields),
    }
}

fn circuit(circuit: &RelayCircuit) -> Value {
    let fields = json!({
        "number": circuit.number.get(),
        "peer": circuit.peer,
        "address": circuit.address,
        "address6": circuit.address6,
        "udp": udp(circuit.encapsulation),
    });
    with_keys(fields, &circuit.keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_is_what_is_read() {
        let keys = |spi| super::super::tunnel(ippriv::suite::Suite::AesCbc128HmacSha1, spi).unwrap();
        let made = Host {
            client: Some(Client {
                address: "198.18.1.2".parse().unwrap(),
                path_mtu: ippriv::id::Mtu::ETHERNET,
                kill_switch: true,
                allow: vec!["198.18.1.0/24".parse().unwrap()],
                guarded: Vec::new(),
                circuits: vec![Telescope {
                    number: 1.try_into().unwrap(),
                    hops: vec![Hop {
                        relay: "198.18.2.2".parse().unwrap(),
                        address: "10.64.0.2".parse().unwrap(),
                        address6: Some("fd00:64::2".parse().unwrap()),
                        keys: keys(0).1,
                        encapsulation: Some(UdpEncapsulation { source_port: 4500, destination_port: 4501 }),
                    }],
                    traffic: vec!["0.0.0.0/0".parse().unwrap()],
                    mtu: None,
                    options: ippriv::state::RouteMetrics {
                        congestion_control: Some("bbr".into()),
                        initcwnd: Some(20),
                        advmss: None,
                    },
                    stage: ippriv::telescope::Stage::Static,
                }],
            }),
            relay: Some(Relay {
                address: "198.18.9.2".parse().unwrap(),
                pool: "10.65.0.0/16".parse().unwrap(),
                pool6: Some("fd00:65::/64".parse().unwrap()),
                exit: Some(ExitPolicy {
                    tcp_ports: Some(vec![(80, 80), (1000, 2000)]),
                    ..ExitPolicy::default()
                }),
                neighbours: vec![Neighbour {
                    number: 1.try_into().unwrap(),
                    address: "198.18.8.2".parse().unwrap(),
                    pool: "10.66.0.0/16".parse().unwrap(),
                    keys: Some(keys(4).0),
                    tfc_padding: Some(1400),
                }],
                circuits: vec![RelayCircuit {
                    number: 7.try_into().unwrap(),
                    peer: "10.66.0.2".parse().unwrap(),
                    address: "10.65.0.2".parse().unwrap(),
                    address6: None,
                    keys: keys(8).0,
                    encapsulation: None,
                }],
            }),
        };
        let read = ippriv::config::parse(&host(&made).to_string()).unwrap();
        assert_eq!(read.host, made);
    }
}
