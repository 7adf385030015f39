//! The certificate authority as it is now, and the server's own certificate.

mod files;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_identity::{LocalCa, SignError};
use ambit_model::Identity;
use ambit_tls::{ControlError, control_server_config};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;

pub use files::{AuthorityFiles, FilesError};

/// The lifetime of the server's certificate.
const SERVER_TTL: Duration = Duration::from_secs(24 * 3600);
/// When to make the server a new certificate.
pub(crate) const RENEWAL: Duration = Duration::from_secs(12 * 3600);
/// How soon to try again what failed.
pub(crate) const RETRY: Duration = Duration::from_secs(60);

/// The authority as it is now.
pub struct Authority {
    /// The DNS names and addresses of the server's certificate.
    names: Vec<String>,
    current: RwLock<Current>,
    roots: watch::Sender<Arc<str>>,
}

struct Current {
    ca: Arc<LocalCa>,
    server: Arc<ServerConfig>,
}

/// Why an authority cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The server's own certificate cannot be made.
    #[error("the server's certificate for {names}: {}", chain(source))]
    Server {
        /// The names it should have.
        names: String,
        /// Why.
        source: SignError,
    },
    /// The server's own certificate cannot be used.
    #[error("the server's certificate: {}", chain(source))]
    Tls {
        /// Why.
        #[from]
        source: ControlError,
    },
}

// === impl Authority ===

impl Authority {
    /// Signs with `ca`, and serves as `names` (DNS names and addresses).
    ///
    /// # Errors
    /// A name that is none, or an authority that has expired.
    pub fn new(ca: LocalCa, names: Vec<String>, now: SystemTime) -> Result<Self, AuthorityError> {
        let roots = watch::Sender::new(ca.roots_pem().into());
        let current = RwLock::new(Current::new(ca, &names, now)?);
        Ok(Self { names, current, roots })
    }

    /// Signs a certificate; see [`LocalCa::sign`].
    ///
    /// # Errors
    /// A request that is malformed, or an authority that has expired.
    pub fn sign(
        &self,
        csr: &str,
        identity: &Identity,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Vec<String>, SignError> {
        let ca = self.current.read().ca.clone();
        ca.sign(csr, identity, ttl, now)
    }

    /// The server's TLS configuration, with a certificate of the authority.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.current.read().server.clone()
    }

    /// Every root that it hands out, in PEM, now and from now on.
    pub fn roots(&self) -> watch::Receiver<Arc<str>> {
        self.roots.subscribe()
    }

    /// When it can sign no more.
    pub fn not_after(&self) -> SystemTime {
        self.current.read().ca.not_after()
    }

    /// Signs with `ca` from now on, and renews the server's certificate.
    ///
    /// # Errors
    /// See [`Authority::new`]; the last authority serves on.
    pub fn replace(&self, ca: LocalCa, now: SystemTime) -> Result<(), AuthorityError> {
        let roots: Arc<str> = ca.roots_pem().into();
        *self.current.write() = Current::new(ca, &self.names, now)?;
        let rotated = self.roots.send_if_modified(|known| {
            let rotated = *known != roots;
            *known = roots;
            rotated
        });
        if rotated {
            tracing::info!("the roots have changed; new certificates come with all of them");
        }
        Ok(())
    }
}

// === impl Current ===

impl Current {
    fn new(ca: LocalCa, names: &[String], now: SystemTime) -> Result<Self, AuthorityError> {
        let (chain, key) = ca
            .server_certificate(names, SERVER_TTL, now)
            .map_err(|source| AuthorityError::Server { names: names.join(", "), source })?;
        let server = control_server_config(&chain, &key)?;
        Ok(Self { ca: Arc::new(ca), server })
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
