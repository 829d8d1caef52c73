//! The shell around the ippriv core.

pub mod kernel;
