//! The live credentials of the workloads on this node: fetched once, renewed at half-life, gone when nobody needs them.

mod entry;
mod expiry;
mod gate;
mod inner;
mod keeper;
mod metrics;
mod saved;
mod schedule;

use std::sync::Arc;
use std::time::SystemTime;

use ambit_model::Identity;
use ambit_tls::{Credential, Revocations};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use rustls_pki_types::CertificateDer;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::source::{CertificateSource, FetchError};
use entry::Entry;
use gate::Gate;
use inner::Inner;
use metrics::Metrics;

pub use entry::{IdentityState, State};
pub use saved::SavedCredential;

/// How many requests run at once, as in upstream's proxies.
const CONCURRENT_FETCHES: usize = 8;

/// Why there is no credential.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The last request failed, and there is no earlier credential that still counts. The next try comes by itself.
    #[error("no certificate for {identity}")]
    Unavailable {
        /// Who.
        identity: Identity,
        /// What went wrong.
        source: Arc<FetchError>,
    },
    /// The identity was forgotten while we waited: its last workload has left this node.
    #[error("{0} is not needed on this node any more")]
    Forgotten(Identity),
}

/// All identities of this node. Cheap to clone; usable from any thread and runtime.
#[derive(Clone)]
pub struct Identities(Arc<Inner>);

// === impl IdentityError ===

impl IdentityError {
    /// A short fixed word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable { source, .. } => source.reason(),
            Self::Forgotten(_) => "forgotten",
        }
    }
}

// === impl Identities ===

impl Identities {
    /// No identities yet. Requests run on the calling tokio runtime, whoever asks for them later.
    ///
    /// `revocations` goes into every credential.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(source: Arc<dyn CertificateSource>, revocations: Revocations) -> Self {
        Self(Arc::new(Inner {
            source,
            revocations,
            runtime: Handle::current(),
            entries: ArcSwap::default(),
            restored: Mutex::default(),
            gate: Gate::new(CONCURRENT_FETCHES),
            metrics: Metrics::default(),
            roots: watch::Sender::new(Arc::default()),
            generation: watch::Sender::new(0),
        }))
    }

    /// Adds the metrics of this component to `registry`, whose prefix is `ambit`.
    pub fn register(&self, registry: &mut Registry) {
        self.0.metrics.register(registry);
        registry.register_collector(Box::new(expiry::Expiry(Arc::downgrade(&self.0))));
    }

    /// The credential of `identity`, without waiting and without asking for one. A few atomic operations.
    pub fn current(&self, identity: &Identity) -> Option<Arc<Credential>> {
        self.0.entries.load().get(identity)?.usable(SystemTime::now())
    }

    /// The credential of `identity`, asking for it now if there is none. Concurrent callers share one request.
    ///
    /// Waits until that request has an answer; the caller bounds the time. While an identity fails and its next try
    /// is not due yet, the error comes at once.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub async fn obtain(&self, identity: &Identity) -> Result<Arc<Credential>, IdentityError> {
        if let Some(credential) = self.current(identity) {
            return Ok(credential);
        }
        let mut status = {
            let entry = self.claim(identity);
            entry.want();
            entry.subscribe()
        };
        let settled = status.wait_for(|status| {
            status.forgotten
                || status.failure.is_some()
                || status.usable(SystemTime::now()).is_some()
        });
        let forgotten = || IdentityError::Forgotten(identity.clone());
        let settled = settled.await.map_err(|_| forgotten())?;
        match (settled.usable(SystemTime::now()), &settled.failure) {
            (Some(credential), _) => Ok(credential),
            (None, Some(failure)) => Err(IdentityError::Unavailable {
                identity: identity.clone(),
                source: Arc::clone(failure),
            }),
            (None, None) => Err(forgotten()),
        }
    }

    /// Sees to it that `identity` gets a credential soon and keeps one, behind those that somebody waits for.
    pub fn prefetch(&self, identity: &Identity) {
        self.claim(identity);
    }

    /// Drops `identity` and stops renewing it. Live connections keep what they have.
    pub fn forget(&self, identity: &Identity) {
        let removed = {
            let mut restored = self.0.restored.lock();
            restored.remove(identity);
            self.0.replace(|entries| entries.remove(identity))
        };
        if let Some(entry) = removed {
            entry.forget();
            self.0.changed();
        }
    }

    /// Says which roots the certificate authority hands out now, in its order. Credentials that came with others are
    /// renewed soon, a few seconds apart, as long as the two have a root in common: otherwise they have nothing to do
    /// with each other. Live connections keep what they have.
    pub fn expect_roots(&self, roots: Vec<CertificateDer<'static>>) {
        self.0.roots.send_replace(roots.into());
    }

    /// How every identity stands, sorted.
    pub fn states(&self) -> Vec<IdentityState> {
        let now = SystemTime::now();
        let entries = self.0.entries.load();
        let mut states: Vec<_> = entries.values().map(|entry| entry.state(now)).collect();
        states.sort_by(|a, b| a.identity.cmp(&b.identity));
        states
    }

    /// Changes its value whenever a credential comes or goes, for who keeps them over a restart.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Every credential that counts now, private keys included, to be given to [`Identities::import`] after a restart.
    pub fn export(&self) -> Vec<SavedCredential> {
        let now = SystemTime::now();
        let restored = self.0.restored.lock();
        let entries = self.0.entries.load();
        let mut saved: Vec<_> = entries
            .values()
            .filter_map(|entry| entry.usable(now))
            .chain(restored.values().filter(|credential| credential.is_valid_at(now)).cloned())
            .map(|credential| SavedCredential::of(&credential))
            .collect();
        saved.sort_by(|a, b| a.identity.cmp(&b.identity));
        saved
    }

    /// Takes back what an earlier process exported; returns how many still count at `now`.
    ///
    /// To be called before anything else. They serve, and are renewed, from when somebody prefetches or obtains their
    /// identity. Entries that are expired or damaged are dropped alone, with a log line.
    pub fn import(&self, saved: Vec<SavedCredential>, now: SystemTime) -> usize {
        let mut kept = 0;
        for one in saved {
            let identity = one.identity.clone();
            match one.restore(&self.0.revocations, now) {
                Ok(credential) => {
                    self.0.restored.lock().insert(identity, Arc::new(credential));
                    kept += 1;
                }
                Err(error) => tracing::warn!(
                    %identity,
                    error = &error as &dyn std::error::Error,
                    "saved certificate dropped"
                ),
            }
        }
        kept
    }

    /// The entry of `identity`, made and set going if there is none.
    fn claim(&self, identity: &Identity) -> Arc<Entry> {
        let inner = &self.0;
        if let Some(entry) = inner.entries.load().get(identity) {
            return Arc::clone(entry);
        }
        let mut restored = inner.restored.lock();
        if let Some(entry) = inner.entries.load().get(identity) {
            return Arc::clone(entry);
        }
        let entry = Arc::new(Entry::new(identity.clone(), restored.remove(identity)));
        inner.replace(|entries| entries.insert(identity.clone(), Arc::clone(&entry)));
        let task = inner.runtime.spawn(keeper::keep(Arc::downgrade(inner), Arc::clone(&entry)));
        entry.runs_as(task.abort_handle());
        entry
    }
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.states()).finish()
    }
}
