//! Things that only one object can have: who wants them, and who gets them.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use crate::watch::Key;

/// Who wants what. The claim with the lowest rank wins; of equal ranks, the one with the first key.
#[derive(Debug)]
pub(super) struct Claims<V, R> {
    /// Sorted. Hardly anything has a rival, and a vector of one is a tenth of a set of one.
    wanted: HashMap<V, Vec<(R, Key)>>,
    held: HashMap<Key, (R, Vec<V>)>,
}

// === impl Claims ===

impl<V, R> Default for Claims<V, R> {
    fn default() -> Self {
        Self { wanted: HashMap::new(), held: HashMap::new() }
    }
}

impl<V: Clone + Eq + Hash, R: Clone + Ord> Claims<V, R> {
    /// Says what the object `key` wants from now on. Returns the objects for which the outcome may have changed.
    pub(super) fn set(&mut self, key: &Key, rank: R, values: Vec<V>) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        let new = (rank, values);
        if self.held.get(key) == Some(&new) {
            return touched;
        }
        if let Some((_, values)) = self.held.remove(key) {
            for value in values {
                self.rivals(&value, &mut touched);
                if let Some(claims) = self.wanted.get_mut(&value) {
                    claims.retain(|(_, claimant)| claimant != key);
                    if claims.is_empty() {
                        self.wanted.remove(&value);
                    }
                }
            }
        }
        if !new.1.is_empty() {
            for value in &new.1 {
                let claim = (new.0.clone(), key.clone());
                let claims = self.wanted.entry(value.clone()).or_default();
                if let Err(place) = claims.binary_search(&claim) {
                    claims.reserve_exact(1);
                    claims.insert(place, claim);
                }
                self.rivals(value, &mut touched);
            }
            self.held.insert(key.clone(), new);
        }
        touched
    }

    /// The object that has `value`.
    pub(super) fn winner(&self, value: &V) -> Option<&Key> {
        self.wanted.get(value)?.first().map(|(_, key)| key)
    }

    fn rivals(&self, value: &V, touched: &mut BTreeSet<Key>) {
        touched.extend(self.wanted.get(value).into_iter().flatten().map(|(_, key)| key.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Kind;

    fn key(name: &str) -> Key {
        Key::new(Kind::Pod, "ns", name)
    }

    fn keys(names: &[&str]) -> BTreeSet<Key> {
        names.iter().map(|name| key(name)).collect()
    }

    #[test]
    fn the_lowest_rank_wins_and_those_concerned_are_told() {
        let mut claims = Claims::default();
        assert_eq!(claims.set(&key("b"), 5, vec!["x", "y"]), keys(&["b"]));
        assert_eq!(claims.set(&key("a"), 7, vec!["x"]), keys(&["a", "b"]));
        assert_eq!(claims.winner(&"x"), Some(&key("b")));
        assert_eq!(claims.set(&key("a"), 5, vec!["x"]), keys(&["a", "b"]));
        assert_eq!(claims.winner(&"x"), Some(&key("a")));
        assert_eq!(claims.set(&key("a"), 5, vec!["x"]), keys(&[]), "nothing new");
        assert_eq!(claims.set(&key("a"), 5, vec![]), keys(&["a", "b"]));
        assert_eq!(claims.winner(&"x"), Some(&key("b")));
        assert_eq!(claims.winner(&"z"), None);
    }
}
