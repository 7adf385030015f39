//! What routes join: what they are attached to, and where they send traffic.

use std::collections::BTreeSet;

use ambit_model::Str;

use crate::index::World;
use crate::watch::kinds::{
    BackendRef, BackendTlsPolicy, DestinationRule, Listener, ParentRef, ReferenceGrant, Route,
    VirtualService,
};
use crate::watch::{Key, Kind, Object};

/// What an object concerns that says where traffic goes, or what that takes.
pub(super) fn of(world: World<'_>, object: &Object, keys: &mut BTreeSet<Key>) {
    match object {
        Object::Route(route) => {
            parents(route, keys);
            treated(world, route, keys);
        }
        Object::ReferenceGrant(grant) => granted(world, grant, keys),
        Object::GatewayClass(class) => {
            let gateways = world.inputs.of_kind(Kind::Gateway);
            let of_class =
                |o: &&Object| matches!(o, Object::Gateway(g) if g.class == class.meta.name);
            keys.extend(gateways.filter(of_class).map(Object::key));
        }
        Object::VirtualService(service) => of_virtual_service(world, service, keys),
        Object::DestinationRule(rule) => of_rule(world, rule, keys),
        Object::BackendTlsPolicy(policy) => {
            keys.extend(policy.targets.iter().map(|target| target.key.clone()));
        }
        Object::ListenerSet(set) => keys.extend(set.gateway.clone()),
        Object::ConfigMap(_) => with_authorities(world, &object.key(), keys),
        Object::Secret(_) => {
            with_certificate(world, &object.key(), keys);
            with_credential(world, &object.meta().name, keys);
        }
        _ => {}
    }
}

/// What a route is attached to.
fn parents(route: &Route, keys: &mut BTreeSet<Key>) {
    keys.extend(route.parents.iter().filter_map(ParentRef::key));
}

/// The routes that a grant lets refer to something.
fn granted(world: World<'_>, grant: &ReferenceGrant, keys: &mut BTreeSet<Key>) {
    for from in &grant.from {
        let kind = Kind::named(&from.group, &from.kind);
        let known = |kind: &Kind| {
            Kind::ROUTES.contains(kind) || matches!(kind, Kind::Gateway | Kind::ListenerSet)
        };
        let Some(kind) = kind.filter(known) else { continue };
        for object in world.inputs.in_namespace(kind, &from.namespace) {
            keys.insert(object.key());
            if let Object::Route(route) = object {
                parents(route, keys);
            }
        }
    }
}

/// What sends traffic to a service by one of its host names, or is for it.
pub(super) fn by_host(world: World<'_>, service: &Object, keys: &mut BTreeSet<Key>) {
    for host in world.inputs.hosts_of(service) {
        routes_to(world, &BackendRef::host(&host), keys);
        let hosts = &world.inputs.hosts;
        for key in hosts.senders(&host) {
            keys.insert(key.clone());
            keys.extend(world.inputs.served_by(key));
        }
        keys.extend(hosts.virtual_services(&host).map(|(_, key)| key.clone()));
        keys.extend(hosts.rules(&host).map(|(_, key)| key.clone()));
    }
}

/// What a VirtualService is for, by itself or as a delegate, what it and its delegates send traffic to, and its rivals.
fn of_virtual_service(world: World<'_>, service: &VirtualService, keys: &mut BTreeSet<Key>) {
    let key = service.key();
    let (inputs, domain) = (world.inputs, &world.settings.cluster_domain);
    let mut served = inputs.served_by(&key);
    inputs.with_hosts(&service.full_hosts(domain), &mut served);
    for object in served.iter().filter_map(|key| inputs.get(key)) {
        for host in inputs.hosts_of(object) {
            keys.extend(inputs.hosts.virtual_services(&host).map(|(_, key)| key.clone()));
        }
    }
    keys.extend(served);
    keys.extend(inputs.hosts.delegating(&key).cloned());
    keys.extend(service.delegates());
    inputs.with_hosts(&service.full_destinations(domain), keys);
    for delegate in service.delegates().filter_map(|key| inputs.virtual_service(&key)) {
        inputs.with_hosts(&delegate.full_destinations(domain), keys);
    }
}

/// The services that a DestinationRule is for, and those whose traffic is sent to its subsets.
fn of_rule(world: World<'_>, rule: &DestinationRule, keys: &mut BTreeSet<Key>) {
    let mut services = BTreeSet::new();
    world.inputs.with_hosts(&[rule.full_host(&world.settings.cluster_domain)], &mut services);
    for object in services.iter().filter_map(|key| world.inputs.get(key)) {
        by_host(world, object, keys);
    }
    keys.extend(services);
}

/// The services that a route sends traffic to and that are treated in a way of their own.
fn treated(world: World<'_>, route: &Route, keys: &mut BTreeSet<Key>) {
    for target in route.targets() {
        let mut found = BTreeSet::from_iter(target.key());
        if target.is_host() {
            world.inputs.with_hosts(std::slice::from_ref(&target.name), &mut found);
        }
        keys.extend(found.into_iter().filter(|key| is_treated(world, key)));
    }
}

fn is_treated(world: World<'_>, key: &Key) -> bool {
    if world.inputs.tls_policies_of(key).next().is_some() {
        return true;
    }
    let hosts = world.inputs.get(key).map(|object| world.inputs.hosts_of(object));
    hosts.unwrap_or_default().iter().any(|host| world.inputs.hosts.rules(host).next().is_some())
}

/// The Gateways and policies that check certificates against these authorities, and what these are for.
fn with_authorities(world: World<'_>, map: &Key, keys: &mut BTreeSet<Key>) {
    let reference = BackendRef::of(map);
    let checks = |policy: &BackendTlsPolicy| {
        policy.validation.as_ref().is_ok_and(|v| v.authorities.contains(&reference))
    };
    for object in world.inputs.in_namespace(Kind::BackendTlsPolicy, &map.namespace) {
        if let Object::BackendTlsPolicy(policy) = object
            && checks(policy)
        {
            keys.insert(object.key());
            keys.extend(policy.targets.iter().map(|target| target.key.clone()));
        }
    }
    let asks = |object: &&Object| match object {
        Object::Gateway(gateway) => {
            gateway.tls.validations().any(|clients| clients.authorities.contains(&reference))
        }
        _ => false,
    };
    keys.extend(world.inputs.of_kind(Kind::Gateway).filter(asks).map(Object::key));
}

/// What treats the services among `keys`: it says who sends traffic there, and what counts.
pub(in crate::index) fn treatments_of_services(world: World<'_>, keys: &mut BTreeSet<Key>) {
    let service = |key: &&Key| matches!(key.kind, Kind::Service | Kind::ServiceEntry);
    let services: Vec<Key> = keys.iter().filter(service).cloned().collect();
    for policy in services.iter().flat_map(|key| world.inputs.tls_policies_of(key)) {
        keys.insert(policy.key());
    }
    let hosts = services.iter().filter_map(|key| world.inputs.get(key));
    for host in hosts.flat_map(|object| world.inputs.hosts_of(object)) {
        keys.extend(world.inputs.hosts.rules(&host).map(|(_, key)| key.clone()));
    }
}

/// The Gateways and ListenerSets that show a certificate.
fn with_certificate(world: World<'_>, secret: &Key, keys: &mut BTreeSet<Key>) {
    let reference = BackendRef::of(secret);
    let among = |listeners: &[Listener]| {
        let tls = listeners.iter().filter_map(|listener| listener.tls.as_ref());
        tls.flat_map(|tls| &tls.certificates).any(|certificate| *certificate == reference)
    };
    let shows = |object: &&Object| match object {
        Object::Gateway(gateway) => {
            gateway.tls.certificate.as_ref() == Some(&reference) || among(&gateway.listeners)
        }
        Object::ListenerSet(set) => among(&set.listeners),
        _ => false,
    };
    let all = [Kind::Gateway, Kind::ListenerSet].into_iter();
    let all = all.flat_map(|kind| world.inputs.of_kind(kind));
    keys.extend(all.filter(shows).map(Object::key));
}

/// What DestinationRules are for that name a Secret.
fn with_credential(world: World<'_>, secret: &Str, keys: &mut BTreeSet<Key>) {
    let own = secret.strip_suffix("-cacert");
    let names = |rule: &DestinationRule| {
        let mut all = rule.all_tls().map(|tls| &*tls.credential);
        all.any(|name| name == &**secret || Some(name) == own)
    };
    for object in world.inputs.of_kind(Kind::DestinationRule) {
        if let Object::DestinationRule(rule) = object
            && names(rule)
        {
            keys.insert(object.key());
            of_rule(world, rule, keys);
        }
    }
}

/// The routes that concern the services and Gateways among `keys`: those that are attached to them, and those that send
/// traffic to them, with what these are attached to.
pub(in crate::index) fn spread(world: World<'_>, keys: &mut BTreeSet<Key>) {
    // The listeners of a Gateway and of its ListenerSets are judged together.
    let sets: Vec<Key> = keys.iter().filter(|key| key.kind == Kind::ListenerSet).cloned().collect();
    let sets = sets.iter().filter_map(|key| world.inputs.listener_set(key));
    keys.extend(sets.filter_map(|set| set.gateway.clone()));
    let gateways: Vec<Key> = keys.iter().filter(|key| key.kind == Kind::Gateway).cloned().collect();
    let sets = gateways.iter().flat_map(|key| world.inputs.listener_sets_of(key));
    keys.extend(sets.map(|set| set.key()));
    let parent = |key: &&Key| {
        matches!(key.kind, Kind::Gateway | Kind::ListenerSet | Kind::Service | Kind::ServiceEntry)
    };
    let services: Vec<Key> = keys.iter().filter(parent).cloned().collect();
    for key in &services {
        for route in world.inputs.routes_of(key) {
            keys.insert(route.key());
            treated(world, route, keys);
        }
        routes_to(world, &BackendRef::of(key), keys);
        let object = world.inputs.get(key);
        for host in object.map(|object| world.inputs.hosts_of(object)).unwrap_or_default() {
            // By what a VirtualService sends there its own services concern those.
            for (_, service) in world.inputs.hosts.virtual_services(&host) {
                keys.insert(service.clone());
                sent(world, service, keys);
            }
        }
    }
}

/// The services that a VirtualService or its delegates send traffic to and that are treated in a way of their own.
fn sent(world: World<'_>, key: &Key, keys: &mut BTreeSet<Key>) {
    let Some(service) = world.inputs.virtual_service(key) else { return };
    let mut found = BTreeSet::new();
    let all = service.delegates().chain([key.clone()]);
    for service in all.filter_map(|key| world.inputs.virtual_service(&key)) {
        let hosts = service.full_destinations(&world.settings.cluster_domain);
        world.inputs.with_hosts(&hosts, &mut found);
    }
    keys.extend(found.into_iter().filter(|key| is_treated(world, key)));
}

fn routes_to(world: World<'_>, backend: &BackendRef, keys: &mut BTreeSet<Key>) {
    for key in world.inputs.routes_to(backend) {
        keys.insert(key.clone());
        world.inputs.route(key).into_iter().for_each(|route| parents(route, keys));
    }
}
