//! What the client of a certificate authority needs to know.

use std::time::Duration;

use ambit_tls::{ControlError, RootSource};

use super::token::TokenSource;

/// How to reach and to satisfy the certificate authority.
#[derive(Clone, Debug)]
pub struct CaClientConfig {
    /// `https://host:port`; the scheme may be left out. `http` is accepted for loopback addresses only, because the
    /// token would be readable.
    pub address: String,
    /// What the server's certificate must descend from. A file is read again for each request.
    pub root: RootSource,
    /// The name in the server's certificate, if it is not the host of `address`.
    pub alt_hostname: Option<String>,
    /// What proves who we are.
    pub token: TokenSource,
    /// Sent as `clusterid`.
    pub cluster_id: String,
    /// Further headers of each request (`CA_HEADER_*`).
    pub headers: Vec<(String, String)>,
    /// The lifetime to ask for.
    pub ttl: Duration,
    /// Whether to ask for others' identities (shared mode) or only for the token's own (dedicated mode).
    pub impersonate: bool,
    /// When to give up on one request, connecting included.
    pub timeout: Duration,
}

/// A configuration that can never work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaClientError {
    /// The address is none.
    #[error("CA_ADDRESS {address:?}: expected https://host:port")]
    Address {
        /// What was configured.
        address: String,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The token would be sent in the clear over a network.
    #[error(
        "CA_ADDRESS {address:?}: without TLS only a loopback address is accepted; use https://"
    )]
    Plaintext {
        /// What was configured.
        address: String,
    },
    /// TLS cannot be set up.
    #[error("TLS to the certificate authority")]
    Tls(#[from] ControlError),
    /// A header is none.
    #[error("CA_HEADER {name:?}: neither this name nor its value may be more than visible ASCII")]
    Header {
        /// Its name.
        name: String,
    },
}

// === impl CaClientConfig ===

impl Default for CaClientConfig {
    /// Upstream's defaults for a node proxy in Kubernetes.
    fn default() -> Self {
        Self {
            address: "https://istiod.istio-system.svc:15012".to_owned(),
            root: RootSource::Path("./var/run/secrets/istio/root-cert.pem".into()),
            alt_hostname: None,
            token: TokenSource::File("./var/run/secrets/tokens/istio-token".into()),
            cluster_id: "Kubernetes".to_owned(),
            headers: Vec::new(),
            ttl: Duration::from_secs(24 * 3600),
            impersonate: true,
            timeout: Duration::from_secs(10),
        }
    }
}
