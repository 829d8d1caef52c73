//! What runs something, and in which time: arguments of several commands.

use ippriv_lab::runner::{Choice, Clock};

#[derive(clap::Args)]
pub(crate) struct Machine {
    /// What runs it.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) runner: Choice,
    /// Run in virtual time.
    #[arg(long = "virtual")]
    virtual_time: bool,
    /// Where the randomness of virtual time starts.
    #[arg(long, default_value_t = 1, requires = "virtual_time")]
    seed: u64,
}

impl Machine {
    pub(crate) fn clock(&self) -> Clock {
        self.runner.clock(self.virtual_time.then_some(self.seed))
    }
}
