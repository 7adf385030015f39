//! Redirects pods and hands them to ztunnel.
//!
//! The agent of a node puts capture rules into each pod's network namespace, passes the namespace to the node's
//! ztunnels, and keeps both true. `state` decides, without IO; `runner` has it carried out by `capture` (rules and
//! settings), `ztunnels` (the protocol) and `control` (replies). Pods come over a local control socket:
//! [`ControlClient`] is its other end.

mod app;
mod capture;
mod config;
mod control;
mod metrics;
mod pod;
mod resolv;
mod run_dir;
mod runner;
mod state;
mod ztunnels;

pub use app::run;
pub use config::{Config, ConfigError, USAGE};
pub use control::{ControlClient, ControlError};
pub use pod::PodSpec;
