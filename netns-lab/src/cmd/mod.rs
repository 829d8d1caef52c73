//! The commands, one file for each noun.

pub(crate) mod kernel;
pub(crate) mod run;
