//! What a Gateway says of itself, of its listeners, and where it is found.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ambit_model::{GatewayClass, GatewayRole, Str};
use serde_json::{Map, Value, json};

use super::gateways::{ByHost, attached, names};
use super::listeners::{self, Front, Judged};
use super::{listener_tls, statuses};
use crate::index::{World, waypoints};
use crate::watch::kinds::{Gateway, GatewayAddress, ListenerSet, Service};
use crate::watch::{
    Condition, ConditionType, Detail, Entries, Entry, Key, Kind, Meta, Object, Wanted,
};

/// What the status of a Gateway should say; `None` for one that is not ours.
pub(in crate::index) fn of_gateway(world: World<'_>, gateway: &Gateway) -> Option<Wanted> {
    let front = Front::of(world, gateway)?;
    let own = gateway.key();
    let entries = entries(&front, &own, &attached(world, &front));
    let addresses = addresses(world, &front);
    let unusable = unusable(&front, &own);
    let none = !front.listeners.iter().any(Judged::is_usable);
    let accepted = if let Some(message) = parameters(gateway) {
        condition(ConditionType::Accepted, false, "InvalidParameters", message)
    } else if unusable.is_empty() {
        condition(ConditionType::Accepted, true, "Accepted", "accepted".to_owned())
    } else {
        let message = format!("listeners that cannot be used: {}", unusable.join(", "));
        condition(ConditionType::Accepted, !none, "ListenersNotValid", message)
    };
    let programmed = if addresses.is_empty() {
        let message = "it has no address: its proxies are not ready, or their Service has none";
        condition(ConditionType::Programmed, false, "AddressNotAssigned", message.to_owned())
    } else if none {
        condition(ConditionType::Programmed, false, "Invalid", "no listener can be used".to_owned())
    } else {
        condition(ConditionType::Programmed, true, "Programmed", "told to its proxies".to_owned())
    };
    let mut beside = Map::new();
    if !addresses.is_empty() {
        beside.insert("addresses".to_owned(), addresses.into());
    }
    // Where the field that allows them is known, so is the one that counts them.
    if gateway.allowed_listeners.is_some() {
        let sets = front.owners(world).into_iter().filter(|owner| owner.kind == Kind::ListenerSet);
        let count = sets.filter(|set| is_served_in_part(&front, set)).count();
        beside.insert("attachedListenerSets".to_owned(), count.into());
    }
    let entries = Entries { field: "listeners", entries, beside };
    let mut conditions = vec![accepted, programmed];
    conditions.extend(resolved(world, &front));
    conditions.extend(insecure(gateway));
    Some(Wanted { conditions, entries: Some(entries) })
}

/// What the status of a ListenerSet should say; `None` for one of a Gateway that is not ours.
pub(in crate::index) fn of_listener_set(world: World<'_>, set: &ListenerSet) -> Option<Wanted> {
    let parent = set.gateway.as_ref()?;
    let gateway = world.inputs.gateway(&parent.namespace, &parent.name)?;
    let front = Front::of(world, gateway)?;
    let own = set.key();
    let entries = entries(&front, &own, &attached(world, &front));
    let both = |accepted: bool, programmed: bool, reasons: [&'static str; 2], message: &str| {
        let (of_all, of_proxies) = (ConditionType::Accepted, ConditionType::Programmed);
        vec![
            condition(of_all, accepted, reasons[0], message.to_owned()),
            condition(of_proxies, programmed, reasons[1], message.to_owned()),
        ]
    };
    let unusable = unusable(&front, &own);
    let bad = format!("listeners that cannot be used: {}", unusable.join(", "));
    let conditions = if !listeners::counts(world, gateway, set) {
        let message = format!("{parent} does not allow it; see its spec.allowedListeners");
        both(false, false, ["NotAllowed"; 2], &message)
    } else if !is_served_in_part(&front, &own) {
        both(false, false, ["ListenersNotValid"; 2], &bad)
    } else {
        let (accepted, message) = if unusable.is_empty() {
            ("Accepted", "accepted")
        } else {
            ("ListenersNotValid", &*bad)
        };
        let ready = !addresses(world, &front).is_empty();
        let programmed = if ready { "Programmed" } else { "ParentNotProgrammed" };
        both(true, ready, [accepted, programmed], message)
    };
    let entries = Entries { field: "listeners", entries, beside: Map::new() };
    Some(Wanted { conditions, entries: Some(entries) })
}

fn entries(front: &Front<'_>, owner: &Key, attached: &[ByHost<'_>]) -> Vec<Entry> {
    let own = front.of_owner(owner).map(|(number, judged)| {
        let routes =
            attached.get(number).into_iter().flat_map(|by_host| by_host.values().flatten());
        let routes: BTreeSet<Key> = routes.map(|route| route.key()).collect();
        entry(judged, routes.len())
    });
    own.collect()
}

fn unusable<'a>(front: &Front<'a>, owner: &Key) -> Vec<&'a str> {
    let bad = front.of_owner(owner).filter(|(_, judged)| !judged.is_usable());
    bad.map(|(_, judged)| &*judged.listener.name).collect()
}

fn is_served_in_part(front: &Front<'_>, owner: &Key) -> bool {
    front.of_owner(owner).any(|(_, judged)| judged.is_usable())
}

/// Whether what it refers to is there, where it refers to anything besides its listeners.
fn resolved(world: World<'_>, front: &Front<'_>) -> Option<Condition> {
    let kind = ConditionType::ResolvedRefs;
    let reference = front.gateway.tls.certificate.as_ref()?;
    if let Err((reason, message)) =
        listener_tls::certificate(world, (Kind::Gateway, &front.gateway.meta.namespace), reference)
    {
        let reason = match reason {
            "InvalidCertificateRef" => "InvalidClientCertificateRef",
            other => other,
        };
        return Some(condition(kind, false, reason, message));
    }
    let own = front.of_owner(&front.gateway.key()).map(|(_, judged)| judged).collect::<Vec<_>>();
    let bad = own.iter().filter(|judged| judged.unresolved.is_some());
    let bad: Vec<&str> = bad.map(|judged| &*judged.listener.name).collect();
    if !bad.is_empty() {
        let message = format!("listeners with such references: {}", bad.join(", "));
        return Some(condition(kind, false, "ListenersNotResolved", message));
    }
    Some(condition(kind, true, "ResolvedRefs", "all references are resolved".to_owned()))
}

/// Said where clients are asked for certificates and served without.
fn insecure(gateway: &Gateway) -> Option<Condition> {
    let kind = ConditionType::InsecureFrontendValidationMode;
    let message = "spec.tls.frontend: clients without a valid certificate are served as well";
    let any = gateway.tls.validations().any(|validation| validation.optional);
    any.then(|| condition(kind, true, "ConfigurationChanged", message.to_owned()))
}

/// What is wrong with the kind of object that it names for further fields.
fn parameters(gateway: &Gateway) -> Option<String> {
    let (group, kind) = gateway.parameters.as_ref()?;
    let known = group.is_empty() && &**kind == "ConfigMap";
    let field = "spec.infrastructure.parametersRef";
    (!known).then(|| format!("{field}: is a {kind}; only ConfigMaps are read"))
}

fn condition(
    kind: ConditionType,
    status: bool,
    reason: &'static str,
    message: String,
) -> Condition {
    Condition { kind, status, reason: reason.into(), message: message.into() }
}

fn entry(judged: &Judged<'_>, routes: usize) -> Entry {
    let kinds =
        judged.kinds.iter().map(|kind| json!({"group": kind.group(), "kind": kind.as_str()}));
    let about = json!({
        "name": *judged.listener.name,
        "supportedKinds": kinds.collect::<Vec<_>>(),
        "attachedRoutes": routes,
    });
    let refused = judged.refused.clone().or_else(|| judged.conflict.clone());
    let accepted = match refused {
        Some((reason, message)) => Detail::new("Accepted", false, reason, message),
        None => Detail::new("Accepted", true, "Accepted", "accepted"),
    };
    let conflicted = match judged.conflict.clone() {
        Some((reason, message)) => Detail::new("Conflicted", true, reason, message),
        None => Detail::new("Conflicted", false, "NoConflicts", "no conflicts"),
    };
    let resolved = match judged.unresolved.clone() {
        Some((reason, message)) => Detail::new("ResolvedRefs", false, reason, message),
        None => Detail::new("ResolvedRefs", true, "ResolvedRefs", "all references are resolved"),
    };
    let programmed = if judged.is_usable() {
        Detail::new("Programmed", true, "Programmed", "told to the proxies")
    } else {
        let reason = judged.conflict.as_ref().map_or("Invalid", |(reason, _)| *reason);
        Detail::new("Programmed", false, reason, "it cannot be used")
    };
    let conditions = vec![accepted, conflicted, resolved, programmed];
    Entry { about: statuses::fields(about), conditions }
}

/// Where a Gateway is found once its proxies are ready; what it says already is not taken back.
fn addresses(world: World<'_>, front: &Front<'_>) -> Vec<Value> {
    let Gateway { meta, addresses, .. } = front.gateway;
    let name = names(front.class, meta).objects;
    let service = world.inputs.service(&meta.namespace, &name.into());
    let fresh = service.filter(|_| is_served(world, meta)).map(|service| {
        let own = of_service(front.class, service);
        let host = world.inputs.hostname(&service.meta);
        let named = front.class.role == GatewayRole::Waypoint || !service.load_balancer;
        let host = host_entry(&host);
        own.into_iter().chain(named.then_some(host)).collect::<Vec<_>>()
    });
    let held = addresses.iter().map(|address| match address {
        GatewayAddress::Ip(ip) => ip_entry(*ip),
        GatewayAddress::Hostname(host) => host_entry(host),
    });
    fresh.filter(|list| !list.is_empty()).unwrap_or_else(|| held.collect())
}

fn of_service(class: &GatewayClass, service: &Service) -> Vec<Value> {
    let outside = class.role == GatewayRole::Ingress && service.load_balancer;
    let ips = if outside { &service.ingress_ips } else { &service.cluster_ips };
    ips.iter().map(|ip| ip_entry(*ip)).collect()
}

fn ip_entry(ip: IpAddr) -> Value {
    json!({"type": "IPAddress", "value": ip.to_string()})
}

fn host_entry(host: &Str) -> Value {
    json!({"type": "Hostname", "value": **host})
}

/// Whether a proxy of the Gateway is ready.
fn is_served(world: World<'_>, gateway: &Meta) -> bool {
    let mut pods = world.inputs.in_namespace(Kind::Pod, &gateway.namespace);
    pods.any(|object| match object {
        Object::Pod(pod) => waypoints::gateway_name(&pod.meta) == Some(&gateway.name) && pod.ready,
        _ => false,
    })
}
