//! The objects of a cluster, followed through the Kubernetes API.
//!
//! A task for each kind lists and watches (`lister`), trims what it gets and drops the rest; `known` is the pure state
//! that turns lists and events into changes. Nothing is handed out before every kind has been listed once, or has
//! been found to be none that the first state needs: a controller that has just started does not tell proxies that things are gone.

mod keep;
mod known;
mod lister;
mod pace;
mod raw;
mod trouble;

use kube::Client;
use tokio::sync::mpsc;

use super::{Kind, Update};

use known::{Event, Known};
use lister::Lister;
pub(crate) use pace::Backoff;
pub use pace::Pace;
pub(crate) use raw::resource;
pub use trouble::SourceErrors;
use trouble::Trouble;
pub(crate) use trouble::{api_error, watch_error};

/// Events that are read but not yet taken in; the API server's streams wait behind them.
const PENDING: usize = 1024;
/// Events that become one update at most.
const BATCH: usize = 4096;

/// A followed cluster.
pub struct Kubernetes {
    events: mpsc::Receiver<Event>,
    known: Known,
    lists: tokio::task::JoinSet<()>,
}

// === impl Kubernetes ===

impl Kubernetes {
    /// Starts to follow every kind in all namespaces. Needs a tokio runtime; its tasks end with the value.
    pub fn follow(client: &Client, pace: Pace, errors: &SourceErrors) -> Self {
        let (sender, events) = mpsc::channel(PENDING);
        let mut lists = tokio::task::JoinSet::new();
        for kind in Kind::ALL {
            let lister = Lister {
                client: client.clone(),
                kind,
                pace,
                errors: errors.clone(),
                events: sender.clone(),
            };
            lists.spawn(lister.follow());
        }
        Self { events, known: Known::new(Kind::ALL), lists }
    }

    /// Waits until something has changed, and takes in everything that is there by then. The first answer holds the
    /// whole cluster.
    pub async fn next(&mut self) -> Update {
        let mut update = Update::default();
        let mut news = false;
        let mut told = Vec::new();
        loop {
            let Some(event) = self.events.recv().await else {
                // The listers outlive the channel only where they panicked, which the log has told.
                self.lists.join_next().await;
                return std::future::pending().await;
            };
            news |= self.known.take(event, &mut update);
            for _ in 1..BATCH {
                let Ok(event) = self.events.try_recv() else { break };
                news |= self.known.take(event, &mut update);
            }
            let missing = self.known.missing_rights();
            if missing != told {
                for report in &missing {
                    tracing::error!("{report}; nothing is published before that");
                }
                told = missing;
            }
            let empty = update.changes.is_empty() && update.standings.is_empty();
            if self.known.is_complete() && (news || !empty) {
                update.reports = self.known.reports();
                return update;
            }
        }
    }
}
