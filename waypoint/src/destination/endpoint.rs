//! One endpoint: how it is reached, how busy it is, and the connections with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ambit_model::{Identity, Str, Workload};
use ambit_telemetry::PeerLabels;

use super::health::Health;
use crate::upstream::Connections;

/// One endpoint of a destination.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// No other endpoint of this process ever has it.
    pub number: u64,
    pub uid: Str,
    pub workload: Arc<Workload>,
    pub dial: Dial,
    pub labels: PeerLabels,
    pub health: Health,
    /// When it came.
    pub since: Instant,
    active: AtomicU32,
    latency: Latency,
    /// Those of each worker.
    connections: Box<[Connections]>,
}

/// How an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    /// Through a tunnel to `proxy`, which ends at `authority`.
    Hbone { proxy: SocketAddr, authority: SocketAddr, identities: Vec<Identity>, role: Proxy },
    /// In the clear, or with TLS that a policy asks for.
    Tcp(SocketAddr),
    /// As before, at a name that is yet to be resolved.
    Name(Str, u16),
}

/// Who ends a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// The endpoint's node.
    Node,
    /// The waypoint of the service, which sees to all that is to be done for its endpoints.
    Waypoint,
}

/// A request that is under way, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Active(Arc<Endpoint>);

/// An average of response times, in nanoseconds, in which what is old counts less.
#[derive(Debug, Default)]
struct Latency {
    average: AtomicU64,
    /// Nanoseconds since the endpoint came.
    updated: AtomicU64,
}

/// After this time a response counts a little more than a third as much.
const DECAY: Duration = Duration::from_secs(10);

// === impl Endpoint ===

impl Endpoint {
    pub(crate) fn new(workload: Arc<Workload>, dial: Dial, workers: usize, now: Instant) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NUMBERS.fetch_add(1, Relaxed),
            uid: workload.uid.clone(),
            labels: PeerLabels::from_workload(&workload),
            health: Health::default(),
            since: now,
            active: AtomicU32::new(0),
            latency: Latency::default(),
            connections: (0..workers.max(1)).map(|_| Connections::default()).collect(),
            workload,
            dial,
        }
    }

    /// Whether this is an endpoint of `workload` as it is now. Which other services it belongs to and which policies guard
    /// it is no affair of those who send to it, and must not make them forget what they know of it.
    pub(super) fn is_of(&self, workload: &Arc<Workload>, dial: &Dial) -> bool {
        let same = || {
            let Workload { services, authorization_policies, .. } = (*self.workload).clone();
            Workload { services, authorization_policies, ..(**workload).clone() } == *self.workload
        };
        self.dial == *dial && (Arc::ptr_eq(&self.workload, workload) || same())
    }

    /// Counts a request for as long as the value lives.
    pub(crate) fn enter(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Relaxed);
        Active(self.clone())
    }

    /// Requests under way.
    pub(crate) fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// Takes a response time in.
    pub(crate) fn responded(&self, time: Duration, now: Instant) {
        self.latency.note(time, now.saturating_duration_since(self.since));
    }

    /// The average response time times what waits already; an endpoint that nothing is known of looks fast.
    pub(crate) fn cost(&self) -> f64 {
        (self.latency.average.load(Relaxed) as f64 + 1.0) * f64::from(self.active() + 1)
    }

    /// Closes connections that have not been used for `idle`.
    pub(crate) fn sweep(&self, idle: Duration, now: Instant) {
        self.connections.iter().for_each(|connections| connections.sweep(idle, now));
    }

    /// The connections that one worker has with it.
    pub(crate) fn connections(&self, worker: usize) -> Option<&Connections> {
        self.connections.get(worker)
    }
}

// === impl Dial ===

impl Dial {
    /// Whether what is spoken with the endpoint is spoken from here, TLS among it.
    pub(crate) fn is_direct(&self) -> bool {
        !matches!(self, Self::Hbone { role: Proxy::Waypoint, .. })
    }
}

// === impl Active ===

impl std::ops::Deref for Active {
    type Target = Arc<Endpoint>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

// === impl Latency ===

impl Latency {
    /// Peaks count at once, improvements little by little (peak EWMA).
    fn note(&self, time: Duration, at: Duration) {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (new, at) = (nanos(time), nanos(at));
        let elapsed = at.saturating_sub(self.updated.swap(at, Relaxed));
        let old = self.average.load(Relaxed);
        let weight = (-(elapsed as f64) / nanos(DECAY) as f64).exp();
        let average = old as f64 * weight + new as f64 * (1.0 - weight);
        self.average.store(if new > old { new } else { average as u64 }, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let latency = Latency::default();
        let ms = Duration::from_millis;
        latency.note(ms(10), ms(0));
        latency.note(ms(100), ms(1));
        let average = || Duration::from_nanos(latency.average.load(Relaxed));
        assert_eq!(average(), ms(100));
        latency.note(ms(10), ms(2));
        assert!(average() > ms(99));
        latency.note(ms(10), ms(60_000));
        assert!(average() < ms(11));
    }
}
