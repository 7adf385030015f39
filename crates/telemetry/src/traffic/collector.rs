//! Exposes the table of series as Istio's five counters.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::labels::{FlaggedLabels, ResponseFlags, TrafficLabels};

use super::{Series, Table};

/// The table, to be printed when scraped.
#[derive(Debug)]
pub(super) struct TrafficCollector(pub(super) Arc<Table>);

impl Collector for TrafficCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let series = self.0.series.read();
        for metric in METRICS {
            let view = View { series: &series, metric };
            let encoder =
                encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Counter)?;
            view.encode(encoder)?;
        }
        Ok(())
    }
}

/// One of the counters and where it is found in a series.
struct Metric {
    name: &'static str,
    help: &'static str,
    /// The samples of a series: flags and value.
    samples: fn(&Series, &mut dyn FnMut(ResponseFlags, u64) -> fmt::Result) -> fmt::Result,
}

const METRICS: &[Metric] = &[
    Metric {
        name: "tcp_connections_opened",
        help: "TCP connections opened",
        samples: |series, put| put(ResponseFlags::None, series.opened.load(Relaxed)),
    },
    Metric {
        name: "tcp_connections_closed",
        help: "TCP connections closed",
        samples: |series, put| each_end(series, &ResponseFlags::ALL, put),
    },
    Metric {
        name: "tcp_connections_failed",
        help: "TCP connections that failed",
        samples: |series, put| match ResponseFlags::ALL.split_first() {
            Some((_, failures)) => each_end(series, failures, put),
            None => Ok(()),
        },
    },
    Metric {
        name: "tcp_received_bytes",
        help: "Bytes received from the side that opened the connection",
        samples: |series, put| put(ResponseFlags::None, series.received.load(Relaxed)),
    },
    Metric {
        name: "tcp_sent_bytes",
        help: "Bytes sent to the side that opened the connection",
        samples: |series, put| put(ResponseFlags::None, series.sent.load(Relaxed)),
    },
];

fn each_end(
    series: &Series,
    flags: &[ResponseFlags],
    put: &mut dyn FnMut(ResponseFlags, u64) -> fmt::Result,
) -> fmt::Result {
    for flag in flags {
        let count = series.closed.get(*flag as usize).map_or(0, |counter| counter.load(Relaxed));
        if count > 0 {
            put(*flag, count)?;
        }
    }
    Ok(())
}

/// One counter over all series.
struct View<'a> {
    series: &'a HashMap<TrafficLabels, Arc<Series>>,
    metric: &'a Metric,
}

impl EncodeMetric for View<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, series) in self.series {
            (self.metric.samples)(series, &mut |flags, value| {
                encoder
                    .encode_family(&FlaggedLabels { labels, flags })?
                    .encode_counter::<NoLabelSet, _, u64>(&value, None)
            })?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}
