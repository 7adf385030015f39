//! Connections with endpoints: dialled when needed, kept while idle, each owned by the worker that made it.

mod codec;
mod connect;
mod pool;
mod send;

pub(crate) use connect::{ConnectFailure, connect, originate, usable};
pub(crate) use pool::{Connections, Lease};
pub(crate) use send::{Refused, SendError, Sent, Source, Try, send};
