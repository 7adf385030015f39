//! Redirects pods and hands them to ztunnel.
//!
//! The agent of a node puts capture rules into each pod's network namespace, passes the namespace to the node's
//! ztunnels, and keeps both true. `state` decides, without IO; `runner` has it carried out by `capture` (rules and
//! settings), `ztunnels` (the protocol) and `control` (replies). Pods come over a local control socket
//! ([`ControlClient`] is its other end) or, with `--kubernetes`, from the API server (`kubernetes`) and from the CNI
//! plugin (`cni`), which `install` puts into the node.

mod app;
mod capture;
mod check;
mod cni;
mod config;
mod control;
mod install;
mod kubernetes;
mod metrics;
mod pod;
mod probes;
mod resolv;
mod run_dir;
mod runner;
mod state;
mod uninstall;
mod ztunnels;

pub use app::run;
pub use check::check;
pub use cni::plugin as cni_plugin;
pub use config::{Config, ConfigError, KubernetesConfig, USAGE};
pub use control::{ControlClient, ControlError};
pub use install::InstallConfig;
pub use kubernetes::membership::Exclusions;
pub use pod::{PodSpec, Resolver};
pub use uninstall::uninstall;

/// An error with its causes, on one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
