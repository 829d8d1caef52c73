//! The deterministic core of ippriv.
