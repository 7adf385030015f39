//! What the process knows, for people and tools.

use std::time::Instant;

use serde_json::{Value, json};

use crate::context::Context;
use crate::destination::Destination;

/// Destinations with their endpoints, and the services that are served.
pub(crate) fn config_dump(context: &Context) -> String {
    let mut destinations: Vec<Value> =
        context.destinations.all().iter().map(|of| destination(of)).collect();
    destinations.sort_by_key(|value| value["service"].to_string());
    let mut services: Vec<String> =
        context.rules.load().services.keys().map(ToString::to_string).collect();
    services.sort();
    let dump = json!({
        "gateway": &*context.config.gateway,
        "identity": context.identity.to_string(),
        "services": services,
        "destinations": destinations,
    });
    format!("{dump:#}\n")
}

fn destination(of: &Destination) -> Value {
    let now = Instant::now();
    let endpoints: Vec<Value> = of
        .endpoints()
        .iter()
        .map(|endpoint| {
            json!({
                "uid": &*endpoint.uid,
                "dial": format!("{:?}", endpoint.dial),
                "active": endpoint.active(),
                "ejected": endpoint.health.is_ejected(now),
            })
        })
        .collect();
    let settings = of.settings();
    let pool = &settings.pool;
    json!({
        "service": of.service.to_string(),
        "port": of.port,
        "subset": &*of.subset,
        "connections": of.connections.count(),
        "requests": of.requests.count(),
        "limits": {
            "connections": pool.max_connections,
            "pending": pool.max_pending,
            "requests": pool.max_requests,
        },
        "outlierDetection": settings.outlier.is_some(),
        "endpoints": endpoints,
    })
}
