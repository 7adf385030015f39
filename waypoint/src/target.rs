//! What a CONNECT asks for: the service, or the workload, that this waypoint stands in front of.

use std::net::SocketAddr;
use std::sync::Arc;

use ambit_hbone::Authority;
use ambit_model::{GatewayDestination, NamespacedHostname, Service, Workload};
use ambit_net::canonical;
use ambit_state::Snapshot;

use crate::rules::Rules;

/// What a client wants to reach.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Service {
        service: Arc<Service>,
        port: u16,
    },
    Workload {
        workload: Arc<Workload>,
        address: SocketAddr,
    },
    /// A port of a gateway; the name is the one that TLS was opened for.
    Front {
        port: u16,
        name: Option<Box<str>>,
    },
}

/// Why a CONNECT leads nowhere.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum NoTarget {
    #[error("nothing in the mesh has the address {0}")]
    Unknown(SocketAddr),
    #[error("there is no service {0}")]
    UnknownHost(String),
    #[error("service {0} does not use this waypoint; see its label istio.io/use-waypoint")]
    NotServed(NamespacedHostname),
    #[error("workload {0} does not use this waypoint; see its label istio.io/use-waypoint")]
    NotServedWorkload(Box<str>),
    #[error("service {0} has no port {1}")]
    NoPort(NamespacedHostname, u16),
}

/// Who asks, and as whom this waypoint is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The network of this process.
    pub network: &'a str,
    /// The namespace of the client.
    pub namespace: &'a str,
    /// The service by which workloads name this waypoint.
    pub own: &'a NamespacedHostname,
}

/// What `authority` means (protocol facts 2.4, 2.8).
///
/// # Errors
/// It means nothing that this waypoint stands in front of.
pub(crate) fn target(
    snapshot: &Snapshot,
    rules: &Rules,
    authority: &Authority,
    asked: Asked<'_>,
) -> Result<Target, NoTarget> {
    match authority {
        Authority::Address(address) => {
            let address = canonical(*address);
            let found = snapshot.service_at(asked.network, address.ip(), asked.namespace);
            if let Some(service) = found {
                return served(rules, service, address.port());
            }
            let workload = snapshot.workload_at(asked.network, address.ip());
            let workload = workload.ok_or(NoTarget::Unknown(address))?;
            let names_us = workload.waypoint.as_ref().is_some_and(|waypoint| {
                matches!(&waypoint.destination, GatewayDestination::Hostname(key) if key == asked.own)
            });
            if names_us {
                Ok(Target::Workload { workload, address })
            } else {
                Err(NoTarget::NotServedWorkload((*workload.name).into()))
            }
        }
        Authority::Hostname { host, port } => {
            let service = snapshot.best_service(host, asked.namespace, None);
            let service = service.ok_or_else(|| NoTarget::UnknownHost(host.to_string()))?;
            served(rules, service, *port)
        }
    }
}

fn served(rules: &Rules, service: &Arc<Service>, port: u16) -> Result<Target, NoTarget> {
    let key = service.key();
    let Some(route) = rules.services.get(&key) else { return Err(NoTarget::NotServed(key)) };
    if route.port(port).is_none() {
        return Err(NoTarget::NoPort(key, port));
    }
    Ok(Target::Service { service: service.clone(), port })
}

// === impl Target ===

impl Target {
    /// The service that is asked for, where that is known from the connection alone.
    pub(crate) fn service(&self) -> Option<&Arc<Service>> {
        match self {
            Self::Service { service, .. } => Some(service),
            Self::Workload { .. } | Self::Front { .. } => None,
        }
    }
}

// === impl NoTarget ===

impl NoTarget {
    /// A stable label for metrics and logs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unknown(_) | Self::UnknownHost(_) => "unknown_destination",
            Self::NotServed(_) | Self::NotServedWorkload(_) => "not_served",
            Self::NoPort(..) => "no_port",
        }
    }
}
