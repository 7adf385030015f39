//! The control plane: objects → [`watch`] → [`index`] → [`serve`] → node proxies, and certificates for their pods.
//!
//! Objects come from a directory of Kubernetes YAML. Nothing behind `watch` knows that.

mod admin;
mod app;
pub mod config;
mod diagnostics;
pub mod index;
pub mod serve;
pub mod watch;

pub use app::{Controller, StartError};
pub use config::Config;
pub use diagnostics::{Diagnostics, Remark};
