//! Text lines: `<time>\t<level>\t<scope>[:span{k=v …}]\t<message>\t<k=v k="str" …>`.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::scope;

/// Formats events and span fields.
pub(super) struct TextFormat;

impl<S, N> FormatEvent<S, N> for TextFormat
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
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\t{}\t{}", level(*metadata.level()), scope::short(metadata.target()))?;
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            write!(writer, ":{}", span.name())?;
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(writer, "{{{fields}}}")?;
            }
        }
        writer.write_char('\t')?;
        ctx.format_fields(writer.by_ref(), event)?;
        writer.write_char('\n')
    }
}

impl<'w> FormatFields<'w> for TextFormat {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = TextVisitor { out: OneLine(writer), first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

/// A level as both formats spell it.
pub(super) fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

struct TextVisitor<'w> {
    out: OneLine<'w>,
    first: bool,
    result: fmt::Result,
}

impl TextVisitor<'_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) -> fmt::Result {
        if field.name() == "message" {
            self.out.write_fmt(value)?;
            return self.out.0.write_char('\t');
        }
        let separator = if std::mem::take(&mut self.first) { "" } else { " " };
        write!(self.out, "{separator}{}={value}", field.name())
    }
}

impl Visit for TextVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_ok() {
            self.result = self.put(field, format_args!("{value:?}"));
        }
    }
}

/// Escapes control characters: what a peer sent must not begin a line or a column of its own.
struct OneLine<'w>(Writer<'w>);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            let mut plain = piece;
            if let Some(control) = piece.chars().next_back().filter(|c| c.is_control()) {
                plain = piece.strip_suffix(control).unwrap_or_default();
                self.0.write_str(plain)?;
                write!(self.0, "{}", control.escape_default())?;
                continue;
            }
            self.0.write_str(plain)?;
        }
        Ok(())
    }
}
