//! The shell around the ippriv core.
