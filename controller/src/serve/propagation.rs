//! How long a change takes until every connected proxy has it. Time is passed in.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Changes on their way.
#[derive(Debug, Default)]
pub(crate) struct Propagation {
    /// When each generation was noticed that not everybody has yet.
    pending: BTreeMap<u64, Instant>,
    /// The last generation each proxy has.
    proxies: HashMap<u64, u64>,
    /// How many proxies have each of these generations as their last.
    holders: BTreeMap<u64, usize>,
    joined: u64,
}

// === impl Propagation ===

impl Propagation {
    /// A change was published.
    pub(crate) fn published(&mut self, generation: u64, seen: Instant) {
        // Without proxies there is nobody to wait for.
        if !self.proxies.is_empty() {
            self.pending.insert(generation, seen);
        }
    }

    /// A proxy has connected. Returns its number.
    pub(crate) fn join(&mut self, generation: u64) -> u64 {
        self.joined += 1;
        self.holds(self.joined, Some(generation));
        self.joined
    }

    /// A proxy has everything up to `generation`. Returns how long the changes took that now everybody has.
    pub(crate) fn acked(&mut self, proxy: u64, generation: u64, now: Instant) -> Vec<Duration> {
        if self.proxies.get(&proxy).is_some_and(|last| *last < generation) {
            self.holds(proxy, Some(generation));
        }
        self.settle(now)
    }

    /// A proxy is gone; nobody waits for it any more.
    pub(crate) fn leave(&mut self, proxy: u64, now: Instant) -> Vec<Duration> {
        self.holds(proxy, None);
        if self.proxies.is_empty() {
            self.pending.clear();
        }
        self.settle(now)
    }

    /// How many proxies are connected.
    pub(crate) fn proxies(&self) -> usize {
        self.proxies.len()
    }

    /// How many changes not every proxy has yet.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Takes in what a proxy has last, or that it has gone.
    fn holds(&mut self, proxy: u64, generation: Option<u64>) {
        let before = match generation {
            Some(generation) => {
                *self.holders.entry(generation).or_default() += 1;
                self.proxies.insert(proxy, generation)
            }
            None => self.proxies.remove(&proxy),
        };
        let Some(before) = before else { return };
        if let Some(count) = self.holders.get_mut(&before) {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(&before);
            }
        }
    }

    fn settle(&mut self, now: Instant) -> Vec<Duration> {
        let everywhere = self.holders.keys().next().copied().unwrap_or(0);
        if self.pending.keys().next().is_none_or(|first| *first > everywhere) {
            return Vec::new();
        }
        let waiting = self.pending.split_off(&(everywhere + 1));
        let done = std::mem::replace(&mut self.pending, waiting);
        done.into_values().map(|seen| now.saturating_duration_since(seen)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [Duration; 0] = [];

    #[test]
    fn a_change_has_arrived_when_the_last_proxy_has_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let mut changes = Propagation::default();
        changes.published(1, at(0));
        let (a, b) = (changes.join(1), changes.join(1));
        changes.published(2, at(100));
        changes.published(3, at(150));
        assert_eq!(changes.acked(a, 3, at(160)), NONE);
        assert_eq!(changes.waiting(), 2);
        assert_eq!(changes.acked(b, 2, at(170)), [ms(70)]);
        assert_eq!(changes.waiting(), 1);
        assert_eq!(changes.acked(b, 3, at(190)), [ms(40)]);
        assert_eq!(changes.acked(b, 3, at(999)), NONE);
    }

    #[test]
    fn nobody_waits_for_a_proxy_that_has_left() {
        let start = Instant::now();
        let mut changes = Propagation::default();
        let (a, b) = (changes.join(0), changes.join(0));
        changes.published(1, start);
        assert_eq!(changes.acked(a, 1, start), NONE);
        assert_eq!(changes.leave(b, start + Duration::from_secs(1)), [Duration::from_secs(1)]);
        changes.published(2, start);
        assert_eq!(changes.leave(a, start), NONE);
        assert_eq!(changes.proxies(), 0);
    }
}
