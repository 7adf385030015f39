//! The life of a process: signals, drain, readiness, and the admin, metrics and readiness endpoints.
//!
//! A binary's `app.rs` composes these: it makes a [`Shutdown`], hands its [`Drain`] to everything that holds
//! connections, registers what must be up before traffic is taken with [`Ready`], and serves [`Router`]s on the ports
//! of its component. Nothing here knows what the process does.

mod drain;
pub mod endpoints;
mod http;
pub mod metrics;
mod ready;
mod shutdown;

pub use drain::Drain;
pub use http::{
    Handler, HttpServer, Parts, ReadHandler, Router, WholeResponse, bind_loopback, bind_wildcard,
    query_value, text,
};
pub use ready::{Ready, ReadyTask};
pub use shutdown::{Shutdown, ShutdownReason, ShutdownTrigger};
