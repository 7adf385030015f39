//! What the waypoint counts.

use ambit_bootstrap::Shortage;
use ambit_telemetry::{RequestMetrics, TrafficMetrics};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// All metrics of the data plane.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub requests: RequestMetrics,
    pub traffic: TrafficMetrics,
    pub shortage: Shortage,
    refused: Family<Reason, Counter>,
    ejections: Counter,
    revoked: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let istio = registry.sub_registry_with_prefix("istio");
        let metrics = Self {
            requests: RequestMetrics::register(istio),
            traffic: TrafficMetrics::register(istio),
            shortage: Shortage::default(),
            refused: Family::default(),
            ejections: Counter::default(),
            revoked: Counter::default(),
        };
        let own = registry.sub_registry_with_prefix("ambit_waypoint");
        metrics.shortage.register(own);
        own.register(
            "connections_refused",
            "Connections and tunnels that were refused before anything was asked",
            metrics.refused.clone(),
        );
        own.register(
            "endpoint_ejections",
            "Endpoints left out for a while because they failed too often",
            metrics.ejections.clone(),
        );
        own.register(
            "peer_certificates_revoked",
            "Endpoints' certificates that turned out to be revoked",
            metrics.revoked.clone(),
        );
        metrics
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn ejected(&self) {
        self.ejections.inc();
    }

    pub(crate) fn revoked(&self) {
        self.revoked.inc();
    }
}
