//! The labels of workloads that some selector asks for.

use std::sync::Arc;

use ambit_model::Str;
use arc_swap::ArcSwap;
use imbl::HashMap;

use crate::rules::Labels;

/// Labels by workload uid; clones are handles of the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownLabels(Arc<ArcSwap<Version>>);

#[derive(Clone, Debug, Default)]
struct Version {
    number: u64,
    by_uid: HashMap<Str, Arc<Labels>>,
}

// === impl KnownLabels ===

impl KnownLabels {
    /// Grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.0.load().number
    }

    pub(crate) fn get(&self, uid: &str) -> Option<Arc<Labels>> {
        self.0.load().by_uid.get(uid).cloned()
    }

    /// Replaces or removes the labels of workloads. There is one writer.
    pub(crate) fn set(&self, changes: impl IntoIterator<Item = (Str, Option<Labels>)>) {
        let mut next = Version::clone(&self.0.load());
        next.number += 1;
        for (uid, labels) in changes {
            match labels {
                Some(labels) => next.by_uid.insert(uid, Arc::new(labels)),
                None => next.by_uid.remove(&uid),
            };
        }
        self.0.store(Arc::new(next));
    }
}
