//! Exposes the table of series as Istio's request metrics.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{BOUNDS, Histogram, RequestLabels, Series, Table};

/// The table, to be printed when scraped.
#[derive(Debug)]
pub(super) struct RequestCollector(pub(super) Arc<Table>);

/// Where a metric is found in a series.
#[derive(Clone, Copy)]
enum Part {
    Counter(fn(&Series) -> &AtomicU64),
    Histogram(fn(&Series) -> &Histogram),
}

const METRICS: [(&str, &str, Part); 6] = [
    ("requests", "Requests", Part::Counter(|series| &series.requests)),
    (
        "request_duration_milliseconds",
        "Time from a request's first byte to the last of its response",
        Part::Histogram(|series| &series.duration),
    ),
    ("request_bytes", "Bytes of request bodies", Part::Histogram(|series| &series.request_bytes)),
    (
        "response_bytes",
        "Bytes of response bodies",
        Part::Histogram(|series| &series.response_bytes),
    ),
    (
        "request_messages",
        "Messages of gRPC calls",
        Part::Counter(|series| &series.request_messages),
    ),
    (
        "response_messages",
        "Messages of gRPC responses",
        Part::Counter(|series| &series.response_messages),
    ),
];

struct View<'a> {
    series: &'a HashMap<RequestLabels, Arc<Series>>,
    part: Part,
}

impl Collector for RequestCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let series = self.0.series.read();
        for (name, help, part) in METRICS {
            let view = View { series: &series, part };
            let encoder = encoder.encode_descriptor(name, help, None, view.metric_type())?;
            view.encode(encoder)?;
        }
        Ok(())
    }
}

impl EncodeMetric for View<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, series) in self.series {
            match self.part {
                Part::Counter(of) => {
                    let value = of(series).load(Relaxed);
                    encoder
                        .encode_family(labels)?
                        .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
                }
                Part::Histogram(of) => of(series).encode(encoder.encode_family(labels)?)?,
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        match self.part {
            Part::Counter(_) => MetricType::Counter,
            Part::Histogram(_) => MetricType::Histogram,
        }
    }
}

impl Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum.load(Relaxed) as f64 / 1000.0;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}
