//! Integration tests of the xDS client: its wire format and its behaviour against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod client;
mod generate;
mod request_policies;
mod roundtrip;
mod server;
mod tls;
