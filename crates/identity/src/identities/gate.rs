//! Bounds how many requests run at once; who is waited for goes first.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// How soon somebody needs the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// A connection waits for it.
    Wanted,
    /// Nobody waits yet: prefetch and renewal.
    Ahead,
}

/// A bounded number of permits.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Mutex<Queue>>);

struct Queue {
    free: usize,
    wanted: VecDeque<oneshot::Sender<Permit>>,
    ahead: VecDeque<oneshot::Sender<Permit>>,
}

/// Leave to run one request; given back when dropped.
pub(crate) struct Permit(Option<Gate>);

// === impl Gate ===

impl Gate {
    pub(crate) fn new(permits: usize) -> Self {
        let queue = Queue { free: permits, wanted: VecDeque::new(), ahead: VecDeque::new() };
        Self(Arc::new(Mutex::new(queue)))
    }

    /// Waits for a permit. Dropping the future leaves the queue.
    pub(crate) async fn enter(&self, priority: Priority) -> Permit {
        let waiting = {
            let mut queue = self.0.lock();
            if queue.free > 0 {
                queue.free -= 1;
                return Permit(Some(self.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            match priority {
                Priority::Wanted => queue.wanted.push_back(sender),
                Priority::Ahead => queue.ahead.push_back(sender),
            }
            receiver
        };
        // Senders are dropped only with the queue, which `self` keeps; an empty permit would then be harmless.
        waiting.await.unwrap_or(Permit(None))
    }

    fn leave(&self) {
        loop {
            let mut queue = self.0.lock();
            let next = queue.wanted.pop_front().or_else(|| queue.ahead.pop_front());
            let Some(next) = next else {
                queue.free += 1;
                return;
            };
            drop(queue);
            match next.send(Permit(Some(self.clone()))) {
                Ok(()) => return,
                // Who waited has gone. Defused, or its drop would call us again.
                Err(mut permit) => permit.0 = None,
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_is_wanted_goes_first_and_who_left_is_skipped() {
        let gate = Gate::new(1);
        let running = gate.enter(Priority::Ahead).await;
        let mut ahead = Box::pin(gate.enter(Priority::Ahead));
        let mut gone = Box::pin(gate.enter(Priority::Wanted));
        let mut wanted = Box::pin(gate.enter(Priority::Wanted));
        assert!(ahead.as_mut().now_or_never().is_none());
        assert!(gone.as_mut().now_or_never().is_none());
        assert!(wanted.as_mut().now_or_never().is_none());
        drop(gone);
        drop(running);
        assert!(ahead.as_mut().now_or_never().is_none());
        let second = wanted.as_mut().now_or_never().expect("next in line");
        drop(second);
        let third = ahead.as_mut().now_or_never().expect("last in line");
        drop(third);
        assert_eq!(gate.0.lock().free, 1);
    }

    #[tokio::test]
    async fn a_permit_given_to_who_leaves_is_not_lost() {
        let gate = Gate::new(1);
        let running = gate.enter(Priority::Ahead).await;
        let mut waiting = Box::pin(gate.enter(Priority::Wanted));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(running); // Handed over, not yet taken.
        drop(waiting);
        assert!(gate.enter(Priority::Ahead).now_or_never().is_some());
    }
}
