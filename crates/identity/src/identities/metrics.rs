//! Whether certificates are renewed, visible long before one expires.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    /// `success`, or the reason of the failure.
    result: &'static str,
}

#[derive(Default)]
pub(super) struct Metrics {
    fetches: Family<Answer, Counter>,
}

// === impl Metrics ===

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "certificate_requests",
            "Answers to certificate requests, by result",
            self.fetches.clone(),
        );
    }

    pub(super) fn fetched(&self, result: &'static str) {
        self.fetches.get_or_create(&Answer { result }).inc();
    }
}
