//! Waypoints and gateways: what is deployed for a Gateway of the mesh's classes, as on a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_model::GatewayRole;
use serde_json::{Value, json};

use crate::cluster::Objects;
use crate::error::Error;
use crate::manifest::{Document, Gateway, Object, ObjectRef, document};
use crate::mesh::{CLUSTER_ID, Places, Settings, Tokens, control_plane};
use crate::room::find_program;

/// Deploys Gateways.
#[derive(Debug)]
pub(crate) struct Gateways {
    pub(crate) settings: Arc<Settings>,
    pub(crate) places: Places,
    pub(crate) tokens: Tokens,
}

/// What Gateways amount to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Deployed {
    pub(crate) objects: Vec<Document>,
    /// The service accounts of their proxies, as `namespace/name`.
    pub(crate) accounts: BTreeSet<String>,
    /// What is wrong, by object.
    pub(crate) problems: Vec<(String, String)>,
}

/// The label that leads from pods and services to their Gateway.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The proxy's port for readiness (protocol.md 1.1).
const READINESS_PORT: u16 = 15021;
/// How long a proxy may take to let its connections end, in seconds.
const GRACE: u16 = 5;

// === impl Gateways ===

impl Gateways {
    /// Puts what Gateways need among the objects, with tokens for it; returns what is wrong.
    pub(crate) fn deploy(&mut self, objects: &mut Objects) -> Vec<(String, String)> {
        let program = &self.settings.binaries.waypoint;
        let missing = || Error::Binary(program.clone()).line();
        let found = find_program(program).ok_or_else(missing);
        let deployed = deployed(objects, found.err(), |gateway, key| self.pod(gateway, key));
        let mut problems = deployed.problems;
        if let Err(error) = self.tokens.grant(&deployed.accounts) {
            problems.push(("tokens of gateways".to_owned(), error.line()));
        }
        for Document { key, object } in deployed.objects {
            // Who wrote one of that name has chosen to deploy it in another way.
            objects.0.entry(key).or_insert(object);
        }
        problems
    }

    /// The specification of a proxy's pod.
    fn pod(&self, gateway: &Gateway, key: &ObjectRef) -> Value {
        let account = format!("{}/{}", key.namespace, gateway.names.service_account);
        let (roots, token) = (self.places.root_dir(), self.places.account(&account));
        let field = |path: &str| json!({ "fieldRef": { "fieldPath": path } });
        let root = self.places.root_cert();
        let address = control_plane();
        let mut env = vec![
            json!({ "name": "POD_NAME", "valueFrom": field("metadata.name") }),
            json!({ "name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace") }),
            json!({ "name": "INSTANCE_IP", "valueFrom": field("status.podIP") }),
            json!({ "name": "NODE_NAME", "valueFrom": field("spec.nodeName") }),
            json!({ "name": "SERVICE_ACCOUNT", "valueFrom": field("spec.serviceAccountName") }),
            json!({ "name": "AUTH_TOKEN", "value": token.join("token") }),
            json!({ "name": "XDS_ROOT_CA", "value": root }),
            json!({ "name": "CA_ROOT_CA", "value": root }),
        ];
        let plain = [
            ("GATEWAY_NAME", key.name.as_str()),
            ("XDS_ADDRESS", &address),
            ("CA_ADDRESS", &address),
            ("CLUSTER_ID", CLUSTER_ID),
            ("IPV6_ENABLED", if self.places.ipv6 { "true" } else { "false" }),
            ("TERMINATION_GRACE_PERIOD_SECONDS", &GRACE.to_string()),
        ]
        .map(|(name, value)| json!({ "name": name, "value": value }));
        let own = self.settings.waypoint_env.iter();
        let own = own.map(|(name, value)| json!({ "name": name, "value": value }));
        env.extend(plain.into_iter().chain(own));
        // Mounted where they are, so that a pod sees what changes in them.
        let volumes = [("roots", roots), ("token", token)];
        let mounts = volumes
            .each_ref()
            .map(|(name, dir)| json!({ "name": name, "mountPath": dir, "readOnly": true }));
        json!({
            "serviceAccountName": gateway.names.service_account,
            "terminationGracePeriodSeconds": GRACE,
            "volumes": volumes.map(|(name, path)| json!({ "name": name, "hostPath": { "path": path } })),
            // The proxy reads the roots when it starts, which may be before the controller has written them.
            "initContainers": [{
                "name": "roots",
                "command": ["sh", "-c", "until [ -s \"$0\" ]; do sleep 0.05; done", root],
                "volumeMounts": mounts,
            }],
            "containers": [{
                "name": "waypoint",
                "command": [self.settings.binaries.waypoint],
                "env": env,
                "volumeMounts": mounts,
                "ports": [
                    { "name": "metrics", "containerPort": 15020 },
                    { "name": "status-port", "containerPort": READINESS_PORT },
                ],
                "readinessProbe": {
                    "httpGet": { "path": "/healthz/ready", "port": READINESS_PORT },
                    "periodSeconds": 1,
                },
            }],
        })
    }
}

/// What is deployed for all Gateways, unless something is `missing`.
fn deployed(
    objects: &Objects,
    missing: Option<String>,
    pod: impl Fn(&Gateway, &ObjectRef) -> Value,
) -> Deployed {
    let mut deployed = Deployed::default();
    for (key, object) in &objects.0 {
        let Object::Gateway(gateway) = object else { continue };
        if let Some(problem) = &missing {
            deployed.problems.push((key.to_string(), problem.clone()));
            continue;
        }
        let replicas = replicas(objects, key, gateway).unwrap_or_else(|problem| {
            deployed.problems.push((key.to_string(), problem));
            1
        });
        let documents = [
            deployment(key, gateway, replicas, pod(gateway, key)),
            service(key, gateway),
            account(key, gateway),
        ]
        .map(|value| document(value, &key.to_string()));
        let documents: Result<Vec<_>, _> = documents.into_iter().collect();
        match documents {
            Ok(documents) => {
                deployed.objects.extend(documents);
                let account = format!("{}/{}", key.namespace, gateway.names.service_account);
                deployed.accounts.insert(account);
            }
            Err(refusal) => {
                deployed.problems.push((refusal.invalid.origin, refusal.invalid.problem));
            }
        }
    }
    deployed
}

/// How many pods the Gateway's parameters ask for: of the fields that can be given on a cluster, the one that means
/// something here.
fn replicas(objects: &Objects, key: &ObjectRef, gateway: &Gateway) -> Result<u64, String> {
    let parameters = gateway.infrastructure.parameters_ref.as_ref();
    let Some(from) = parameters.filter(|from| from.kind == "ConfigMap") else { return Ok(1) };
    let map = objects.config_map(&key.namespace, &from.name);
    let map =
        map.ok_or_else(|| format!("infrastructure.parametersRef: no ConfigMap {}", from.name))?;
    let Some(text) = map.data.as_ref().and_then(|data| data.get("deployment")) else {
        return Ok(1);
    };
    let fields: Value = serde_saphyr::from_str(text).map_err(|error| {
        format!("ConfigMap {}: data.deployment: is no YAML: {error}", from.name)
    })?;
    Ok(fields.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1))
}

fn deployment(key: &ObjectRef, gateway: &Gateway, replicas: u64, pod: Value) -> Value {
    let mut labels = labels(key, gateway);
    for (name, value) in [
        ("istio.io/dataplane-mode", "none"),
        ("service.istio.io/canonical-name", &gateway.names.objects),
    ] {
        labels.insert(name.to_owned(), value.to_owned());
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(key, &gateway.names.objects, gateway),
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { GATEWAY_NAME: key.name } },
            "template": {
                "metadata": { "labels": labels, "annotations": gateway.infrastructure.annotations },
                "spec": pod,
            },
        },
    })
}

fn service(key: &ObjectRef, gateway: &Gateway) -> Value {
    let listeners = gateway.listeners.iter().map(|listener| {
        let protocol = listener.protocol.to_ascii_lowercase();
        json!({ "name": listener.name, "port": listener.port, "appProtocol": protocol })
    });
    let mut ports = vec![json!({ "name": "status-port", "port": READINESS_PORT })];
    // Several listeners may share a port.
    for port in listeners {
        if !ports.iter().any(|known| known["port"] == port["port"]) {
            ports.push(port);
        }
    }
    let kind = match gateway.class.role {
        GatewayRole::Waypoint => "ClusterIP",
        GatewayRole::Ingress => "LoadBalancer",
    };
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(key, &gateway.names.objects, gateway),
        "spec": { "type": kind, "selector": { GATEWAY_NAME: key.name }, "ports": ports },
    })
}

fn account(key: &ObjectRef, gateway: &Gateway) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(key, &gateway.names.service_account, gateway),
    })
}

fn metadata(key: &ObjectRef, name: &str, gateway: &Gateway) -> Value {
    json!({
        "name": name,
        "namespace": key.namespace,
        "labels": labels(key, gateway),
        "annotations": gateway.infrastructure.annotations,
    })
}

fn labels(key: &ObjectRef, gateway: &Gateway) -> BTreeMap<String, String> {
    let mut labels = gateway.infrastructure.labels.clone();
    labels.insert(GATEWAY_NAME.to_owned(), key.name.clone());
    let class = gateway.class;
    labels.insert("gateway.networking.k8s.io/gateway-class-name".to_owned(), class.name.to_owned());
    labels.insert("gateway.istio.io/managed".to_owned(), class.managed());
    labels
}

#[cfg(test)]
mod tests;
