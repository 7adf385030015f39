//! What the mesh looks like right now, and what follows from it for one connection.
//!
//! One [`Store`] applies updates and publishes each batch as an immutable [`Snapshot`]; any number of [`Reader`]s
//! load the newest one without a lock. [`resolve`] and [`resolve_inbound`] are pure: snapshot and connection in,
//! decision out. Nothing here performs IO or evaluates policy; [`Snapshot::policies_for`] yields the candidates for
//! `ambit_policy::decide`.
//!
//! A hundred thousand workloads behind ten thousand services take 34 MB; `tests/memory.rs` holds them to 40.

mod balance;
mod by_source;
mod claims;
mod described;
mod few;
#[cfg(test)]
mod fixtures;
mod group;
mod inbound;
mod intern;
mod members;
mod policies;
mod record;
mod recorder;
mod refusal;
mod resolve;
mod services;
mod shape;
mod snapshot;
mod store;
mod uid;
mod update;
mod vips;
mod workloads;

pub use balance::Rank;
pub use inbound::{
    InboundError, InboundRequest, InboundTarget, ProxyHeader, Target, inbound_source,
    resolve_inbound,
};
pub use intern::Interner;
pub use refusal::Refusal;
pub use resolve::{
    DoubleHbone, Hbone, Hop, Passthrough, Request, Resolution, Unresolved, Upstream, resolve,
};
pub use snapshot::{Endpoint, Snapshot};
pub use store::{Config, Reader, Store};
pub use update::{Kind, Update};
