//! A mesh of very many pods in Deployments of ten, each behind a service, as a control plane sends it.

use std::net::Ipv4Addr;

use ambit_proto::ADDRESS_TYPE;
use ambit_proto::discovery::Resource;
use ambit_proto::workload::address::Type;
use ambit_proto::workload::{
    Address, Locality, NetworkAddress, Port, PortList, Service, TunnelProtocol, Workload,
    WorkloadType,
};
use prost::Message as _;
use prost_types::Any;

/// Pods of a Deployment.
const REPLICAS: u32 = 10;
/// Pods of a node.
const PODS_OF_NODE: u32 = 50;
/// Namespaces that the Deployments share.
const NAMESPACES: u32 = 100;
const PORTS: [(u32, u32); 2] = [(80, 8080), (443, 8443)];

/// The name of the first node; every other is called the same with another number.
pub(super) const NODE: &str = "node-0.region-1.compute.internal";

/// All services and pods, as resources.
pub(super) fn resources(workloads: u32) -> Vec<Resource> {
    let services = (0..workloads.div_ceil(REPLICAS)).map(service).map(|service| {
        let name = format!("{}/{}", service.namespace, service.hostname);
        resource(name, Type::Service(service))
    });
    let workloads = (0..workloads).map(workload);
    let workloads = workloads.map(|pod| resource(pod.uid.clone(), Type::Workload(pod)));
    services.chain(workloads).collect()
}

fn resource(name: String, content: Type) -> Resource {
    let value = Address { r#type: Some(content) }.encode_to_vec();
    let resource = Some(Any { type_url: ADDRESS_TYPE.to_owned(), value });
    Resource { name, version: "1".to_owned(), resource, aliases: Vec::new() }
}

fn service(app: u32) -> Service {
    let (namespace, name) = (namespace(app), name(app));
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 96, 0, 0).to_bits() + app + 1);
    Service {
        hostname: hostname(app),
        name,
        namespace,
        addresses: vec![NetworkAddress {
            address: address.octets().to_vec(),
            ..Default::default()
        }],
        ports: ports(),
        canonical: true,
        ..Service::default()
    }
}

fn workload(pod: u32) -> Workload {
    let (app, node) = (pod / REPLICAS, pod / PODS_OF_NODE);
    let (app_name, namespace) = (name(app), namespace(app));
    let name = format!("{app_name}-7d9fc8b6d5-{pod:05x}");
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 128, 0, 0).to_bits() + pod + 1);
    let services = [(format!("{namespace}/{}", hostname(app)), PortList { ports: ports() })];
    Workload {
        uid: format!("Kubernetes//Pod/{namespace}/{name}"),
        name,
        namespace,
        service_account: app_name.clone(),
        addresses: vec![address.octets().to_vec()],
        tunnel_protocol: TunnelProtocol::Hbone.into(),
        workload_name: app_name.clone(),
        workload_type: WorkloadType::Pod.into(),
        canonical_name: app_name,
        canonical_revision: "v1".to_owned(),
        node: format!("node-{node}.region-1.compute.internal"),
        cluster_id: "Kubernetes".to_owned(),
        locality: Some(Locality {
            region: "region-1".to_owned(),
            zone: format!("region-1{}", node % 3),
            subzone: String::new(),
        }),
        services: services.into(),
        ..Workload::default()
    }
}

fn name(app: u32) -> String {
    format!("service-{app}")
}

fn namespace(app: u32) -> String {
    format!("namespace-{}", app % NAMESPACES)
}

fn hostname(app: u32) -> String {
    format!("{}.{}.svc.cluster.local", name(app), namespace(app))
}

fn ports() -> Vec<Port> {
    let port = |(service_port, target_port)| Port { service_port, target_port, ..Port::default() };
    PORTS.map(port).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_pod_is_behind_the_service_of_its_deployment() {
        let resources = resources(35);
        assert_eq!(resources.len(), 4 + 35);
        let names: HashSet<_> = resources.iter().map(|resource| &resource.name).collect();
        assert_eq!(names.len(), resources.len());
        let last = workload(34);
        let behind = last.services.keys().next().unwrap();
        assert!(names.contains(behind), "{behind}");
        assert_eq!(workload(0).node, NODE);
    }
}
