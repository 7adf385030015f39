//! EndpointSlices, as Kubernetes' own controller would write them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Member, ServiceView, addresses};

/// Who keeps these slices, in their label.
const MANAGED_BY: &str = "sandbox.ambit.dev";

/// The slices of a service with pods: one for each family and each set of target ports.
pub(crate) fn slices(service: &ServiceView, ipv6: bool) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for v4 in families(service, ipv6) {
        let mut groups: BTreeMap<&[Option<u16>], Vec<Endpoint>> = BTreeMap::new();
        for member in service.members.iter().filter(|member| member.pod.is_some()) {
            if let Some(ip) = member.ips.iter().find(|ip| ip.is_ipv4() == v4) {
                let endpoint = endpoint(service, member, *ip);
                groups.entry(&member.targets).or_default().push(endpoint);
            }
        }
        for (number, (targets, endpoints)) in groups.into_iter().enumerate() {
            slices.push(slice(service, (v4, number), targets, endpoints));
        }
    }
    slices
}

/// The families of its addresses; a headless service's by what it asks for.
fn families(service: &ServiceView, ipv6: bool) -> Vec<bool> {
    if service.vips.is_empty() {
        return addresses::families(&service.service, ipv6).collect();
    }
    service.vips.iter().map(IpAddr::is_ipv4).collect()
}

fn slice(
    service: &ServiceView,
    (v4, number): (bool, usize),
    targets: &[Option<u16>],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let family = if v4 { "v4" } else { "v6" };
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let ports = service.ports.iter().zip(targets).filter_map(|(port, target)| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(i32::from((*target)?)),
            protocol: Some(port.protocol.as_str().to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    });
    EndpointSlice {
        address_type: if v4 { "IPv4" } else { "IPv6" }.to_owned(),
        metadata: ObjectMeta {
            name: Some(format!("{}-{family}-{number}", service.name)),
            namespace: Some(service.namespace.clone()),
            labels: Some(BTreeMap::from([
                label("kubernetes.io/service-name", &service.name),
                label("endpointslice.kubernetes.io/managed-by", MANAGED_BY),
            ])),
            ..ObjectMeta::default()
        },
        endpoints: Some(endpoints),
        ports: Some(ports.collect()),
    }
}

fn endpoint(service: &ServiceView, member: &Member, ip: IpAddr) -> Endpoint {
    let target = member.pod.as_ref().map(|(key, uid)| ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        uid: Some(uid.clone()),
        ..ObjectReference::default()
    });
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(service.publishes_all() || (member.ready && !member.terminating)),
            serving: Some(member.ready),
            terminating: Some(member.terminating),
        }),
        node_name: member.node.clone(),
        target_ref: target,
        ..Endpoint::default()
    }
}
