//! Why a connection goes nowhere.

use std::fmt::Display;
use std::net::SocketAddr;

use ambit_model::{GatewayAddress, Service, Str};

/// An outbound connection that is refused; the message names the object at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The destination is the proxy itself.
    #[error("{0} is a port of this proxy; connect to the application's own address")]
    SelfCall(SocketAddr),
    /// The service has no endpoint that could be used and has not failed yet.
    #[error("no healthy upstream: service {service} has no usable endpoint for port {port}")]
    NoHealthyUpstream {
        /// `namespace/hostname`.
        service: Str,
        /// The service port.
        port: u16,
    },
    /// The service does not have the port.
    #[error("no healthy upstream: service {service} has no port {port}")]
    UnknownPort {
        /// `namespace/hostname`.
        service: Str,
        /// The service port asked for.
        port: u16,
    },
    /// Every address of the destination has been dialled in vain.
    #[error("workload {0} was dialled and could not be reached")]
    Exhausted(Str),
    /// The workload has no address that the service's families allow, no hostname and no gateway.
    #[error("workload {0} has no address that can be dialled")]
    NoAddress(Str),
    /// The workload is on another network and names no gateway, or was not called through a service.
    #[error("workload {0} is on another network and there is no gateway to it")]
    NoGateway(Str),
    /// The service names no identity that its endpoints on other networks may have, so none could be verified.
    #[error("workload {workload} is on another network and its service lists no subjectAltNames")]
    NoRemoteIdentity {
        /// The workload there.
        workload: Str,
    },
    /// The gateway named by a workload is not known.
    #[error("network gateway {gateway} of workload {workload} is not known or has no endpoint")]
    UnknownGateway {
        /// As the workload names it.
        gateway: Str,
        /// The workload behind it.
        workload: Str,
    },
    /// The waypoint named by a service or a workload is not known or has no endpoint.
    #[error("waypoint {waypoint} of {target} is not known or has no usable endpoint")]
    UnknownWaypoint {
        /// As its user names it.
        waypoint: Str,
        /// The service or workload in front of which it should stand.
        target: Str,
    },
    /// Nothing that the mesh knows has this address, and only what it knows may be dialled.
    #[error(
        "{0} is unknown to the mesh, and only what it knows may be dialled: a ServiceEntry makes it known"
    )]
    NotRegistered(SocketAddr),
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn unknown_waypoint(waypoint: &GatewayAddress, target: &dyn Display) -> Self {
        let waypoint = waypoint.destination.to_string().into();
        Self::UnknownWaypoint { waypoint, target: target.to_string().into() }
    }

    /// No endpoint of `service` takes connections for `port`.
    pub(crate) fn no_upstream(service: &Service, port: u16) -> Self {
        let known = service.ports.contains_key(&port);
        let service = service.key().to_string().into();
        match known {
            true => Self::NoHealthyUpstream { service, port },
            false => Self::UnknownPort { service, port },
        }
    }

    /// The stable label for metrics and log fields.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::SelfCall(_) => "self_call",
            Self::NoHealthyUpstream { .. } => "no_healthy_upstream",
            Self::UnknownPort { .. } => "unknown_port",
            Self::Exhausted(_) => "endpoints_exhausted",
            Self::NoAddress(_) => "no_address",
            Self::NoGateway(_) => "no_gateway",
            Self::NoRemoteIdentity { .. } => "no_remote_identity",
            Self::UnknownGateway { .. } => "unknown_gateway",
            Self::UnknownWaypoint { .. } => "unknown_waypoint",
            Self::NotRegistered(_) => "not_registered",
        }
    }
}
