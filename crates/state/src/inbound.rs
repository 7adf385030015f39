//! Where an inbound CONNECT request goes: protocol facts 2.5 (steps 4 and 5) and 2.6 as pure functions.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ambit_model::{ApplicationTunnelProtocol, GatewayAddress, Service, Str, Workload};

use crate::Snapshot;
use crate::record::Record;

/// What a CONNECT request's `:authority` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `ip:port`.
    Address(SocketAddr),
    /// `host:port`.
    Hostname {
        /// The service's hostname.
        host: String,
        /// The service port.
        port: u16,
    },
}

/// One CONNECT request.
#[derive(Clone, Copy, Debug)]
pub struct InboundRequest<'a> {
    /// The workload whose tunnel port was reached.
    pub local: &'a Workload,
    /// The local address of the tunnel's TCP connection.
    pub local_ip: IpAddr,
    /// The `:authority`.
    pub target: &'a Target,
    /// The `host=` of the `forwarded` header: a hint, believed only for services of the workload.
    pub forwarded_host: Option<&'a str>,
    /// Ports of the proxy itself, refused as targets.
    pub proxy_ports: &'a [u16],
}

/// Where it goes. Authorize with `upstream` as the destination before dialling.
#[derive(Clone, Debug)]
pub struct InboundTarget {
    /// The application's address: always the local IP. Whether an application that wants a PROXY header is then
    /// reached by loopback instead is the caller's business.
    pub upstream: SocketAddr,
    /// The service that was most likely meant, for telemetry.
    pub service: Option<Arc<Service>>,
    /// The PROXY protocol header that the application wants first.
    pub proxy_header: Option<ProxyHeader>,
}

/// A PROXY protocol version 2 header to write; its source is the TCP peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The destination to name.
    pub destination: SocketAddr,
}

/// A CONNECT request that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboundError {
    /// The request names an address that is not this workload's.
    #[error(
        "the request is for {authority}, but {local} was dialled, which is no waypoint of it; \
         check the caller's routing"
    )]
    AddressMismatch {
        /// The requested address.
        authority: IpAddr,
        /// The dialled address.
        local: IpAddr,
    },
    /// No service has the requested hostname.
    #[error("no service that this workload may see has the hostname {0:?}")]
    UnknownHostname(Str),
    /// The service has no such port on this workload.
    #[error("service {service} has no port {port} on this workload")]
    UnknownPort {
        /// `namespace/hostname`.
        service: Str,
        /// The requested service port.
        port: u16,
    },
    /// The application wants a PROXY header, and the service has no address to write into it.
    #[error("service {0} has no address to name in the PROXY protocol header the workload wants")]
    NoServiceAddress(Str),
    /// The target is the proxy itself.
    #[error("port {0} is a port of this proxy; the request has to name the application's port")]
    SelfCall(u16),
}

/// Decides where `request` goes.
///
/// # Errors
/// The reason to refuse it; [`InboundError::status`] is what to answer.
pub fn resolve_inbound(
    snapshot: &Snapshot,
    request: &InboundRequest<'_>,
) -> Result<InboundTarget, InboundError> {
    let InboundRequest { local, local_ip, target, proxy_ports, .. } = *request;
    let (port, service) = match target {
        Target::Address(authority) => {
            check_address(snapshot, request, authority.ip())?;
            (authority.port(), likely_service(snapshot, request, authority.port()))
        }
        Target::Hostname { host, port } => {
            let service = snapshot
                .best_service(host, &local.namespace, None)
                .ok_or_else(|| InboundError::UnknownHostname(host.as_str().into()))?;
            (own_port(local, service, *port)?, Some(service))
        }
    };
    if proxy_ports.contains(&port) {
        return Err(InboundError::SelfCall(port));
    }
    let tunnel = local.application_tunnel.as_ref();
    let proxy_header = match tunnel.map(|tunnel| tunnel.protocol) {
        Some(ApplicationTunnelProtocol::Proxy) => Some(proxy_header(local, target, service)?),
        Some(ApplicationTunnelProtocol::None) | None => None,
    };
    let port = tunnel.and_then(|tunnel| tunnel.port).unwrap_or(port);
    Ok(InboundTarget {
        upstream: SocketAddr::new(local_ip.to_canonical(), port),
        service: service.cloned(),
        proxy_header,
    })
}

/// The workload that a tunnel's TCP peer is, for telemetry: by its address, unless the request came through a gateway
/// of another network (`x-forwarded-network`), where addresses mean nothing (protocol facts 2.5).
pub fn inbound_source(
    snapshot: &Snapshot,
    local: &Workload,
    peer: IpAddr,
    forwarded_network: Option<&str>,
) -> Option<Arc<Workload>> {
    match forwarded_network {
        Some(network) if !network.eq_ignore_ascii_case(&local.network) => None,
        _ => snapshot.workload_at(&local.network, peer.to_canonical()),
    }
}

/// Step 4: the requested address is the workload's own, or the workload has an application tunnel and is told, or it is
/// the waypoint of whatever has that address.
fn check_address(
    snapshot: &Snapshot,
    request: &InboundRequest<'_>,
    authority: IpAddr,
) -> Result<(), InboundError> {
    let (local_ip, authority) = (request.local_ip.to_canonical(), authority.to_canonical());
    let local = request.local;
    if authority == local_ip || local.application_tunnel.is_some() {
        return Ok(());
    }
    let is_local = |record: &Record| record.has_uid(&local.uid);
    let fronts = |waypoint: &GatewayAddress| snapshot.any_behind(waypoint, is_local);
    let fronted = match snapshot.workloads.at(&local.network, authority) {
        Some(record) => record.shape.waypoint().into_iter().any(fronts),
        None => snapshot
            .services
            .vips
            .exactly(&local.network, authority)
            .iter()
            .chain(snapshot.services.vips.ranges(&local.network, authority).flat_map(|(_, s)| s))
            .any(|service| waypoints_of(service).any(fronts)),
    };
    match fronted {
        true => Ok(()),
        false => Err(InboundError::AddressMismatch { authority, local: local_ip }),
    }
}

fn waypoints_of(service: &Service) -> impl Iterator<Item = &GatewayAddress> {
    let weighted = service.weighted_waypoints.iter().map(|waypoint| &waypoint.destination);
    service.waypoint.iter().chain(weighted)
}

/// The workload's port behind a service port: its own mapping, else the service's, if that has a number.
fn own_port(local: &Workload, service: &Service, port: u16) -> Result<u16, InboundError> {
    let key = service.key();
    let own = local.services.get(&key).and_then(|ports| ports.get(&port)).copied();
    own.or_else(|| service.ports.get(&port).copied().filter(|target| *target > 0))
        .ok_or_else(|| InboundError::UnknownPort { service: key.to_string().into(), port })
}

/// The service a client meant by `port` of this workload: the one it names, else the first with that target port.
fn likely_service<'a>(
    snapshot: &'a Snapshot,
    request: &InboundRequest<'_>,
    port: u16,
) -> Option<&'a Arc<Service>> {
    let local = request.local;
    let services = || local.services.keys().filter_map(|key| snapshot.service(key));
    let named = services().find(|service| request.forwarded_host == Some(&*service.hostname));
    named.or_else(|| {
        services().find(|service| {
            service.ports.keys().any(|from| own_port(local, service, *from) == Ok(port))
        })
    })
}

fn proxy_header(
    local: &Workload,
    target: &Target,
    service: Option<&Arc<Service>>,
) -> Result<ProxyHeader, InboundError> {
    let destination = match (target, service) {
        (Target::Address(authority), _) => *authority,
        (Target::Hostname { port, .. }, Some(service)) => {
            let rank = |ip: IpAddr, network: &str| (network != &*local.network, ip.is_ipv6());
            let vip = service.vips.iter().min_by_key(|vip| rank(vip.address, &vip.network));
            let vip = vip
                .ok_or_else(|| InboundError::NoServiceAddress(service.key().to_string().into()))?;
            SocketAddr::new(vip.address, *port)
        }
        (Target::Hostname { host, .. }, None) => {
            return Err(InboundError::UnknownHostname(host.as_str().into()));
        }
    };
    Ok(ProxyHeader { destination })
}

// === impl InboundError ===

impl InboundError {
    /// The HTTP status that answers the request (protocol facts 2.5).
    pub fn status(&self) -> u16 {
        match self {
            Self::AddressMismatch { .. } => 400,
            Self::UnknownHostname(_)
            | Self::UnknownPort { .. }
            | Self::NoServiceAddress(_)
            | Self::SelfCall(_) => 503,
        }
    }

    /// The stable label for metrics and log fields.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::AddressMismatch { .. } => "address_mismatch",
            Self::UnknownHostname(_) => "unknown_hostname",
            Self::UnknownPort { .. } => "unknown_port",
            Self::NoServiceAddress(_) => "no_service_address",
            Self::SelfCall(_) => "self_call",
        }
    }
}

#[cfg(test)]
mod tests;
