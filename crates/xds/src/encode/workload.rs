//! [`Workload`] → `istio.workload.Workload`.

use ambit_model::{
    ApplicationTunnelProtocol, GatewayAddress, GatewayDestination, HealthStatus, Locality,
    NetworkMode, PortMap, TunnelProtocol, Workload, WorkloadType,
};
use ambit_proto::workload::gateway_address::Destination;
use ambit_proto::{ENCRYPT_LOCAL, workload as proto};
use prost::Message;

use super::service::octets;

/// The message of a workload. The trust domain `cluster.local` is left out, as istiod does.
pub fn workload(w: &Workload) -> proto::Workload {
    let trust_domain = if &*w.trust_domain == "cluster.local" { "" } else { &w.trust_domain };
    let services =
        w.services.iter().map(|(key, ports)| (key.to_string(), port_list(ports))).collect();
    proto::Workload {
        uid: w.uid.to_string(),
        name: w.name.to_string(),
        namespace: w.namespace.to_string(),
        addresses: w.workload_ips.iter().map(|ip| octets(*ip)).collect(),
        hostname: w.hostname.to_string(),
        network: w.network.to_string(),
        tunnel_protocol: tunnel_protocol(w.protocol).into(),
        trust_domain: trust_domain.to_owned(),
        service_account: w.service_account.to_string(),
        waypoint: w.waypoint.as_ref().map(gateway),
        network_gateway: w.network_gateway.as_ref().map(gateway),
        node: w.node.to_string(),
        canonical_name: w.canonical_name.to_string(),
        canonical_revision: w.canonical_revision.to_string(),
        workload_type: workload_type(w.workload_type).into(),
        workload_name: w.workload_name.to_string(),
        native_tunnel: w.native_tunnel,
        application_tunnel: w.application_tunnel.as_ref().map(|t| proto::ApplicationTunnel {
            protocol: application_protocol(t.protocol).into(),
            port: t.port.unwrap_or(0).into(),
        }),
        services,
        authorization_policies: w.authorization_policies.iter().map(ToString::to_string).collect(),
        status: status(w.status).into(),
        cluster_id: w.cluster_id.to_string(),
        locality: locality(&w.locality),
        network_mode: network_mode(w.network_mode).into(),
        extensions: w.encrypt_local.then(encrypt_local).into_iter().collect(),
        capacity: (w.capacity != 1).then_some(w.capacity),
    }
}

/// A marshalled Address of the workload. The map of services is written in the order of its keys, which generated
/// code does not promise.
pub(super) fn marshal(w: &Workload) -> Vec<u8> {
    let mut message = workload(w);
    message.services.clear();
    let tail = Services {
        entries: w
            .services
            .iter()
            .map(|(key, ports)| ServiceEntry {
                key: key.to_string(),
                value: Some(port_list(ports)),
            })
            .collect(),
    };
    let mut body = message.encode_to_vec();
    body.extend(tail.encode_to_vec());
    Address { workload: body }.encode_to_vec()
}

/// `istio.workload.Address` with a marshalled workload.
#[derive(Clone, PartialEq, Message)]
struct Address {
    #[prost(bytes, tag = "1")]
    workload: Vec<u8>,
}

/// Field 22 of `istio.workload.Workload`, a map, as the repeated entries that maps are on the wire.
#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "22")]
    entries: Vec<ServiceEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceEntry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<proto::PortList>,
}

pub(super) fn gateway(gateway: &GatewayAddress) -> proto::GatewayAddress {
    let destination = match &gateway.destination {
        GatewayDestination::Address(address) => Destination::Address(proto::NetworkAddress {
            network: address.network.to_string(),
            address: octets(address.address),
            length: None,
        }),
        GatewayDestination::Hostname(name) => Destination::Hostname(proto::NamespacedHostname {
            namespace: name.namespace.to_string(),
            hostname: name.hostname.to_string(),
        }),
    };
    proto::GatewayAddress {
        destination: Some(destination),
        hbone_mtls_port: gateway.hbone_mtls_port.into(),
    }
}

pub(super) fn ports(map: &PortMap) -> Vec<proto::Port> {
    map.iter()
        .map(|(&service_port, &target_port)| proto::Port {
            service_port: service_port.into(),
            target_port: target_port.into(),
            app_protocol: proto::AppProtocol::Unknown.into(),
        })
        .collect()
}

fn encrypt_local() -> proto::Extension {
    proto::Extension { name: ENCRYPT_LOCAL.to_owned(), config: None }
}

fn port_list(map: &PortMap) -> proto::PortList {
    proto::PortList { ports: ports(map) }
}

fn locality(l: &Locality) -> Option<proto::Locality> {
    (*l != Locality::default()).then(|| proto::Locality {
        region: l.region.to_string(),
        zone: l.zone.to_string(),
        subzone: l.subzone.to_string(),
    })
}

fn tunnel_protocol(protocol: TunnelProtocol) -> proto::TunnelProtocol {
    match protocol {
        TunnelProtocol::Tcp => proto::TunnelProtocol::None,
        TunnelProtocol::Hbone => proto::TunnelProtocol::Hbone,
    }
}

fn workload_type(kind: WorkloadType) -> proto::WorkloadType {
    match kind {
        WorkloadType::Deployment => proto::WorkloadType::Deployment,
        WorkloadType::CronJob => proto::WorkloadType::Cronjob,
        WorkloadType::Pod => proto::WorkloadType::Pod,
        WorkloadType::Job => proto::WorkloadType::Job,
    }
}

fn application_protocol(
    protocol: ApplicationTunnelProtocol,
) -> proto::application_tunnel::Protocol {
    match protocol {
        ApplicationTunnelProtocol::None => proto::application_tunnel::Protocol::None,
        ApplicationTunnelProtocol::Proxy => proto::application_tunnel::Protocol::Proxy,
    }
}

fn status(status: HealthStatus) -> proto::WorkloadStatus {
    match status {
        HealthStatus::Healthy => proto::WorkloadStatus::Healthy,
        HealthStatus::Unhealthy => proto::WorkloadStatus::Unhealthy,
    }
}

fn network_mode(mode: NetworkMode) -> proto::NetworkMode {
    match mode {
        NetworkMode::Standard => proto::NetworkMode::Standard,
        NetworkMode::HostNetwork => proto::NetworkMode::HostNetwork,
    }
}
