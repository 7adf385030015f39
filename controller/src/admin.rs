//! The admin port: metrics, readiness, and what is wrong with the objects.

use std::sync::Arc;

use ambit_lifecycle::{Parts, ReadHandler, Ready, Router, WholeResponse, endpoints, metrics, text};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::watch;

use crate::diagnostics::Diagnostics;
use crate::serve::{Clients, Subscription};

/// What the port shows.
pub(crate) struct Admin {
    pub(crate) diagnostics: Diagnostics,
    pub(crate) clients: Clients,
    pub(crate) published: Subscription,
    /// What new certificates come with, in PEM.
    pub(crate) roots: watch::Receiver<Arc<str>>,
    pub(crate) ready: Ready,
    pub(crate) registry: Arc<Registry>,
}

#[derive(Serialize)]
struct Objects {
    generation: u64,
    addresses: usize,
    authorizations: usize,
    refused: Vec<crate::diagnostics::Remark>,
}

// === impl Admin ===

impl Admin {
    /// The paths of the port that others reach: nothing about objects.
    pub(crate) fn status(&self) -> Router {
        metrics_and_readiness(self.registry.clone(), self.ready.clone()).with_index("controller")
    }

    /// The paths of the port.
    pub(crate) fn router(self) -> Router {
        let Self { diagnostics, clients, published, roots, ready, registry } = self;
        let objects = move |_: Parts| {
            let state = published.borrow().clone();
            json(&Objects {
                generation: state.generation,
                addresses: state.snapshot.addresses.len(),
                authorizations: state.snapshot.authorizations.len(),
                refused: diagnostics.list(),
            })
        };
        let roots = move |_: Parts| text(StatusCode::OK, roots.borrow().to_string());
        metrics_and_readiness(registry, ready)
            .with_index("controller")
            .get("/debug/roots", "what new certificates come with, in PEM", ReadHandler(roots))
            .get("/debug/objects", "remarks on files and objects", ReadHandler(objects))
            .get(
                "/debug/clients",
                "connected proxies",
                ReadHandler(move |_: Parts| json(&clients.list())),
            )
    }
}

fn metrics_and_readiness(registry: Arc<Registry>, ready: Ready) -> Router {
    let registry = Arc::new(metrics::router(registry));
    let forward = move |request: Parts| {
        let registry = registry.clone();
        async move { registry.answer(request).await }
    };
    let ready = Arc::new(endpoints::readiness(ready));
    let readiness = move |request: Parts| {
        let ready = ready.clone();
        async move { ready.answer(request).await }
    };
    Router::new().get("/metrics", "OpenMetrics", forward).get(
        "/healthz/ready",
        "whether the objects have been read",
        readiness,
    )
}

fn json(value: &impl Serialize) -> WholeResponse {
    match serde_json::to_vec_pretty(value) {
        Ok(body) => {
            let mut response = text(StatusCode::OK, body);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
