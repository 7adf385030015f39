//! What VirtualServices and DestinationRules say about themselves.

use std::collections::BTreeSet;

use ambit_model::Str;

use super::destinations::Destination;
use super::{is_free, rules, tables, virtual_services};
use crate::index::World;
use crate::watch::kinds::{DestinationRule, VirtualService};
use crate::watch::{Condition, ConditionType, Key, Object, Problem};

/// The condition of a VirtualService or a DestinationRule; `read` is what was found wrong when it was read.
pub(in crate::index) fn condition(
    world: World<'_>,
    object: &Object,
    read: &[Problem],
) -> Condition {
    let lines = |list: Vec<&Problem>| {
        let lines: Vec<String> = list.into_iter().map(ToString::to_string).collect();
        lines.join("; ")
    };
    let refused: Vec<&Problem> = read.iter().filter(|problem| !problem.remark).collect();
    if !refused.is_empty() {
        return say(false, "Invalid", lines(refused));
    }
    let verdict = match object {
        Object::VirtualService(service) => of_virtual_service(world, service),
        Object::DestinationRule(rule) => of_rule(world, rule),
        _ => Ok(()),
    };
    match verdict {
        Err((reason, message)) => say(false, reason, message),
        Ok(()) if read.is_empty() => say(true, "Accepted", "in force at waypoints".to_owned()),
        Ok(()) => say(true, "PartiallyInvalid", lines(read.iter().collect())),
    }
}

fn say(status: bool, reason: &'static str, message: String) -> Condition {
    let kind = ConditionType::InForce;
    Condition { kind, status, reason: reason.into(), message: message.into() }
}

fn of_virtual_service(
    world: World<'_>,
    service: &VirtualService,
) -> Result<(), (&'static str, String)> {
    if !service.mesh {
        let message = "none of its gateways is mesh; Gateways of Istio's API are not served";
        return Err(("Unsupported", message.to_owned()));
    }
    if service.hosts.is_empty() {
        return Ok(());
    }
    let served = services(world, &service.full_hosts(&world.settings.cluster_domain));
    if served.is_empty() {
        return Err(("TargetNotFound", "no service has one of its hosts".to_owned()));
    }
    let bound: Vec<&Key> = served.iter().filter(|key| has_waypoint(world, key)).collect();
    if bound.is_empty() {
        let message =
            "no service with one of its hosts has a waypoint; label it istio.io/use-waypoint";
        return Err(("AncestorNotBound", message.to_owned()));
    }
    let rivals: Vec<String> = bound.iter().filter_map(|key| rival(world, key, service)).collect();
    if rivals.len() == bound.len() {
        return Err(("Conflicted", rivals.join("; ")));
    }
    Ok(())
}

/// What is in force for a service in the place of `service`.
fn rival(world: World<'_>, key: &Key, service: &VirtualService) -> Option<String> {
    let destination = Destination::of(world, world.inputs.get(key)?)?;
    let tables = tables::of_service(world, &destination);
    if !destination.ports.iter().any(|port| is_free(&tables, port)) {
        return Some(format!("{key} has routes of the Gateway API, which count instead"));
    }
    let mut hosts = destination.hosts.iter();
    let first =
        hosts.find_map(|host| virtual_services::candidates(world, host).first().copied())?;
    let own =
        first.meta.namespace == service.meta.namespace && first.meta.name == service.meta.name;
    (!own).then(|| {
        format!("VirtualService {}/{} is for {key} already", first.meta.namespace, first.meta.name)
    })
}

fn of_rule(world: World<'_>, rule: &DestinationRule) -> Result<(), (&'static str, String)> {
    if rule.for_callers {
        let message = "spec.workloadSelector: waypoints are no callers that it could select";
        return Err(("Unsupported", message.to_owned()));
    }
    let services = services(world, &[rule.full_host(&world.settings.cluster_domain)]);
    if services.is_empty() {
        return Err(("TargetNotFound", format!("no service has the host {}", rule.host)));
    }
    let fixed = rule.all_tls().map(|tls| tls.invalid.clone()).filter(|why| !why.is_empty());
    let mut refusals: BTreeSet<String> = fixed.collect();
    refusals.extend(rules::refusals(world, rule, &services));
    if !refusals.is_empty() {
        let list = refusals.into_iter().collect::<Vec<_>>().join("; ");
        return Err(("Invalid", format!("requests are refused: {list}")));
    }
    Ok(())
}

fn services(world: World<'_>, hosts: &[Str]) -> BTreeSet<Key> {
    let mut services = BTreeSet::new();
    world.inputs.with_hosts(hosts, &mut services);
    services
}

fn has_waypoint(world: World<'_>, key: &Key) -> bool {
    let Some(object) = world.inputs.get(key) else { return false };
    Destination::of(world, object).is_some_and(|d| !d.waypoints(world, object).is_empty())
}
