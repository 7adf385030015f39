//! What the controller says of workloads beside their records: labels that some selector asks for, and which of them are
//! gateways.

use std::sync::Arc;

use ambit_model::Str;
use arc_swap::ArcSwap;
use imbl::HashMap;

use crate::rules::Labels;

/// By workload uid; clones are handles of the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownLabels(Arc<ArcSwap<Version>>);

#[derive(Clone, Debug, Default)]
struct Version {
    number: u64,
    by_uid: HashMap<Str, Known>,
}

/// What is known of a workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub labels: Arc<Labels>,
    /// Whether it is a proxy of an ingress gateway of the mesh.
    pub gateway: bool,
}

// === impl KnownLabels ===

impl KnownLabels {
    /// Grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.0.load().number
    }

    pub(crate) fn get(&self, uid: &str) -> Option<Arc<Labels>> {
        self.0.load().by_uid.get(uid).map(|known| known.labels.clone())
    }

    pub(crate) fn is_gateway(&self, uid: &str) -> bool {
        self.0.load().by_uid.get(uid).is_some_and(|known| known.gateway)
    }

    /// Replaces or removes what is known of workloads. There is one writer.
    pub(crate) fn set(&self, changes: impl IntoIterator<Item = (Str, Option<Known>)>) {
        let mut next = Version::clone(&self.0.load());
        next.number += 1;
        for (uid, known) in changes {
            match known {
                Some(known) => next.by_uid.insert(uid, known),
                None => next.by_uid.remove(&uid),
            };
        }
        self.0.store(Arc::new(next));
    }
}
