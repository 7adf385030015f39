//! [`Service`] → `istio.workload.Service`.

use std::net::IpAddr;

use ambit_model::{
    HealthPolicy, IpFamilies, LoadBalancer, LoadBalancerMode, LoadBalancerScope, Service,
    Visibility,
};
use ambit_proto::workload as proto;
use ambit_proto::workload::load_balancing::{HealthPolicy as ProtoHealth, Mode, Scope};

use super::workload::{gateway, ports};

/// The message of a service.
pub fn service(s: &Service) -> proto::Service {
    let single = s.vips.iter().map(|vip| proto::NetworkAddress {
        network: vip.network.to_string(),
        address: octets(vip.address),
        length: None,
    });
    let ranges = s.cidr_vips.iter().map(|range| proto::NetworkAddress {
        network: range.network.to_string(),
        address: octets(range.cidr.addr()),
        length: Some(range.cidr.prefix_len().into()),
    });
    let weighted = s.weighted_waypoints.iter().map(|w| proto::WeightedWaypoint {
        destination: Some(gateway(&w.destination)),
        weight: w.weight,
    });
    proto::Service {
        name: s.name.to_string(),
        namespace: s.namespace.to_string(),
        hostname: s.hostname.to_string(),
        addresses: single.chain(ranges).collect(),
        ports: ports(&s.ports),
        subject_alt_names: s.subject_alt_names.iter().map(ToString::to_string).collect(),
        waypoint: s.waypoint.as_ref().map(gateway),
        load_balancing: s.load_balancer.as_ref().map(load_balancing),
        ip_families: ip_families(s.ip_families).into(),
        extensions: Vec::new(),
        canonical: s.canonical,
        ingress_use_waypoint: false,
        weighted_waypoints: weighted.collect(),
        visibility: visibility(s.visibility).into(),
    }
}

/// The 4 or 16 bytes of an address.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn load_balancing(lb: &LoadBalancer) -> proto::LoadBalancing {
    let scope = |scope: &LoadBalancerScope| match scope {
        LoadBalancerScope::Region => Scope::Region,
        LoadBalancerScope::Zone => Scope::Zone,
        LoadBalancerScope::Subzone => Scope::Subzone,
        LoadBalancerScope::Node => Scope::Node,
        LoadBalancerScope::Cluster => Scope::Cluster,
        LoadBalancerScope::Network => Scope::Network,
    };
    let mode = match lb.mode {
        LoadBalancerMode::Standard => Mode::UnspecifiedMode,
        LoadBalancerMode::Strict => Mode::Strict,
        LoadBalancerMode::Failover => Mode::Failover,
        LoadBalancerMode::Passthrough => Mode::Passthrough,
    };
    let health_policy = match lb.health_policy {
        HealthPolicy::OnlyHealthy => ProtoHealth::OnlyHealthy,
        HealthPolicy::AllowAll => ProtoHealth::AllowAll,
    };
    proto::LoadBalancing {
        routing_preference: lb.routing_preferences.iter().map(|s| scope(s).into()).collect(),
        mode: mode.into(),
        health_policy: health_policy.into(),
    }
}

fn ip_families(families: Option<IpFamilies>) -> proto::IpFamilies {
    match families {
        None => proto::IpFamilies::Automatic,
        Some(IpFamilies::V4) => proto::IpFamilies::Ipv4Only,
        Some(IpFamilies::V6) => proto::IpFamilies::Ipv6Only,
        Some(IpFamilies::Dual) => proto::IpFamilies::Dual,
    }
}

fn visibility(visibility: Visibility) -> proto::Visibility {
    match visibility {
        Visibility::Public => proto::Visibility::Public,
        Visibility::Namespace => proto::Visibility::Namespace,
    }
}
