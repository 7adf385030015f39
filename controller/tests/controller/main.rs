//! Integration tests of the controller: real files, real sockets, real clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod api;
mod authority;
mod bad_input;
mod distribution;
mod harness;
mod kubernetes;
