//! One copy of each equal value: what keeps a hundred thousand workloads small.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use ambit_model::Str;

/// Hands out one shared [`Str`] for equal strings. Strings that nobody uses any more are forgotten in time.
///
/// The store interns what it keeps by itself; a decoder that interns as well saves the allocations before that.
#[derive(Debug, Default)]
pub struct Interner {
    strings: Pool<str>,
}

/// Shared values, compared by content.
#[derive(Debug)]
pub(crate) struct Pool<T: ?Sized> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

/// Below this size a pool is not worth sweeping.
const SMALLEST_SWEEP: usize = 1024;

// === impl Interner ===

impl Interner {
    /// The shared copy of `value`.
    pub fn intern(&mut self, value: &str) -> Str {
        self.strings.get(value).unwrap_or_else(|| self.strings.insert(value.into()))
    }

    /// The shared copy of `value`, which becomes it if there is none.
    pub(crate) fn share(&mut self, value: &mut Str) {
        match self.strings.get(&**value) {
            Some(shared) => *value = shared,
            None => *value = self.strings.insert(value.clone()),
        }
    }

    /// How many strings are held, used or not yet forgotten.
    pub fn len(&self) -> usize {
        self.strings.values.len()
    }

    /// Whether no string is held.
    pub fn is_empty(&self) -> bool {
        self.strings.values.is_empty()
    }
}

// === impl Pool ===

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), sweep_at: SMALLEST_SWEEP }
    }
}

impl<T: Eq + Hash + ?Sized> Pool<T> {
    /// The shared copy of `value`, if there is one.
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, value: &Q) -> Option<Arc<T>>
    where
        Arc<T>: Borrow<Q>,
    {
        self.values.get(value).cloned()
    }

    /// Makes `value` the shared copy. Sweeps whenever the pool has doubled, so a sweep costs little per insertion.
    pub(crate) fn insert(&mut self, value: Arc<T>) -> Arc<T> {
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.values.shrink_to_fit();
            self.sweep_at = (self.values.len() * 2).max(SMALLEST_SWEEP);
        }
        self.values.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_are_one() {
        let mut interner = Interner::default();
        let first = interner.intern("shop");
        assert!(Arc::ptr_eq(&first, &interner.intern("shop")));
        let mut other: Str = String::from("shop").into();
        interner.share(&mut other);
        assert!(Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn unused_strings_are_forgotten() {
        let mut interner = Interner::default();
        let kept = interner.intern("kept");
        for i in 0..100 * SMALLEST_SWEEP {
            interner.intern(&i.to_string());
        }
        assert!(interner.len() <= 2 * SMALLEST_SWEEP, "{}", interner.len());
        assert!(Arc::ptr_eq(&kept, &interner.intern("kept")));
    }
}
