//! The HTTP request metrics: one series per label set, looked up once and then held by those who report often.

mod collector;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::registry::Registry;

use crate::labels::{
    ConnectionSecurity, PeerLabels, Reporter, RequestFlag, RequestProtocol, ServiceLabels,
};

use collector::RequestCollector;

/// Label sets beyond which requests are counted together as unknown.
const MAX_SERIES: usize = 50_000;
/// Upper bounds of the histograms' buckets, in milliseconds and in bytes alike, as Istio's proxies have them.
const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The labels of a request, in Istio's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestLabels {
    /// Who reports.
    pub reporter: Reporter,
    /// Who asked.
    pub source: PeerLabels,
    /// The service that was asked for.
    pub destination_service: ServiceLabels,
    /// Who answered; unknown where nobody did.
    pub destination: PeerLabels,
    /// HTTP or gRPC.
    pub protocol: RequestProtocol,
    /// The status; 0 where there was none.
    pub response_code: u16,
    /// The gRPC status, where there was one.
    pub grpc_status: Option<u32>,
    /// What this proxy did to the response.
    pub flag: RequestFlag,
    /// What protected the request on its way here.
    pub security: ConnectionSecurity,
}

/// What is counted of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RequestFigures {
    /// From its first byte to the response's last.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
}

/// The table of series; clones are handles of the same.
#[derive(Clone, Debug)]
pub struct RequestMetrics(Arc<Table>);

/// A series, for as long as the value lives. Keep it where many requests have the same labels.
#[derive(Clone, Debug)]
pub struct RequestSeries(Arc<Series>);

#[derive(Debug)]
struct Table {
    series: RwLock<HashMap<RequestLabels, Arc<Series>>>,
}

#[derive(Debug, Default)]
struct Series {
    touched: AtomicBool,
    requests: AtomicU64,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
    request_messages: AtomicU64,
    response_messages: AtomicU64,
}

#[derive(Debug, Default)]
struct Histogram {
    /// The sum, in thousandths.
    sum: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len() + 1],
}

// === impl RequestMetrics ===

impl RequestMetrics {
    /// Registers `requests_total`, `request_duration_milliseconds`, `request_bytes`, `response_bytes`,
    /// `request_messages_total` and `response_messages_total` in a registry that is already named `istio`.
    pub fn register(registry: &mut Registry) -> Self {
        let table = Arc::new(Table { series: RwLock::default() });
        registry.register_collector(Box::new(RequestCollector(table.clone())));
        Self(table)
    }

    /// The series with these labels.
    pub fn series(&self, labels: &RequestLabels) -> RequestSeries {
        if let Some(series) = self.0.series.read().get(labels) {
            return RequestSeries(series.clone());
        }
        let mut all = self.0.series.write();
        let full = all.len() >= MAX_SERIES && !all.contains_key(labels);
        let key = if full { RequestLabels::unknown(labels.reporter) } else { labels.clone() };
        RequestSeries(all.entry(key).or_default().clone())
    }

    /// Drops every series that nobody holds and that has not counted anything since the sweep before. Gives how many.
    pub fn sweep(&self) -> usize {
        let mut series = self.0.series.write();
        let before = series.len();
        series
            .retain(|_, entry| entry.touched.swap(false, Relaxed) || Arc::strong_count(entry) > 1);
        before - series.len()
    }
}

// === impl RequestSeries ===

impl RequestSeries {
    /// Counts a request that has ended.
    pub fn count(&self, figures: RequestFigures) {
        let Self(series) = self;
        series.touched.store(true, Relaxed);
        series.requests.fetch_add(1, Relaxed);
        series.duration.observe(figures.duration.as_secs_f64() * 1000.0);
        series.request_bytes.observe(figures.request_bytes as f64);
        series.response_bytes.observe(figures.response_bytes as f64);
    }

    /// Counts the messages of a gRPC call.
    pub fn messages(&self, requests: u64, responses: u64) {
        self.0.request_messages.fetch_add(requests, Relaxed);
        self.0.response_messages.fetch_add(responses, Relaxed);
    }
}

// === impl RequestLabels ===

impl RequestLabels {
    /// Labels that say nothing but who reports.
    pub fn unknown(reporter: Reporter) -> Self {
        Self {
            reporter,
            source: PeerLabels::default(),
            destination_service: ServiceLabels::default(),
            destination: PeerLabels::default(),
            protocol: RequestProtocol::Http,
            response_code: 0,
            grpc_status: None,
            flag: RequestFlag::None,
            security: ConnectionSecurity::Unknown,
        }
    }
}

// === impl Histogram ===

impl Histogram {
    fn observe(&self, value: f64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < value);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add((value * 1000.0) as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_istio_names_them() {
        let mut registry = Registry::with_prefix("istio");
        let metrics = RequestMetrics::register(&mut registry);
        let labels = RequestLabels {
            response_code: 503,
            flag: RequestFlag::NoHealthyUpstream,
            ..RequestLabels::unknown(Reporter::Waypoint)
        };
        let series = metrics.series(&labels);
        for duration in [0.2, 3.0] {
            let duration = Duration::from_secs_f64(duration / 1000.0);
            series.count(RequestFigures { duration, request_bytes: 3, response_bytes: 700 });
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let labels = ",request_protocol=\"http\",response_code=\"503\",grpc_response_status=\"\",response_flags=\"UH\",connection_security_policy=\"unknown\"}";
        for (start, value) in [
            ("istio_requests_total{reporter=\"waypoint\",source_workload=\"unknown\",", "2"),
            ("istio_request_duration_milliseconds_sum{", "3.2"),
            ("istio_request_duration_milliseconds_bucket{le=\"0.5\",", "1"),
            ("istio_request_duration_milliseconds_bucket{le=\"5.0\",", "2"),
            ("istio_request_duration_milliseconds_bucket{le=\"+Inf\",", "2"),
            ("istio_response_bytes_sum{", "1400.0"),
        ] {
            let end = format!("{labels} {value}");
            let found = text.lines().any(|line| line.starts_with(start) && line.ends_with(&end));
            assert!(found, "{start} {value} in {text}");
        }
    }

    #[test]
    fn series_that_nobody_uses_go_away() {
        let metrics = RequestMetrics::register(&mut Registry::default());
        let series = metrics.series(&RequestLabels::unknown(Reporter::Waypoint));
        series.count(RequestFigures::default());
        assert_eq!(metrics.sweep(), 0);
        assert_eq!(metrics.sweep(), 0, "somebody holds it");
        drop(series);
        assert_eq!(metrics.sweep(), 1);
    }
}
