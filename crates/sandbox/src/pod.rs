//! Pods at run time: their view of the machine, their containers, their probes.

mod container;
mod furnish;
pub(crate) mod launch;
mod probe;
pub(crate) mod process;
pub(crate) mod runner;
pub(crate) mod status;
pub(crate) mod volumes;

pub(crate) use container::{State, Stop};
