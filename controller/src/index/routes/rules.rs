//! DestinationRules: which one is for a host, and what proxies are told of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use ambit_model::{NamespacedHostname, Str};
use ambit_proto::ambit as proto;
use ambit_xds::ResourceType;
use ambit_xds::encode::Encoded;

use super::destinations::Destination;
use super::{backend_tls, rule_tls};
use crate::index::{Output, World};
use crate::watch::kinds::{BackendRef, DestinationRule, ParentRef, Policy, Subset, Treatment};
use crate::watch::{Key, Kind, Object};

/// The rule for `host` as proxies in the namespace `viewer` see it: theirs, that of the service's own namespace, or that
/// of the root namespace; of several the one that names the host most exactly, and then the oldest.
pub(super) fn chosen<'a>(
    world: World<'a>,
    host: &NamespacedHostname,
    viewer: &Str,
) -> Option<&'a Arc<DestinationRule>> {
    let root = &world.settings.root_namespace;
    let place = |rule: &DestinationRule| {
        [viewer, &host.namespace, root].iter().position(|ns| **ns == rule.meta.namespace)
    };
    let candidates = world.inputs.hosts.rules(&host.hostname).filter_map(|(rank, key)| {
        let rule = world.inputs.destination_rule(key)?;
        let seen = !rule.for_callers && is_visible(&rule.export_to, &rule.meta.namespace, viewer);
        Some((place(rule).filter(|_| seen)?, rank, rule.meta.age(), rule))
    });
    candidates.min_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2))).map(|(.., rule)| rule)
}

/// Whether an object of `owner` that is exported like this is seen in `viewer`.
pub(super) fn is_visible(export_to: &[Str], owner: &Str, viewer: &Str) -> bool {
    let own = |namespace: &Str| &**namespace == "." && owner == viewer;
    export_to.is_empty() || export_to.iter().any(|ns| ns == viewer || own(ns))
}

/// How the proxies that may send traffic to a service treat it.
pub(in crate::index) fn of_service(world: World<'_>, object: &Object) -> Output {
    let mut output = Output::default();
    let Some(destination) = Destination::of(world, object) else { return output };
    let secured = world.inputs.tls_policies_of(&destination.key).next().is_some();
    for host in &destination.hosts {
        if !secured && world.inputs.hosts.rules(&host.hostname).next().is_none() {
            continue;
        }
        for gateway in senders(world, &destination, object, &host.hostname) {
            let rule = chosen(world, host, &gateway.namespace);
            if secured || rule.is_some() {
                let name: Str = host.to_string().into();
                let message = proto::TrafficPolicy {
                    service: name.to_string(),
                    settings: backend_tls::secured(
                        world,
                        &destination,
                        &gateway,
                        rule,
                        settings(world, rule, host, &gateway.namespace),
                    ),
                    required_features: Vec::new(),
                };
                let encoded = Encoded::message(ResourceType::TrafficPolicy, name, &message);
                output.push_at(&[gateway], encoded);
            }
        }
    }
    output
}

/// The Gateways whose proxies send traffic to a service: its waypoints, and those of what is routed to it.
pub(super) fn senders(
    world: World<'_>,
    destination: &Destination,
    object: &Object,
    host: &Str,
) -> BTreeSet<Key> {
    let mut gateways: BTreeSet<Key> = destination.waypoints(world, object).into_iter().collect();
    let references = [BackendRef::of(&destination.key), BackendRef::host(host)];
    for key in references.iter().flat_map(|reference| world.inputs.routes_to(reference)) {
        let route = world.inputs.route(key).into_iter();
        for parent in route.flat_map(|route| route.parents.iter().filter_map(ParentRef::key)) {
            waypoints_of(world, parent, &mut gateways);
        }
    }
    for key in world.inputs.hosts.senders(host) {
        for parent in world.inputs.served_by(key) {
            waypoints_of(world, parent, &mut gateways);
        }
    }
    gateways
}

/// A Gateway itself, or those in front of a service.
fn waypoints_of(world: World<'_>, parent: Key, gateways: &mut BTreeSet<Key>) {
    if parent.kind == Kind::Gateway {
        gateways.insert(parent);
        return;
    }
    if let Some(set) = world.inputs.listener_set(&parent) {
        gateways.extend(set.gateway.clone());
        return;
    }
    let Some(object) = world.inputs.get(&parent) else { return };
    if let Some(destination) = Destination::of(world, object) {
        gateways.extend(destination.waypoints(world, object));
    }
}

/// Why requests to some service that `rule` is for are refused for the sake of its TLS.
pub(super) fn refusals(
    world: World<'_>,
    rule: &DestinationRule,
    services: &BTreeSet<Key>,
) -> BTreeSet<String> {
    let mut refusals = BTreeSet::new();
    for object in services.iter().filter_map(|key| world.inputs.get(key)) {
        let Some(destination) = Destination::of(world, object) else { continue };
        for host in &destination.hosts {
            for gateway in senders(world, &destination, object, &host.hostname) {
                let viewer = &gateway.namespace;
                let first = chosen(world, host, viewer).map(|rule| &rule.meta);
                if first != Some(&rule.meta) {
                    continue;
                }
                let told = rule.all_tls().map(|tls| rule_tls::told(world, tls, host, viewer));
                refusals.extend(told.map(|tls| tls.invalid).filter(|why| !why.is_empty()));
            }
        }
    }
    refusals
}

/// The settings of every port and subset: a port's before the whole's. What is said for a port replaces all that is said
/// for the whole; what is said for a subset, part by part.
fn settings(
    world: World<'_>,
    rule: Option<&Arc<DestinationRule>>,
    host: &NamespacedHostname,
    viewer: &Str,
) -> Vec<proto::Settings> {
    let mut list = Vec::new();
    let Some(rule) = rule else { return list };
    let one = |port: u16, subset: &str, treatment: Treatment| {
        let tls = treatment.tls.as_ref().map(|tls| rule_tls::told(world, tls, host, viewer));
        one(port, subset, treatment, tls)
    };
    for subset in rule.subsets.iter().map(Some).chain([None]) {
        let own = subset.map(|subset: &Subset| &subset.policy);
        let name = subset.map_or("", |subset| &subset.name);
        let ports: BTreeSet<u16> = [Some(&rule.policy), own]
            .into_iter()
            .flatten()
            .flat_map(|p| p.ports.keys())
            .copied()
            .collect();
        for port in ports {
            let of = |policy: &'_ Policy| policy.ports.get(&port).cloned();
            let treatment = own.and_then(of).or_else(|| of(&rule.policy)).unwrap_or_default();
            list.push(one(port, name, treatment));
        }
        let whole = merged(own.map(|policy| &policy.whole), &rule.policy.whole);
        if whole != Treatment::default() {
            list.push(one(0, name, whole));
        }
    }
    list
}

fn merged(own: Option<&Treatment>, base: &Treatment) -> Treatment {
    let own = own.cloned().unwrap_or_default();
    let base = base.clone();
    Treatment {
        balancer: own.balancer.or(base.balancer),
        connection_pool: own.connection_pool.or(base.connection_pool),
        outlier_detection: own.outlier_detection.or(base.outlier_detection),
        tls: own.tls.or(base.tls),
        retry_budget: own.retry_budget.or(base.retry_budget),
    }
}

fn one(
    port: u16,
    subset: &str,
    treatment: Treatment,
    tls: Option<proto::UpstreamTls>,
) -> proto::Settings {
    let Treatment { balancer, connection_pool, outlier_detection, retry_budget, .. } = treatment;
    proto::Settings {
        port: port.into(),
        subset: subset.to_owned(),
        balancer,
        connection_pool,
        outlier_detection,
        tls,
        retry_budget,
    }
}
