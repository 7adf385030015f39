//! Sending spans to a collector, OTLP over gRPC.

use std::time::{Duration, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Message, Status, span::SpanKind, status::StatusCode,
};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::{Channel, Endpoint};

use super::{Span, Value};

/// Spans of one message, how long the first of them waits for others, and how long the collector may take.
const BATCH: usize = 512;
const LINGER: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

/// Sends what comes from `spans` to `collector` until nobody is left to send any.
pub(super) async fn run(
    collector: Endpoint,
    service: String,
    mut spans: mpsc::Receiver<Span>,
    dropped: Counter,
) {
    let mut client = TraceServiceClient::new(collector.clone().connect_lazy());
    let mut healthy = true;
    while let Some(first) = spans.recv().await {
        let batch = gather(first, &mut spans).await;
        let count = batch.len();
        match send(&mut client, &service, batch).await {
            Ok(()) => healthy = true,
            Err(error) => {
                dropped.inc_by(count as u64);
                // Once, until it works again.
                if std::mem::take(&mut healthy) {
                    tracing::warn!(collector = %collector.uri(), error, "spans are lost; see OTEL_EXPORTER_OTLP_ENDPOINT");
                }
            }
        }
    }
}

async fn gather(first: Span, spans: &mut mpsc::Receiver<Span>) -> Vec<Span> {
    let (mut batch, deadline) = (vec![first], Instant::now() + LINGER);
    while batch.len() < BATCH
        && let Ok(Some(span)) = timeout_at(deadline, spans.recv()).await
    {
        batch.push(span);
    }
    batch
}

async fn send(
    client: &mut TraceServiceClient<Channel>,
    service: &str,
    batch: Vec<Span>,
) -> Result<(), String> {
    let scope_spans = ScopeSpans {
        scope: Some(InstrumentationScope {
            name: "ambit-waypoint".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        }),
        spans: batch.into_iter().map(message).collect(),
        schema_url: String::new(),
    };
    let resource_spans = ResourceSpans {
        resource: Some(Resource {
            attributes: vec![pair("service.name", Value::Text(service.to_owned()))],
            ..Resource::default()
        }),
        scope_spans: vec![scope_spans],
        schema_url: String::new(),
    };
    let request = ExportTraceServiceRequest { resource_spans: vec![resource_spans] };
    match timeout(LIMIT, client.export(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(status.to_string()),
        Err(_) => Err(format!("no answer within {LIMIT:?}")),
    }
}

fn message(span: Span) -> Message {
    let since = span.began.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let parent = span.parent.map(|parent| parent.to_be_bytes().to_vec());
    Message {
        trace_id: span.context.trace.to_be_bytes().to_vec(),
        span_id: span.context.span.to_be_bytes().to_vec(),
        parent_span_id: parent.unwrap_or_default(),
        name: span.name,
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanos(since),
        end_time_unix_nano: nanos(since + span.duration),
        attributes: span.attributes.into_iter().map(|(key, value)| pair(key, value)).collect(),
        status: span
            .failed
            .then(|| Status { code: StatusCode::Error.into(), message: String::new() }),
        ..Message::default()
    }
}

fn pair(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(number),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
