//! The state that is distributed, and the news that it has changed.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::index::Snapshot;

/// A state that is distributed.
#[derive(Clone, Debug)]
pub struct Published {
    /// Counts states, from 0 for the empty one before the first.
    pub generation: u64,
    /// The state.
    pub snapshot: Snapshot,
    /// When the change was noticed that led to it.
    pub seen: Instant,
}

/// Where states come from.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Arc<Published>>);

/// Where they are read.
pub type Subscription = watch::Receiver<Arc<Published>>;

// === impl Publisher ===

impl Publisher {
    /// Nothing is published yet: streams wait until something is, so that a controller which has not read its objects
    /// does not tell proxies that there are none.
    pub fn new(now: Instant) -> Self {
        let snapshot = Snapshot::default();
        Self(watch::Sender::new(Arc::new(Published { generation: 0, snapshot, seen: now })))
    }

    /// Publishes `snapshot`, the state after a change that was noticed at `seen`. Returns its generation, of which `note`
    /// hears before anybody can have answered it.
    pub fn publish(&self, snapshot: Snapshot, seen: Instant, note: impl FnOnce(u64)) -> u64 {
        let generation = self.0.borrow().generation + 1;
        note(generation);
        self.0.send_replace(Arc::new(Published { generation, snapshot, seen }));
        generation
    }

    /// A reader of the states.
    pub fn subscribe(&self) -> Subscription {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sees_a_state_before_it_is_noted() {
        let publisher = Publisher::new(Instant::now());
        let (subscription, mut noted) = (publisher.subscribe(), None);
        let note = |generation| noted = Some((generation, subscription.has_changed().unwrap()));
        publisher.publish(Snapshot::default(), Instant::now(), note);
        assert_eq!(noted, Some((1, false)));
        assert!(subscription.has_changed().unwrap());
    }
}
