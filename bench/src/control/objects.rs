//! The simulated mesh as Kubernetes objects, about as large as those of real clusters.

use serde_json::{Value, json};

use super::shape::{self, ACCOUNTS, PodName, Shape};

/// The namespace of the mesh's own parts.
pub(crate) const SYSTEM: &str = "istio-system";
/// The service account of node proxies.
pub(crate) const PROXY_ACCOUNT: &str = "ztunnel";
/// The moment since which everything is ready.
const SINCE: &str = "2026-01-01T00:00:00Z";

/// An object with the collection that it belongs to, as a path of the Kubernetes API.
pub(crate) struct Entry {
    pub(crate) collection: String,
    pub(crate) object: Value,
}

/// Namespaces, accounts and nodes, on which the others depend, in that order.
pub(crate) fn foundations(shape: Shape) -> [Vec<Entry>; 2] {
    let mut namespaces: Vec<Entry> =
        shape.namespaces().chain([SYSTEM.to_owned()]).map(|name| namespace(&name)).collect();
    namespaces.extend((0..shape.nodes).map(node));
    let accounts = shape.namespaces().flat_map(|namespace| {
        let names = (0..ACCOUNTS).map(|i| format!("account-{i}")).chain(["default".to_owned()]);
        names.map(move |name| account(&namespace, &name)).collect::<Vec<_>>()
    });
    let system = ["default", PROXY_ACCOUNT].map(|name| account(SYSTEM, name));
    [namespaces, accounts.chain(system).collect()]
}

/// Services and their endpoints.
pub(crate) fn services(shape: Shape) -> impl Iterator<Item = Entry> {
    (0..shape.services).flat_map(move |i| [service(shape, i), slice(shape, i)])
}

/// Pods, the node proxies' first, each complete with its status.
pub(crate) fn pods(shape: Shape) -> impl Iterator<Item = Entry> {
    let proxies = (0..shape.nodes).map(proxy);
    proxies.chain((0..shape.pods).map(move |i| pod(shape, i)))
}

/// What gives a pod another revision, and with that changes the resource of it and of nothing else.
pub(crate) fn revision(revision: &str) -> Value {
    json!({"metadata": {"labels": {"version": revision}}})
}

fn namespace(name: &str) -> Entry {
    entry(
        "/api/v1/namespaces",
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"istio.io/dataplane-mode": "ambient"}},
        }),
    )
}

fn node(number: u32) -> Entry {
    entry(
        "/api/v1/nodes",
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": shape::node(number), "labels": {
                "kubernetes.io/hostname": shape::node(number), "kubernetes.io/os": "linux",
                "topology.kubernetes.io/region": "r1",
                "topology.kubernetes.io/zone": format!("z{}", number % 3),
            }},
        }),
    )
}

fn account(namespace: &str, name: &str) -> Entry {
    let collection = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    entry(
        &collection,
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace},
        }),
    )
}

fn service(shape: Shape, number: u32) -> Entry {
    let PodName { namespace, name } = shape.service(number);
    let collection = format!("/api/v1/namespaces/{namespace}/services");
    entry(
        &collection,
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {
                "clusterIP": shape::service_ip(number).to_string(),
                "selector": {"app": name},
                "ports": [
                    {"name": "http", "port": 80, "targetPort": 8080},
                    {"name": "grpc", "port": 9090, "targetPort": "grpc"},
                ],
            },
        }),
    )
}

fn slice(shape: Shape, number: u32) -> Entry {
    let PodName { namespace, name: service } = shape.service(number);
    let collection = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let endpoints: Vec<Value> = shape
        .pods_behind(number)
        .map(|pod| {
            let target = shape.pod(pod);
            json!({
                "addresses": [shape::pod_ip(pod).to_string()],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": shape::node(shape.node_of(pod)),
                "targetRef": {"kind": "Pod", "name": target.name, "namespace": target.namespace},
            })
        })
        .collect();
    entry(
        &collection,
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{service}-x"), "namespace": namespace,
                "labels": {"kubernetes.io/service-name": service}},
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"},
                {"name": "grpc", "port": 9090, "protocol": "TCP"}],
        }),
    )
}

/// A pod, complete with its status.
pub(crate) fn pod(shape: Shape, number: u32) -> Entry {
    let PodName { namespace, name } = shape.pod(number);
    let app = shape.service(shape.service_of(number)).name;
    let labels = json!({"app": app, "version": "v1", "pod-template-hash": "6d4cf56db6",
        "team": namespace, "app.kubernetes.io/managed-by": "Helm"});
    let ports = json!([{"name": "http", "containerPort": 8080, "protocol": "TCP"},
        {"name": "grpc", "containerPort": 9090, "protocol": "TCP"}]);
    let placed = Placed {
        account: shape.account_of(number),
        node: shape::node(shape.node_of(number)),
        ip: shape::pod_ip(number).to_string(),
    };
    running(&PodName { namespace, name }, &placed, &labels, &ports)
}

fn proxy(node: u32) -> Entry {
    let name = PodName { namespace: SYSTEM.to_owned(), name: shape::proxy(node) };
    let placed = Placed {
        account: PROXY_ACCOUNT.to_owned(),
        node: shape::node(node),
        ip: shape::proxy_ip(node).to_string(),
    };
    running(&name, &placed, &json!({"app": "ztunnel"}), &json!([]))
}

struct Placed {
    account: String,
    node: String,
    ip: String,
}

fn running(name: &PodName, placed: &Placed, labels: &Value, ports: &Value) -> Entry {
    let PodName { namespace, name } = name;
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10});
    let environment: Vec<Value> = (0..6)
        .map(|i| json!({"name": format!("SETTING_{i}"), "value": format!("value-of-setting-{i}")}))
        .collect();
    let conditions: Vec<Value> =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": SINCE}))
            .into();
    let collection = format!("/api/v1/namespaces/{namespace}/pods");
    entry(
        &collection,
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels,
                "annotations": {"ambient.istio.io/redirection": "enabled",
                    "prometheus.io/scrape": "true", "checksum/config":
                    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}},
            "spec": {
                "serviceAccountName": placed.account, "nodeName": placed.node,
                "containers": [{"name": "app", "image": "registry.example/team/app:1.2.3",
                    "ports": ports, "env": environment, "readinessProbe": probe, "livenessProbe": probe,
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                }],
            },
            "status": {
                "phase": "Running", "podIP": placed.ip, "podIPs": [{"ip": placed.ip}], "startTime": SINCE,
                "conditions": conditions,
                "containerStatuses": [{"name": "app", "ready": true, "started": true, "restartCount": 0,
                    "image": "registry.example/team/app:1.2.3",
                    "imageID": "registry.example/team/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "containerID": "containerd://9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "state": {"running": {"startedAt": SINCE}}}],
            },
        }),
    )
}

fn entry(collection: &str, object: Value) -> Entry {
    Entry { collection: collection.to_owned(), object }
}
