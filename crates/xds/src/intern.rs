//! One allocation for each distinct string that many resources repeat.

use std::collections::HashSet;

use ambit_model::Str;

/// A set of shared strings. Strings nobody else holds are dropped from time to time, so it never holds more than
/// twice what was in use when it was last swept.
#[derive(Debug, Default)]
pub struct Interner {
    strings: HashSet<Str>,
    sweep_at: usize,
}

/// Below this number of strings sweeping is not worth its time.
const MIN_SWEEP: usize = 1024;

// === impl Interner ===

impl Interner {
    /// The shared string equal to `text`.
    pub fn intern(&mut self, text: &str) -> Str {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        if self.strings.len() >= self.sweep_at.max(MIN_SWEEP) {
            self.strings.retain(|s| Str::strong_count(s) > 1);
            self.sweep_at = self.strings.len() * 2;
        }
        let new = Str::from(text);
        self.strings.insert(new.clone());
        new
    }

    /// How many strings it holds.
    pub fn len(&self) -> usize {
        self.strings.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_one_allocation() {
        let mut interner = Interner::default();
        let a = interner.intern("shop");
        let b = interner.intern(&String::from("shop"));
        assert!(Str::ptr_eq(&a, &b));
        assert_eq!(interner.len(), 1);
    }

    #[test]
    fn strings_out_of_use_are_swept() {
        let mut interner = Interner::default();
        let kept = interner.intern("kept");
        for i in 0..10 * MIN_SWEEP {
            interner.intern(&format!("pod-{i}"));
        }
        assert!(interner.len() <= MIN_SWEEP, "{}", interner.len());
        assert!(Str::ptr_eq(&kept, &interner.intern("kept")));
    }
}
