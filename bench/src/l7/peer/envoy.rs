//! Envoy: weighted clusters, a retry policy and the RBAC filter.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::{GRPC_PORT, GRPC_PREFIX, HTTP_PORT, RETRIES, THREADS, Task, WEIGHTS, prefix, write};

pub(super) fn configure(dir: &Path, task: &Task) -> anyhow::Result<Vec<String>> {
    let file = dir.join("envoy.json");
    write(&file, config(task).to_string())?;
    let arguments = [
        "-c",
        &file.display().to_string(),
        "--concurrency",
        &THREADS.to_string(),
        "--disable-hot-restart",
        "--log-level",
        "warn",
    ];
    Ok(arguments.map(str::to_owned).to_vec())
}

fn config(task: &Task) -> Value {
    let http = (0..task.routes).map(|number| route(&prefix(number), "http"));
    let grpc = [route(GRPC_PREFIX, "grpc")];
    let clusters = ["http", "grpc"].into_iter().flat_map(|kind| {
        let port = if kind == "http" { HTTP_PORT } else { GRPC_PORT };
        (0..task.servers.len())
            .map(move |number| cluster(kind, number, (task.servers[number], port)))
    });
    json!({ "static_resources": {
        "listeners": [
            listener("http", HTTP_PORT, http.collect()),
            listener("grpc", GRPC_PORT, grpc.to_vec()),
        ],
        "clusters": clusters.collect::<Vec<_>>(),
    } })
}

fn route(prefix: &str, kind: &str) -> Value {
    let weighted = WEIGHTS
        .iter()
        .enumerate()
        .map(|(number, weight)| json!({ "name": format!("{kind}-{number}"), "weight": weight }));
    json!({
        "match": { "prefix": prefix },
        "route": {
            "weighted_clusters": { "clusters": weighted.collect::<Vec<_>>() },
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,retriable-status-codes",
                "num_retries": RETRIES,
                "retriable_status_codes": [503],
            },
        },
    })
}

fn listener(name: &str, port: u16, routes: Vec<Value>) -> Value {
    let method =
        |name: &str| json!({ "header": { "name": ":method", "string_match": { "exact": name } } });
    let path = json!({ "url_path": { "path": { "prefix": "/" } } });
    let permission = json!({ "and_rules": { "rules": [{ "or_rules": { "rules": [method("GET"), method("POST")] } }, path] } });
    let policy = json!({ "permissions": [permission], "principals": [{ "any": true }] });
    json!({
        "name": name,
        "address": { "socket_address": { "address": "0.0.0.0", "port_value": port } },
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
                "http_filters": [
                    { "name": "envoy.filters.http.rbac", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                        "rules": { "action": "ALLOW", "policies": { "methods": policy } },
                    } },
                    { "name": "envoy.filters.http.router", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    } },
                ],
            },
        }] }],
    })
}

fn cluster(kind: &str, number: usize, (address, port): (IpAddr, u16)) -> Value {
    let name = format!("{kind}-{number}");
    let endpoint =
        json!({ "address": { "socket_address": { "address": address, "port_value": port } } });
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": endpoint }] }],
        },
    });
    if kind == "grpc" {
        cluster["typed_extension_protocol_options"] = json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        } });
    }
    cluster
}
