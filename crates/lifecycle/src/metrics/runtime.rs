//! What Tokio tells of its runtimes, summed where a process has several.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeLabelSet, EncodeMetric, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::runtime::{Handle, RuntimeMetrics};

/// `tokio_*` of every runtime of the process; workers are numbered through.
#[derive(Debug)]
pub(super) struct Runtimes(pub(super) Vec<Handle>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WorkerLabels {
    worker: u64,
}

type Sum = (&'static str, &'static str, fn(&RuntimeMetrics) -> usize);
type PerWorker<T> = (&'static str, &'static str, fn(&RuntimeMetrics, usize) -> T);

const SUMS: [Sum; 3] = [
    ("tokio_num_workers", "Worker threads", RuntimeMetrics::num_workers),
    ("tokio_global_queue_depth", "Tasks in global queues", RuntimeMetrics::global_queue_depth),
    ("tokio_num_alive_tasks", "Tasks alive", RuntimeMetrics::num_alive_tasks),
];

const BUSY: PerWorker<f64> =
    ("tokio_worker_total_busy_duration_seconds", "Time a worker was busy", |metrics, worker| {
        metrics.worker_total_busy_duration(worker).as_secs_f64()
    });

const PARKS: [PerWorker<u64>; 2] = [
    ("tokio_worker_park_count", "Times a worker parked", RuntimeMetrics::worker_park_count),
    (
        "tokio_worker_park_unpark_count",
        "Times a worker parked or unparked",
        RuntimeMetrics::worker_park_unpark_count,
    ),
];

impl Collector for Runtimes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics: Vec<_> = self.0.iter().map(Handle::metrics).collect();
        for (name, help, value) in SUMS {
            let sum: usize = metrics.iter().map(value).sum();
            let gauge = ConstGauge::new(i64::try_from(sum).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        encode_workers(&mut encoder, &metrics, BUSY)?;
        PARKS.into_iter().try_for_each(|metric| encode_workers(&mut encoder, &metrics, metric))
    }
}

fn encode_workers<T: EncodeCounterValue>(
    encoder: &mut DescriptorEncoder<'_>,
    runtimes: &[RuntimeMetrics],
    (name, help, value): PerWorker<T>,
) -> fmt::Result {
    let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    let workers =
        runtimes.iter().flat_map(|runtime| (0..runtime.num_workers()).map(move |w| (runtime, w)));
    for (worker, (runtime, index)) in (0u64..).zip(workers) {
        encoder
            .encode_family(&WorkerLabels { worker })?
            .encode_counter::<NoLabelSet, _, u64>(&value(runtime, index), None)?;
    }
    Ok(())
}
