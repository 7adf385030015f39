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
        let known = |kind: &Kind| Kind::ROUTES.contains(kind) || *kind == Kind::Gateway;
        let Some(kind) = kind.filter(known) else { continue };
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

/// The Gateways that show a certificate.
pub(super) fn with_certificate(world: World<'_>, secret: &Key, keys: &mut BTreeSet<Key>) {
    let reference = BackendRef::of(secret);
    let shows = |object: &&Object| match object {
        Object::Gateway(gateway) => {
            let tls = gateway.listeners.iter().filter_map(|listener| listener.tls.as_ref());
            tls.flat_map(|tls| &tls.certificates).any(|certificate| *certificate == reference)
        }
        _ => false,
    };
    keys.extend(world.inputs.of_kind(Kind::Gateway).filter(shows).map(Object::key));
}

/// The routes that concern the services and Gateways among `keys`: those that are attached to them, and those that send
/// traffic to them, with what these are attached to.
pub(in crate::index) fn spread(world: World<'_>, keys: &mut BTreeSet<Key>) {
    let parent =
        |key: &&Key| matches!(key.kind, Kind::Gateway | Kind::Service | Kind::ServiceEntry);
    let services: Vec<Key> = keys.iter().filter(parent).cloned().collect();
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
