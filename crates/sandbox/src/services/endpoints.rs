//! Which pods are behind a service.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Addresses, Member, PodView, PortView, Protocol, ServiceView};
use crate::cluster::Objects;
use crate::manifest::{Object, ObjectRef};

/// Every service with its addresses and members, and those that cannot have what they ask for.
pub(crate) fn views(
    objects: &Objects,
    pods: &[PodView],
    addresses: &mut Addresses,
    ipv6: bool,
) -> (Vec<ServiceView>, Vec<(ObjectRef, String)>) {
    let (mut views, mut problems) = (Vec::new(), Vec::new());
    for (key, object) in &objects.0 {
        let Object::Service(service) = object else {
            continue;
        };
        match addresses.of((&key.namespace, &key.name), service, ipv6) {
            Err(problem) => problems.push((key.clone(), problem)),
            Ok(vips) => views.push(view(key, service, vips, (objects, pods))),
        }
    }
    (views, problems)
}

fn view(
    key: &ObjectRef,
    service: &Service,
    vips: Vec<IpAddr>,
    (objects, pods): (&Objects, &[PodView]),
) -> ServiceView {
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec.ports.unwrap_or_default();
    let mut members: Vec<Member> = match spec.selector.filter(|selector| !selector.is_empty()) {
        Some(selector) => pods
            .iter()
            .filter(|pod| pod.key.namespace == key.namespace && !pod.ips.is_empty())
            .filter(|pod| selector.iter().all(|(name, value)| pod.labels.get(name) == Some(value)))
            .map(|pod| member(pod, &ports))
            .collect(),
        None => Vec::new(),
    };
    members.extend(written_slices(objects, key).flat_map(|slice| listed(slice, &ports)));
    ServiceView {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        service: service.clone(),
        vips,
        ports: ports.iter().filter_map(port).collect(),
        members,
    }
}

fn port(port: &ServicePort) -> Option<PortView> {
    Some(PortView {
        name: port.name.clone(),
        protocol: match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            _ => Protocol::Tcp,
        },
        port: u16::try_from(port.port).ok()?,
        app_protocol: port.app_protocol.clone(),
    })
}

fn member(pod: &PodView, ports: &[ServicePort]) -> Member {
    let target = |port: &ServicePort| match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => pod.ports.get(name).copied(),
    };
    Member {
        pod: Some((pod.key.clone(), pod.uid.clone())),
        ips: pod.ips.clone(),
        node: Some(pod.node.clone()),
        ready: pod.ready,
        terminating: pod.terminating,
        targets: ports.iter().map(target).collect(),
    }
}

/// The slices that a user wrote for a service.
fn written_slices<'a>(
    objects: &'a Objects,
    service: &'a ObjectRef,
) -> impl Iterator<Item = &'a EndpointSlice> {
    objects.0.iter().filter_map(|(key, object)| match object {
        Object::EndpointSlice(slice) if key.namespace == service.namespace => {
            let labels = slice.metadata.labels.as_ref()?;
            let of = labels.get("kubernetes.io/service-name")?;
            (*of == service.name).then_some(&**slice)
        }
        _ => None,
    })
}

fn listed(slice: &EndpointSlice, ports: &[ServicePort]) -> Vec<Member> {
    let target = |port: &ServicePort| {
        let same = slice.ports.iter().flatten().find(|listed| {
            listed.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
        })?;
        u16::try_from(same.port?).ok()
    };
    let targets: Vec<Option<u16>> = ports.iter().map(target).collect();
    slice
        .endpoints
        .iter()
        .flatten()
        .map(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            Member {
                pod: None,
                ips: endpoint.addresses.iter().filter_map(|ip| ip.parse().ok()).collect(),
                node: endpoint.node_name.clone(),
                ready: conditions.and_then(|conditions| conditions.ready) != Some(false),
                terminating: conditions.and_then(|conditions| conditions.terminating) == Some(true),
                targets: targets.clone(),
            }
        })
        .collect()
}
