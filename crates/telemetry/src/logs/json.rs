//! JSON lines: `level`, `time`, `scope`, then the event's fields, then one object for each span by its name.

use std::fmt;

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::{scope, text};

/// Formats events, and span fields as the members of an object without its braces.
pub(super) struct JsonFormat;

impl<S, N> FormatEvent<S, N> for JsonFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        write!(writer, r#"{{"level":"{}","time":""#, text::level(*metadata.level()))?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, r#"","scope":{}"#, json!(scope::full(metadata.target())))?;
        if event.fields().next().is_some() {
            writer.write_char(',')?;
            ctx.format_fields(writer.by_ref(), event)?;
        }
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>() {
                write!(writer, ",{}:{{{fields}}}", json!(span.name()))?;
            }
        }
        writer.write_str("}\n")
    }
}

impl<'w> FormatFields<'w> for JsonFormat {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = JsonVisitor { writer, first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }

    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let first = current.is_empty();
        let mut visitor = JsonVisitor { writer: current.as_writer(), first, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct JsonVisitor<'w> {
    writer: Writer<'w>,
    first: bool,
    result: fmt::Result,
}

impl JsonVisitor<'_> {
    fn put(&mut self, field: &Field, value: &serde_json::Value) {
        if self.result.is_ok() {
            let separator = if std::mem::take(&mut self.first) { "" } else { "," };
            self.result = write!(self.writer, "{separator}{}:{value}", json!(field.name()));
        }
    }
}

impl Visit for JsonVisitor<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, &json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, &json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, &json!(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &json!(format!("{value:?}")));
    }
}
