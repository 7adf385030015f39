//! Certificate revocation: lists read from a PEM file, consulted at each handshake, replaced while running.

mod follow;
mod list;

pub use follow::Revocations;
pub use list::{RevocationError, RevocationList};
