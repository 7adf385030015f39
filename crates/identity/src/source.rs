//! Where certificates come from: one request, one answer. Retries and renewal are decided elsewhere.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_model::Identity;
use ambit_tls::{CredentialError, CredentialPem};
use tonic::Code;

use crate::local_ca::{LocalCa, LocalCaError, SignError};
use crate::request::{NoRoots, SigningRequest};

/// The answer of a source, when it comes.
pub type Fetching<'a> =
    Pin<Box<dyn Future<Output = Result<CredentialPem, FetchError>> + Send + 'a>>;

/// Gets a new certificate, with a new key, for an identity.
pub trait CertificateSource: Send + Sync + 'static {
    /// Asks once. Dropping the future gives up.
    fn fetch<'a>(&'a self, identity: &'a Identity) -> Fetching<'a>;
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No key or signing request could be made.
    #[error("cannot make a key and signing request")]
    Request(#[source] rcgen::Error),
    /// The local certificate authority refused.
    #[error("the local certificate authority did not sign")]
    Sign(#[from] SignError),
    /// The bearer token cannot be read.
    #[error("token {path}: cannot be read; check AUTH_TOKEN and the projected volume")]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bearer token holds characters that no token has.
    #[error("the token of AUTH_TOKEN cannot be sent as a header")]
    MalformedToken,
    /// The certificate authority cannot be reached.
    #[error("certificate authority {address} cannot be reached; check CA_ADDRESS and its TLS root")]
    Unreachable {
        /// Its address.
        address: String,
        /// What gRPC said.
        source: Box<tonic::Status>,
    },
    /// The certificate authority does not accept us or does not let us have this identity.
    #[error(
        "certificate authority {address} refused; check the token's audience and that the pod is on this node"
    )]
    Refused {
        /// Its address.
        address: String,
        /// What gRPC said.
        source: Box<tonic::Status>,
    },
    /// The certificate authority failed.
    #[error("certificate authority {address} failed")]
    Failed {
        /// Its address.
        address: String,
        /// What gRPC said.
        source: Box<tonic::Status>,
    },
    /// No root at the end of the answer, so that nobody could be verified.
    #[error(transparent)]
    NoRoots(#[from] NoRoots),
    /// The answer is for somebody else.
    #[error("the answer is for {got:?}")]
    WrongIdentity {
        /// The first URI name of the leaf.
        got: Option<String>,
    },
    /// The answer cannot be used.
    #[error("the answer cannot be used")]
    Credential(#[from] CredentialError),
    /// The answer does not count now.
    #[error(
        "the answer is not valid at this time; compare this node's clock with the certificate authority's"
    )]
    NotValidNow,
}

/// Signs with a certificate authority in this process.
pub struct LocalSource {
    ca: Arc<LocalCa>,
    ttl: Duration,
}

// === impl FetchError ===

impl FetchError {
    /// A short fixed word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Sign(_) => "sign",
            Self::Token { .. } | Self::MalformedToken => "token",
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::NoRoots(_) => "no_roots",
            Self::WrongIdentity { .. } => "wrong_identity",
            Self::Credential(_) => "unusable",
            Self::NotValidNow => "not_valid_now",
        }
    }

    pub(crate) fn from_status(address: &str, status: tonic::Status) -> Self {
        let address = address.to_owned();
        let code = status.code();
        let source = Box::new(status);
        match code {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                Self::Unreachable { address, source }
            }
            Code::Unauthenticated | Code::PermissionDenied => Self::Refused { address, source },
            _ => Self::Failed { address, source },
        }
    }
}

// === impl LocalSource ===

impl LocalSource {
    /// Leaves of lifetime `ttl` from `ca`.
    pub fn new(ca: Arc<LocalCa>, ttl: Duration) -> Self {
        Self { ca, ttl }
    }

    /// `FAKE_CA=true`: a certificate authority that exists only in this process and dies with it.
    ///
    /// Only identities served by this very process trust each other. A key that everybody knows, as test builds of
    /// upstream's proxy contain one, would let anybody be anybody; two processes that shall trust each other get a
    /// common `LOCAL_CA_DIR` instead, and that directory may hold upstream's published test root and key.
    ///
    /// # Errors
    /// No random numbers, in effect.
    pub fn fake(ttl: Duration, now: SystemTime) -> Result<Self, LocalCaError> {
        Ok(Self::new(Arc::new(LocalCa::in_memory(now)?), ttl))
    }
}

impl CertificateSource for LocalSource {
    fn fetch<'a>(&'a self, identity: &'a Identity) -> Fetching<'a> {
        Box::pin(async move {
            let request = SigningRequest::generate(identity).map_err(FetchError::Request)?;
            let chain = self.ca.sign(&request.csr, identity, self.ttl, SystemTime::now())?;
            Ok(request.answered(chain)?)
        })
    }
}
