//! Handlers that every process has: readiness, log levels, shutdown, profiles.

use std::sync::Arc;

use ambit_telemetry::{LogError, LogHandle};
use http::StatusCode;

use crate::http::{Handler, Parts, ReadHandler, Router, WholeResponse, query_value, text};
use crate::ready::Ready;
use crate::shutdown::ShutdownTrigger;

/// Answers `/healthz/ready`: 200 `ready`, or 500 with the tasks that are pending.
pub fn readiness(ready: Ready) -> Router {
    Router::new().get(
        "/healthz/ready",
        "whether this process has started",
        ReadHandler(move |_| match ready.pending().as_slice() {
            [] => text(StatusCode::OK, "ready\n"),
            pending => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("not ready, pending: {}\n", pending.join(", ")),
            ),
        }),
    )
}

/// Adds what every admin endpoint has: an index, `/logging`, `/quitquitquit` and the profile paths.
pub fn admin(router: Router, logs: LogHandle, shutdown: ShutdownTrigger) -> Router {
    let router = router
        .post("/logging", "log levels: ?level=info, ?level=scope=debug, ?reset", logging(logs))
        .post(
            "/quitquitquit",
            "end the process after draining",
            ReadHandler(move |_| {
                shutdown.shut_down();
                text(StatusCode::OK, "shutdown now\n")
            }),
        );
    PROFILES
        .iter()
        .fold(router, |router, path| router.get(path, "not built in", ReadHandler(no_profile)))
}

const PROFILES: [&str; 3] =
    ["/debug/pprof/profile", "/debug/pprof/heap", "/debug/pprof/heap/profiling"];

/// Sampling from a signal handler inside the process can deadlock it, and the kernel does it better from outside.
fn no_profile(_: Parts) -> WholeResponse {
    text(
        StatusCode::NOT_IMPLEMENTED,
        "profiling from within is not built in; on the node, run: perf record -g -p <pid> -- sleep 30\n",
    )
}

fn logging(logs: LogHandle) -> impl Handler {
    let logs = Arc::new(logs);
    ReadHandler(move |request| match change_levels(&logs, &request) {
        Ok(()) => text(StatusCode::OK, format!("current log level is {}\n", logs.current())),
        Err(error @ LogError::Gone(_)) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
        }
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    })
}

fn change_levels(logs: &LogHandle, request: &Parts) -> Result<(), LogError> {
    let level = query_value(request, "level").filter(|level| !level.is_empty());
    if query_value(request, "reset").is_some() {
        logs.reset()?;
    }
    match level {
        Some(level) => logs.set(&level),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
