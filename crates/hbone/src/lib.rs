//! HBONE: TCP streams carried in HTTP/2 CONNECT over any byte stream.
//!
//! [`Server`] takes CONNECT requests from one connection, [`Client`] makes them on one, [`Pool`] keeps clients by key,
//! and [`Stream`] is an open tunnel that [`relay`] joins to a TCP socket. The crate knows no TLS and no mesh state:
//! the caller brings the byte stream and reads what the headers say.
//!
//! Wire facts are those of Istio ambient: CONNECT with `:authority` alone, DATA frames are the bytes, END_STREAM is a
//! half-close and RST_STREAM an error.

mod authority;
mod client;
mod config;
mod error;
mod headers;
mod keepalive;
mod pool;
mod pressure;
mod relay;
mod server;
mod sliced;
mod stream;

pub use authority::{Authority, ParseAuthorityError};
pub use client::{Client, Response};
pub use config::Config;
pub use error::Error;
pub use headers::{Baggage, ConnectHeaders, Forwarded};
pub use pool::{Pool, PoolError, Slot};
pub use pressure::Pressure;
pub use relay::relay;
pub use server::{Connect, Refusal, Server};
pub use stream::{Stream, StreamIo};

#[cfg(test)]
mod tests;
