//! Counters of the client, under the names of Istio's ztunnel.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::backoff::End;

/// Metrics of the client: `istio_xds_connection_terminations_total{reason}`, `istio_xds_message_total{url}`,
/// `istio_xds_message_bytes_total{url}` (bytes of protobuf, before compression), and one of our own,
/// `istio_xds_rejected_resources_total{url}`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    terminations: Family<Reason, Counter>,
    messages: Family<Url, Counter>,
    bytes: Family<Url, Counter>,
    rejected: Family<Url, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Url {
    url: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the metrics; `registry` is expected to have the prefix `istio`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "xds_connection_terminations",
            "Connections to the control plane that ended, by reason",
            metrics.terminations.clone(),
        );
        registry.register(
            "xds_message",
            "Responses of the control plane, by resource type",
            metrics.messages.clone(),
        );
        registry.register(
            "xds_message_bytes",
            "Bytes of the responses of the control plane, by resource type",
            metrics.bytes.clone(),
        );
        registry.register(
            "xds_rejected_resources",
            "Resources that were refused, by resource type",
            metrics.rejected.clone(),
        );
        metrics
    }

    pub(crate) fn terminated(&self, end: End) {
        self.terminations.get_or_create(&Reason { reason: end.reason() }).inc();
    }

    pub(crate) fn message(&self, url: &'static str, bytes: usize, rejected: usize) {
        let label = Url { url };
        self.messages.get_or_create(&label).inc();
        self.bytes.get_or_create(&label).inc_by(bytes as u64);
        if rejected > 0 {
            self.rejected.get_or_create(&label).inc_by(rejected as u64);
        }
    }
}
