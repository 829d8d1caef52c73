//! Namespace labs for ippriv: the lab kernel, the runners that start programs in it, networks of namespaces with their
//! captures, and what is tried on them.

pub mod bench;
pub mod bundle;
pub mod capture;
pub mod daemons;
pub mod deal;
pub mod demo;
pub mod experiment;
pub mod foreign;
pub mod guest;
pub mod kernel;
pub mod net;
pub mod parallel;
pub mod program;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod soak;
pub mod stock;
pub mod system;
pub mod systems;
pub mod topology;
pub mod traffic;
pub mod workload;
