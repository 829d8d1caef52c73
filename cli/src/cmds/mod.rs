//! One file per command.

pub(crate) mod apply;
pub(crate) mod check;
pub(crate) mod down;
pub(crate) mod explain;
pub(crate) mod plan;
pub(crate) mod status;
