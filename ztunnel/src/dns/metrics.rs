//! `istio_dns_*`, and what clients and servers sent that is no DNS.

use std::time::Duration;

use ambit_telemetry::LabelValue;
use hickory_proto::rr::RecordType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::message::Transport;

/// Seconds (protocol.md 8.1).
const BUCKETS: [f64; 6] = [0.0005, 0.001, 0.01, 0.1, 1.0, 5.0];

#[derive(Clone)]
pub(super) struct Metrics {
    requests: Family<Labels, Counter>,
    upstream_requests: Family<Labels, Counter>,
    upstream_failures: Family<Labels, Counter>,
    upstream_duration: Family<Labels, Histogram>,
    malformed: Family<Sender, Counter>,
}

/// What every metric says of a query.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Labels {
    request_query_type: &'static str,
    request_protocol: &'static str,
    source_canonical_service: LabelValue,
    source_canonical_revision: LabelValue,
}

/// Who sent a packet that could not be understood.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Sender {
    sender: &'static str,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            upstream_requests: Family::default(),
            upstream_failures: Family::default(),
            upstream_duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            malformed: Family::default(),
        };
        let istio = registry.sub_registry_with_prefix("istio");
        istio.register("dns_requests", "DNS requests", metrics.requests.clone());
        istio.register(
            "dns_upstream_requests",
            "DNS requests that were forwarded",
            metrics.upstream_requests.clone(),
        );
        istio.register(
            "dns_upstream_failures",
            "DNS requests that no resolver answered",
            metrics.upstream_failures.clone(),
        );
        istio.register_with_unit(
            "dns_upstream_request_duration",
            "Time that resolvers took",
            Unit::Seconds,
            metrics.upstream_duration.clone(),
        );
        registry.sub_registry_with_prefix("ambit").register(
            "dns_malformed_packets",
            "Packets that are no DNS, or answers to no question",
            metrics.malformed.clone(),
        );
        metrics
    }

    pub(super) fn request(&self, labels: &Labels) {
        self.requests.get_or_create(labels).inc();
    }

    /// A query goes to a resolver.
    pub(super) fn forwarded(&self, labels: &Labels) {
        self.upstream_requests.get_or_create(labels).inc();
    }

    /// The query is over.
    pub(super) fn answered(&self, labels: &Labels, took: Duration, failed: bool) {
        self.upstream_duration.get_or_create(labels).observe(took.as_secs_f64());
        if failed {
            self.upstream_failures.get_or_create(labels).inc();
        }
    }

    pub(super) fn malformed_from_client(&self) {
        self.malformed.get_or_create(&Sender { sender: "client" }).inc();
    }

    pub(super) fn malformed_from_server(&self) {
        self.malformed.get_or_create(&Sender { sender: "server" }).inc();
    }
}

impl Labels {
    pub(super) fn new(
        kind: RecordType,
        transport: Transport,
        workload: Option<&ambit_model::Workload>,
    ) -> Self {
        Self {
            request_query_type: type_label(kind),
            request_protocol: match transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            },
            source_canonical_service: workload.map(|w| &w.canonical_name).into(),
            source_canonical_revision: workload.map(|w| &w.canonical_revision).into(),
        }
    }
}

/// A type's name; one label for all the types that clients may make up.
fn type_label(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "a",
        RecordType::AAAA => "aaaa",
        RecordType::ANY => "any",
        RecordType::CNAME => "cname",
        RecordType::HTTPS => "https",
        RecordType::MX => "mx",
        RecordType::NAPTR => "naptr",
        RecordType::NS => "ns",
        RecordType::PTR => "ptr",
        RecordType::SOA => "soa",
        RecordType::SRV => "srv",
        RecordType::SVCB => "svcb",
        RecordType::TXT => "txt",
        _ => "other",
    }
}
