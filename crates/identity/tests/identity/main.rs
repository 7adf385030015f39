//! Certificates from the request to the handshake: signing, asking, renewing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authority;
mod client;
mod directory;
mod fixtures;
mod requests;
mod rotation;
mod sharing;
