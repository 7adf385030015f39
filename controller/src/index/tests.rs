//! Table tests of the index, one file for each view. Objects are written as users write them.

mod backend_tls;
mod conditions;
mod gateways;
mod guards;
mod identities;
mod incremental;
mod istio;
mod listener_sets;
mod peer_authentication;
mod policies;
mod request_policies;
mod routes;
mod services;
mod waypoints;
mod workloads;

use ambit_model::{Authorization, Service, Workload};
use ambit_proto::discovery::DeltaDiscoveryResponse;
use ambit_xds::{Interner, decode};
use prost::Message as _;

use super::*;
use crate::watch::Files;

/// A mesh made of YAML.
struct Mesh {
    files: Files,
    index: Index,
}

impl Mesh {
    fn new(yaml: &str) -> Self {
        Self::with(Settings::default(), yaml)
    }

    fn with(settings: Settings, yaml: &str) -> Self {
        let mut mesh = Self { files: Files::default(), index: Index::new(settings) };
        mesh.write("mesh.yaml", yaml);
        mesh
    }

    /// Writes a file; an empty one removes what was in it.
    fn write(&mut self, name: &str, yaml: &str) {
        let changes = self.files.read(name.into(), Ok(yaml));
        assert_eq!(self.files.reports(), [], "the fixture is wrong");
        self.index.apply(changes);
    }

    fn workload(&self, uid: &str) -> Option<Workload> {
        match decode::address(&self.body(ResourceType::Address, uid)?, &mut Interner::default()) {
            Ok(decode::Address::Workload(workload)) => Some(workload),
            other => panic!("{uid}: {other:?}"),
        }
    }

    fn pod(&self, name: &str) -> Workload {
        let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
        self.workload(&format!("Kubernetes//Pod/{namespace}/{name}")).expect("a workload")
    }

    fn has_pod(&self, name: &str) -> bool {
        self.workload(&format!("Kubernetes//Pod/shop/{name}")).is_some()
    }

    /// The service `namespace/hostname`.
    fn service(&self, key: &str) -> Option<Service> {
        match decode::address(&self.body(ResourceType::Address, key)?, &mut Interner::default()) {
            Ok(decode::Address::Service(service)) => Some(service),
            other => panic!("{key}: {other:?}"),
        }
    }

    /// A service of Kubernetes in `shop`.
    fn svc(&self, name: &str) -> Service {
        self.service(&format!("shop/{name}.shop.svc.cluster.local")).expect("a service")
    }

    fn policy(&self, key: &str) -> Option<Authorization> {
        let body = self.body(ResourceType::Authorization, key)?;
        Some(decode::policy(&body, &mut Interner::default()).policy.expect("a policy"))
    }

    fn body(&self, kind: ResourceType, name: &str) -> Option<Vec<u8>> {
        let resource = self.index.snapshot().of(kind).get(name)?;
        let response = DeltaDiscoveryResponse::decode(resource.wire.clone()).expect("a response");
        response.resources.into_iter().next()?.resource.map(|any| any.value)
    }

    fn names(&self, kind: ResourceType) -> Vec<String> {
        self.index.snapshot().of(kind).iter().map(|r| r.name.to_string()).collect()
    }

    fn problems(&self) -> Vec<String> {
        self.index.problems().map(|(key, problem)| format!("{key}: {problem}")).collect()
    }
}

/// A ready, captured pod in `shop`; `more` is further YAML of its metadata, in flow style, e.g. `labels: {app: web}`.
fn pod(name: &str, ip: &str, more: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, annotations: {{ambient.istio.io/redirection: enabled}}, {more}}}
spec: {{nodeName: node-a, serviceAccountName: {name}, containers: [{{name: main, ports: [{{name: http, containerPort: 8080}}]}}]}}
status: {{phase: Running, podIP: {ip}, conditions: [{{type: Ready, status: 'True'}}]}}
"
    )
}

/// A service in `shop` on port 80 for pods with `app: <name>`; `more` is further YAML of its spec.
fn service(name: &str, ip: &str, more: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: {ip}, selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: http}}], {more}}}
"
    )
}
