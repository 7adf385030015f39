//! What routes join: what they are attached to, and where they send traffic.

use std::collections::BTreeSet;

use ambit_model::Str;

use crate::index::World;
use crate::watch::kinds::{BackendRef, ParentRef, ReferenceGrant, Route};
use crate::watch::{Key, Kind, Object};

/// What a route is attached to.
pub(super) fn parents(route: &Route, keys: &mut BTreeSet<Key>) {
    keys.extend(route.parents.iter().filter_map(ParentRef::key));
}

/// The routes that a grant lets refer to something.
pub(super) fn granted(world: World<'_>, grant: &ReferenceGrant, keys: &mut BTreeSet<Key>) {
    for from in &grant.from {
        let kind = Kind::named(&from.group, &from.kind);
        let Some(kind) = kind.filter(|kind| Kind::ROUTES.contains(kind)) else { continue };
        for object in world.inputs.in_namespace(kind, &from.namespace) {
            keys.insert(object.key());
            if let Object::Route(route) = object {
                parents(route, keys);
            }
        }
    }
}

/// The routes that send traffic to a service by one of its host names.
pub(super) fn by_host(world: World<'_>, service: &Object, keys: &mut BTreeSet<Key>) {
    let hosts: Vec<Str> = match service {
        Object::Service(service) => vec![world.inputs.hostname(&service.meta)],
        Object::ServiceEntry(entry) => entry.hosts.clone(),
        _ => return,
    };
    hosts.iter().for_each(|host| routes_to(world, &BackendRef::host(host), keys));
}

/// The routes that concern the services among `keys`: those that are attached to them, and those that send traffic to
/// them, with what these are attached to.
pub(in crate::index) fn spread(world: World<'_>, keys: &mut BTreeSet<Key>) {
    let service = |key: &&Key| matches!(key.kind, Kind::Service | Kind::ServiceEntry);
    let services: Vec<Key> = keys.iter().filter(service).cloned().collect();
    for key in &services {
        keys.extend(world.inputs.routes_of(key).map(|route| route.key()));
        routes_to(world, &BackendRef::of(key), keys);
    }
}

fn routes_to(world: World<'_>, backend: &BackendRef, keys: &mut BTreeSet<Key>) {
    for key in world.inputs.routes_to(backend) {
        keys.insert(key.clone());
        world.inputs.route(key).into_iter().for_each(|route| parents(route, keys));
    }
}
