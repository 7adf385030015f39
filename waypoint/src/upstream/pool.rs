//! The connections that one worker has with one endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};
use parking_lot::Mutex;

use crate::body::Body;
use crate::destination::{Endpoint, Permit};

/// Connections by what they speak.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Those that nobody uses, the last used at the end.
    http1: Vec<Http1>,
    http2: Vec<Http2>,
}

/// A connection of one request at a time.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) send: http1::SendRequest<Body>,
    pub(super) about: About,
}

/// A connection of many requests at a time. Clones are handles of the same.
#[derive(Clone, Debug)]
pub(super) struct Http2 {
    send: http2::SendRequest<Body>,
    about: Arc<Mutex<About>>,
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct About {
    /// For whom it was made; requests of others do not travel on it.
    source: u64,
    /// When it was used last.
    used: Instant,
    /// Requests sent on it.
    pub(super) requests: u32,
    /// Requests under way.
    active: u32,
    permit: Permit,
}

/// What a request occupies of a connection until its response has ended.
#[derive(Debug)]
pub(crate) enum Lease {
    Http1(Http1Lease),
    Http2 {
        /// Only held.
        _lease: Http2Lease,
    },
}

/// A connection that is given back when the response has ended, and closed if that never happens.
#[derive(Debug)]
pub(crate) struct Http1Lease {
    pub(super) connection: Http1,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) worker: usize,
    pub(super) reusable: bool,
}

/// A stream's place on a connection.
#[derive(Debug)]
pub(crate) struct Http2Lease(Http2);

/// Streams that are opened on one HTTP/2 connection before there is another one.
const STREAMS: u32 = 100;

// === impl Connections ===

impl Connections {
    /// An idle connection for requests of `source`, the one that was used last.
    pub(super) fn take_http1(&self, source: u64, idle: Duration, now: Instant) -> Option<Http1> {
        let mut kept = self.0.lock();
        let usable = |c: &Http1| {
            c.about.source == source
                && c.send.is_ready()
                && now.saturating_duration_since(c.about.used) < idle
        };
        let at = kept.http1.iter().rposition(usable)?;
        Some(kept.http1.remove(at))
    }

    /// A stream's place on a connection for requests of `source` that takes no more than `most` requests.
    pub(super) fn take_http2(
        &self,
        source: u64,
        most: Option<u32>,
        now: Instant,
    ) -> Option<Http2Lease> {
        let mut kept = self.0.lock();
        kept.http2.retain(|connection| !connection.send.is_closed());
        kept.http2.iter().find_map(|connection| {
            let mut about = connection.about.lock();
            let may = about.source == source
                && about.active < STREAMS
                && most.is_none_or(|most| about.requests < most);
            may.then(|| {
                about.enter(now);
                Http2Lease(connection.clone())
            })
        })
    }

    /// Adds a connection; the first stream's place on it is the caller's.
    pub(super) fn add_http2(
        &self,
        send: http2::SendRequest<Body>,
        mut about: About,
        now: Instant,
    ) -> Http2Lease {
        about.enter(now);
        let connection = Http2 { send, about: Arc::new(Mutex::new(about)) };
        self.0.lock().http2.push(connection.clone());
        Http2Lease(connection)
    }

    /// Closes what has not been used for `idle`.
    pub(crate) fn sweep(&self, idle: Duration, now: Instant) {
        let stale = |about: &About| now.saturating_duration_since(about.used) >= idle;
        let mut kept = self.0.lock();
        kept.http1.retain(|connection| !connection.send.is_closed() && !stale(&connection.about));
        kept.http2.retain(|connection| {
            let about = connection.about.lock();
            !connection.send.is_closed() && (about.active > 0 || !stale(&about))
        });
    }
}

// === impl About ===

impl About {
    pub(super) fn new(source: u64, permit: Permit, now: Instant) -> Self {
        Self { source, used: now, requests: 0, active: 0, permit }
    }

    fn enter(&mut self, now: Instant) {
        self.requests += 1;
        self.active += 1;
        self.used = now;
    }
}

// === impl Lease ===

impl Lease {
    /// The response has ended in order, so that the connection can take another request. Where others wait for one
    /// that they are not allowed to open, and they may be of another worker, it is closed in their favour.
    pub(crate) fn release(self) {
        let Self::Http1(Http1Lease { mut connection, endpoint, worker, reusable }) = self else {
            return;
        };
        if !reusable || connection.about.permit.is_wanted() {
            return;
        }
        connection.about.used = Instant::now();
        if let Some(connections) = endpoint.connections(worker) {
            connections.0.lock().http1.push(connection);
        }
    }
}

// === impl Http2Lease ===

impl Http2Lease {
    pub(super) fn send(&self) -> http2::SendRequest<Body> {
        self.0.send.clone()
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        let mut about = self.0.about.lock();
        about.active -= 1;
        about.used = Instant::now();
    }
}
