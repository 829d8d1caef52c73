//! The brain of the daemon: what to say to peers and the kernel, and when.

mod io;

pub use io::{Binding, CommandId, Input, OpId, Output, Record, SocketId};
