//! The TCP traffic metrics: one series per label set, held by its connections.
//!
//! A connection looks its series up once, when it opens; from then on it owns handles and every update is one relaxed
//! atomic addition without a lock. Add bytes when the connection ends and about once a mebibyte or a second while it
//! runs: an addition per read would bounce the cache line between workers.
//!
//! Series of departed workloads go away: [`TrafficMetrics::sweep`] drops every series that no connection has held
//! since the sweep before. Should the workload come back, its counters start at zero, which Prometheus takes for a
//! restart and `rate()` bridges.

mod collector;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::RwLock;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::labels::{Reporter, ResponseFlags, TrafficLabels};

use collector::TrafficCollector;

/// Beyond this many series, connections are counted in one series per reporter whose labels are `unknown`: baggage
/// comes from peers and must not fill the memory.
const MAX_SERIES: usize = 50_000;

/// `istio_tcp_*`: counters of connections and bytes by source and destination.
#[derive(Clone, Debug)]
pub struct TrafficMetrics {
    table: Arc<Table>,
    sockets: Family<Reporter, Gauge>,
}

/// One connection's handle on its series. Counted as closed, with no flag, if it is dropped without a word.
#[derive(Debug)]
pub struct ConnectionMetrics {
    series: Arc<Series>,
    ended: bool,
}

/// Holds one count of `istio_tcp_sockets_open`.
#[derive(Debug)]
pub struct SocketGuard(Gauge);

#[derive(Debug)]
struct Table {
    series: RwLock<HashMap<TrafficLabels, Arc<Series>>>,
    max_series: usize,
}

#[derive(Debug, Default)]
struct Series {
    /// Connections that hold the series.
    live: AtomicUsize,
    /// Whether a connection opened or ended since the last sweep.
    touched: AtomicBool,
    opened: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    /// One counter for each of [`ResponseFlags::ALL`].
    closed: [AtomicU64; ResponseFlags::ALL.len()],
}

// === impl TrafficMetrics ===

impl TrafficMetrics {
    /// The metrics, exposed by `registry` under the prefix that it has; Istio's is `istio`.
    pub fn register(registry: &mut Registry) -> Self {
        let table = Arc::new(Table { series: RwLock::default(), max_series: MAX_SERIES });
        let sockets = Family::<Reporter, Gauge>::default();
        registry.register_collector(Box::new(TrafficCollector(Arc::clone(&table))));
        registry.register("tcp_sockets_open", "Open TCP sockets", sockets.clone());
        Self { table, sockets }
    }

    /// Counts a connection as opened and returns what counts the rest of its life.
    pub fn open(&self, labels: &TrafficLabels) -> ConnectionMetrics {
        let series = self.table.enter(labels);
        series.opened.fetch_add(1, Relaxed);
        ConnectionMetrics { series, ended: false }
    }

    /// Counts a socket as open for as long as the guard lives.
    pub fn socket(&self, reporter: Reporter) -> SocketGuard {
        let gauge = self.sockets.get_or_create_owned(&reporter);
        gauge.inc();
        SocketGuard(gauge)
    }

    /// Drops the series that no connection has held since the previous sweep, and returns how many they were.
    ///
    /// Called every few minutes, a series is kept for one to two periods after its last connection: let the period be
    /// well above the scrape interval.
    pub fn sweep(&self) -> usize {
        let mut series = self.table.series.write();
        let before = series.len();
        series.retain(|_, entry| {
            let held = entry.live.load(Relaxed) > 0;
            entry.touched.swap(held, Relaxed) || held
        });
        let dropped = before - series.len();
        if series.capacity() > 4 * series.len() {
            series.shrink_to_fit();
        }
        dropped
    }
}

// === impl ConnectionMetrics ===

impl ConnectionMetrics {
    /// Adds bytes read from the side that opened the connection.
    pub fn received(&self, bytes: u64) {
        self.series.received.fetch_add(bytes, Relaxed);
    }

    /// Adds bytes written to the side that opened the connection.
    pub fn sent(&self, bytes: u64) {
        self.series.sent.fetch_add(bytes, Relaxed);
    }

    /// Counts the connection as closed, and as failed unless `flags` is [`ResponseFlags::None`].
    pub fn close(mut self, flags: ResponseFlags) {
        self.end(flags);
    }

    fn end(&mut self, flags: ResponseFlags) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let Some(counter) = self.series.closed.get(flags as usize) {
            counter.fetch_add(1, Relaxed);
        }
        self.series.touched.store(true, Relaxed);
        self.series.live.fetch_sub(1, Relaxed);
    }
}

impl Drop for ConnectionMetrics {
    fn drop(&mut self) {
        self.end(ResponseFlags::None);
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl Table ===

impl Table {
    /// The series of `labels` with one more live connection. Sweeping waits for the lock, so that it sees the count.
    fn enter(&self, labels: &TrafficLabels) -> Arc<Series> {
        if let Some(series) = self.series.read().get(labels) {
            return series.hold();
        }
        let mut all = self.series.write();
        if let Some(series) = all.get(labels) {
            return series.hold();
        }
        let key = if all.len() < self.max_series {
            labels.clone()
        } else {
            TrafficLabels::new(labels.reporter)
        };
        all.entry(key).or_default().hold()
    }
}

impl Series {
    fn hold(self: &Arc<Self>) -> Arc<Self> {
        self.live.fetch_add(1, Relaxed);
        self.touched.store(true, Relaxed);
        Arc::clone(self)
    }
}

#[cfg(test)]
mod tests;
