//! The pod of a Gateway's proxy. Pure.

use ambit_model::GatewayRole;
use serde_json::{Value, json};

use super::gateway::Gateway;
use super::objects::{READINESS_PORT, selector};

/// What all proxies have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// The proxy's image.
    pub(super) image: String,
    /// Where xDS and certificates are served.
    pub(super) control_plane: String,
    /// The audience of tokens.
    pub(super) audience: String,
    pub(super) cluster_id: String,
    pub(super) cluster_domain: String,
    pub(super) trust_domain: String,
}

/// The user and group that the proxy runs as: it needs no right.
const USER: u32 = 65532;
/// How long connections get to end, in seconds.
const GRACE: u32 = 30;

/// The specification of the pod.
pub(super) fn spec(gateway: &Gateway, template: &Template) -> Value {
    let mut security = json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    if gateway.class.role == GatewayRole::Ingress {
        // Listeners have ports like 80, and the proxy no right to open them otherwise.
        security["sysctls"] =
            json!([{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }]);
    }
    json!({
        "serviceAccountName": gateway.names.service_account,
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": security,
        "topologySpreadConstraints": [
            spread(gateway, "topology.kubernetes.io/zone"),
            spread(gateway, "kubernetes.io/hostname"),
        ],
        "containers": [container(gateway, template)],
        "volumes": [
            { "name": "root", "configMap": { "name": "istio-ca-root-cert" } },
            { "name": "token", "projected": { "sources": [{ "serviceAccountToken": {
                "path": "istio-token", "audience": template.audience, "expirationSeconds": 43200,
            } }] } },
        ],
    })
}

fn spread(gateway: &Gateway, topology: &str) -> Value {
    json!({
        "maxSkew": 1,
        "topologyKey": topology,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": { "matchLabels": selector(gateway) },
    })
}

fn container(gateway: &Gateway, template: &Template) -> Value {
    json!({
        "name": "waypoint",
        "image": template.image,
        "env": environment(gateway, template),
        "ports": [
            { "name": "metrics", "containerPort": 15020, "protocol": "TCP" },
            { "name": "status-port", "containerPort": READINESS_PORT, "protocol": "TCP" },
        ],
        "readinessProbe": {
            "httpGet": { "path": "/healthz/ready", "port": READINESS_PORT },
            "periodSeconds": 1,
        },
        "resources": { "requests": { "cpu": "20m", "memory": "32Mi" } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [
            { "name": "root", "mountPath": "/var/run/secrets/istio", "readOnly": true },
            { "name": "token", "mountPath": "/var/run/secrets/tokens", "readOnly": true },
        ],
    })
}

fn environment(gateway: &Gateway, template: &Template) -> Vec<Value> {
    let field = |(name, path): (&str, &str)| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let mut environment: Vec<Value> = [
        ("POD_NAME", "metadata.name"),
        ("POD_NAMESPACE", "metadata.namespace"),
        ("NODE_NAME", "spec.nodeName"),
        ("INSTANCE_IP", "status.podIP"),
        ("SERVICE_ACCOUNT", "spec.serviceAccountName"),
    ]
    .into_iter()
    .map(field)
    .collect();
    let grace = GRACE.to_string();
    let network = gateway.labels.get("topology.istio.io/network");
    let mut plain = vec![
        ("GATEWAY_NAME", &gateway.name.name),
        ("XDS_ADDRESS", &template.control_plane),
        ("CA_ADDRESS", &template.control_plane),
        ("CLUSTER_ID", &template.cluster_id),
        ("CLUSTER_DOMAIN", &template.cluster_domain),
        ("TRUST_DOMAIN", &template.trust_domain),
        ("TERMINATION_GRACE_PERIOD_SECONDS", &grace),
    ];
    plain.extend(network.map(|network| ("NETWORK", network)));
    environment
        .extend(plain.into_iter().map(|(name, value)| json!({ "name": name, "value": value })));
    environment
}
