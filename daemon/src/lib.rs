//! The shell around the ippriv core: kernel sockets, clock, entropy and the control server.

pub mod clock;
pub mod driver;
pub mod entropy;
pub mod journal;
pub mod kernel;
