//! The Kubernetes objects of the testbed, as YAML (JSON, which every reader of YAML takes).

use serde_json::{Value, json};

use crate::l7::peer::{GRPC_PORT, GRPC_PREFIX, HTTP_PORT, RETRIES, THREADS, WEIGHTS, prefix};

/// The most rules that an HTTPRoute may have.
const RULES: u32 = 16;

/// How every waypoint and gateway is run: as many threads as the others, and no log of requests, as they have none.
pub(super) fn waypoint_env() -> [(String, String); 2] {
    [("WAYPOINT_WORKER_THREADS", THREADS.to_string()), ("RUST_LOG", "warn".to_owned())]
        .map(|(name, value)| (name.to_owned(), value))
}

/// One namespace outside of the mesh and one in it, whose services go through its waypoint.
pub(super) fn namespaces(plain: &str, mesh: &str) -> String {
    yaml(&[
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": plain } }),
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": mesh, "labels": {
            "istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint",
        } } }),
    ])
}

/// A pod that runs a program, ready when that listens on `port`.
pub(super) fn pod(namespace: &str, name: &str, command: &[String], port: Option<u16>) -> String {
    let probe = port.map(|port| json!({ "tcpSocket": { "port": port }, "periodSeconds": 1 }));
    yaml(&[json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name } },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{ "name": "program", "command": command, "readinessProbe": probe }],
        },
    })])
}

/// A gateway with so many routes, and who may use it.
pub(super) fn gateway(namespace: &str, name: &str, routes: u32, servers: &[&str]) -> String {
    let listener =
        |name: &str, port: u16| json!({ "name": name, "port": port, "protocol": "HTTP" });
    let parent = |section: &str| json!({ "name": name, "sectionName": section });
    let grpc = rule(GRPC_PREFIX, servers, GRPC_PORT);
    let mut objects = services(namespace, servers);
    objects.push(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "gatewayClassName": "ambit",
            "listeners": [listener("http", HTTP_PORT), listener("grpc", GRPC_PORT)],
        },
    }));
    objects.push(route((namespace, &format!("{name}-grpc")), &parent("grpc"), vec![grpc]));
    for first in (0..routes).step_by(RULES as usize) {
        let rules = (first..routes.min(first + RULES))
            .map(|route| rule(&prefix(route), servers, HTTP_PORT));
        let name = format!("{name}-http-{first}");
        objects.push(route((namespace, &name), &parent("http"), rules.collect()));
    }
    let target = json!({ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name });
    objects.push(policy((namespace, name), &target));
    yaml(&objects)
}

/// A route of a gateway whose answer names a version of it.
pub(super) fn versioned(namespace: &str, gateway: &str, path: &str, version: u32) -> String {
    let to = json!({ "type": "ReplaceFullPath", "replaceFullPath": format!("/{version}") });
    let redirect = json!({ "type": "RequestRedirect", "requestRedirect": { "path": to } });
    let rule = json!({
        "matches": [{ "path": { "type": "Exact", "value": path } }],
        "filters": [redirect],
    });
    let parent = json!({ "name": gateway, "sectionName": "http" });
    yaml(&[route((namespace, &format!("{gateway}-versioned")), &parent, vec![rule])])
}

/// The waypoint, a service of all servers with one route, and who may use it.
pub(super) fn waypoint(namespace: &str, servers: &[&str]) -> String {
    let mut objects = services(namespace, servers);
    objects.push(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": "waypoint", "namespace": namespace, "labels": { "istio.io/waypoint-for": "service" } },
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{ "name": "mesh", "port": 15008, "protocol": "HBONE" }],
        },
    }));
    objects.push(service(namespace, "servers", None));
    let parent = json!({ "group": "", "kind": "Service", "name": "servers" });
    let rules = vec![rule(&prefix(0), servers, HTTP_PORT)];
    objects.push(route((namespace, "servers"), &parent, rules));
    let target = json!({ "group": "", "kind": "Service", "name": "servers" });
    objects.push(policy((namespace, "servers"), &target));
    yaml(&objects)
}

/// A service for each server.
fn services(namespace: &str, servers: &[&str]) -> Vec<Value> {
    servers.iter().map(|server| service(namespace, server, Some(server))).collect()
}

/// A service of the pods with that label; without one of nobody's: what counts is where its route leads.
fn service(namespace: &str, name: &str, app: Option<&str>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "selector": { "app": app.unwrap_or("nobody") },
            "ports": [
                { "name": "http", "port": HTTP_PORT, "appProtocol": "http" },
                { "name": "grpc", "port": GRPC_PORT, "appProtocol": "kubernetes.io/h2c" },
            ],
        },
    })
}

fn route((namespace, name): (&str, &str), parent: &Value, rules: Vec<Value>) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "parentRefs": [parent], "rules": rules },
    })
}

fn rule(prefix: &str, servers: &[&str], port: u16) -> Value {
    let backends = servers
        .iter()
        .zip(WEIGHTS)
        .map(|(name, weight)| json!({ "name": name, "port": port, "weight": weight }));
    json!({
        "matches": [{ "path": { "type": "PathPrefix", "value": prefix } }],
        "retry": { "attempts": RETRIES, "codes": [503] },
        "backendRefs": backends.collect::<Vec<_>>(),
    })
}

fn policy((namespace, name): (&str, &str), target: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "targetRefs": [target],
            "action": "ALLOW",
            "rules": [{ "to": [{ "operation": { "methods": ["GET", "POST"], "paths": ["/*"] } }] }],
        },
    })
}

fn yaml(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}
