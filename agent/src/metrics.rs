//! What the agent counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::capture::Verification;
use crate::state::{Census, Outcome};

/// The agent's metrics. Clones share their values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pods: Family<PodLabels, Gauge>,
    ztunnels: Gauge,
    operations: Family<OperationLabels, Counter>,
    repairs: Counter,
    cni_installed: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PodLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: Operation,
    result: &'static str,
}

/// What is done to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Operation {
    /// Put its rules in.
    #[expect(non_camel_case_types, reason = "label values are lower case")]
    capture,
    /// Take its rules out.
    #[expect(non_camel_case_types, reason = "label values are lower case")]
    release,
    /// Look after its rules.
    #[expect(non_camel_case_types, reason = "label values are lower case")]
    verify,
    /// Offer it to a ztunnel.
    #[expect(non_camel_case_types, reason = "label values are lower case")]
    offer,
}

// === impl Metrics ===

impl Metrics {
    /// Registers all of them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("ambit_agent");
        registry.register("pods", "Pods known, by how far they are", metrics.pods.clone());
        registry.register("ztunnels", "Connected ztunnels", metrics.ztunnels.clone());
        registry.register(
            "operations",
            "Operations on pods, by what and how they ended",
            metrics.operations.clone(),
        );
        registry.register(
            "repairs",
            "Pods whose rules somebody had changed and that were captured again",
            metrics.repairs.clone(),
        );
        registry.register(
            "cni_installed",
            "Whether the CNI plugin is in the node's chain",
            metrics.cni_installed.clone(),
        );
        metrics
    }

    /// 1 while the CNI plugin is in the node's chain.
    pub(crate) fn cni_installed(&self) -> Gauge {
        self.cni_installed.clone()
    }

    /// Takes down how many pods are where.
    pub(crate) fn census(&self, census: Census) {
        for (state, count) in
            [("served", census.served), ("pending", census.pending), ("leaving", census.leaving)]
        {
            self.pods.get_or_create(&PodLabels { state }).set(count as i64);
        }
        self.ztunnels.set(census.ztunnels as i64);
    }

    /// Counts an operation.
    pub(crate) fn operation(&self, operation: Operation, outcome: &Outcome) {
        let result = if outcome.is_ok() { "ok" } else { "error" };
        self.operations.get_or_create(&OperationLabels { operation, result }).inc();
    }

    /// Counts a verification.
    pub(crate) fn verification(&self, verification: Verification) {
        let result = match verification {
            Verification::Good => "ok",
            Verification::Repaired => {
                self.repairs.inc();
                "repaired"
            }
            Verification::Failed => "error",
        };
        let labels = OperationLabels { operation: Operation::verify, result };
        self.operations.get_or_create(&labels).inc();
    }
}
