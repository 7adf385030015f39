//! What all parts of the component share.

use std::collections::HashMap;
use std::sync::Arc;

use ambit_model::Identity;
use ambit_tls::{Credential, Revocations};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::entry::Entry;
use super::gate::Gate;
use super::metrics::Metrics;
use crate::source::CertificateSource;

pub(super) struct Inner {
    pub(super) source: Arc<dyn CertificateSource>,
    pub(super) revocations: Revocations,
    /// Where requests run, whoever asks.
    pub(super) runtime: Handle,
    pub(super) entries: ArcSwap<HashMap<Identity, Arc<Entry>>>,
    /// Held while `entries` is replaced, with the credentials of an earlier process that nobody has claimed yet.
    pub(super) restored: Mutex<HashMap<Identity, Arc<Credential>>>,
    pub(super) gate: Gate,
    pub(super) metrics: Metrics,
    /// The roots that credentials should come with; empty while nobody has said.
    pub(super) roots: watch::Sender<Arc<[CertificateDer<'static>]>>,
    /// Counts changes of credentials.
    pub(super) generation: watch::Sender<u64>,
}

// === impl Inner ===

impl Inner {
    /// Publishes a changed copy of the map. The caller holds `restored`, so that copies do not overtake each other.
    pub(super) fn replace<T>(
        &self,
        change: impl FnOnce(&mut HashMap<Identity, Arc<Entry>>) -> T,
    ) -> T {
        let mut entries = HashMap::clone(&self.entries.load());
        let result = change(&mut entries);
        self.entries.store(Arc::new(entries));
        result
    }

    pub(super) fn changed(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for entry in self.entries.load().values() {
            entry.forget();
        }
    }
}
