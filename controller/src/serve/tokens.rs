//! Who may ask: bearers of tokens, which a file lists or the cluster vouches for.

mod file;
mod pods;
mod reviews;

use std::fmt;

use ambit_model::Str;

pub use file::{FileTokens, TokensError};
pub use pods::Pods;
pub use reviews::{Account, ReviewSettings, Reviews};

/// Who a token stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    /// The node; empty for one whose token names none, and who may ask for itself alone then.
    pub node: Str,
    /// The namespace of the caller's service account.
    pub namespace: Str,
    /// The caller's service account.
    pub service_account: Str,
    /// Whether it is a node proxy: may ask for certificates of the other pods on its node.
    pub impersonates: bool,
}

/// The tokens that count.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// Those of a file.
    File(FileTokens),
    /// Those that the cluster has given to its pods.
    Cluster(Reviews),
}

/// Why somebody is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No `authorization: Bearer …`.
    #[error("no token")]
    Missing,
    /// The token is none, or no longer.
    #[error("no valid token: {0}")]
    Invalid(String),
    /// Nobody can tell at the moment; a retry may succeed.
    #[error("the token cannot be checked now: {0}")]
    Unavailable(String),
}

// === impl Tokens ===

impl Tokens {
    /// Who the bearer of these headers is.
    ///
    /// # Errors
    /// There is no token, it does not count, or the cluster cannot be asked.
    pub async fn caller(&self, headers: &http::HeaderMap) -> Result<Caller, Unknown> {
        let token = bearer(headers).ok_or(Unknown::Missing)?;
        match self {
            Self::File(tokens) => tokens
                .find(token)
                .ok_or_else(|| Unknown::Invalid("not in --node-tokens".to_owned())),
            Self::Cluster(reviews) => reviews.caller(token).await,
        }
    }
}

/// The token in the header `authorization`.
fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

// === impl Unknown ===

impl Unknown {
    /// What the caller learns, which is not why.
    pub(crate) fn status(&self) -> tonic::Status {
        match self {
            Self::Missing | Self::Invalid(_) => {
                tonic::Status::unauthenticated("authentication failure")
            }
            Self::Unavailable(_) => tonic::Status::unavailable("tokens cannot be checked now"),
        }
    }
}

// === impl Caller ===

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} on {}", self.namespace, self.service_account, self.node)
    }
}
