//! A certificate authority in a directory or in memory.

mod csr;
mod error;
mod files;
mod signer;
mod store;

pub use csr::CsrError;
pub use error::{CA_CERT, CA_KEY, CERT_CHAIN, LocalCaError, ROOT_CERT};
pub use files::Files;
pub use signer::{LocalCa, SignError};
