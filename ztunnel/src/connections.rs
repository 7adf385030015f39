//! The open connections of a pod: counted, shown in dumps, and closed when policy changes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ambit_model::{Identity, Str};
use ambit_net::Counters;
use ambit_telemetry::{ConnectionMetrics, Direction};
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

/// The open connections of one pod.
#[derive(Default)]
pub(crate) struct Connections {
    open: Mutex<Slab<Arc<Connection>>>,
}

/// One open connection.
pub(crate) struct Connection {
    /// What a dump shows.
    pub view: View,
    /// What policy is asked about; outbound connections are not asked about here.
    pub facts: Option<OwnedFacts>,
    /// Bytes: `a` is the side that opened the connection.
    pub counters: Arc<Counters>,
    /// When it was opened.
    pub opened: Instant,
    metrics: Mutex<Option<ConnectionMetrics>>,
    reported: [AtomicU64; 2],
    kill: Notify,
}

/// A connection in a dump.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub direction: Direction,
    pub source: SocketAddr,
    pub original_destination: Option<Str>,
    pub destination: SocketAddr,
    pub protocol: &'static str,
}

/// The facts of a connection, kept for the next decision about it.
#[derive(Clone, Debug)]
pub(crate) struct OwnedFacts {
    pub source_ip: IpAddr,
    pub source_identity: Option<Identity>,
    pub destination: SocketAddr,
}

/// Keeps a connection listed for as long as it lives.
pub(crate) struct Listed<'a> {
    list: &'a Connections,
    key: usize,
    /// The connection.
    pub connection: Arc<Connection>,
}

// === impl Connections ===

impl Connections {
    /// Lists a connection until the guard is dropped.
    pub(crate) fn list(&self, connection: Connection) -> Listed<'_> {
        let connection = Arc::new(connection);
        let key = self.open.lock().insert(connection.clone());
        Listed { list: self, key, connection }
    }

    /// How many connections are open now.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// The connections that are open now.
    pub(crate) fn snapshot(&self) -> Vec<Arc<Connection>> {
        self.open.lock().iter().map(|(_, connection)| connection.clone()).collect()
    }

    /// Brings the byte counters of the metrics up to date.
    pub(crate) fn report(&self) {
        for (_, connection) in self.open.lock().iter() {
            connection.report();
        }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.list.open.lock().try_remove(self.key);
    }
}

// === impl Connection ===

impl Connection {
    /// A connection that was just opened.
    pub(crate) fn new(
        view: View,
        facts: Option<OwnedFacts>,
        counters: Arc<Counters>,
        metrics: ConnectionMetrics,
    ) -> Self {
        Self {
            view,
            facts,
            counters,
            opened: Instant::now(),
            metrics: Mutex::new(Some(metrics)),
            reported: Default::default(),
            kill: Notify::new(),
        }
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
    pub(crate) fn close(&self, flags: ambit_telemetry::ResponseFlags) {
        if let Some(metrics) = self.metrics.lock().take() {
            self.add(&metrics);
            metrics.close(flags);
        }
    }

    fn add(&self, metrics: &ConnectionMetrics) {
        let delta =
            |now: u64, reported: &AtomicU64| now - reported.swap(now, Ordering::Relaxed).min(now);
        let [received, sent] = &self.reported;
        metrics.received(delta(self.counters.a_to_b(), received));
        metrics.sent(delta(self.counters.b_to_a(), sent));
    }
}
