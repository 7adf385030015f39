//! The open connections of a pod: counted, logged, shown in dumps, and closed when policy changes.

use std::fmt::Display;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ambit_net::Counters;
use ambit_telemetry::{
    AccessLog, ConnectionMetrics, Direction, Outcome, ResponseFlags, TrafficMetrics,
};
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use crate::flow::Flow;

/// Room of a pod's list that is kept, connections.
const KEPT: usize = 256;

/// The open connections of one pod.
#[derive(Default)]
pub(crate) struct Connections {
    open: Mutex<Slab<Arc<Connection>>>,
}

/// One open connection.
pub(crate) struct Connection {
    /// What is known of it.
    pub flow: Flow,
    /// When it was opened.
    pub opened: Instant,
    metrics: Mutex<Option<ConnectionMetrics>>,
    reported: [AtomicU64; 2],
    kill: Notify,
}

/// Keeps a connection listed for as long as it lives. Dropped without [`Record::end`], it counts as closed without a
/// flag.
pub(crate) struct Record<'a> {
    list: &'a Connections,
    key: usize,
    connection: Arc<Connection>,
}

// === impl Connections ===

impl Connections {
    /// Counts, logs and lists a connection as open.
    pub(crate) fn open(&self, flow: Box<Flow>, metrics: &TrafficMetrics) -> Record<'_> {
        flow.with_log(|log| log.opened());
        let connection = Arc::new(Connection {
            opened: Instant::now(),
            metrics: Mutex::new(Some(metrics.open(&flow.labels()))),
            flow: *flow,
            reported: Default::default(),
            kill: Notify::new(),
        });
        let key = self.open.lock().insert(connection.clone());
        Record { list: self, key, connection }
    }

    /// How many connections are open now.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// The connections that are open now.
    pub(crate) fn snapshot(&self) -> Vec<Arc<Connection>> {
        self.open.lock().iter().map(|(_, connection)| connection.clone()).collect()
    }

    /// Brings the byte counters of the metrics up to date, and gives back the list's room after a crowd has left.
    pub(crate) fn report(&self) {
        let mut open = self.open.lock();
        for (_, connection) in open.iter() {
            connection.report();
        }
        if open.capacity() > KEPT.max(open.len() * 4) {
            open.shrink_to_fit();
        }
    }
}

// === impl Record ===

impl Record<'_> {
    /// Counts and logs the end.
    pub(crate) fn end(self, flags: ResponseFlags, error: Option<&dyn Display>) {
        self.close(flags);
        if error.is_none() && !AccessLog::enabled() {
            return;
        }
        let (from_opener, to_opener) = (self.counters().a_to_b(), self.counters().b_to_a());
        // Each side logs what it sent and received itself, unlike the metrics, which both count from the opener.
        let (bytes_sent, bytes_recv) = match self.flow.direction {
            Direction::Outbound => (from_opener, to_opener),
            Direction::Inbound => (to_opener, from_opener),
        };
        let duration = self.opened.elapsed();
        self.flow.with_log(|log| {
            log.complete(Outcome { bytes_sent, bytes_recv, duration, error });
        });
    }
}

impl Deref for Record<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.list.open.lock().try_remove(self.key);
    }
}

// === impl Connection ===

impl Connection {
    /// Bytes moved: `a` is the side that opened the connection.
    pub(crate) fn counters(&self) -> &Counters {
        &self.flow.counters
    }

    /// Asks the connection's task to end it.
    pub(crate) fn kill(&self) {
        self.kill.notify_one();
    }

    /// Resolves when the connection has been asked to end.
    pub(crate) async fn killed(&self) {
        self.kill.notified().await;
    }

    /// Adds what has been moved since the last time to the metrics.
    pub(crate) fn report(&self) {
        if let Some(metrics) = &*self.metrics.lock() {
            self.add(metrics);
        }
    }

    /// Ends the connection's metrics.
    fn close(&self, flags: ResponseFlags) {
        if let Some(metrics) = self.metrics.lock().take() {
            self.add(&metrics);
            metrics.close(flags);
        }
    }

    fn add(&self, metrics: &ConnectionMetrics) {
        let delta =
            |now: u64, reported: &AtomicU64| now - reported.swap(now, Ordering::Relaxed).min(now);
        let [received, sent] = &self.reported;
        metrics.received(delta(self.counters().a_to_b(), received));
        metrics.sent(delta(self.counters().b_to_a(), sent));
    }
}
