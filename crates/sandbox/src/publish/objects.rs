//! Pods with status, services with addresses, slices, gateways, nodes, namespaces and service accounts. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::{Objects, PodPlan};
use crate::dns::DOMAIN;
use crate::manifest::{Gateway, Object, ObjectRef};
use crate::pod::State;
use crate::pod::status::{ContainerStatus, Mesh, Phase, PodStatus};
use crate::services::{ServiceView, slices};

/// The annotation that says that a pod's traffic is captured (Istio ambient; its value is then `enabled`).
const REDIRECTION: &str = "ambient.istio.io/redirection";

/// Everything that is shown.
pub(crate) struct Picture<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) services: &'a [ServiceView],
    pub(crate) pods: Vec<PodPicture<'a>>,
    /// Nodes and their addresses.
    pub(crate) nodes: Vec<(&'a str, &'a [IpAddr])>,
    pub(crate) ipv6: bool,
}

/// A pod that is shown.
pub(crate) struct PodPicture<'a> {
    pub(crate) plan: &'a PodPlan,
    pub(crate) status: &'a PodStatus,
    pub(crate) uid: &'a str,
    pub(crate) ips: &'a [IpAddr],
    pub(crate) node_ips: &'a [IpAddr],
    pub(crate) created: &'a Time,
    pub(crate) deleted: Option<&'a Time>,
}

/// The files that show the picture, by name.
pub(crate) fn files(picture: &Picture<'_>) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for pod in &picture.pods {
        add(&mut files, "pod", &pod_object(pod));
    }
    for service in picture.services {
        add(&mut files, "service", &service_object(service));
        for slice in slices(service, picture.ipv6) {
            add(&mut files, "endpointslice", &slice);
        }
    }
    for (key, object) in &picture.objects.0 {
        if let Object::Gateway(gateway) = object {
            let object = gateway_object(key, gateway, picture.services);
            files.insert(format!("_gateway.{}.{}.yaml", key.namespace, key.name), object);
        }
        match object {
            Object::EndpointSlice(slice) => add(&mut files, "endpointslice", &**slice),
            Object::ConfigMap(map) => add(&mut files, "configmap", &**map),
            Object::Secret(secret) => add(&mut files, "secret", &**secret),
            _ => {}
        }
    }
    for (name, ips) in &picture.nodes {
        add(&mut files, "node", &node_object(picture.objects, name, ips));
    }
    let accounts = service_accounts(picture);
    for namespace in accounts.iter().map(|(namespace, _)| namespace).collect::<BTreeSet<_>>() {
        let known = picture.objects.namespace(namespace).cloned();
        let mut object = known.unwrap_or_default();
        object.metadata.name = Some(namespace.clone());
        add(&mut files, "namespace", &object);
    }
    for (namespace, name) in &accounts {
        let object = k8s::ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            ..k8s::ServiceAccount::default()
        };
        add(&mut files, "serviceaccount", &object);
    }
    files
}

fn add<T>(files: &mut BTreeMap<String, String>, kind: &str, object: &T)
where
    T: Serialize + k8s_openapi::Metadata<Ty = ObjectMeta>,
{
    let metadata = object.metadata();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    let dot = if namespace.is_empty() { "" } else { "." };
    // These types have no content that YAML cannot hold.
    let text = serde_saphyr::to_string(object).unwrap_or_default();
    files.insert(format!("_{kind}.{namespace}{dot}{name}.yaml"), text);
}

/// The service accounts there are: those written down, those that pods have, and every namespace's `default`.
fn service_accounts(picture: &Picture<'_>) -> BTreeSet<(String, String)> {
    let mut accounts = BTreeSet::new();
    for (key, object) in &picture.objects.0 {
        match object {
            Object::ServiceAccount(_) => {
                accounts.insert((key.namespace.clone(), key.name.clone()));
            }
            Object::Namespace(_) => {
                accounts.insert((key.name.clone(), "default".to_owned()));
            }
            _ => {}
        }
        if !key.namespace.is_empty() {
            accounts.insert((key.namespace.clone(), "default".to_owned()));
        }
    }
    for pod in &picture.pods {
        accounts.insert((pod.plan.key.namespace.clone(), account(&pod.plan.spec).to_owned()));
    }
    accounts
}

/// A pod's service account.
pub(crate) fn account(spec: &k8s::PodSpec) -> &str {
    let named = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
    named.filter(|name| !name.is_empty()).unwrap_or("default")
}

fn pod_object(pod: &PodPicture<'_>) -> k8s::Pod {
    let plan = pod.plan;
    let mut annotations = plan.annotations.clone();
    annotations.remove(REDIRECTION);
    if pod.status.mesh == Mesh::In {
        annotations.insert(REDIRECTION.to_owned(), "enabled".to_owned());
    }
    let owner = plan.owner.as_ref().map(|(name, hash)| OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "ReplicaSet".to_owned(),
        name: format!("{name}-{hash}"),
        controller: Some(true),
        ..OwnerReference::default()
    });
    let mut spec = plan.spec.clone();
    spec.node_name = Some(plan.node.clone());
    spec.service_account_name = Some(account(&plan.spec).to_owned());
    k8s::Pod {
        metadata: ObjectMeta {
            name: Some(plan.key.name.clone()),
            namespace: Some(plan.key.namespace.clone()),
            generate_name: owner.as_ref().map(|owner| format!("{}-", owner.name)),
            owner_references: owner.map(|owner| vec![owner]),
            uid: Some(pod.uid.to_owned()),
            labels: Some(plan.labels.clone()),
            annotations: Some(annotations),
            creation_timestamp: Some(pod.created.clone()),
            deletion_timestamp: pod.deleted.cloned(),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: Some(pod_status(pod)),
    }
}

fn pod_status(pod: &PodPicture<'_>) -> k8s::PodStatus {
    let ready = pod.status.is_ready() && pod.deleted.is_none();
    let condition = |kind: &str, state: bool| k8s::PodCondition {
        type_: kind.to_owned(),
        status: if state { "True" } else { "False" }.to_owned(),
        ..k8s::PodCondition::default()
    };
    let first = |ips: &[IpAddr]| ips.first().map(ToString::to_string);
    k8s::PodStatus {
        phase: Some(pod.status.phase().as_str().to_owned()),
        pod_ip: first(pod.ips),
        pod_ips: Some(pod.ips.iter().map(|ip| k8s::PodIP { ip: ip.to_string() }).collect()),
        host_ip: first(pod.node_ips),
        start_time: Some(pod.created.clone()),
        message: pod.status.obstacle.clone(),
        conditions: Some(vec![
            condition("PodScheduled", true),
            condition("Initialized", pod.status.phase() != Phase::Pending),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ]),
        container_statuses: Some(pod.status.containers.iter().map(container_status).collect()),
        ..k8s::PodStatus::default()
    }
}

fn container_status(container: &ContainerStatus) -> k8s::ContainerStatus {
    let state = match &container.state {
        State::Waiting { reason } => k8s::ContainerState {
            waiting: Some(k8s::ContainerStateWaiting {
                message: Some(reason.clone()),
                ..k8s::ContainerStateWaiting::default()
            }),
            ..k8s::ContainerState::default()
        },
        State::Running => k8s::ContainerState {
            running: Some(k8s::ContainerStateRunning::default()),
            ..k8s::ContainerState::default()
        },
        State::Ended { code } => k8s::ContainerState {
            terminated: Some(k8s::ContainerStateTerminated {
                exit_code: *code,
                ..k8s::ContainerStateTerminated::default()
            }),
            ..k8s::ContainerState::default()
        },
    };
    k8s::ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        ready: container.ready,
        restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
        started: Some(container.state == State::Running),
        state: Some(state),
        ..k8s::ContainerStatus::default()
    }
}

fn service_object(view: &ServiceView) -> k8s::Service {
    let mut service = view.service.clone();
    service.metadata.namespace = Some(view.namespace.clone());
    if let (Some(first), Some(spec)) = (view.vips.first(), service.spec.as_mut()) {
        spec.cluster_ip = Some(first.to_string());
        spec.cluster_ips = Some(view.vips.iter().map(ToString::to_string).collect());
        let family = |ip: &IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned();
        spec.ip_families = Some(view.vips.iter().map(family).collect());
    }
    service
}

/// A Gateway with the name of its Service as its address, as JSON. Without a Service it is found nowhere.
fn gateway_object(key: &ObjectRef, gateway: &Gateway, services: &[ServiceView]) -> String {
    let mut object = gateway.value.clone();
    let name = &gateway.names.objects;
    let own = |service: &&ServiceView| service.namespace == key.namespace && service.name == *name;
    let host = |service: &ServiceView| format!("{name}.{}.svc.{DOMAIN}", service.namespace);
    let addresses: Vec<Value> = services
        .iter()
        .filter(own)
        .map(|service| json!({ "type": "Hostname", "value": host(service) }))
        .collect();
    if let Some(object) = object.as_object_mut() {
        object.insert("status".to_owned(), json!({ "addresses": addresses }));
    }
    object.to_string()
}

fn node_object(objects: &Objects, name: &str, ips: &[IpAddr]) -> k8s::Node {
    let written = objects.nodes().find(|(known, _)| *known == name);
    let mut node = written.map(|(_, node)| node.clone()).unwrap_or_default();
    node.metadata.name = Some(name.to_owned());
    let labels = node.metadata.labels.get_or_insert_default();
    labels.entry("kubernetes.io/hostname".to_owned()).or_insert_with(|| name.to_owned());
    let address =
        |ip: &IpAddr| k8s::NodeAddress { type_: "InternalIP".to_owned(), address: ip.to_string() };
    let status = node.status.get_or_insert_default();
    status.addresses = Some(ips.iter().map(address).collect());
    node
}
