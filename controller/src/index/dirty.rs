//! Whose output a change of an object can alter. Saying too much costs time; saying too little is a defect, and a
//! property test looks for it.

mod routes;

use std::collections::BTreeSet;

use ambit_model::Str;

use super::inputs::named_pods;
use super::{World, targets, waypoints};
use crate::watch::kinds::AuthorizationPolicy;
use crate::watch::{Key, Kind, Meta, Object, Selector};

pub(super) use routes::{spread, treatments_of_services};

/// Kinds whose outputs are workloads.
const WORKLOADS: [Kind; 3] = [Kind::Pod, Kind::WorkloadEntry, Kind::ServiceEntry];
/// Kinds that can stand behind a waypoint.
const BOUND: [Kind; 4] = [Kind::Pod, Kind::WorkloadEntry, Kind::ServiceEntry, Kind::Service];

/// The objects whose output may be another one now that `key` has changed from the first to the second of `states`.
pub(super) fn dirty(world: World<'_>, key: &Key, states: [Option<&Object>; 2]) -> BTreeSet<Key> {
    let mut keys = BTreeSet::from([key.clone()]);
    match key.kind {
        Kind::EndpointSlice => keys.extend(states.into_iter().flatten().flat_map(named_pods)),
        Kind::WorkloadEntry => {}
        Kind::Pod => keys.extend(states.iter().flatten().filter_map(|pod| gateway_of(pod.meta()))),
        Kind::Namespace if key.name == world.settings.root_namespace => {
            Kind::ALL.iter().for_each(|kind| everywhere(world, *kind, |_| true, &mut keys));
        }
        Kind::Namespace => {
            Kind::ALL.iter().for_each(|kind| within(world, *kind, &key.name, |_| true, &mut keys));
            everywhere(world, Kind::Gateway, |_| true, &mut keys);
        }
        Kind::Node => on_node(world, &key.name, &mut keys),
        Kind::Service | Kind::ServiceEntry => {
            states.iter().flatten().for_each(|service| endpoints(world, service, &mut keys));
            let label = "kubernetes.io/service-name";
            let of_service = |meta: &Meta| meta.label(label) == Some(&key.name);
            let slices = world.inputs.in_namespace(Kind::EndpointSlice, &key.namespace);
            for slice in slices.filter(|slice| of_service(slice.meta())) {
                keys.insert(slice.key());
                keys.extend(named_pods(slice));
            }
            policies_for(world, key, &mut keys);
            // One of them may be what a Gateway is reached by.
            within(world, Kind::Gateway, &key.namespace, |_| true, &mut keys);
            states.iter().flatten().for_each(|service| routes::by_host(world, service, &mut keys));
        }
        Kind::BackendTlsPolicy
        | Kind::ConfigMap
        | Kind::DestinationRule
        | Kind::GatewayClass
        | Kind::GrpcRoute
        | Kind::HttpRoute
        | Kind::ListenerSet
        | Kind::ReferenceGrant
        | Kind::Secret
        | Kind::TcpRoute
        | Kind::TlsRoute
        | Kind::VirtualService => {
            states.into_iter().flatten().for_each(|state| routes::of(world, state, &mut keys));
        }
        Kind::AuthorizationPolicy => {
            let selected = |meta: &Meta| {
                // Labels of a ServiceEntry's endpoints are not its own.
                states
                    .iter()
                    .flatten()
                    .any(|o| selector(o).is_some_and(|s| s.matches(&meta.labels)))
            };
            workloads(world, &key.namespace, selected, &mut keys);
            workloads_of_entries(world, &key.namespace, &mut keys);
            for policy in states.into_iter().flatten() {
                guarded(world, policy, &mut keys);
            }
        }
        Kind::PeerAuthentication => {
            workloads(world, &key.namespace, |_| true, &mut keys);
            let root = key.namespace == world.settings.root_namespace;
            if root {
                everywhere(world, Kind::PeerAuthentication, |_| true, &mut keys);
            }
            within(world, Kind::PeerAuthentication, &key.namespace, |_| true, &mut keys);
        }
        Kind::Gateway => {
            behind(world, key, &mut keys);
            policies_at_waypoints(world, &mut keys);
        }
    }
    keys
}

fn selector(object: &Object) -> Option<&Selector> {
    match object {
        Object::Service(service) => Some(&service.selector).filter(|s| !s.is_empty()),
        Object::ServiceEntry(entry) => entry.selector.as_ref(),
        Object::AuthorizationPolicy(policy) => Some(&policy.selector).filter(|s| !s.is_empty()),
        _ => None,
    }
}

/// Workloads that policies of `namespace` can reach.
fn workloads(
    world: World<'_>,
    namespace: &Str,
    filter: impl Fn(&Meta) -> bool,
    keys: &mut BTreeSet<Key>,
) {
    for kind in WORKLOADS {
        if *namespace == world.settings.root_namespace {
            everywhere(world, kind, &filter, keys);
        } else {
            within(world, kind, namespace, &filter, keys);
        }
    }
}

/// The Gateway that a pod is a part of: the policy that lets its pods through names them.
fn gateway_of(pod: &Meta) -> Option<Key> {
    let name = waypoints::gateway_name(pod)?.clone();
    Some(Key::new(Kind::Gateway, pod.namespace.clone(), name))
}

/// The workloads behind a Service or a ServiceEntry.
fn endpoints(world: World<'_>, service: &Object, keys: &mut BTreeSet<Key>) {
    let selected = |meta: &Meta| selector(service).is_some_and(|s| s.matches(&meta.labels));
    for kind in WORKLOADS {
        within(world, kind, &service.meta().namespace, selected, keys);
    }
}

/// Everything that a Gateway's waypoint stands in front of, or should, and the workloads behind it.
fn behind(world: World<'_>, gateway: &Key, keys: &mut BTreeSet<Key>) {
    for object in BOUND.iter().flat_map(|kind| world.inputs.of_kind(*kind)) {
        if waypoints::mentions(world, object.meta(), gateway) {
            keys.insert(object.key());
            endpoints(world, object, keys);
        }
    }
}

/// What a policy with `targetRefs` closes to all but its waypoints, and what lets those through.
fn guarded(world: World<'_>, policy: &Object, keys: &mut BTreeSet<Key>) {
    let Object::AuthorizationPolicy(policy) = policy else { return };
    for target in &policy.targets {
        match targets::key(&policy.meta, target) {
            Some(key) if key.kind == Kind::Gateway => behind(world, &key, keys),
            Some(key) => {
                let service = world.inputs.get(&key);
                service.into_iter().for_each(|service| endpoints(world, service, keys));
            }
            None => {
                let gateways: Vec<Key> =
                    world.inputs.of_kind(Kind::Gateway).map(Object::key).collect();
                gateways.iter().for_each(|gateway| behind(world, gateway, keys));
            }
        }
        everywhere(world, Kind::Gateway, |_| true, keys);
    }
}

/// The policies whose `targetRefs` name `key`, and what lets the waypoints through that enforce them.
fn policies_for(world: World<'_>, key: &Key, keys: &mut BTreeSet<Key>) {
    let policies: Vec<Key> = policies_naming(world, key).collect();
    if !policies.is_empty() {
        everywhere(world, Kind::Gateway, |_| true, keys);
    }
    keys.extend(policies);
}

fn policies_naming<'a>(world: World<'a>, key: &'a Key) -> impl Iterator<Item = Key> + use<'a> {
    let names = |policy: &AuthorizationPolicy| {
        policy.targets.iter().any(|t| targets::key(&policy.meta, t).as_ref() == Some(key))
    };
    let policies = world.inputs.authorization_policies(&key.namespace);
    policies.filter(move |policy| names(policy)).map(|policy| policy_key(policy))
}

/// The policies whose `targetRefs` name the services among `keys`: they say the hosts of those.
pub(super) fn policies_of_services(world: World<'_>, keys: &mut BTreeSet<Key>) {
    let service = |key: &&Key| matches!(key.kind, Kind::Service | Kind::ServiceEntry);
    let services: Vec<Key> = keys.iter().filter(service).cloned().collect();
    services.iter().for_each(|key| keys.extend(policies_naming(world, key)));
}

/// The policies of any namespace that waypoints enforce.
fn policies_at_waypoints(world: World<'_>, keys: &mut BTreeSet<Key>) {
    for object in world.inputs.of_kind(Kind::AuthorizationPolicy) {
        if matches!(object, Object::AuthorizationPolicy(policy) if !policy.targets.is_empty()) {
            keys.insert(object.key());
        }
    }
}

fn policy_key(policy: &AuthorizationPolicy) -> Key {
    Key::new(Kind::AuthorizationPolicy, policy.meta.namespace.clone(), policy.meta.name.clone())
}

fn workloads_of_entries(world: World<'_>, namespace: &Str, keys: &mut BTreeSet<Key>) {
    if *namespace == world.settings.root_namespace {
        everywhere(world, Kind::ServiceEntry, |_| true, keys);
    } else {
        within(world, Kind::ServiceEntry, namespace, |_| true, keys);
    }
}

fn on_node(world: World<'_>, node: &Str, keys: &mut BTreeSet<Key>) {
    for object in world.inputs.of_kind(Kind::Pod).chain(world.inputs.of_kind(Kind::EndpointSlice)) {
        let there = match object {
            Object::Pod(pod) => pod.node == *node,
            Object::EndpointSlice(slice) => slice.endpoints.iter().any(|e| e.node == *node),
            _ => false,
        };
        if there {
            keys.insert(object.key());
        }
    }
}

fn within(
    world: World<'_>,
    kind: Kind,
    namespace: &Str,
    filter: impl Fn(&Meta) -> bool,
    keys: &mut BTreeSet<Key>,
) {
    let objects = world.inputs.in_namespace(kind, namespace);
    keys.extend(objects.filter(|object| filter(object.meta())).map(Object::key));
}

fn everywhere(
    world: World<'_>,
    kind: Kind,
    filter: impl Fn(&Meta) -> bool,
    keys: &mut BTreeSet<Key>,
) {
    let objects = world.inputs.of_kind(kind);
    keys.extend(objects.filter(|object| filter(object.meta())).map(Object::key));
}
