//! The commands, one file for each noun.

pub(crate) mod bench;
pub(crate) mod cargo;
pub(crate) mod compare;
pub(crate) mod demo;
pub(crate) mod exec;
pub(crate) mod in_lab;
pub(crate) mod kernel;
mod machine;
pub(crate) mod plot;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod soak;
pub(crate) mod test;
pub(crate) mod traffic;
pub(crate) mod up;
