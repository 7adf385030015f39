//! `istio.workload.Service` → [`Service`].

use ambit_model::{
    HealthPolicy, IpFamilies, LoadBalancer, LoadBalancerMode, LoadBalancerScope, NetworkAddress,
    NetworkCidr, Service, Visibility, WeightedWaypoint,
};
use ambit_proto::workload as proto;
use ambit_proto::workload::load_balancing::{HealthPolicy as ProtoHealth, Mode, Scope};

use super::address::{self, InvalidAddress};
use crate::Interner;

/// A malformed service.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidService {
    /// It has no key.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A key that cannot be told from a workload's.
    #[error("{field} {value:?} has a slash in it")]
    Slash {
        /// The part of the key.
        field: &'static str,
        /// What it is.
        value: String,
    },
    /// A way of balancing that is not known.
    #[error("load_balancing: {field} {value} is unknown")]
    LoadBalancing {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
    /// A weighted waypoint that leads nowhere.
    #[error("weighted_waypoints: a destination is missing")]
    NoDestination,
    /// A bad address, port or gateway.
    #[error("{field}: {source}")]
    Address {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: InvalidAddress,
    },
}

/// Decodes a service.
///
/// # Errors
/// The first field that is malformed.
pub fn service(
    message: proto::Service,
    interner: &mut Interner,
) -> Result<Service, InvalidService> {
    for (field, value) in [("namespace", &message.namespace), ("hostname", &message.hostname)] {
        if value.is_empty() {
            return Err(InvalidService::Missing(field));
        }
        if value.contains('/') {
            return Err(InvalidService::Slash { field, value: value.clone() });
        }
    }
    let in_field = |field| move |source| InvalidService::Address { field, source };
    let (vips, cidr_vips) =
        addresses(&message.addresses, interner).map_err(in_field("addresses"))?;
    let waypoint = message.waypoint.as_ref().map(|g| address::gateway(g, interner)).transpose();
    Ok(Service {
        vips,
        cidr_vips,
        ports: address::ports(&message.ports).map_err(in_field("ports"))?,
        waypoint: waypoint.map_err(in_field("waypoint"))?,
        weighted_waypoints: weighted(&message.weighted_waypoints, interner)?,
        load_balancer: message.load_balancing.as_ref().map(load_balancer).transpose()?,
        ip_families: ip_families(message.ip_families),
        visibility: visibility(message.visibility),
        subject_alt_names: message.subject_alt_names.iter().map(|s| interner.intern(s)).collect(),
        name: message.name.into(),
        namespace: interner.intern(&message.namespace),
        hostname: interner.intern(&message.hostname),
        canonical: message.canonical,
    })
}

/// Single addresses and ranges apart: an address with a prefix length is a range, whatever the length.
fn addresses(
    list: &[proto::NetworkAddress],
    interner: &mut Interner,
) -> Result<(Vec<NetworkAddress>, Vec<NetworkCidr>), InvalidAddress> {
    let (mut single, mut ranges) = (Vec::new(), Vec::new());
    for message in list {
        match message.length {
            None => single.push(address::network_address(message, interner)?),
            Some(length) => ranges.push(NetworkCidr::new(
                interner.intern(&message.network),
                address::cidr(&message.address, length)?,
            )),
        }
    }
    Ok((single, ranges))
}

fn weighted(
    list: &[proto::WeightedWaypoint],
    interner: &mut Interner,
) -> Result<Vec<WeightedWaypoint>, InvalidService> {
    list.iter()
        .map(|message| {
            let gateway = message.destination.as_ref().ok_or(InvalidService::NoDestination)?;
            let destination = address::gateway(gateway, interner).map_err(|source| {
                InvalidService::Address { field: "weighted_waypoints", source }
            })?;
            Ok(WeightedWaypoint { destination, weight: message.weight })
        })
        .collect()
}

fn load_balancer(message: &proto::LoadBalancing) -> Result<LoadBalancer, InvalidService> {
    let unknown = |field, value| InvalidService::LoadBalancing { field, value };
    let mut routing_preferences = Vec::with_capacity(message.routing_preference.len());
    for &value in &message.routing_preference {
        routing_preferences.push(match Scope::try_from(value) {
            Ok(Scope::UnspecifiedScope) => continue,
            Ok(Scope::Region) => LoadBalancerScope::Region,
            Ok(Scope::Zone) => LoadBalancerScope::Zone,
            Ok(Scope::Subzone) => LoadBalancerScope::Subzone,
            Ok(Scope::Node) => LoadBalancerScope::Node,
            Ok(Scope::Cluster) => LoadBalancerScope::Cluster,
            Ok(Scope::Network) => LoadBalancerScope::Network,
            Err(_) => return Err(unknown("routing_preference", value)),
        });
    }
    let mode = match Mode::try_from(message.mode) {
        Ok(Mode::UnspecifiedMode) => LoadBalancerMode::Standard,
        Ok(Mode::Strict) => LoadBalancerMode::Strict,
        Ok(Mode::Failover) => LoadBalancerMode::Failover,
        Ok(Mode::Passthrough) => LoadBalancerMode::Passthrough,
        Err(_) => return Err(unknown("mode", message.mode)),
    };
    let health_policy = match ProtoHealth::try_from(message.health_policy) {
        Ok(ProtoHealth::OnlyHealthy) => HealthPolicy::OnlyHealthy,
        Ok(ProtoHealth::AllowAll) => HealthPolicy::AllowAll,
        Err(_) => return Err(unknown("health_policy", message.health_policy)),
    };
    Ok(LoadBalancer { routing_preferences, mode, health_policy })
}

fn ip_families(value: i32) -> Option<IpFamilies> {
    match proto::IpFamilies::try_from(value) {
        Ok(proto::IpFamilies::Ipv4Only) => Some(IpFamilies::V4),
        Ok(proto::IpFamilies::Ipv6Only) => Some(IpFamilies::V6),
        Ok(proto::IpFamilies::Dual) => Some(IpFamilies::Dual),
        Ok(proto::IpFamilies::Automatic) | Err(_) => None,
    }
}

/// An unknown visibility is a public one, by the protocol.
fn visibility(value: i32) -> Visibility {
    match proto::Visibility::try_from(value) {
        Ok(proto::Visibility::Namespace) => Visibility::Namespace,
        Ok(proto::Visibility::Public) | Err(_) => Visibility::Public,
    }
}
