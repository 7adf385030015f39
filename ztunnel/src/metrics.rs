//! The node tunnel's own metrics; those of Istio have Istio's names, ours begin with `ambit_`.

use ambit_policy::Reason;
use ambit_telemetry::{ResponseFlags, TrafficMetrics};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All metrics of the data plane.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub traffic: TrafficMetrics,
    pub policy: PolicyMetrics,
    pub pods: PodMetrics,
    refused: Family<ReasonLabel, Counter>,
    handshakes_failed: Family<FlagsLabel, Counter>,
    revoked: Counter,
}

/// Policy decisions.
#[derive(Clone, Default)]
pub(crate) struct PolicyMetrics {
    decisions: Family<ReasonLabel, Counter>,
    /// Removed policies that stay in force, as workloads still refer to them.
    pub retained: Gauge,
    /// Policies that workloads refer to and that were never seen.
    pub unknown: Gauge,
}

/// Captured pods.
#[derive(Clone, Default)]
pub(crate) struct PodMetrics {
    pub active: Gauge,
    pub pending: Gauge,
    pub started: Counter,
    pub stopped: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FlagsLabel {
    response_flags: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything with `registry`, whose names have no prefix yet.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            traffic: TrafficMetrics::register(registry.sub_registry_with_prefix("istio")),
            policy: PolicyMetrics::default(),
            pods: PodMetrics::default(),
            refused: Family::default(),
            handshakes_failed: Family::default(),
            revoked: Counter::default(),
        };
        metrics.policy.register(registry.sub_registry_with_prefix("ambit"));
        metrics.pods.register(registry.sub_registry_with_prefix("workload_manager"));
        let ambit = registry.sub_registry_with_prefix("ambit");
        ambit.register(
            "connections_refused",
            "Connections refused, by reason",
            metrics.refused.clone(),
        );
        ambit.register(
            "handshakes_failed",
            "TLS handshakes of peers that failed",
            metrics.handshakes_failed.clone(),
        );
        ambit.register(
            "connections_revoked",
            "Peer connections closed since a certificate was revoked",
            metrics.revoked.clone(),
        );
        metrics
    }

    /// Counts a connection that was refused.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a peer whose handshake failed.
    pub(crate) fn handshake_failed(&self, flags: ResponseFlags) {
        self.handshakes_failed.get_or_create(&FlagsLabel { response_flags: flags.as_str() }).inc();
    }

    /// Counts a peer connection that was closed for its certificate.
    pub(crate) fn revoked(&self) {
        self.revoked.inc();
    }
}

// === impl PolicyMetrics ===

impl PolicyMetrics {
    fn register(&self, registry: &mut Registry) {
        for reason in Reason::ALL {
            drop(self.decisions.get_or_create(&ReasonLabel { reason: reason.as_str() }));
        }
        registry.register(
            "policy_decisions",
            "Policy decisions, by reason",
            self.decisions.clone(),
        );
        registry.register(
            "policies_retained",
            "Removed policies that stay in force while workloads refer to them",
            self.retained.clone(),
        );
        registry.register(
            "policies_unknown",
            "Policies that workloads refer to and that have not arrived",
            self.unknown.clone(),
        );
    }

    /// Counts one decision.
    pub(crate) fn count(&self, reason: Reason) {
        self.decisions.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }
}

// === impl PodMetrics ===

impl PodMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("active_proxy_count", "Captured pods", self.active.clone());
        registry.register(
            "pending_proxy_count",
            "Pods that could not be started",
            self.pending.clone(),
        );
        registry.register("proxies_started", "Pods whose capture started", self.started.clone());
        registry.register("proxies_stopped", "Pods whose capture ended", self.stopped.clone());
    }
}
