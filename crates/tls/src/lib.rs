//! PEM to credentials to rustls configurations that verify SPIFFE identities.
//!
//! A [`Credential`] is a workload's certificate with everything made ready for handshakes; [`accept`] and [`connect`]
//! run them over any byte stream. [`Revocations`] is the list of withdrawn certificates that each handshake consults.
//! [`control_client_config`] and [`control_server_config`] are for the control plane, where servers have DNS names.
//! `rustls-pemfile` is known to `pem.rs` only.

mod chain;
mod config;
mod control;
mod credential;
mod error;
mod file_watch;
mod front;
mod io;
mod origination;
pub mod pem;
mod provider;
mod revocation;
mod stream;
mod verify;
pub mod x509;

pub use chain::descends;
pub use control::{ControlError, RootSource, control_client_config, control_server_config};
pub use credential::{Credential, CredentialError, CredentialPem, client_config};
pub use error::TlsError;
pub use file_watch::{FileWatch, read_bounded};
pub use front::{ClientAuthorities, FrontCertificate, FrontError, front_config};
pub use io::BufferedIo;
pub use origination::{Expected, check_authorities, origination_config};
pub use provider::provider;
pub use revocation::{RevocationError, RevocationList, Revocations};
pub use stream::{ClientStream, ServerStream, accept, connect, peer_identity, use_large_writes};
pub use x509::{CertificateSummary, Validity};
