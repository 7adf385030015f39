//! Want of descriptors or memory, as all accept loops of a process see it: counted each time, said once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Without a failure for so long, a shortage counts as over. One descriptor that becomes free does not end it.
const CALM: Duration = Duration::from_secs(1);

/// Whether connections cannot be accepted at the moment. Clones are handles of the same.
#[derive(Clone, Debug, Default)]
pub struct Shortage(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether there is a spell, for those who accept without a lock.
    is_short: AtomicBool,
    spell: Mutex<Option<Spell>>,
    pauses: Counter,
}

/// A time in which accepting fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spell {
    began: Instant,
    last: Instant,
}

// === impl Shortage ===

impl Shortage {
    /// Registers `accept_pauses`; `registry` is expected to have the prefix of the process.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "accept_pauses",
            "Times that a listener paused for want of descriptors or memory",
            self.0.pauses.clone(),
        );
    }

    /// Counts an accept that failed, and says so if it is the first of many.
    pub(crate) fn failed(&self, error: &io::Error) {
        self.0.pauses.inc();
        let now = Instant::now();
        let mut spell = self.0.spell.lock();
        let begins = spell.is_none();
        *spell = Some(Spell { began: spell.map_or(now, |spell| spell.began), last: now });
        self.0.is_short.store(true, Ordering::Relaxed);
        drop(spell);
        if begins {
            tracing::warn!(%error, "cannot accept connections, which wait meanwhile; raise the limit of descriptors if that is what is missing");
        }
    }

    /// Takes in that an accept has succeeded, and says so if the shortage is over by that.
    pub(crate) fn accepted(&self) {
        if !self.0.is_short.load(Ordering::Relaxed) {
            return;
        }
        let mut spell = self.0.spell.lock();
        let Some(after) = spell.and_then(|spell| spell.over(Instant::now())) else { return };
        *spell = None;
        self.0.is_short.store(false, Ordering::Relaxed);
        drop(spell);
        tracing::info!(?after, "accepting connections again");
    }
}

// === impl Spell ===

impl Spell {
    /// How long it lasted, if it is over at `now`, when an accept has succeeded.
    fn over(self, now: Instant) -> Option<Duration> {
        (now.duration_since(self.last) >= CALM).then(|| self.last.duration_since(self.began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_is_over_when_nothing_has_failed_for_a_while() {
        let began = Instant::now();
        let second = Duration::from_secs(1);
        for (last, now, expected) in
            [(0, 0, None), (0, 1, Some(0)), (5, 5, None), (5, 6, Some(5)), (5, 600, Some(5))]
        {
            let spell = Spell { began, last: began + last * second };
            let over = spell.over(began + now * second);
            assert_eq!(over, expected.map(|after: u32| after * second), "{last} {now}");
        }
    }

    #[test]
    fn every_failure_is_counted_and_one_success_ends_nothing() {
        let shortage = Shortage::default();
        for _ in 0..3 {
            shortage.failed(&io::ErrorKind::OutOfMemory.into());
            shortage.accepted();
        }
        assert_eq!(shortage.0.pauses.get(), 3);
        assert!(shortage.0.is_short.load(Ordering::Relaxed));
    }
}
