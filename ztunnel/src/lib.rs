//! The node tunnel: carries the traffic of every captured pod of a node over HBONE.
//!
//! Data plane: `accept` → `outbound`, `inbound`, `plaintext` → `plan` → `tunnel`, `local` → `run` → `record`.
//! Control: `feed` writes the state, `agent` says which pods to capture, `pods` starts and ends them, `authorize`
//! rechecks what runs. `app` puts it all together.

mod admission;
mod agent;
mod app;
mod application;
mod authorize;
pub mod config;
mod connections;
mod context;
mod dispatch;
pub mod dns;
mod dump;
mod endpoints;
mod feed;
mod flow;
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod inbound;
mod last_known;
mod local;
mod local_state;
mod lookup;
mod metrics;
mod outbound;
mod plaintext;
mod plan;
mod pod;
mod pods;
mod run;
#[cfg(test)]
mod sizes;
mod wiring;

pub use app::run;
