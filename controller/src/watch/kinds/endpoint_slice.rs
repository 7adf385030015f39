//! `EndpointSlice`: endpoints of a service that no selector finds.

use std::net::IpAddr;

use ambit_model::Str;
use k8s_openapi::api::discovery::v1::EndpointSlice as K8sSlice;
use serde_json::Value;

use super::{Meta, Problem, network, ports, typed};

/// An EndpointSlice, without the pods that Kubernetes itself puts into it: a service's selector finds those.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// Its metadata.
    pub meta: Meta,
    /// The service it belongs to, in the same namespace; empty where it belongs to none.
    pub service: Str,
    /// TCP ports of every endpoint.
    pub ports: Vec<SlicePort>,
    /// The endpoints that are no pods.
    pub endpoints: Vec<SliceEndpoint>,
    /// The names of the pods in its namespace that somebody has written into it, as far as they take traffic.
    pub pods: Vec<Str>,
}

/// A port of the endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the service port that it stands behind.
    pub name: Str,
    /// Its number.
    pub port: u16,
}

/// An endpoint that is no pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its address.
    pub ip: IpAddr,
    /// Its node, if it is on one.
    pub node: Str,
    /// Whether it takes traffic.
    pub ready: bool,
}

/// Who looks after a slice, and Kubernetes' own controller.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const KUBERNETES: &str = "endpointslice-controller.k8s.io";

pub(super) fn trim(meta: Meta, value: Value) -> Result<EndpointSlice, Problem> {
    let slice: K8sSlice = typed(value)?;
    let service = meta.label("kubernetes.io/service-name").cloned().unwrap_or_default();
    let mut list = Vec::new();
    for (i, port) in slice.ports.iter().flatten().enumerate() {
        // A slice port without number stands for all ports, which no service port can be mapped to.
        let Some(number) = port.port else { continue };
        if port.protocol.as_deref().is_some_and(|p| p != "TCP") {
            continue;
        }
        let number = ports::port(&format!("ports[{i}].port"), number.into())?;
        list.push(SlicePort {
            name: port.name.as_deref().unwrap_or_default().into(),
            port: number,
        });
    }
    let own = meta.label(MANAGED_BY).is_some_and(|by| &**by == KUBERNETES);
    let (mut endpoints, mut pods) = (Vec::<SliceEndpoint>::new(), Vec::new());
    for (i, endpoint) in slice.endpoints.iter().flatten().enumerate() {
        let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
        let target = endpoint.target_ref.as_ref().filter(|r| r.kind.as_deref() == Some("Pod"));
        if let Some(pod) = target {
            let here =
                pod.namespace.as_deref().is_none_or(|namespace| *namespace == *meta.namespace);
            let name = pod.name.as_deref().filter(|_| here && ready && !own);
            pods.extend(name.map(Str::from));
            continue;
        }
        // Kubernetes gives all but the first address of an endpoint no meaning.
        let Some(address) = endpoint.addresses.first() else { continue };
        if slice.address_type == "FQDN" {
            continue;
        }
        let field = format!("endpoints[{i}].addresses[0]");
        let ip = network::unicast(&field, address)?;
        if endpoints.iter().any(|e| e.ip == ip) {
            return Err(Problem::new(field, format!("{ip} is used twice")));
        }
        let node = endpoint.node_name.as_deref().unwrap_or_default().into();
        endpoints.push(SliceEndpoint { ip, node, ready });
    }
    Ok(EndpointSlice { meta, service, ports: list, endpoints, pods })
}
