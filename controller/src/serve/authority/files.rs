//! A certificate authority in a directory, which is followed, and the root file for proxies.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ambit_identity::{CA_CERT, CA_KEY, LocalCa, LocalCaError, ROOT_CERT};
use tokio::time::Instant;

use super::{Authority, AuthorityError, RENEWAL, RETRY, chain};
use crate::serve::Metrics;
use crate::watch::DirWatch;

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

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
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
    /// It cannot serve.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The roots cannot be handed out.
    #[error("--root-cert-out {}: cannot be written: {source}", path.display())]
    RootOut {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

// === impl AuthorityFiles ===

impl AuthorityFiles {
    /// Opens the authority, or makes a new one where the directory is empty. Blocks on files.
    ///
    /// # Errors
    /// The file at fault and the next step.
    pub fn open(&self, now: SystemTime) -> Result<Authority, FilesError> {
        let ca = LocalCa::open_or_create(&self.dir, now)?;
        let authority = Authority::new(ca, self.names.clone(), now)?;
        self.hand_out(&authority)?;
        Ok(authority)
    }

    /// Follows the directory and renews the server's certificate, for ever. Whatever fails is logged, and what was last
    /// good serves on.
    ///
    /// # Errors
    /// The directory cannot be watched at all.
    pub async fn keep(self, authority: Arc<Authority>, metrics: Metrics) -> Result<(), FilesError> {
        let dir = self.dir.clone();
        let failed = |source| FilesError::Watch { path: dir.clone(), source };
        let mut watch = DirWatch::new().map_err(failed)?;
        watch.add(&dir).map_err(failed)?;
        let mut complaint = String::new();
        loop {
            if !watch.watches(&dir) {
                // A directory that was replaced as a whole; until it is back there is nothing to read.
                let _ = watch.add(&dir);
            }
            let renewal = match self.reload(&authority, SystemTime::now()) {
                Ok(()) => {
                    complaint.clear();
                    Instant::now() + RENEWAL
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
            metrics.authority_expires(authority.not_after());
            tokio::select! {
                _ = watch.next() => {}
                () = tokio::time::sleep_until(renewal) => {}
            }
        }
    }

    /// Reads the directory again. It is never filled anew here: an authority that vanished is put back by its owner.
    fn reload(&self, authority: &Authority, now: SystemTime) -> Result<(), FilesError> {
        let missing = [ROOT_CERT, CA_CERT, CA_KEY].map(|name| self.dir.join(name));
        if let Some(path) = missing.into_iter().find(|path| !path.exists()) {
            return Err(FilesError::Gone { path });
        }
        authority.replace(LocalCa::open_or_create(&self.dir, now)?, now)?;
        self.hand_out(authority)
    }

    fn hand_out(&self, authority: &Authority) -> Result<(), FilesError> {
        let Some(path) = &self.root_out else { return Ok(()) };
        let roots = authority.roots().borrow().clone();
        write(path, roots.as_bytes())
            .map_err(|source| FilesError::RootOut { path: path.clone(), source })
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
