//! Namespace labs for ippriv.
