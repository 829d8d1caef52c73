//! Carrying out operations, many at once where the kernel takes many.

use ippriv::id::LinkName;
use ippriv::netlink::{Channel, LinkIndexes, Message, Request, Undo, change_sets, requests};
use ippriv::plan::{Object, Op, OpError, Outcome};
use ippriv::state::RouteKind;
use tracing::debug;

use super::socket::{BATCH, Socket, SocketError};
use super::{nft, sysctl};

pub(super) fn execute(ops: &[Op]) -> Vec<Outcome> {
    let mut executor = Executor::default();
    let mut outcomes = Vec::with_capacity(ops.len());
    while let Some(rest) = ops.get(outcomes.len()..)
        && !rest.is_empty()
    {
        let step = executor.step(rest);
        let failed = step.iter().any(Result::is_err);
        outcomes
            .extend(step.into_iter().map(|result| result.map_or_else(Outcome::Failed, |()| Outcome::Done)));
        if failed {
            break;
        }
    }
    outcomes.resize(ops.len(), Outcome::NotTried);
    outcomes
}

/// What an operation goes through. Operations in a row that go through the same can be sent at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Xfrm,
    /// Apart from [`Lane::Route`], which needs the numbers of interfaces made here.
    Link,
    /// Apart too: with an address the kernel removes the routes that prefer it, which must not happen unseen
    /// when a route could not be deleted.
    Address,
    Route,
    Nft,
    Sysctl,
}

const fn lane(op: &Op) -> Lane {
    match op.object() {
        Object::Sa(_) | Object::Policy(_) => Lane::Xfrm,
        Object::Link(_) => Lane::Link,
        Object::Address(_) => Lane::Address,
        Object::Route(_) | Object::Rule(_) => Lane::Route,
        Object::Nft(_) => Lane::Nft,
        Object::Sysctl(_) => Lane::Sysctl,
    }
}

#[derive(Default)]
struct Executor {
    xfrm: Option<Socket>,
    route: Option<Socket>,
    netfilter: Option<Socket>,
    indexes: LinkIndexes,
}

impl Executor {
    /// Carries out one operation or more of `ops`, which has one; a result for each.
    fn step(&mut self, ops: &[Op]) -> Vec<Result<(), OpError>> {
        let Some(first) = ops.first() else { return Vec::new() };
        match lane(first) {
            Lane::Nft => vec![self.nft(first)],
            Lane::Sysctl => vec![write_sysctl(first)],
            Lane::Link => {
                self.indexes = LinkIndexes::default();
                self.send(Channel::Route, ops, Lane::Link)
            }
            Lane::Address => self.send(Channel::Route, ops, Lane::Address),
            Lane::Route => self.send(Channel::Route, ops, Lane::Route),
            Lane::Xfrm => self.send(Channel::Xfrm, ops, Lane::Xfrm),
        }
    }

    /// Sends as many operations of `lane` from the start of `ops` as can go at once.
    fn send(&mut self, channel: Channel, ops: &[Op], expected: Lane) -> Vec<Result<(), OpError>> {
        let mut batch: Vec<Message> = Vec::with_capacity(BATCH);
        for op in ops.iter().take(BATCH).take_while(|op| lane(op) == expected) {
            let encoded = self.encode(channel, op);
            match encoded {
                Ok(requests) if requests.len() == 1 => {
                    batch.extend(requests.into_iter().map(|request| request.message));
                }
                // What cannot join a batch is a step of its own, after the batch.
                _ if !batch.is_empty() => break,
                Ok(requests) => return vec![self.in_turn(channel, requests)],
                Err(error) => return vec![Err(error)],
            }
        }
        let count = batch.len();
        self.batch(channel, &mut batch).unwrap_or_else(|error| vec![Err(error); count])
    }

    fn encode(&mut self, channel: Channel, op: &Op) -> Result<Vec<Request>, OpError> {
        for name in links(op) {
            if self.indexes.index(name).is_err()
                && let Ok(index) = self.socket(channel)?.link_index(name.as_str())
            {
                self.indexes.insert(name.clone(), index);
            }
        }
        requests(op, &self.indexes).map_err(|error| OpError::Tool(error.to_string()))
    }

    fn socket(&mut self, channel: Channel) -> Result<&mut Socket, OpError> {
        let slot = match channel {
            Channel::Xfrm => &mut self.xfrm,
            Channel::Route => &mut self.route,
            Channel::Netfilter => &mut self.netfilter,
        };
        match slot {
            Some(socket) => Ok(socket),
            None => Ok(slot.insert(Socket::open(channel).map_err(SocketError::into_op_error)?)),
        }
    }

    /// Changes sets in place. A table that is not what it should be before, so that this is refused, is
    /// replaced as a whole, and so is one that changes in other ways.
    fn nft(&mut self, op: &Op) -> Result<(), OpError> {
        if let Op::Replace { old: Object::Nft(old), new: Object::Nft(new) } = op
            && let Some(changes) = old.changes_in_place(new)
        {
            let socket = self.socket(Channel::Netfilter)?;
            match socket.transaction(&mut change_sets(&changes)) {
                Ok(()) => return Ok(()),
                Err(error) => debug!(%error, "sets did not change in place"),
            }
        }
        nft::execute(op)
    }

    fn batch(
        &mut self,
        channel: Channel,
        messages: &mut [Message],
    ) -> Result<Vec<Result<(), OpError>>, OpError> {
        self.socket(channel)?.batch(messages).map_err(SocketError::into_op_error)
    }

    fn one(&mut self, channel: Channel, message: Message) -> Result<(), OpError> {
        self.batch(channel, &mut [message])?.into_iter().collect()
    }

    /// Sends the requests of one operation one after the other; when one is refused, undoes those before it.
    fn in_turn(&mut self, channel: Channel, requests: Vec<Request>) -> Result<(), OpError> {
        let mut undos = Vec::new();
        for request in requests {
            if let Err(cause) = self.one(channel, request.message) {
                return Err(match self.undo(channel, undos) {
                    Ok(()) => cause,
                    Err(error) => OpError::Tool(format!("{cause}; what came before was not undone: {error}")),
                });
            }
            undos.push(request.undo);
        }
        Ok(())
    }

    /// Undoes requests, the last one first.
    fn undo(&mut self, channel: Channel, undos: Vec<Undo>) -> Result<(), OpError> {
        for undo in undos.into_iter().rev() {
            match undo {
                Undo::Nothing => {}
                Undo::Send(message) => self.one(channel, message)?,
                Undo::Impossible(error) => return Err(OpError::Tool(error.to_string())),
            }
        }
        Ok(())
    }
}

/// The interfaces whose numbers the requests of `op` need.
fn links(op: &Op) -> impl Iterator<Item = &LinkName> {
    let (old, new) = match op {
        Op::Create(object) | Op::Delete(object) => (None, object),
        Op::Replace { old, new } => (Some(old), new),
    };
    [old, Some(new)].into_iter().flatten().filter_map(|object| match object {
        Object::Address(address) => Some(&address.id.link),
        Object::Route(route) => match &route.kind {
            RouteKind::Link(link) => Some(link),
            RouteKind::Unreachable => None,
        },
        _ => None,
    })
}

fn write_sysctl(op: &Op) -> Result<(), OpError> {
    match op {
        Op::Create(Object::Sysctl(setting)) | Op::Replace { new: Object::Sysctl(setting), .. } => {
            sysctl::write(setting)
        }
        _ => Ok(()),
    }
}
