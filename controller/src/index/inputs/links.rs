//! Which objects refer to what.

use std::collections::HashMap;
use std::hash::Hash;

use crate::watch::Key;

/// References of objects, and the way back.
#[derive(Debug)]
pub(super) struct Links<T> {
    from: HashMap<Key, Vec<T>>,
    /// Sorted. Most are referred to once, and a vector of one is a tenth of a set of one.
    to: HashMap<T, Vec<Key>>,
}

// === impl Links ===

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self { from: HashMap::new(), to: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Links<T> {
    /// Says what the object `key` refers to from now on.
    pub(super) fn set(&mut self, key: &Key, targets: Vec<T>) {
        for target in self.from.remove(key).into_iter().flatten() {
            if let Some(keys) = self.to.get_mut(&target) {
                if let Ok(place) = keys.binary_search(key) {
                    keys.remove(place);
                }
                if keys.is_empty() {
                    self.to.remove(&target);
                }
            }
        }
        for target in &targets {
            let keys = self.to.entry(target.clone()).or_insert_with(|| Vec::with_capacity(1));
            if let Err(place) = keys.binary_search(key) {
                keys.insert(place, key.clone());
            }
        }
        if !targets.is_empty() {
            self.from.insert(key.clone(), targets);
        }
    }

    /// What the object `key` refers to.
    pub(super) fn from(&self, key: &Key) -> &[T] {
        self.from.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// The objects that refer to `target`.
    pub(super) fn to(&self, target: &T) -> impl Iterator<Item = &Key> {
        self.to.get(target).into_iter().flatten()
    }
}
