//! The kernel as a value: what it holds, and operations on it.

mod dump;
mod execute;
mod namespace;
mod nft;
pub(crate) mod notices;
mod socket;
mod sysctl;

use ippriv::id::{LinkName, ProcessId};
use ippriv::plan::{Op, OpError, Outcome};
use ippriv::state::{Current, Link, SaId, State};

pub use namespace::{furnish, unfurnish};
pub use nft::NftError;
pub use socket::SocketError;

/// A kernel, real or made up for a test.
pub trait Kernel {
    /// Everything of ours that it holds, and what of others we could collide with. Of settings, which cannot
    /// be told from others', only those that `desired` names and those of interfaces that it does not; of
    /// nftables, rules get the words of `desired`.
    ///
    /// # Errors
    /// [`KernelError`] when it cannot be asked or its answer not be read.
    fn dump(&mut self, desired: &State) -> Result<Current, KernelError>;

    /// Carries out `ops` in order; as many outcomes as operations, in the same order. After a failure some of
    /// the following may still have been carried out, for many are sent at once.
    fn execute(&mut self, ops: &[Op]) -> Vec<Outcome>;

    /// Makes `link` and moves it to the network namespace of `process`, where it is called `name`.
    ///
    /// # Errors
    /// [`OpError`] when it is not there; it is not here either then.
    fn lend(&mut self, link: &Link, process: ProcessId, name: &LinkName) -> Result<(), OpError>;

    /// How many packets went through each of `sas` so far, but for those that are not there.
    ///
    /// # Errors
    /// [`KernelError`] when it cannot be asked or its answer not be read.
    fn count(&mut self, sas: &[SaId]) -> Result<Vec<(SaId, u64)>, KernelError>;
}

/// Why the kernel's state is not known.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// This process may not ask.
    #[error("reading {what} needs the capability CAP_NET_ADMIN, which this process lacks: run it as root")]
    Privilege {
        /// What was asked for.
        what: &'static str,
    },
    /// Netlink failed.
    #[error("cannot read {what}: {error}")]
    Netlink {
        /// What was asked for.
        what: &'static str,
        /// What went wrong.
        error: SocketError,
    },
    /// nftables failed.
    #[error("cannot read our nftables table: {0}")]
    Nft(#[from] NftError),
}

/// The Linux kernel, in the network namespace of the thread that calls. Sockets live as long as a call, so
/// nothing that went wrong in one call disturbs the next.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinuxKernel;

impl Kernel for LinuxKernel {
    fn dump(&mut self, desired: &State) -> Result<Current, KernelError> {
        dump::dump(desired)
    }

    fn execute(&mut self, ops: &[Op]) -> Vec<Outcome> {
        execute::execute(ops)
    }

    fn lend(&mut self, link: &Link, process: ProcessId, name: &LinkName) -> Result<(), OpError> {
        namespace::lend(link, process, name)
    }

    fn count(&mut self, sas: &[SaId]) -> Result<Vec<(SaId, u64)>, KernelError> {
        dump::count(sas)
    }
}
