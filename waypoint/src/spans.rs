//! Spans: one for each request whose trace is sampled, sent to a collector by OTLP.
//!
//! Trace context that a request brings (W3C or B3) goes on as it came, unless its trace is sampled: then the endpoint is
//! told the span of this process as its parent. Nobody waits for the collector; what it does not take in time is dropped
//! and counted.

mod context;
mod export;

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use rand::RngExt;
use tokio::sync::mpsc;

use crate::config::Tracing;

pub(crate) use context::Context;

/// Spans that wait to be sent.
const QUEUE: usize = 4096;

/// Where spans go; nowhere if nobody collects them.
#[derive(Clone)]
pub(crate) struct Spans(Option<Sink>);

#[derive(Clone)]
struct Sink {
    queue: mpsc::Sender<Span>,
    /// Of traces that begin here, in parts of one.
    ratio: f64,
    dropped: Counter,
}

/// A request that is traced, from its beginning.
pub(crate) struct Open {
    context: Context,
    parent: Option<u64>,
    began: SystemTime,
}

/// A request that was traced.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub context: Context,
    /// The span that asked.
    pub parent: Option<u64>,
    pub name: String,
    pub began: SystemTime,
    pub duration: Duration,
    pub failed: bool,
    pub attributes: Vec<(&'static str, Value)>,
}

/// What is said of a span.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
}

// === impl Spans ===

impl Spans {
    /// Spans go to the collector that `tracing` names, if it names one.
    pub(crate) fn start(tracing: &Tracing, registry: &mut Registry) -> Self {
        let dropped = Counter::default();
        registry.sub_registry_with_prefix("ambit_waypoint").register(
            "spans_dropped",
            "Spans that the collector did not take in time",
            dropped.clone(),
        );
        let Some(collector) = &tracing.collector else { return Self(None) };
        let (queue, spans) = mpsc::channel(QUEUE);
        let (collector, service) = (collector.clone(), tracing.service.clone());
        tokio::spawn(export::run(collector, service, spans, dropped.clone()));
        Self(Some(Sink { queue, ratio: tracing.ratio, dropped }))
    }

    /// Begins a span, if the request's trace is sampled, and tells the endpoint of it.
    pub(crate) fn begin(&self, headers: &mut HeaderMap) -> Option<Open> {
        let sink = self.0.as_ref()?;
        let before = Context::read(headers);
        let sampled = match &before {
            Some(context) if context.decided => context.sampled,
            _ => sink.ratio > 0.0 && rand::rng().random_bool(sink.ratio),
        };
        if !sampled {
            return None;
        }
        let parent = before.as_ref().map(|context| context.span);
        let context = before.unwrap_or_else(Context::random).child();
        context.write(headers);
        Some(Open { context, parent, began: SystemTime::now() })
    }

    /// Gives a span that has ended to the collector.
    pub(crate) fn end(&self, span: Span) {
        if let Some(sink) = &self.0
            && sink.queue.try_send(span).is_err()
        {
            sink.dropped.inc();
        }
    }
}

// === impl Open ===

impl Open {
    pub(crate) fn end(
        self,
        name: String,
        failed: bool,
        attributes: Vec<(&'static str, Value)>,
    ) -> Span {
        let Self { context, parent, began } = self;
        let duration = began.elapsed().unwrap_or_default();
        Span { context, parent, name, began, duration, failed, attributes }
    }
}

#[cfg(test)]
mod tests;
