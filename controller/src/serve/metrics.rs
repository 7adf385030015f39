//! Metrics of the controller.

use std::time::{Duration, SystemTime};

use ambit_xds::ResourceType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds, from a push on the same machine to a crowd of slow proxies.
const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Metrics of the controller.
#[derive(Clone, Debug)]
pub struct Metrics {
    proxies: Gauge,
    pushes: Family<Type, Counter>,
    refused_pushes: Family<Type, Counter>,
    bytes: Counter,
    propagation: Histogram,
    waiting: Gauge,
    streams_refused: Family<Reason, Counter>,
    certificates_issued: Counter,
    certificates_refused: Family<Reason, Counter>,
    token_reviews: Family<Outcome, Counter>,
    leader: Gauge,
    status_writes: Family<Outcome, Counter>,
    statuses_pending: Gauge,
    authority_failures: Counter,
    authority_expiry: Gauge,
    resources: Family<Type, Gauge>,
    objects: Family<Object, Gauge>,
    objects_refused: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Type {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Object {
    kind: &'static str,
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        Self {
            proxies: Gauge::default(),
            pushes: Family::default(),
            refused_pushes: Family::default(),
            bytes: Counter::default(),
            propagation: Histogram::new(BUCKETS),
            waiting: Gauge::default(),
            streams_refused: Family::default(),
            certificates_issued: Counter::default(),
            certificates_refused: Family::default(),
            token_reviews: Family::default(),
            leader: Gauge::default(),
            status_writes: Family::default(),
            statuses_pending: Gauge::default(),
            authority_failures: Counter::default(),
            authority_expiry: Gauge::default(),
            resources: Family::default(),
            objects: Family::default(),
            objects_refused: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Registers the metrics, all under `ambit_controller_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        let registry = registry.sub_registry_with_prefix("ambit_controller");
        registry.register("connected_proxies", "xDS streams that are open", m.proxies);
        registry.register("pushes", "xDS responses, by type", m.pushes);
        registry.register("refused_pushes", "xDS responses refused by proxies", m.refused_pushes);
        registry.register("pushed_bytes", "Bytes of xDS responses", m.bytes);
        registry.register(
            "config_propagation_seconds",
            "Time from a change until every connected proxy has acknowledged it",
            m.propagation,
        );
        registry.register(
            "changes_waiting",
            "Published changes that not every connected proxy has acknowledged yet",
            m.waiting,
        );
        registry.register("refused_streams", "xDS streams refused", m.streams_refused);
        registry.register(
            "certificates_issued",
            "Certificates signed for proxies",
            m.certificates_issued,
        );
        registry.register(
            "certificates_refused",
            "Requests for certificates that were refused, by reason",
            m.certificates_refused,
        );
        metrics.register_cluster(registry);
        registry.register(
            "authority_reload_failures",
            "Times that the certificate authority's directory or Secret could not be used",
            m.authority_failures,
        );
        registry.register(
            "authority_expiry_timestamp_seconds",
            "When the certificate authority can sign no more, in seconds since 1970",
            m.authority_expiry,
        );
        registry.register("resources", "Resources that are distributed, by type", m.resources);
        registry.register("objects", "Objects that were read, by kind", m.objects);
        registry.register("refused_objects", "Remarks on files and objects now", m.objects_refused);
        metrics
    }

    /// Those that only a controller in a cluster counts.
    fn register_cluster(&self, registry: &mut Registry) {
        registry.register(
            "token_reviews",
            "Tokens of callers, by outcome: accepted, refused, failed, or cached",
            self.token_reviews.clone(),
        );
        registry.register(
            "is_leader",
            "1 while this replica is the one that writes to the cluster",
            self.leader.clone(),
        );
        registry.register(
            "status_writes",
            "Writes of conditions into objects' statuses, by outcome",
            self.status_writes.clone(),
        );
        registry.register(
            "statuses_pending",
            "Objects whose status this replica has yet to write",
            self.statuses_pending.clone(),
        );
    }

    pub(crate) fn proxies(&self, count: usize) {
        set(&self.proxies, count);
    }

    pub(crate) fn pushed(&self, kind: ResourceType) {
        self.pushes.get_or_create(&Type { r#type: short(kind) }).inc();
    }

    pub(crate) fn push_refused(&self, kind: &'static str) {
        self.refused_pushes.get_or_create(&Type { r#type: kind }).inc();
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }

    pub(crate) fn propagated(&self, times: Vec<Duration>) {
        times.into_iter().for_each(|time| self.propagation.observe(time.as_secs_f64()));
    }

    pub(crate) fn changes_waiting(&self, count: usize) {
        set(&self.waiting, count);
    }

    pub(crate) fn stream_refused(&self, reason: &'static str) {
        self.streams_refused.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn certificate_issued(&self) {
        self.certificates_issued.inc();
    }

    pub(crate) fn certificate_refused(&self, reason: &'static str) {
        self.certificates_refused.get_or_create(&Reason { reason }).inc();
    }

    /// `outcome` is accepted, refused, failed (nobody could tell) or cached.
    pub(crate) fn token_reviewed(&self, outcome: &'static str) {
        self.token_reviews.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    pub(crate) fn status_written(&self, outcome: &'static str) {
        self.status_writes.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn statuses_pending(&self, count: usize) {
        set(&self.statuses_pending, count);
    }

    pub(crate) fn authority_failed(&self) {
        self.authority_failures.inc();
    }

    pub(crate) fn authority_expires(&self, at: SystemTime) {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.authority_expiry.set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }

    pub(crate) fn resources(&self, kind: ResourceType, count: usize) {
        set(&self.resources.get_or_create(&Type { r#type: short(kind) }), count);
    }

    pub(crate) fn objects(&self, kind: &'static str, count: usize) {
        set(&self.objects.get_or_create(&Object { kind }), count);
    }

    pub(crate) fn objects_refused(&self, count: usize) {
        set(&self.objects_refused, count);
    }
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// The types' short names in tools of Istio.
pub(crate) fn short(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Address => "WDS",
        ResourceType::Authorization => "WADS",
        ResourceType::Route => "Route",
        ResourceType::Listener => "Listener",
        ResourceType::TrafficPolicy => "TrafficPolicy",
        ResourceType::RequestPolicy => "RequestPolicy",
        ResourceType::WorkloadLabels => "WorkloadLabels",
    }
}
