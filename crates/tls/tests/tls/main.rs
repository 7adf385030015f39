//! Real handshakes: who is let in, who is not, and how that is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod buffered;
mod control;
mod credentials;
mod handshakes;
mod openssl;
mod pki;
mod revocation;
