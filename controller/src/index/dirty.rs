//! Whose output a change of an object can alter. Saying too much costs time; saying too little is a defect, and a
//! property test looks for it.

use std::collections::BTreeSet;

use ambit_model::Str;

use super::{World, targets, waypoints};
use crate::watch::kinds::AuthorizationPolicy;
use crate::watch::{Key, Kind, Meta, Object, Selector};

/// Kinds whose outputs are workloads.
const WORKLOADS: [Kind; 3] = [Kind::Pod, Kind::WorkloadEntry, Kind::ServiceEntry];
/// Kinds that can stand behind a waypoint.
const BOUND: [Kind; 4] = [Kind::Pod, Kind::WorkloadEntry, Kind::ServiceEntry, Kind::Service];

/// The objects whose output may be another one now that `key` has changed from the first to the second of `states`.
pub(super) fn dirty(world: World<'_>, key: &Key, states: [Option<&Object>; 2]) -> BTreeSet<Key> {
    let mut keys = BTreeSet::from([key.clone()]);
    match key.kind {
        Kind::Pod | Kind::EndpointSlice | Kind::WorkloadEntry => {}
        Kind::Namespace if key.name == world.settings.root_namespace => {
            Kind::ALL.iter().for_each(|kind| everywhere(world, *kind, |_| true, &mut keys));
        }
        Kind::Namespace => {
            Kind::ALL.iter().for_each(|kind| within(world, *kind, &key.name, |_| true, &mut keys));
        }
        Kind::Node => on_node(world, &key.name, &mut keys),
        Kind::Service | Kind::ServiceEntry => {
            let selected = |meta: &Meta| {
                states
                    .iter()
                    .flatten()
                    .any(|o| selector(o).is_some_and(|s| s.matches(&meta.labels)))
            };
            for kind in WORKLOADS {
                within(world, kind, &key.namespace, selected, &mut keys);
            }
            let label = "kubernetes.io/service-name";
            let of_service = |meta: &Meta| meta.label(label) == Some(&key.name);
            within(world, Kind::EndpointSlice, &key.namespace, of_service, &mut keys);
            policies_for(world, key, &mut keys);
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
            let bound = |meta: &Meta| waypoints::mentions(world, meta, key);
            BOUND.iter().for_each(|kind| everywhere(world, *kind, bound, &mut keys));
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

/// The policies whose `targetRefs` name `key`.
fn policies_for(world: World<'_>, key: &Key, keys: &mut BTreeSet<Key>) {
    let names = |policy: &AuthorizationPolicy| {
        policy.targets.iter().any(|t| targets::key(&policy.meta, t).as_ref() == Some(key))
    };
    let policies = world.inputs.authorization_policies(&key.namespace);
    keys.extend(policies.filter(|policy| names(policy)).map(|policy| policy_key(policy)));
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
