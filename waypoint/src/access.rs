//! The access log: a line for each request and for each connection that is passed on.

use ambit_telemetry::{RequestFigures, RequestFlag};
use tracing::{Level, event};

use crate::connection::Connection;
use crate::destination::{Destination, Endpoint};
use crate::request::{End, Line};

/// What a line says.
pub(crate) struct RequestLog<'a> {
    pub line: Option<&'a Line>,
    pub end: End,
    pub figures: RequestFigures,
    pub flag: RequestFlag,
    pub reason: Option<&'a str>,
    pub retries: u32,
    pub rule: Option<&'a str>,
    pub connection: &'a Connection,
    pub destination: Option<&'a Destination>,
    pub endpoint: Option<&'a Endpoint>,
}

/// Whether requests that end well are logged.
pub(crate) fn enabled() -> bool {
    tracing::enabled!(target: "access", Level::INFO)
}

/// Writes the line.
pub(crate) fn log(log: &RequestLog<'_>) {
    let connection = log.connection;
    let identity = connection.caller.identity.as_ref().map(ToString::to_string);
    let service = connection.target.service().map(|service| &*service.hostname);
    let destination = log.destination.map(|to| {
        let subset = if to.subset.is_empty() { String::new() } else { format!("/{}", to.subset) };
        format!("{}:{}{subset}", to.service.hostname, to.port)
    });
    event!(
        target: "access",
        parent: None,
        Level::INFO,
        src.addr = %connection.peer,
        src.workload = connection.labels.workload.as_deref(),
        src.namespace = connection.labels.namespace.as_deref(),
        src.identity = identity.as_deref(),
        dst.service = service,
        dst.destination = destination.as_deref(),
        dst.workload = log.endpoint.map(|endpoint| &*endpoint.workload.name),
        http.method = log.line.map(|line| line.method.as_str()),
        http.authority = log.line.map(|line| &*line.authority),
        http.path = log.line.map(|line| &*line.path),
        http.version = log.line.map(|line| format!("{:?}", line.version)).as_deref(),
        http.status = log.end.status,
        grpc.status = log.end.grpc_status,
        rule = log.rule.filter(|rule| !rule.is_empty()),
        retries = (log.retries > 0).then_some(log.retries),
        flags = log.flag.as_str(),
        reason = log.reason,
        bytes_sent = log.figures.response_bytes,
        bytes_recv = log.figures.request_bytes,
        duration = format!("{}ms", log.figures.duration.as_millis()).as_str(),
        "request"
    );
}
