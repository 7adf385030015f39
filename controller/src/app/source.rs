//! Objects in, states out.

use std::time::Instant;

use ambit_lifecycle::ReadyTask;
use ambit_xds::ResourceType;

use crate::cluster::Statuses;
use crate::diagnostics::{Diagnostics, remarks};
use crate::index::Index;
use crate::serve::{Clients, Metrics, Pods, Publisher};
use crate::watch::{Kind, Origin, Update};

/// Follows the objects and publishes what comes of them.
pub(super) struct Source {
    pub(super) origin: Origin,
    pub(super) pods: Pods,
    pub(super) index: Index,
    pub(super) publisher: Publisher,
    pub(super) clients: Clients,
    pub(super) diagnostics: Diagnostics,
    pub(super) metrics: Metrics,
    /// What objects should say about themselves; absent for files.
    pub(super) statuses: Option<Statuses>,
    /// There until the first state is published.
    pub(super) starting: Option<ReadyTask>,
}

// === impl Source ===

impl Source {
    /// Follows the objects, for ever.
    pub(super) async fn follow(mut self) {
        loop {
            let update = self.origin.next().await;
            self.take(update, Instant::now());
        }
    }

    /// Takes in what has changed, noticed at `seen`. The first update is published even if it is empty.
    pub(super) fn take(&mut self, update: Update, seen: Instant) {
        let changes = update.changes.len();
        self.pods.apply(&update.changes);
        let changed = self.index.apply(update.changes);
        let starting = self.starting.take();
        if changed || starting.is_some() {
            let snapshot = self.index.snapshot().clone();
            let note = |generation| self.clients.published(generation, seen, &self.metrics);
            let generation = self.publisher.publish(snapshot, seen, note);
            tracing::info!(changes, generation, "published");
        }
        if let Some(starting) = starting {
            starting.done();
        }
        if let Some(statuses) = &self.statuses {
            statuses.take(update.standings, &self.index);
        }
        let remarks = remarks(&update.reports, &self.origin, &self.index);
        self.metrics.objects_refused(remarks.len());
        self.diagnostics.replace(remarks);
        for kind in Kind::ALL {
            self.metrics.objects(kind.as_str(), self.index.count(kind));
        }
        for kind in ResourceType::ALL {
            self.metrics.resources(kind, self.index.snapshot().of(kind).len());
        }
    }
}
