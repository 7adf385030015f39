//! Certificates: requesting, signing, rotating.
//!
//! [`Identities`] holds the live credentials of a node and keeps them fresh. It asks a [`CertificateSource`]:
//! [`CaClient`] for a certificate authority on the network, [`LocalSource`] for a [`LocalCa`] in a directory or, with
//! [`LocalSource::fake`], in memory. The controller signs with a [`LocalCa`] too.

mod client;
mod identities;
mod local_ca;
mod request;
mod source;

pub use client::{CaClient, CaClientConfig, CaClientError, TokenSource};
pub use identities::{Identities, IdentityError, IdentityState, SavedCredential, State};
pub use local_ca::{
    CA_CERT, CA_KEY, CERT_CHAIN, CsrError, Files as CaFiles, LocalCa, LocalCaError, ROOT_CERT,
    SignError,
};
pub use request::NoRoots;
pub use source::{CertificateSource, FetchError, Fetching, LocalSource};
