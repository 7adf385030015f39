//! `Service`.

use std::net::IpAddr;

use ambit_model::{IpFamilies, Str};
use ambit_proto::workload::AppProtocol;
use k8s_openapi::api::core::v1::{
    Service as K8sService, ServicePort as K8sPort, ServiceSpec, ServiceStatus,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::meta::shared;
use super::{Meta, Problem, Selector, network, ports, typed};

/// A Service of Kubernetes, of any type but ExternalName as far as it is distributed.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches of the object")]
pub struct Service {
    /// Its metadata.
    pub meta: Meta,
    /// Whether it is only another name for a host outside.
    pub external_name: bool,
    /// Its cluster addresses; none for a headless service.
    pub cluster_ips: Vec<IpAddr>,
    /// Whether it is to have the address of a load balancer.
    pub load_balancer: bool,
    /// The addresses that a load balancer gave it.
    pub ingress_ips: Vec<IpAddr>,
    /// TCP ports.
    pub ports: Vec<ServicePort>,
    /// The pods behind it; nobody where empty.
    pub selector: Selector,
    /// The families of its addresses, if it says so.
    pub families: Option<IpFamilies>,
    /// Whether traffic has to stay on the client's node.
    pub internal_local: bool,
    /// Whether endpoints that are not ready take part.
    pub publish_not_ready: bool,
    /// `spec.trafficDistribution`.
    pub traffic_distribution: Option<Str>,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// Its name; may be empty where it is the only one.
    pub name: Str,
    /// Its number.
    pub port: u16,
    /// The port of the pods behind it.
    pub target: TargetPort,
    /// What is spoken on it.
    pub app_protocol: AppProtocol,
}

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By name, which each pod may resolve differently.
    Name(Str),
}

pub(super) fn trim(meta: Meta, value: Value) -> Result<Service, Problem> {
    let service: K8sService = typed(value)?;
    let (spec, status) = (service.spec.unwrap_or_default(), service.status.unwrap_or_default());
    Ok(Service {
        external_name: spec.type_.as_deref() == Some("ExternalName"),
        load_balancer: spec.type_.as_deref() == Some("LoadBalancer"),
        cluster_ips: cluster_ips(&spec)?,
        ingress_ips: ingress_ips(&status)?,
        ports: tcp_ports(&spec)?,
        families: families(&spec)?,
        internal_local: local_policy(&spec)?,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        selector: Selector(shared(spec.selector.unwrap_or_default())),
        traffic_distribution: spec.traffic_distribution.map(Into::into),
        meta,
    })
}

fn cluster_ips(spec: &ServiceSpec) -> Result<Vec<IpAddr>, Problem> {
    let mut ips: Vec<IpAddr> = Vec::new();
    let list = spec.cluster_ips.as_deref().unwrap_or_default();
    let named = list.iter().enumerate().map(|(i, ip)| (format!("spec.clusterIPs[{i}]"), ip));
    let single = spec.cluster_ip.iter().map(|ip| ("spec.clusterIP".to_owned(), ip));
    for (field, text) in named.chain(single) {
        if text.is_empty() || text == "None" {
            continue;
        }
        let ip = network::unicast(&field, text)?;
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    Ok(ips)
}

fn ingress_ips(status: &ServiceStatus) -> Result<Vec<IpAddr>, Problem> {
    let ingress = status.load_balancer.iter().flat_map(|lb| lb.ingress.iter().flatten());
    ingress
        .enumerate()
        .filter_map(|(i, point)| Some((i, point.ip.as_deref().filter(|ip| !ip.is_empty())?)))
        .map(|(i, ip)| network::unicast(&format!("status.loadBalancer.ingress[{i}].ip"), ip))
        .collect()
}

fn tcp_ports(spec: &ServiceSpec) -> Result<Vec<ServicePort>, Problem> {
    let mut list: Vec<ServicePort> = Vec::new();
    for (i, port) in spec.ports.iter().flatten().enumerate() {
        let field = |name: &str| format!("spec.ports[{i}].{name}");
        if port.protocol.as_deref().is_some_and(|p| p != "TCP") {
            continue;
        }
        let number = ports::port(&field("port"), port.port.into())?;
        if list.iter().any(|p| p.port == number) {
            return Err(Problem::new(field("port"), format!("{number} is used twice")));
        }
        list.push(ServicePort {
            name: port.name.as_deref().unwrap_or_default().into(),
            port: number,
            target: target(&field("targetPort"), port, number)?,
            app_protocol: ports::app_protocol(
                port.app_protocol.as_deref(),
                port.name.as_deref().unwrap_or_default(),
            ),
        });
    }
    Ok(list)
}

fn target(field: &str, port: &K8sPort, number: u16) -> Result<TargetPort, Problem> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Ok(TargetPort::Number(number)),
        Some(IntOrString::Int(target)) => {
            ports::port(field, (*target).into()).map(TargetPort::Number)
        }
        Some(IntOrString::String(name)) if name.is_empty() => Ok(TargetPort::Number(number)),
        Some(IntOrString::String(name)) => Ok(match name.parse() {
            Ok(number) => TargetPort::Number(ports::port(field, number)?),
            Err(_) => TargetPort::Name(name.as_str().into()),
        }),
    }
}

fn families(spec: &ServiceSpec) -> Result<Option<IpFamilies>, Problem> {
    let (mut v4, mut v6) = (false, false);
    for (i, family) in spec.ip_families.iter().flatten().enumerate() {
        match family.as_str() {
            "IPv4" => v4 = true,
            "IPv6" => v6 = true,
            other => {
                let message = format!("{other:?} is neither IPv4 nor IPv6");
                return Err(Problem::new(format!("spec.ipFamilies[{i}]"), message));
            }
        }
    }
    Ok(match (v4, v6) {
        (false, false) => None,
        (true, false) => Some(IpFamilies::V4),
        (false, true) => Some(IpFamilies::V6),
        (true, true) => Some(IpFamilies::Dual),
    })
}

fn local_policy(spec: &ServiceSpec) -> Result<bool, Problem> {
    match spec.internal_traffic_policy.as_deref() {
        None | Some("" | "Cluster") => Ok(false),
        Some("Local") => Ok(true),
        Some(other) => Err(Problem::new(
            "spec.internalTrafficPolicy",
            format!("{other:?} is neither Cluster nor Local"),
        )),
    }
}
