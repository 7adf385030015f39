//! The pods that are there, by name: what a token may be bound to.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ambit_model::Str;
use parking_lot::RwLock;

use crate::watch::kinds::Pod;
use crate::watch::{Change, Key, Kind, Object};

/// The pods that are there. Clones share them.
#[derive(Clone, Default)]
pub struct Pods(Arc<RwLock<HashMap<Key, Arc<Pod>>>>);

// === impl Pods ===

impl Pods {
    /// Takes in what has changed; only pods count.
    pub fn apply(&self, changes: &[Change]) {
        let mut pods = self.0.write();
        for change in changes.iter().filter(|change| change.key.kind == Kind::Pod) {
            match &change.object {
                Some(Object::Pod(pod)) => pods.insert(change.key.clone(), pod.clone()),
                _ => pods.remove(&change.key),
            };
        }
    }

    /// The pod of this name.
    pub fn find(&self, namespace: &Str, name: &Str) -> Option<Arc<Pod>> {
        self.0.read().get(&Key::new(Kind::Pod, namespace.clone(), name.clone())).cloned()
    }
}

impl fmt::Debug for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pods({})", self.0.read().len())
    }
}
