//! Takes the text of a credential apart and names what is wrong with it.

use ambit_model::Identity;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::CertificateDer;
use tracing::warn;

use crate::pem::{self, PemError};
use crate::x509::{self, Validity, X509Error};

/// Why a credential cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The certificate chain is no PEM of certificates.
    #[error("certificate chain")]
    Chain(#[source] PemError),
    /// A certificate of the chain cannot be read.
    #[error("certificate {index} of the chain (0 is the leaf)")]
    Certificate {
        /// Which one.
        index: usize,
        /// What is wrong.
        source: X509Error,
    },
    /// The leaf does not start with a workload's SPIFFE identity.
    #[error(
        "the leaf's first URI name is {found:?}, which is no workload identity (spiffe://<trust domain>/ns/<namespace>/sa/<account>)"
    )]
    NoIdentity {
        /// The first URI name, if there is one.
        found: Option<String>,
    },
    /// The key is no PEM of one private key.
    #[error("private key")]
    Key(#[source] PemError),
    /// The key is of a kind that cannot be used.
    #[error("private key: unusable")]
    UnusableKey(#[source] rustls::Error),
    /// Key and leaf are no pair.
    #[error("the private key does not belong to the leaf certificate")]
    KeyMismatch,
    /// The roots are no PEM of certificates.
    #[error("root certificates")]
    Roots(#[source] PemError),
    /// None of the roots can be used.
    #[error("none of the {0} root certificates can be used as a trust anchor")]
    NoUsableRoot(usize),
    /// rustls refuses the combination.
    #[error("TLS configuration")]
    Config(#[source] rustls::Error),
}

pub(super) fn chain_validity(
    chain: &[CertificateDer<'static>],
) -> Result<Validity, CredentialError> {
    let mut leaf = None;
    for (index, der) in chain.iter().enumerate() {
        let validity =
            x509::validity(der).map_err(|source| CredentialError::Certificate { index, source })?;
        leaf.get_or_insert(validity);
    }
    leaf.ok_or(CredentialError::Chain(PemError::Empty { expected: "CERTIFICATE" }))
}

pub(super) fn leaf_identity(
    chain: &[CertificateDer<'static>],
) -> Result<Identity, CredentialError> {
    let leaf = chain.first();
    let found = leaf
        .map_or(Ok(None), x509::first_uri)
        .map_err(|source| CredentialError::Certificate { index: 0, source })?;
    match found.as_deref().map(str::parse) {
        Some(Ok(identity)) => Ok(identity),
        _ => Err(CredentialError::NoIdentity { found }),
    }
}

pub(super) fn anchors(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, CredentialError> {
    let mut store = RootCertStore::empty();
    for (index, root) in roots.iter().enumerate() {
        if let Err(error) = store.add(root.clone()) {
            warn!(index, %error, "a root certificate cannot be used and is left out");
        }
    }
    if store.is_empty() {
        return Err(CredentialError::NoUsableRoot(roots.len()));
    }
    Ok(store)
}

pub(super) fn certified_key(
    chain: &[CertificateDer<'static>],
    key: &str,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CredentialError> {
    let key = pem::private_key(key.as_bytes()).map_err(CredentialError::Key)?;
    CertifiedKey::from_der(chain.to_vec(), key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            CredentialError::KeyMismatch
        }
        other => CredentialError::UnusableKey(other),
    })
}
