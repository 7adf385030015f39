//! What a policy's `targetRefs` names, and which waypoints stand in front of it.

use ambit_model::{GatewayClass, GatewayRole};

use super::World;
use super::waypoints;
use crate::watch::kinds::{AuthorizationPolicy, Gateway, Target};
use crate::watch::{Key, Kind, Meta, Object};

/// What became of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ancestor {
    /// The Gateways whose waypoints stand in front of it; never none.
    Bound(Vec<Key>),
    /// It is there, but no waypoint stands in front of it.
    NotBound(String),
    /// It is not there.
    NotFound(String),
    /// It may not be named by this policy.
    Invalid(String),
}

/// What became of a target of `policy`.
pub(super) fn ancestor(
    world: World<'_>,
    policy: &AuthorizationPolicy,
    target: &Target,
) -> Ancestor {
    let namespace = &policy.meta.namespace;
    if let Target::GatewayClass(class) = target {
        return of_class(world, namespace, class);
    }
    let key = key(&policy.meta, target);
    let bound = match key.as_ref().and_then(|key| world.inputs.get(key)) {
        Some(Object::Service(service)) => waypoints::bind_service(world, &service.meta),
        Some(Object::ServiceEntry(entry)) => waypoints::bind_entry(world, entry),
        Some(Object::Gateway(gateway)) => return of_gateway(gateway),
        _ => {
            let key = key.map(|key| key.to_string()).unwrap_or_default();
            return Ancestor::NotFound(format!("there is no {key}"));
        }
    };
    if !bound.gateways.is_empty() {
        return Ancestor::Bound(bound.gateways);
    }
    let key = key.map(|key| key.to_string()).unwrap_or_default();
    Ancestor::NotBound(match bound.refused {
        Some(refusal) => format!("{key} has no waypoint: {}", refusal.problem.message),
        None => format!("{key} has no waypoint; label it or its namespace istio.io/use-waypoint"),
    })
}

/// The object that a target names; absent for a class, of which no object is read.
pub(super) fn key(policy: &Meta, target: &Target) -> Option<Key> {
    let (kind, name) = match target {
        Target::Service(name) => (Kind::Service, name),
        Target::ServiceEntry(name) => (Kind::ServiceEntry, name),
        Target::Gateway(name) => (Kind::Gateway, name),
        Target::GatewayClass(_) => return None,
    };
    Some(Key::new(kind, policy.namespace.clone(), name.clone()))
}

fn of_gateway(gateway: &Gateway) -> Ancestor {
    let key = Key::new(Kind::Gateway, gateway.meta.namespace.clone(), gateway.meta.name.clone());
    if !is_waypoint(gateway) && !is_ingress(gateway) {
        Ancestor::NotBound(format!("{key} is no waypoint: it has no listener of protocol HBONE"))
    } else if gateway.addresses.is_empty() {
        Ancestor::NotBound(format!("{key} is not ready: it has no status.addresses"))
    } else {
        Ancestor::Bound(vec![key])
    }
}

fn of_class(world: World<'_>, namespace: &str, class: &str) -> Ancestor {
    let root = &world.settings.root_namespace;
    if namespace != &**root {
        let message = format!("GatewayClass {class} can be named by policies of {root} alone");
        return Ancestor::Invalid(message);
    }
    let gateways = world.inputs.of_kind(Kind::Gateway).filter_map(|object| match object {
        Object::Gateway(gateway) if &*gateway.class == class => match of_gateway(gateway) {
            Ancestor::Bound(keys) => Some(keys),
            _ => None,
        },
        _ => None,
    });
    let keys: Vec<Key> = gateways.flatten().collect();
    if keys.is_empty() {
        return Ancestor::NotBound(format!("no waypoint of GatewayClass {class} is ready"));
    }
    Ancestor::Bound(keys)
}

/// Whether its proxies let traffic into the mesh.
pub(super) fn is_ingress(gateway: &Gateway) -> bool {
    GatewayClass::named(&gateway.class).is_some_and(|class| class.role == GatewayRole::Ingress)
}

/// Whether its proxies stand in front of something in the mesh.
pub(super) fn is_waypoint(gateway: &Gateway) -> bool {
    gateway.listeners.iter().any(|listener| &*listener.protocol == "HBONE")
}
