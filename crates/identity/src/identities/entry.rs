//! One identity: its credential, its last failure, and who waits for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use ambit_model::Identity;
use ambit_tls::Credential;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::gate::Priority;
use crate::source::FetchError;

/// One identity in `config_dump`.
#[derive(Clone, Debug)]
pub struct IdentityState {
    /// Who.
    pub identity: Identity,
    /// How it stands.
    pub state: State,
    /// The credential in use, as long as it has not expired.
    pub credential: Option<Arc<Credential>>,
}

/// How an identity stands; prints as `config_dump` shows it.
#[derive(Clone, Debug)]
pub enum State {
    /// It has a credential that counts.
    Available,
    /// The first request has not been answered yet.
    Initializing,
    /// It has no credential that counts, for this reason.
    Unavailable(Arc<FetchError>),
}

pub(super) struct Entry {
    identity: Identity,
    /// The same credential as in `status`, for readers that must not wait for a lock.
    credential: ArcSwapOption<Credential>,
    status: watch::Sender<Status>,
    /// Whether a connection waits.
    wanted: AtomicBool,
    wake: Notify,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Clone, Default)]
pub(super) struct Status {
    pub(super) credential: Option<Arc<Credential>>,
    /// Of the last request, if it failed.
    pub(super) failure: Option<Arc<FetchError>>,
    pub(super) forgotten: bool,
}

// === impl Status ===

impl Status {
    pub(super) fn usable(&self, now: SystemTime) -> Option<Arc<Credential>> {
        self.credential.clone().filter(|credential| credential.is_valid_at(now))
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(identity: Identity, credential: Option<Arc<Credential>>) -> Self {
        Self {
            identity,
            credential: ArcSwapOption::new(credential.clone()),
            status: watch::Sender::new(Status { credential, ..Status::default() }),
            wanted: AtomicBool::new(false),
            wake: Notify::new(),
            task: Mutex::new(None),
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn credential(&self) -> Option<Arc<Credential>> {
        self.credential.load_full()
    }

    pub(super) fn usable(&self, now: SystemTime) -> Option<Arc<Credential>> {
        self.credential().filter(|credential| credential.is_valid_at(now))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// A connection needs it now.
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    pub(super) fn priority(&self) -> Priority {
        if self.wanted.load(Ordering::Relaxed) { Priority::Wanted } else { Priority::Ahead }
    }

    /// Returns when somebody has come to need it.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn renewed(&self, credential: Arc<Credential>) {
        self.wanted.store(false, Ordering::Relaxed);
        self.credential.store(Some(Arc::clone(&credential)));
        self.status.send_modify(|status| {
            status.credential = Some(credential);
            status.failure = None;
        });
    }

    pub(super) fn failed(&self, failure: Arc<FetchError>) {
        self.wanted.store(false, Ordering::Relaxed);
        self.status.send_modify(|status| status.failure = Some(failure));
    }

    pub(super) fn runs_as(&self, task: AbortHandle) {
        *self.task.lock() = Some(task);
    }

    pub(super) fn forget(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
        self.status.send_modify(|status| status.forgotten = true);
    }

    pub(super) fn state(&self, now: SystemTime) -> IdentityState {
        let status = self.status.borrow();
        let credential = status.usable(now);
        let state = match (&credential, &status.failure) {
            (Some(_), _) => State::Available,
            (None, Some(failure)) => State::Unavailable(Arc::clone(failure)),
            (None, None) => State::Initializing,
        };
        IdentityState { identity: self.identity.clone(), state, credential }
    }
}

// === impl State ===

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => f.write_str("Available"),
            Self::Initializing => f.write_str("Initializing"),
            Self::Unavailable(failure) => {
                write!(f, "Unavailable: {failure}")?;
                let mut cause = std::error::Error::source(failure.as_ref());
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
        }
    }
}
