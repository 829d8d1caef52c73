//! An interface in another network namespace: made here and moved there by the daemon, and given its addresses
//! there by who runs in it.

use std::net::IpAddr;

use ippriv::id::{LinkName, ProcessId, TableId};
use ippriv::netlink::{Channel, Message, move_to, turn_on};
use ippriv::plan::{Object, Op, OpError, Outcome};
use ippriv::state::{
    Address, AddressId, Link, Route, RouteId, RouteKind, RouteMetrics, Scope, Selector, Sysctl,
};

use super::execute::execute;
use super::socket::{Socket, SocketError};

/// The loopback interface of every namespace.
const LOOPBACK: &str = "lo";
/// Of the route to everywhere: it has no rival in there.
const METRIC: u32 = 1;
/// Something has that name or identifier already.
const EEXIST: i32 = 17;
/// `IN6_ADDR_GEN_MODE_NONE`.
const NO_ADDRESSES: &str = "1";

/// Makes `link` and moves it to the namespace of `process`, where it is called `name`. Its SAs and policies
/// stay in this one.
///
/// # Errors
/// [`OpError`] when it is not there; it is not here either then.
pub(super) fn lend(link: &Link, process: ProcessId, name: &LinkName) -> Result<(), OpError> {
    match execute(&[Op::Create(Object::Link(link.clone()))]).pop() {
        Some(Outcome::Failed(OpError::Refused { errno: EEXIST, .. })) => {
            let message = format!(
                "{name} is still in another namespace: expected what an earlier command left running there to have ended"
            );
            return Err(OpError::Tool(message));
        }
        Some(Outcome::Failed(error)) => return Err(error),
        _ => {}
    }
    let moved = moved(link, process, name);
    if moved.is_err() {
        // it may be gone for another reason, such as the end of the namespace
        drop(execute(&[Op::Delete(Object::Link(link.clone()))]));
    }
    moved
}

fn moved(link: &Link, process: ProcessId, name: &LinkName) -> Result<(), OpError> {
    let gone = |error: std::io::Error| OpError::Tool(format!("interface {}: {error}", link.name));
    let mut socket = Socket::open(Channel::Route).map_err(SocketError::into_op_error)?;
    let index = socket.link_index(link.name.as_str()).map_err(gone)?;
    if socket.link_index(name.as_str()).is_err() {
        return Err(OpError::Tool(format!("no interface {name} here: expected the circuit's")));
    }
    send(&mut socket, move_to(index, process, name)).map_err(|error| match error {
        // two of one name: it is this namespace that the process is in
        OpError::Refused { errno: EEXIST, .. } => OpError::Tool(format!(
            "process {process} is in the daemon's network namespace: expected one of its own"
        )),
        error => error,
    })
}

/// Furnishes this thread's network namespace, in which nothing has been done yet: the loopback, and an
/// interface that the daemon moved here, with its addresses, as the way to everywhere.
///
/// # Errors
/// [`OpError`] for the first thing that the kernel refuses.
pub fn furnish(name: &LinkName, addresses: &[IpAddr]) -> Result<(), OpError> {
    let mut socket = Socket::open(Channel::Route).map_err(SocketError::into_op_error)?;
    let loopback = LOOPBACK.parse::<LinkName>().map_err(|error| OpError::Tool(error.to_string()))?;
    send(&mut socket, turn_on(&loopback))?;
    let mut ops = Vec::new();
    if std::path::Path::new("/proc/sys/net/ipv6").exists() {
        let setting = |key: &str, value: &str| {
            let path = format!("net/ipv6/conf/{name}/{key}");
            Op::Create(Object::Sysctl(Sysctl { link: name.clone(), path, value: value.to_owned() }))
        };
        if addresses.iter().any(IpAddr::is_ipv6) {
            ops.push(setting("addr_gen_mode", NO_ADDRESSES));
        } else {
            ops.push(setting("disable_ipv6", "1"));
        }
    }
    done(&ops)?;
    send(&mut socket, turn_on(name))?;
    ops.clear();
    for address in addresses.iter().copied() {
        let id = AddressId { link: name.clone(), prefix: address.into() };
        ops.push(Op::Create(Object::Address(Address { id, scope: Scope::Global })));
        let id = RouteId { table: TableId::MAIN, destination: Selector::any(address), metric: METRIC };
        let kind = RouteKind::Link(name.clone());
        let metrics = RouteMetrics::default();
        ops.push(Op::Create(Object::Route(Route { id, kind, preferred_source: Some(address), metrics })));
    }
    done(&ops)
}

/// Removes that interface again, at once; with the namespace it goes a little later.
///
/// # Errors
/// [`OpError`] when the kernel refuses.
pub fn unfurnish(name: &LinkName) -> Result<(), OpError> {
    let mut socket = Socket::open(Channel::Route).map_err(SocketError::into_op_error)?;
    send(&mut socket, ippriv::netlink::remove(name))
}

fn send(socket: &mut Socket, message: Message) -> Result<(), OpError> {
    socket.batch(&mut [message]).map_err(SocketError::into_op_error)?.into_iter().collect()
}

fn done(ops: &[Op]) -> Result<(), OpError> {
    let outcomes = execute(ops);
    match ops.iter().zip(outcomes).find(|(_, outcome)| *outcome != Outcome::Done) {
        None => Ok(()),
        Some((op, Outcome::Failed(error))) => Err(OpError::Tool(format!("{op}: {error}"))),
        Some((op, _)) => Err(OpError::Tool(format!("{op}: not tried"))),
    }
}
