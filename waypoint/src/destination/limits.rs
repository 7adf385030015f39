//! Counting what is under way, up to a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

use tokio::sync::Notify;

/// How many of a thing there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limit(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicU32,
    waiting: AtomicU32,
    freed: Notify,
}

/// One of them, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Inner>);

/// Somebody who waits.
struct Waiting<'a>(&'a AtomicU32);

// === impl Limit ===

impl Limit {
    /// One more, unless that makes more than `most`.
    pub(crate) fn acquire(&self, most: Option<u32>) -> Option<Permit> {
        let most = most.unwrap_or(u32::MAX);
        let more = |count: u32| (count < most).then_some(count + 1);
        let counted = self.0.count.fetch_update(SeqCst, SeqCst, more);
        counted.ok().map(|_| Permit(self.0.clone()))
    }

    /// One more, as soon as that makes no more than `most`.
    pub(crate) async fn wait(&self, most: Option<u32>) -> Permit {
        if let Some(permit) = self.acquire(most) {
            return permit;
        }
        self.0.waiting.fetch_add(1, SeqCst);
        let _waiting = Waiting(&self.0.waiting);
        loop {
            let freed = self.0.freed.notified();
            if let Some(permit) = self.acquire(most) {
                return permit;
            }
            freed.await;
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.count.load(Relaxed)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

// === impl Permit ===

impl Permit {
    /// Whether somebody waits for one.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.waiting.load(Relaxed) > 0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Who waits says so before trying a last time: one of the two sees the other.
        self.0.count.fetch_sub(1, SeqCst);
        if self.0.waiting.load(SeqCst) > 0 {
            self.0.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_given_up_to_the_limit_and_come_back() {
        let limit = Limit::default();
        let one = limit.acquire(Some(2)).unwrap();
        let two = limit.acquire(Some(2)).unwrap();
        assert!(limit.acquire(Some(2)).is_none());
        // A limit that was lowered is kept as soon as it can be.
        assert!(limit.acquire(Some(1)).is_none());
        assert!(limit.acquire(None).is_some());
        drop(one);
        assert!(limit.acquire(Some(2)).is_some());
        drop(two);
        assert_eq!(limit.count(), 0);
        assert!(limit.acquire(Some(0)).is_none());
    }

    #[tokio::test]
    async fn who_waits_gets_the_next_that_is_free() {
        let limit = Limit::default();
        let held = limit.acquire(Some(1)).unwrap();
        assert!(!held.is_wanted());
        let waiting = tokio::spawn({
            let limit = limit.clone();
            async move { limit.wait(Some(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(held.is_wanted());
        drop(held);
        assert!(!waiting.await.unwrap().is_wanted());
        assert_eq!(limit.count(), 0);
    }
}
