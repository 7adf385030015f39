//! Who has received what, and when.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What all proxies write down together.
#[derive(Debug)]
pub(crate) struct Ledger {
    proxies: usize,
    entries: Mutex<Entries>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    synced: Vec<Synced>,
    /// Resources that are waited for.
    changes: HashMap<String, Acks>,
    /// Changes that not everybody has yet.
    open: usize,
    failure: Option<String>,
}

/// A proxy that has everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Synced {
    /// From its first request to its last acknowledgement.
    pub(crate) took: Duration,
    pub(crate) at: Instant,
    pub(crate) bytes: u64,
    pub(crate) resources: u64,
}

#[derive(Debug, Default)]
struct Acks {
    count: usize,
    last: Option<Instant>,
}

// === impl Ledger ===

impl Ledger {
    pub(crate) fn new(proxies: usize) -> Self {
        Self { proxies, entries: Mutex::default(), news: Notify::new() }
    }

    /// From now on it counts who has the resource `name`.
    pub(crate) fn expect(&self, name: String) {
        let mut entries = self.entries.lock();
        entries.open += 1;
        entries.changes.insert(name, Acks::default());
    }

    /// A proxy has everything that there was when it came.
    pub(crate) fn synced(&self, synced: Synced) {
        self.entries.lock().synced.push(synced);
        self.news.notify_one();
    }

    /// A proxy has acknowledged a response with these resources.
    pub(crate) fn acked(&self, names: &[String], now: Instant) {
        let mut entries = self.entries.lock();
        let Entries { changes, open, .. } = &mut *entries;
        for name in names {
            let Some(acks) = changes.get_mut(name) else { continue };
            acks.count += 1;
            if acks.count == self.proxies {
                // Proxies write from more than one thread, and not in the order of their clocks.
                acks.last = Some(acks.last.map_or(now, |last| last.max(now)));
                *open -= 1;
                self.news.notify_one();
            } else {
                acks.last = acks.last.max(Some(now));
            }
        }
    }

    /// A proxy has lost its stream.
    pub(crate) fn failed(&self, failure: String) {
        self.entries.lock().failure.get_or_insert(failure);
        self.news.notify_one();
    }

    /// Waits until every proxy has everything.
    ///
    /// # Errors
    /// One has failed, or it takes too long.
    pub(crate) async fn all_synced(&self, limit: Duration) -> anyhow::Result<Vec<Synced>> {
        let all = |entries: &Entries| entries.synced.len() == self.proxies;
        self.until(limit, all).await?;
        Ok(self.entries.lock().synced.clone())
    }

    /// Waits until every change is everywhere, and returns when the last proxy had each.
    ///
    /// # Errors
    /// One has failed, or it takes too long.
    pub(crate) async fn all_acked(
        &self,
        limit: Duration,
    ) -> anyhow::Result<HashMap<String, Instant>> {
        self.until(limit, |entries| entries.open == 0).await?;
        let changes = std::mem::take(&mut self.entries.lock().changes);
        Ok(changes.into_iter().filter_map(|(name, acks)| Some((name, acks.last?))).collect())
    }

    async fn until(&self, limit: Duration, done: impl Fn(&Entries) -> bool) -> anyhow::Result<()> {
        let wait = async {
            loop {
                {
                    let entries = self.entries.lock();
                    if let Some(failure) = &entries.failure {
                        bail!("{failure}");
                    }
                    if done(&entries) {
                        return Ok(());
                    }
                }
                self.news.notified().await;
            }
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(done) => done,
            Err(_) => {
                let entries = self.entries.lock();
                let (synced, open) = (entries.synced.len(), entries.open);
                let all = self.proxies;
                bail!("{synced} of {all} proxies are in sync, {open} changes are not everywhere")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_everywhere_with_the_last_acknowledgement() {
        let ledger = Ledger::new(2);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let names = |name: &str| vec!["of no interest".to_owned(), name.to_owned()];
        ledger.expect("a".to_owned());
        ledger.expect("b".to_owned());
        ledger.acked(&names("a"), at(9));
        ledger.acked(&names("b"), at(3));
        let early = ledger.all_acked(Duration::ZERO).await.unwrap_err().to_string();
        assert_eq!(early, "0 of 2 proxies are in sync, 2 changes are not everywhere");
        ledger.acked(&names("a"), at(5));
        ledger.acked(&names("b"), at(7));
        let acked = ledger.all_acked(Duration::from_secs(9)).await.unwrap();
        assert_eq!((acked["a"], acked["b"]), (at(9), at(7)));

        ledger.failed("node-1: refused".to_owned());
        let error = ledger.all_synced(Duration::from_secs(9)).await.unwrap_err().to_string();
        assert_eq!(error, "node-1: refused");
    }
}
