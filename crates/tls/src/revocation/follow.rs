//! Which list is in force, and following the file that it comes from.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use super::list::{RevocationError, RevocationList};
use crate::file_watch::FileWatch;
use crate::pem::MAX_CRL_PEM_BYTES;

/// The current [`RevocationList`] and its successors. Cheap to clone; all clones see a reload at once.
#[derive(Clone, Debug)]
pub struct Revocations {
    current: watch::Receiver<Arc<RevocationList>>,
    /// Keeps `changed()` pending, instead of failing, where nothing will ever change.
    _keep: Option<Arc<watch::Sender<Arc<RevocationList>>>>,
}

// === impl Revocations ===

impl Revocations {
    /// No list, now and for ever.
    pub fn none() -> Self {
        Self::fixed(RevocationList::default())
    }

    /// A list that never changes.
    pub fn fixed(list: RevocationList) -> Self {
        let (sender, current) = watch::channel(Arc::new(list));
        Self { current, _keep: Some(Arc::new(sender)) }
    }

    /// Loads the file at `path` and keeps following it, also through the symlink swaps of Kubernetes volumes.
    ///
    /// The following task is spawned on the calling tokio runtime and ends with the last clone. A later file that is
    /// missing or bad is logged, and the last good one stays in force.
    ///
    /// # Errors
    /// A file that is missing, unreadable or malformed now.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn follow(path: PathBuf) -> Result<Self, RevocationError> {
        let read = |source| RevocationError::Read { path: path.clone(), source };
        let (watch, first) = FileWatch::open(&path, MAX_CRL_PEM_BYTES).map_err(read)?;
        let list = RevocationList::from_pem(&first)?;
        info!(path = %path.display(), lists = list.len(), "revocation lists loaded");
        let (sender, current) = watch::channel(Arc::new(list));
        tokio::spawn(reload(path, watch, sender));
        Ok(Self { current, _keep: None })
    }

    /// The list in force.
    pub fn current(&self) -> Arc<RevocationList> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells of each reload, so that live connections of withdrawn certificates can be closed.
    pub fn subscribe(&self) -> watch::Receiver<Arc<RevocationList>> {
        self.current.clone()
    }
}

async fn reload(path: PathBuf, mut file: FileWatch, lists: watch::Sender<Arc<RevocationList>>) {
    loop {
        let content = tokio::select! {
            content = file.changed() => content,
            () = lists.closed() => return,
        };
        let content =
            content.map_err(|source| RevocationError::Read { path: path.clone(), source });
        match content.and_then(|pem| RevocationList::from_pem(&pem)) {
            Ok(list) => {
                info!(path = %path.display(), lists = list.len(), "revocation lists reloaded");
                lists.send_replace(Arc::new(list));
            }
            Err(error) => warn!(
                path = %path.display(),
                error = &error as &dyn std::error::Error,
                "revocation lists not reloaded; the last good ones stay in force"
            ),
        }
    }
}
