//! Delta xDS client: workloads, services and authorization policies from a control plane.
//!
//! [`Client::run`] keeps one stream to the control plane alive and hands out decoded [`Event`]s; a response is
//! acknowledged once the callback has returned. Three parts, each testable alone: `transport` connects, `session`
//! is a pure machine from responses to requests and events, and [`decode`] turns messages into `ambit_model` types.
//! [`encode`] is its inverse, for control planes.
//!
//! Wire facts are those of Istio ambient's workload discovery: the incremental variant of
//! `AggregatedDiscoveryService`, wildcard subscriptions to `istio.workload.Address` and
//! `istio.security.Authorization`.

mod backoff;
mod client;
mod config;
mod event;
mod intern;
mod metrics;
mod session;
mod transport;
mod wire;

pub mod decode;
pub mod encode;

pub use client::Client;
pub use config::{Config, Node, Roots, Token};
pub use event::{Change, Event, Rejected, ResourceType};
pub use intern::Interner;
pub use metrics::Metrics;
pub use session::{Batch, Held};
pub use transport::ConnectError;
