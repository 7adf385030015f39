//! What can be wrong with a certificate authority's files.

use std::io;
use std::path::PathBuf;

use ambit_tls::pem::PemError;
use ambit_tls::x509::X509Error;
use ambit_tls::{CredentialError, TlsError};
use time::OffsetDateTime;

use super::signer::SignError;

/// All roots that are trusted.
pub const ROOT_CERT: &str = "root-cert.pem";
/// The certificate that signs.
pub const CA_CERT: &str = "ca-cert.pem";
/// Its private key.
pub const CA_KEY: &str = "ca-key.pem";
/// The certificates between the signer and its root; optional.
pub const CERT_CHAIN: &str = "cert-chain.pem";

/// Why a certificate authority cannot be used. Names the file and the next step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalCaError {
    /// A file or the directory cannot be read.
    #[error("{path}: cannot be read; make it readable for this process")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or the directory cannot be written.
    #[error(
        "{path}: cannot be written; make the directory writable, or fill it with {ROOT_CERT}, {CA_CERT} and {CA_KEY}"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Some of the three files are there and some are not.
    #[error(
        "{path}: missing beside the other files; add it, or empty the directory to have a new certificate authority made"
    )]
    Missing {
        /// The file that is not there.
        path: PathBuf,
    },
    /// A file is no PEM of what belongs in it.
    #[error("{path}: replace it by a PEM file of the right kind")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PemError,
    },
    /// A certificate cannot be read.
    #[error("{path}: replace it, certificate {index} in it is malformed")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which one, from 0.
        index: usize,
        /// What is wrong.
        source: X509Error,
    },
    /// The key cannot be used for signing.
    #[error("{path}: not a key that can sign; use ECDSA P-256 or P-384, Ed25519 or RSA in PKCS#8")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rcgen::Error,
    },
    /// Key and certificate are no pair.
    #[error("{key}: not the key of {certificate}; put the matching pair in place")]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A certificate has expired or does not count yet.
    #[error("{path}: certificate {index} in it is valid only from {from} to {until}; renew it")]
    Expired {
        /// The file.
        path: PathBuf,
        /// Which one, from 0.
        index: usize,
        /// The first moment.
        from: OffsetDateTime,
        /// The last moment.
        until: OffsetDateTime,
    },
    /// What it signs would not be trusted by who trusts its roots.
    #[error(
        "{path}: what it signs does not lead to any root of {ROOT_CERT}; it must be a CA certificate issued by one of them, with {CERT_CHAIN} holding what lies between"
    )]
    Chain {
        /// The signer's file.
        path: PathBuf,
        /// What a peer would say.
        source: TlsError,
    },
    /// A trial leaf could not be made into a credential.
    #[error("{path}: what it signs cannot be used")]
    Trial {
        /// The signer's file.
        path: PathBuf,
        /// What is wrong.
        source: CredentialError,
    },
    /// A trial leaf could not be signed.
    #[error("{path}: cannot sign")]
    Sign {
        /// The signer's file.
        path: PathBuf,
        /// What is wrong.
        source: SignError,
    },
    /// A new key or certificate could not be made.
    #[error("cannot make a new certificate authority")]
    Make(#[from] rcgen::Error),
}
