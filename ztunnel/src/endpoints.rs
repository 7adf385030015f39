//! Admin, metrics and readiness endpoints.

use std::sync::Arc;

use ambit_lifecycle::{
    Drain, HttpServer, Parts, ReadHandler, Ready, Router, ShutdownTrigger, WholeResponse,
    bind_loopback, bind_wildcard, endpoints, metrics,
};
use ambit_telemetry::LogHandle;
use anyhow::Context as _;
use http::{HeaderValue, StatusCode, header};
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use crate::context::Context;
use crate::dump;

/// Serves them all until `drain` closes.
///
/// # Errors
/// A port is taken.
pub(crate) fn serve(
    context: &Arc<Context>,
    mut registry: Registry,
    (ready, logs, shutdown): (&Ready, LogHandle, ShutdownTrigger),
    drain: &Drain,
) -> anyhow::Result<()> {
    let ports = context.config.ports;
    let workers = context.workers.iter().map(|worker| worker.handle.clone());
    let runtimes = workers.chain([Handle::current()]).collect();
    let tag = std::env::var("ISTIO_META_ISTIO_VERSION").ok();
    metrics::register_process(&mut registry, "ztunnel", tag.as_deref(), runtimes);
    let admin = endpoints::admin(admin_router(context), logs, shutdown);
    let stats = metrics::router(Arc::new(registry));
    for (name, listeners, router) in [
        ("admin", bind_loopback(ports.admin), admin),
        ("metrics", bind_wildcard(ports.stats), stats),
        ("readiness", bind_wildcard(ports.readiness), endpoints::readiness(ready.clone())),
    ] {
        let server = HttpServer::new(name, listeners?, router)
            .with_context(|| format!("serving the {name} endpoint"))?;
        server.serve(drain);
    }
    Ok(())
}

fn admin_router(context: &Arc<Context>) -> Router {
    let context = context.clone();
    Router::new().with_index("ztunnel").any(
        "/config_dump",
        "everything this process knows, as JSON",
        ReadHandler(move |_: Parts| json(dump::config_dump(&context))),
    )
}

fn json(body: String) -> WholeResponse {
    let mut response = ambit_lifecycle::text(StatusCode::OK, body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
