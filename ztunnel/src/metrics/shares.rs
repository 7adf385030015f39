//! What each pod has of what all pods share, read when asked for.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::context::Context;
use crate::pod::Pod;

/// The series of every captured pod; those of a pod end with it.
#[derive(Debug)]
pub(crate) struct Shares(pub Weak<Context>);

// === impl Shares ===

impl Collector for Shares {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(context) = self.0.upgrade() else { return Ok(()) };
        let pods = context.pods.all();
        each(
            &mut encoder,
            ("pod_connections", "Connections and tunnels that a pod has", MetricType::Gauge),
            &pods,
            |pod| ConstGauge::new(pod.open() as i64),
        )?;
        each(
            &mut encoder,
            ("pod_handshakes", "Handshakes of peers with a pod", MetricType::Gauge),
            &pods,
            |pod| ConstGauge::new(pod.turns.iter().map(|t| t.under_way() as i64).sum::<i64>()),
        )?;
        each(
            &mut encoder,
            (
                "pod_refused",
                "Connections and handshakes that a pod was refused, as it had its share",
                MetricType::Counter,
            ),
            &pods,
            |pod| ConstCounter::new(pod.refused()),
        )
    }
}

fn each<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    pods: &[Arc<Pod>],
    value: impl Fn(&Pod) -> M,
) -> fmt::Result {
    let mut encoder = encoder.encode_descriptor(name, help, None, kind)?;
    for pod in pods {
        let labels = [("namespace", &*pod.info.namespace), ("pod", &*pod.info.name)];
        value(pod).encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}
