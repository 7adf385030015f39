//! `config_dump`: everything the process knows, in the JSON that `istioctl` reads.

use std::sync::Arc;

use ambit_identity::IdentityState;
use ambit_model::Workload;
use ambit_state::Snapshot;
use ambit_telemetry::Direction;
use ambit_tls::Credential;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::flow::Flow;
use crate::pod::Pod;

/// The dump as pretty JSON.
pub(crate) fn config_dump(context: &Context) -> String {
    let snapshot = context.state.snapshot();
    let pods = context.pods.all();
    let dump = json!({
        "workloads": snapshot.workloads().map(|w| workload(&w)).collect::<Vec<_>>(),
        "services": services(&snapshot),
        "policies": snapshot.policies().map(|policy| value(&**policy)).collect::<Vec<_>>(),
        "stagedServices": {},
        "staticConfig": {},
        "version": version(),
        "config": config(context),
        "certificates": context.identities.states().iter().map(certificate).collect::<Vec<_>>(),
        "workloadState": pods.iter().map(pod).collect::<Map<_, _>>(),
        "retainedPolicies": snapshot.retained_policies().collect::<Vec<_>>(),
        "unknownPolicies": snapshot.unknown_policies().collect::<Vec<_>>(),
    });
    // Values made of strings and numbers always print.
    serde_json::to_string_pretty(&dump).unwrap_or_default()
}

/// What `istio_build` and the dump say of this build.
pub(crate) fn version() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "gitRevision": option_env!("AMBIT_GIT_REVISION").unwrap_or("unknown"),
        "rustVersion": env!("CARGO_PKG_RUST_VERSION"),
        "buildProfile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "buildStatus": "Clean",
        "istioVersion": std::env::var("ISTIO_META_ISTIO_VERSION").unwrap_or_else(|_| "unknown".into()),
        "cryptoProvider": "tls-aws-lc",
    })
}

fn value(item: &impl serde::Serialize) -> Value {
    serde_json::to_value(item).unwrap_or_else(|error| json!({ "error": error.to_string() }))
}

/// A workload; its services are listed by name, their ports are shown with the services.
fn workload(workload: &Workload) -> Value {
    let mut item = value(workload);
    if let Value::Object(fields) = &mut item
        && let Some(Value::Object(services)) = fields.remove("services")
    {
        let names = services.into_iter().map(|(name, _)| Value::String(name)).collect();
        fields.insert("services".into(), Value::Array(names));
    }
    item
}

fn services(snapshot: &Snapshot) -> Vec<Value> {
    let with_endpoints = |service: &Arc<ambit_model::Service>| {
        let mut item = value(&**service);
        let endpoints: Map<String, Value> = snapshot
            .endpoints(service)
            .map(|endpoint| {
                let workload = endpoint.workload();
                let ports = workload.services.get(&service.key()).cloned().unwrap_or_default();
                let shown = json!({
                    "workloadUid": &*workload.uid,
                    "port": ports,
                    "status": workload.status,
                });
                (workload.uid.to_string(), shown)
            })
            .collect();
        if let Value::Object(fields) = &mut item {
            fields.insert("endpoints".into(), Value::Object(endpoints));
        }
        item
    };
    snapshot.services().map(with_endpoints).collect()
}

fn certificate(state: &IdentityState) -> Value {
    let credential = state.credential.as_deref();
    json!({
        "identity": state.identity,
        "state": state.state.to_string(),
        "certChain": credential.map(Credential::cert_chain).unwrap_or_default(),
        "rootCerts": credential.map(Credential::root_certs).unwrap_or_default(),
    })
}

fn pod(pod: &Arc<Pod>) -> (String, Value) {
    let mut inbound = Vec::new();
    let mut outbound = Vec::new();
    for connection in pod.connections.snapshot() {
        let Flow { direction, source, service, destination, protocol, .. } = &connection.flow;
        let shown = json!({
            "src": source.address.to_string(),
            "originalDst": service.as_ref().map(|service| &*service.hostname),
            "actualDst": destination.address.to_string(),
            "protocol": protocol,
        });
        match direction {
            Direction::Inbound => inbound.push(shown),
            Direction::Outbound => outbound.push(shown),
        }
    }
    let state = json!({
        "state": "Up",
        "info": {
            "name": &*pod.info.name,
            "namespace": &*pod.info.namespace,
            "serviceAccount": &*pod.info.service_account,
        },
        "connections": { "inbound": inbound, "outbound": outbound },
    });
    (pod.uid.to_string(), state)
}

/// The settings that matter to somebody who looks for a reason; no secrets.
fn config(context: &Context) -> Value {
    let config = &context.config;
    json!({
        "localNode": &*config.node.name,
        "network": &*config.node.network,
        "clusterId": &*config.node.cluster,
        "clusterDomain": &*config.node.cluster_domain,
        "xdsAddress": config.discovery.xds.as_ref().map(|xds| &xds.address),
        "localXdsPath": config.discovery.file,
        "secretTtlSeconds": config.certificates.ttl.as_secs(),
        "crlPath": config.certificates.crl,
        "numWorkerThreads": config.workers,
        "windowSize": config.hbone.stream_window,
        "connectionWindowSize": config.hbone.connection_window,
        "frameSize": config.hbone.frame_size,
        "poolMaxStreamsPerConn": config.hbone.client_max_streams,
        "packetMark": config.sockets.mark,
        "requireOriginalSource": config.sockets.original_source,
        "ipv6Enabled": config.sockets.ipv6,
        "dnsProxy": config.dns.enabled,
        "encryptLocal": config.encrypt_local,
        "registryOnly": config.registry_only,
        "unknownPolicy": format!("{:?}", config.unknown_policy),
        "selfTerminationDeadlineSeconds": config.drain_deadline.as_secs(),
    })
}
