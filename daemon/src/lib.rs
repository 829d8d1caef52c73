//! The shell around the ippriv core: kernel sockets, clock, entropy and the control server.

pub mod clock;
pub mod control;
pub mod driver;
pub mod entropy;
pub mod event_loop;
pub mod files;
pub mod journal;
pub mod kernel;
pub mod key_log;
pub mod logging;
pub mod privileges;
pub mod service;
mod sockets;
