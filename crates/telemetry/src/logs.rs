//! Log set-up: Istio's text and JSON lines on standard output, with levels that change at run time.

mod filter;
mod json;
mod scope;
mod text;
mod writer;

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Subscriber, subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

pub use filter::{Filter, ParseFilterError};
pub use writer::LogGuard;

use json::JsonFormat;
use text::TextFormat;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Fields between tabs.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Changes levels while the process runs.
#[derive(Clone, Debug)]
pub struct LogHandle {
    reload: reload::Handle<Targets, Registry>,
    levels: Arc<Mutex<Levels>>,
}

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not in `RUST_LOG` syntax.
    #[error(transparent)]
    Filter(#[from] ParseFilterError),
    /// The admin endpoint was given a scope without a level.
    #[error("{0:?} names no level: write scope=level, for example ztunnel::proxy=debug")]
    BareScope(String),
    /// A string that is no format.
    #[error("log format {0:?} is unknown: write plain or json")]
    Format(String),
    /// Another subscriber was installed before.
    #[error("logging is already set up in this process")]
    AlreadySet(#[from] SetGlobalDefaultError),
    /// The subscriber is gone.
    #[error("logging has been shut down")]
    Gone(#[source] reload::Error),
    /// The writing thread could not be started.
    #[error("the log writer could not be started")]
    Thread(#[source] std::io::Error),
}

#[derive(Debug)]
struct Levels {
    initial: Filter,
    current: Filter,
}

/// Sends all events of this process to standard output; `filter` is in `RUST_LOG` syntax without span filters.
///
/// A thread of its own writes the lines, many at a time; keep the guard until the process ends, it writes what is left.
///
/// # Errors
/// If the filter cannot be parsed, logging has been set up before, or the thread cannot start.
pub fn init(format: Format, filter: &str) -> Result<(LogHandle, LogGuard), LogError> {
    let (writer, guard) = writer::spawn(std::io::stdout()).map_err(LogError::Thread)?;
    let (subscriber, handle) = build(format, filter, writer)?;
    subscriber::set_global_default(subscriber)?;
    Ok((handle, guard))
}

/// A subscriber that writes to `writer`, and its handle.
fn build<W>(
    format: Format,
    filter: &str,
    writer: W,
) -> Result<(Box<dyn Subscriber + Send + Sync>, LogHandle), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter: Filter = filter.parse()?;
    let (layer, reload) = reload::Layer::new(filter.targets());
    let levels = Levels { initial: filter.clone(), current: filter };
    let handle = LogHandle { reload, levels: Arc::new(Mutex::new(levels)) };
    let registry = tracing_subscriber::registry().with(layer);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        Format::Text => {
            Box::new(registry.with(lines.event_format(TextFormat).fmt_fields(TextFormat)))
        }
        Format::Json => {
            Box::new(registry.with(lines.event_format(JsonFormat).fmt_fields(JsonFormat)))
        }
    };
    Ok((subscriber, handle))
}

// === impl LogHandle ===

impl LogHandle {
    /// Lays `directives` (`info`, or a list of `scope=level`) over the current levels, as `/logging?level=…` does.
    ///
    /// # Errors
    /// If a directive is not understood, or names a scope without a level; nothing is changed then.
    pub fn set(&self, directives: &str) -> Result<(), LogError> {
        let change: Filter = directives.parse()?;
        if let Some(scope) = filter::bare_scope(directives) {
            return Err(LogError::BareScope(scope.to_owned()));
        }
        let mut levels = self.levels.lock();
        let next = levels.current.merged(&change);
        self.apply(&mut levels, next)
    }

    /// Goes back to the levels the process started with, as `/logging?reset` does.
    ///
    /// # Errors
    /// If logging has been shut down.
    pub fn reset(&self) -> Result<(), LogError> {
        let mut levels = self.levels.lock();
        let next = levels.initial.clone();
        self.apply(&mut levels, next)
    }

    /// The current levels, in the syntax that [`set`](Self::set) reads.
    pub fn current(&self) -> String {
        self.levels.lock().current.to_string()
    }

    fn apply(&self, levels: &mut Levels, next: Filter) -> Result<(), LogError> {
        self.reload.reload(next.targets()).map_err(LogError::Gone)?;
        levels.current = next;
        Ok(())
    }
}

// === impl Format ===

impl FromStr for Format {
    type Err = LogError;

    /// Reads `LOG_FORMAT`: `json`, or `plain` (also `text`, or nothing).
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        match value {
            "json" => Ok(Self::Json),
            "plain" | "text" | "" => Ok(Self::Text),
            other => Err(LogError::Format(other.to_owned())),
        }
    }
}
