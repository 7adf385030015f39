//! The certificate authority: a directory that is followed, the root file for proxies, and the server's own certificate.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambit_identity::{CA_CERT, CA_KEY, LocalCa, LocalCaError, ROOT_CERT, SignError};
use ambit_model::Identity;
use ambit_tls::{ControlError, control_server_config};
use parking_lot::RwLock;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;

use super::Metrics;
use crate::watch::DirWatch;

/// The lifetime of the server's certificate; it is renewed at half of it.
const SERVER_TTL: Duration = Duration::from_secs(24 * 3600);
/// How soon to try again what failed.
const RETRY: Duration = Duration::from_secs(60);

/// Where the authority is kept and what it is called.
#[derive(Clone, Debug)]
pub struct AuthorityFiles {
    /// The directory with roots, signing certificate and key.
    pub dir: PathBuf,
    /// Where to write the roots for proxies.
    pub root_out: Option<PathBuf>,
    /// The DNS names and addresses of the server's certificate.
    pub names: Vec<String>,
}

/// The authority as it is now.
pub struct Authority {
    files: AuthorityFiles,
    current: RwLock<Current>,
}

struct Current {
    ca: Arc<LocalCa>,
    server: Arc<ServerConfig>,
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The directory holds none that can be used.
    #[error("--ca-dir: {}", chain(source))]
    Ca {
        /// Why.
        #[from]
        source: LocalCaError,
    },
    /// A file that belongs to it is gone.
    #[error("--ca-dir: {} is gone; put it back", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The directory cannot be watched.
    #[error("--ca-dir {}: cannot be watched: {source}", path.display())]
    Watch {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
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
    /// The roots cannot be handed out.
    #[error("--root-cert-out {}: cannot be written: {source}", path.display())]
    RootOut {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

// === impl Authority ===

impl Authority {
    /// Opens the authority, or makes a new one where the directory is empty. Blocks on files.
    ///
    /// # Errors
    /// The file at fault and the next step.
    pub fn open(files: AuthorityFiles, now: SystemTime) -> Result<Self, AuthorityError> {
        let ca = LocalCa::open_or_create(&files.dir, now)?;
        let current = Current::new(ca, &files, now)?;
        Ok(Self { files, current: RwLock::new(current) })
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

    /// Follows the directory and renews the server's certificate, for ever. Whatever fails is logged, and what was last
    /// good serves on.
    ///
    /// # Errors
    /// The directory cannot be watched at all.
    pub async fn keep(self: Arc<Self>, metrics: Metrics) -> Result<(), AuthorityError> {
        let dir = self.files.dir.clone();
        let failed = |source| AuthorityError::Watch { path: dir.clone(), source };
        let mut watch = DirWatch::new().map_err(failed)?;
        watch.add(&dir).map_err(failed)?;
        let mut complaint = String::new();
        loop {
            if !watch.watches(&dir) {
                // A directory that was replaced as a whole; until it is back there is nothing to read.
                let _ = watch.add(&dir);
            }
            let renewal = match self.reload(SystemTime::now()) {
                Ok(()) => {
                    complaint.clear();
                    Instant::now() + SERVER_TTL / 2
                }
                Err(error) => {
                    metrics.authority_failed();
                    let text = error.to_string();
                    if text != complaint {
                        tracing::error!(%error, "the certificate authority was not reloaded; the last good one serves on");
                        complaint = text;
                    }
                    Instant::now() + RETRY
                }
            };
            metrics.authority_expires(self.current.read().ca.not_after());
            tokio::select! {
                _ = watch.next() => {}
                () = tokio::time::sleep_until(renewal) => {}
            }
        }
    }

    /// Reads the directory again. It is never filled anew here: an authority that vanished is put back by its owner.
    fn reload(&self, now: SystemTime) -> Result<(), AuthorityError> {
        let missing = [ROOT_CERT, CA_CERT, CA_KEY].map(|name| self.files.dir.join(name));
        if let Some(path) = missing.into_iter().find(|path| !path.exists()) {
            return Err(AuthorityError::Gone { path });
        }
        let ca = LocalCa::open_or_create(&self.files.dir, now)?;
        let rotated = ca.roots_pem() != self.current.read().ca.roots_pem();
        *self.current.write() = Current::new(ca, &self.files, now)?;
        if rotated {
            tracing::info!(dir = %self.files.dir.display(), "the roots have changed; new certificates come with all of them");
        }
        Ok(())
    }
}

// === impl Current ===

impl Current {
    fn new(ca: LocalCa, files: &AuthorityFiles, now: SystemTime) -> Result<Self, AuthorityError> {
        let (chain, key) = ca
            .server_certificate(&files.names, SERVER_TTL, now)
            .map_err(|source| AuthorityError::Server { names: files.names.join(", "), source })?;
        let server = control_server_config(&chain, &key)?;
        if let Some(path) = &files.root_out {
            write(path, ca.roots_pem().as_bytes())
                .map_err(|source| AuthorityError::RootOut { path: path.clone(), source })?;
        }
        Ok(Self { ca: Arc::new(ca), server })
    }
}

/// Replaces the file at once, so that nobody reads half of it; leaves a file alone that has the content already.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|now| now == content) {
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).write(true).truncate(true).mode(0o644).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
