//! `istio.workload.Workload` → [`Workload`].

use std::collections::BTreeMap;

use ambit_model::{
    ApplicationTunnel, ApplicationTunnelProtocol, HealthStatus, Locality, NamespacedHostname,
    NetworkMode, ParseAddressError, PortMap, Str, TunnelProtocol, Workload, WorkloadType,
};
use ambit_proto::{ENCRYPT_LOCAL, workload as proto};

use super::address::{self, InvalidAddress};
use crate::Interner;

/// A malformed workload.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidWorkload {
    /// It has no key.
    #[error("uid is missing")]
    MissingUid,
    /// It belongs to a tunnel that no ztunnel speaks.
    #[error("tunnel protocol {0} is not supported")]
    TunnelProtocol(i32),
    /// Neither its own network nor its node's.
    #[error("network mode {0} is unknown")]
    NetworkMode(i32),
    /// Neither healthy nor unhealthy.
    #[error("status {0} is unknown")]
    Status(i32),
    /// A protocol towards the application that no ztunnel speaks.
    #[error("application tunnel protocol {0} is unknown")]
    ApplicationTunnel(i32),
    /// A part of the identity that would make it read as another one.
    #[error("{field} {value:?} has a slash in it")]
    Identity {
        /// The part.
        field: &'static str,
        /// What it is.
        value: String,
    },
    /// A service key without namespace.
    #[error("services: {0}")]
    Service(#[from] ParseAddressError),
    /// A bad address, port or gateway.
    #[error("{field}: {source}")]
    Address {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: InvalidAddress,
    },
}

/// Decodes a workload and fills in the protocol's defaults: trust domain `cluster.local`, service account `default`,
/// cluster `Kubernetes`, capacity 1.
///
/// # Errors
/// The first field that is malformed.
pub fn workload(
    message: proto::Workload,
    interner: &mut Interner,
) -> Result<Workload, InvalidWorkload> {
    if message.uid.is_empty() {
        return Err(InvalidWorkload::MissingUid);
    }
    let in_field = |field| move |source| InvalidWorkload::Address { field, source };
    let workload_ips = message.addresses.iter().map(|bytes| address::ip(bytes));
    let mut gateway = |field, gateway: Option<&proto::GatewayAddress>| {
        gateway.map(|g| address::gateway(g, interner)).transpose().map_err(in_field(field))
    };
    let waypoint = gateway("waypoint", message.waypoint.as_ref())?;
    let network_gateway = gateway("network_gateway", message.network_gateway.as_ref())?;
    let policies =
        message.authorization_policies.iter().map(|name| interner.intern(name)).collect();
    Ok(Workload {
        workload_ips: workload_ips.collect::<Result<_, _>>().map_err(in_field("addresses"))?,
        protocol: protocol(message.tunnel_protocol)?,
        network_mode: network_mode(message.network_mode)?,
        status: status(message.status)?,
        application_tunnel: message.application_tunnel.as_ref().map(tunnel).transpose()?,
        services: services(&message.services, interner)?,
        trust_domain: part("trust_domain", &message.trust_domain, "cluster.local", interner)?,
        namespace: part("namespace", &message.namespace, "", interner)?,
        service_account: part("service_account", &message.service_account, "default", interner)?,
        cluster_id: or_default(&message.cluster_id, "Kubernetes", interner),
        locality: locality(message.locality.as_ref(), interner),
        uid: message.uid.into(),
        name: message.name.into(),
        network: interner.intern(&message.network),
        waypoint,
        network_gateway,
        workload_name: interner.intern(&message.workload_name),
        workload_type: workload_type(message.workload_type),
        canonical_name: interner.intern(&message.canonical_name),
        canonical_revision: interner.intern(&message.canonical_revision),
        hostname: message.hostname.into(),
        node: interner.intern(&message.node),
        native_tunnel: message.native_tunnel,
        encrypt_local: message.extensions.iter().any(|e| e.name == ENCRYPT_LOCAL),
        authorization_policies: policies,
        capacity: message.capacity.unwrap_or(1),
    })
}

fn or_default(value: &str, default: &str, interner: &mut Interner) -> Str {
    interner.intern(if value.is_empty() { default } else { value })
}

/// A path segment of the workload's SPIFFE identity.
fn part(
    field: &'static str,
    value: &str,
    default: &str,
    interner: &mut Interner,
) -> Result<Str, InvalidWorkload> {
    if value.contains('/') {
        return Err(InvalidWorkload::Identity { field, value: value.to_owned() });
    }
    Ok(or_default(value, default, interner))
}

fn protocol(value: i32) -> Result<TunnelProtocol, InvalidWorkload> {
    match proto::TunnelProtocol::try_from(value) {
        Ok(proto::TunnelProtocol::None) => Ok(TunnelProtocol::Tcp),
        Ok(proto::TunnelProtocol::Hbone) => Ok(TunnelProtocol::Hbone),
        Ok(proto::TunnelProtocol::LegacyIstioMtls) | Err(_) => {
            Err(InvalidWorkload::TunnelProtocol(value))
        }
    }
}

fn network_mode(value: i32) -> Result<NetworkMode, InvalidWorkload> {
    match proto::NetworkMode::try_from(value) {
        Ok(proto::NetworkMode::Standard) => Ok(NetworkMode::Standard),
        Ok(proto::NetworkMode::HostNetwork) => Ok(NetworkMode::HostNetwork),
        Err(_) => Err(InvalidWorkload::NetworkMode(value)),
    }
}

fn status(value: i32) -> Result<HealthStatus, InvalidWorkload> {
    match proto::WorkloadStatus::try_from(value) {
        Ok(proto::WorkloadStatus::Healthy) => Ok(HealthStatus::Healthy),
        Ok(proto::WorkloadStatus::Unhealthy) => Ok(HealthStatus::Unhealthy),
        Err(_) => Err(InvalidWorkload::Status(value)),
    }
}

/// The owner's kind is for telemetry alone, so an unknown one is no reason to refuse the workload.
fn workload_type(value: i32) -> WorkloadType {
    match proto::WorkloadType::try_from(value) {
        Ok(proto::WorkloadType::Deployment) => WorkloadType::Deployment,
        Ok(proto::WorkloadType::Cronjob) => WorkloadType::CronJob,
        Ok(proto::WorkloadType::Job) => WorkloadType::Job,
        Ok(proto::WorkloadType::Pod) | Err(_) => WorkloadType::Pod,
    }
}

fn tunnel(message: &proto::ApplicationTunnel) -> Result<ApplicationTunnel, InvalidWorkload> {
    use proto::application_tunnel::Protocol;
    let protocol = match Protocol::try_from(message.protocol) {
        Ok(Protocol::None) => ApplicationTunnelProtocol::None,
        Ok(Protocol::Proxy) => ApplicationTunnelProtocol::Proxy,
        Err(_) => return Err(InvalidWorkload::ApplicationTunnel(message.protocol)),
    };
    let port = address::optional_port(message.port)
        .map_err(|source| InvalidWorkload::Address { field: "application_tunnel", source })?;
    Ok(ApplicationTunnel { protocol, port: (port != 0).then_some(port) })
}

fn locality(message: Option<&proto::Locality>, interner: &mut Interner) -> Locality {
    message.map_or_else(Locality::default, |l| Locality {
        region: interner.intern(&l.region),
        zone: interner.intern(&l.zone),
        subzone: interner.intern(&l.subzone),
    })
}

fn services(
    map: &std::collections::HashMap<String, proto::PortList>,
    interner: &mut Interner,
) -> Result<BTreeMap<NamespacedHostname, PortMap>, InvalidWorkload> {
    map.iter()
        .map(|(key, list)| {
            let parsed: NamespacedHostname = key.parse()?;
            let key = NamespacedHostname::new(
                interner.intern(&parsed.namespace),
                interner.intern(&parsed.hostname),
            );
            let ports = address::ports(&list.ports)
                .map_err(|source| InvalidWorkload::Address { field: "services", source })?;
            Ok((key, ports))
        })
        .collect()
}
