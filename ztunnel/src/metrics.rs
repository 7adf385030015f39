//! The node tunnel's own metrics; those of Istio have Istio's names, ours begin with `ambit_`.

mod shares;

use ambit_bootstrap::Shortage;
use ambit_model::Str;
use ambit_policy::Reason;
use ambit_telemetry::{LabelValue, PeerLabels, Reporter, ResponseFlags, TrafficMetrics};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) use shares::Shares;

/// All metrics of the data plane.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub traffic: TrafficMetrics,
    pub policy: PolicyMetrics,
    pub pods: PodMetrics,
    pub shortage: Shortage,
    refused: Family<ReasonLabel, Counter>,
    handshakes_failed: Family<HandshakeLabels, Counter>,
    tunnels_broken: Family<ReasonLabel, Counter>,
    revoked: Family<ReporterLabel, Counter>,
    looked_up: Family<LookUpLabels, Counter>,
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
struct HandshakeLabels {
    response_flags: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReporterLabel {
    reporter: &'static str,
}

/// Protocol facts 8.1.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LookUpLabels {
    source_workload: LabelValue,
    source_canonical_service: LabelValue,
    source_canonical_revision: LabelValue,
    source_workload_namespace: LabelValue,
    source_principal: LabelValue,
    source_app: LabelValue,
    source_version: LabelValue,
    source_cluster: LabelValue,
    hostname: LabelValue,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything with `registry`, whose names have no prefix yet.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            traffic: TrafficMetrics::register(registry.sub_registry_with_prefix("istio")),
            policy: PolicyMetrics::default(),
            pods: PodMetrics::default(),
            shortage: Shortage::default(),
            refused: Family::default(),
            handshakes_failed: Family::default(),
            tunnels_broken: Family::default(),
            revoked: Family::default(),
            looked_up: Family::default(),
        };
        metrics.policy.register(registry.sub_registry_with_prefix("ambit"));
        metrics.pods.register(registry.sub_registry_with_prefix("workload_manager"));
        let ambit = registry.sub_registry_with_prefix("ambit");
        metrics.shortage.register(ambit);
        ambit.register(
            "connections_refused",
            "Connections refused, by reason",
            metrics.refused.clone(),
        );
        ambit.register(
            "handshakes_failed",
            "TLS handshakes of peers that failed, by reason",
            metrics.handshakes_failed.clone(),
        );
        ambit.register(
            "tunnels_broken",
            "HBONE connections of peers that did not end in order, by reason",
            metrics.tunnels_broken.clone(),
        );
        let istio = registry.sub_registry_with_prefix("istio");
        istio.register(
            "crl_policy_rejections",
            "Peers refused, and connections closed, since a certificate was revoked",
            metrics.revoked.clone(),
        );
        istio.register(
            "on_demand_dns",
            "Look-ups of workloads that are known by name only",
            metrics.looked_up.clone(),
        );
        metrics
    }

    /// Counts a connection that was refused.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a peer whose handshake failed.
    pub(crate) fn handshake_failed(&self, flags: ResponseFlags, reason: &'static str) {
        let labels = HandshakeLabels { response_flags: flags.as_str(), reason };
        self.handshakes_failed.get_or_create(&labels).inc();
        if flags == ResponseFlags::CertRevoked {
            self.revoked(Reporter::Destination);
        }
    }

    /// Counts a peer's connection that did not end in order.
    pub(crate) fn tunnel_broken(&self, reason: &'static str) {
        self.tunnels_broken.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a peer that was refused, or a connection that was closed, for a revoked certificate.
    pub(crate) fn revoked(&self, reporter: Reporter) {
        self.revoked.get_or_create(&ReporterLabel { reporter: reporter.as_str() }).inc();
    }

    /// Counts a look-up of `hostname` for a connection of `source`.
    pub(crate) fn looked_up(&self, source: PeerLabels, hostname: &Str) {
        let labels = LookUpLabels {
            source_workload: source.workload,
            source_canonical_service: source.canonical_service,
            source_canonical_revision: source.canonical_revision.clone(),
            source_workload_namespace: source.namespace,
            source_principal: source.principal,
            source_app: source.app,
            source_version: source.canonical_revision,
            source_cluster: source.cluster,
            hostname: hostname.into(),
        };
        self.looked_up.get_or_create(&labels).inc();
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
