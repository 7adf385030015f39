//! The control plane: objects → [`watch`] → [`index`] → [`serve`] → node proxies, and certificates for their pods.
//!
//! Objects come from a directory of Kubernetes YAML or from a cluster. Nothing behind `watch` knows which.

mod admin;
mod app;
pub mod cluster;
pub mod config;
mod diagnostics;
#[doc(hidden)]
pub mod fuzzing;
pub mod index;
pub mod serve;
pub mod watch;

pub use app::{Controller, StartError};
pub use config::Config;
pub use diagnostics::{Diagnostics, Remark};
