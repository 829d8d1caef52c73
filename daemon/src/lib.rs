//! The shell around the ippriv core: kernel sockets, clock, entropy and the control server.

pub mod driver;
pub mod kernel;
