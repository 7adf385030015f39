//! The protocol between node agent and ztunnel: which pods of the node are captured, and their namespaces.
//!
//! One protobuf message a packet over a Unix `SOCK_SEQPACKET` socket, at most 1,024 bytes each; the agent serves, a
//! ztunnel says hello and then answers each request before the next is sent (protocol.md 5.1–5.3). [`Client`] is
//! ztunnel's end, [`Server`] and [`Connection`] are the agent's. What to tell whom, and when, is the agent's matter.

mod client;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod message;
mod server;
mod socket;

pub use client::Client;
pub use error::Error;
pub use message::{DnsConfig, Dropped, Request, WorkloadInfo};
pub use server::{Connection, Server};

/// The largest packet, in bytes, that either side may send.
pub const MAX_PACKET: usize = 1024;

#[cfg(test)]
mod tests;
