//! How endpoints of a service are to be chosen.

use ambit_model::{HealthPolicy, LoadBalancer, LoadBalancerMode, LoadBalancerScope};

use super::World;
use crate::watch::kinds::{Resolution, Service, ServiceEntry};
use crate::watch::{Meta, Problem};

use LoadBalancerScope::{Network, Node, Region, Subzone, Zone};

const ANNOTATION: &str = "networking.istio.io/traffic-distribution";

/// For a Service: `internalTrafficPolicy: Local` keeps traffic on the node; else `spec.trafficDistribution`, the
/// annotation, or the namespace's annotation prefers the near.
pub(super) fn of_service(
    world: World<'_>,
    service: &Service,
    problems: &mut Vec<Problem>,
) -> Option<LoadBalancer> {
    let health_policy =
        if service.publish_not_ready { HealthPolicy::AllowAll } else { HealthPolicy::OnlyHealthy };
    if service.internal_local {
        let routing_preferences = vec![Node];
        let mode = LoadBalancerMode::Strict;
        return Some(LoadBalancer { routing_preferences, mode, health_policy });
    }
    let preference = match &service.traffic_distribution {
        Some(text) => scopes("spec.trafficDistribution", text, problems),
        None => annotated(world, &service.meta, problems),
    };
    balancer(preference, health_policy)
}

/// For a ServiceEntry: without resolution, connections go where they were going; else the annotations prefer the near.
pub(super) fn of_entry(
    world: World<'_>,
    entry: &ServiceEntry,
    problems: &mut Vec<Problem>,
) -> Option<LoadBalancer> {
    if entry.resolution == Resolution::None {
        return Some(LoadBalancer {
            routing_preferences: Vec::new(),
            mode: LoadBalancerMode::Passthrough,
            health_policy: HealthPolicy::AllowAll,
        });
    }
    balancer(annotated(world, &entry.meta, problems), HealthPolicy::OnlyHealthy)
}

fn balancer(
    routing_preferences: Vec<LoadBalancerScope>,
    health_policy: HealthPolicy,
) -> Option<LoadBalancer> {
    let mode = match (routing_preferences.is_empty(), health_policy) {
        (true, HealthPolicy::OnlyHealthy) => return None,
        (true, HealthPolicy::AllowAll) => LoadBalancerMode::Standard,
        (false, _) => LoadBalancerMode::Failover,
    };
    Some(LoadBalancer { routing_preferences, mode, health_policy })
}

fn annotated(world: World<'_>, meta: &Meta, problems: &mut Vec<Problem>) -> Vec<LoadBalancerScope> {
    let namespace = world.inputs.namespace(&meta.namespace);
    match meta.annotation(ANNOTATION).or_else(|| namespace?.meta.annotation(ANNOTATION)) {
        Some(text) => {
            scopes("metadata.annotations[networking.istio.io/traffic-distribution]", text, problems)
        }
        None => Vec::new(),
    }
}

fn scopes(field: &str, text: &str, problems: &mut Vec<Problem>) -> Vec<LoadBalancerScope> {
    match text.to_ascii_lowercase().as_str() {
        "preferclose" | "prefersamezone" => vec![Network, Region, Zone],
        "prefersamenode" => vec![Network, Region, Zone, Subzone, Node],
        _ => {
            let message = format!(
                "{text:?} is none of PreferClose, PreferSameZone, PreferSameNode; traffic is spread evenly"
            );
            problems.push(Problem::new(field, message));
            Vec::new()
        }
    }
}
