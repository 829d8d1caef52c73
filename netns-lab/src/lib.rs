//! Namespace labs for ippriv: the lab kernel, the runners that start programs in it, and the system programs they
//! need.

pub mod guest;
pub mod kernel;
pub mod program;
pub mod runner;
pub mod system;
