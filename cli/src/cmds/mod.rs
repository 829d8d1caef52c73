//! One file per command.

pub(crate) mod apply;
pub(crate) mod check;
pub(crate) mod circuit;
pub(crate) mod debug;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod overlay;
pub(crate) mod plan;
pub(crate) mod rekey;
pub(crate) mod relay;
pub(crate) mod reload;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod stop;
