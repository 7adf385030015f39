//! What the proxies of a Gateway do: their listeners, and for each of these one `Route` for each host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{GatewayClass, GatewayRole, Str};
use ambit_proto::ambit as proto;
use ambit_xds::ResourceType;
use ambit_xds::encode::Encoded;
use serde_json::{Value, json};

use super::listeners::{Front, Judged};
use super::{hostnames, statuses, tables};
use crate::index::{Output, World, waypoints};
use crate::watch::kinds::{Gateway, GatewayAddress, Route, Service};
use crate::watch::{
    Condition, ConditionType, Detail, Entries, Entry, Key, Kind, Meta, Object, Wanted,
};

/// The routes of a listener, by host.
type ByHost<'a> = BTreeMap<Str, Vec<&'a Arc<Route>>>;

/// The service account of the proxies of a Gateway.
pub(in crate::index) fn account(gateway: &Gateway) -> Str {
    let class = GatewayClass::named(&gateway.class).unwrap_or(&ambit_model::GATEWAY_CLASSES[0]);
    names(class, &gateway.meta).service_account.into()
}

/// The listeners and routes of a Gateway that lets traffic in.
pub(in crate::index) fn of_gateway(world: World<'_>, gateway: &Gateway) -> Output {
    let mut output = Output::default();
    let front = Front::of(world, gateway).filter(|f| f.class.role == GatewayRole::Ingress);
    let Some(front) = front else { return output };
    let key = [key(gateway)];
    let attached = attached(world, &front);
    for (judged, routes) in front.listeners.iter().zip(&attached) {
        let Some(protocol) = judged.protocol().filter(|_| judged.is_usable()) else { continue };
        output.push_at(&key, listener(judged, protocol));
        for host in routes.keys() {
            output.push_at(&key, route(world, judged, host, routes));
        }
    }
    output
}

fn listener(judged: &Judged<'_>, protocol: proto::ListenerProtocol) -> Encoded {
    let of = judged.listener;
    let certificates = judged.certificates.clone();
    let message = proto::Listener {
        name: of.name.to_string(),
        port: of.port.into(),
        protocol: protocol.into(),
        hostname: of.hostname.to_string(),
        tls: (!certificates.is_empty())
            .then(|| proto::ListenerTls { certificates, ..proto::ListenerTls::default() }),
        required_features: Vec::new(),
    };
    Encoded::message(ResourceType::Listener, of.name.clone(), &message)
}

/// What a listener does for `host`: its own routes first, then those of wildcards that it is one of.
fn route(world: World<'_>, judged: &Judged<'_>, host: &Str, routes: &ByHost<'_>) -> Encoded {
    let of = judged.listener;
    let mut groups: Vec<&Str> =
        routes.keys().filter(|pattern| hostnames::covers(pattern, host)).collect();
    groups.sort_by_key(|pattern| hostnames::rank(pattern));
    let mut table = proto::Table::default();
    for group in groups {
        let mut list = routes.get(group).cloned().unwrap_or_default();
        append(&mut table, tables::table(world, &mut list, of.port));
    }
    for entry in &mut table.tls {
        entry.sni = if host.is_empty() { Vec::new() } else { vec![host.to_string()] };
    }
    let target = proto::ListenerHost { listener: of.name.to_string(), hostname: host.to_string() };
    let message = proto::Route {
        target: Some(proto::route::Target::Listener(target)),
        tables: vec![table],
        ..proto::Route::default()
    };
    let name = format!("listener/{}/{host}", of.name).into();
    Encoded::message(ResourceType::Route, name, &message)
}

fn append(table: &mut proto::Table, more: proto::Table) {
    let offset = u32::try_from(table.actions.len()).unwrap_or(u32::MAX);
    table.actions.extend(more.actions);
    table.http.extend(more.http.into_iter().map(|mut entry| {
        entry.action = entry.action.saturating_add(offset);
        entry
    }));
    table.tls.extend(more.tls);
    table.tcp.extend(more.tcp);
}

/// The routes of each listener.
fn attached<'a>(world: World<'a>, front: &Front<'a>) -> Vec<ByHost<'a>> {
    let mut listeners = vec![ByHost::new(); front.listeners.len()];
    let key = key(front.gateway);
    for route in world.inputs.routes_of(&key) {
        let mut seen = BTreeSet::new();
        let own = route.parents.iter().filter(|parent| parent.key().as_ref() == Some(&key));
        for (number, hosts) in own.flat_map(|p| front.attach(world, route, p)).flatten() {
            let Some(listener) = listeners.get_mut(number) else { continue };
            for host in hosts {
                // Several parents may be one listener.
                if seen.insert((number, host.clone())) {
                    listener.entry(host).or_default().push(route);
                }
            }
        }
    }
    listeners
}

/// What the status of a Gateway should say; `None` for one that is not ours.
pub(in crate::index) fn status(world: World<'_>, gateway: &Gateway) -> Option<Wanted> {
    let front = Front::of(world, gateway)?;
    let attached = attached(world, &front);
    let entries = front.listeners.iter().zip(&attached).map(|(judged, routes)| {
        let routes: BTreeSet<Key> = routes.values().flatten().map(|route| route.key()).collect();
        entry(judged, routes.len())
    });
    let addresses = addresses(world, &front);
    let unusable: Vec<&str> =
        front.listeners.iter().filter(|j| !j.is_usable()).map(|j| &*j.listener.name).collect();
    let none = unusable.len() == front.listeners.len();
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
    let entries = Entries {
        field: "listeners",
        entries: entries.collect(),
        addresses: (!addresses.is_empty()).then(|| addresses.into()),
    };
    Some(Wanted { conditions: vec![accepted, programmed], entries: Some(entries) })
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
        Detail::new("Programmed", false, "Invalid", "it cannot be used")
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

fn names(class: &GatewayClass, meta: &Meta) -> ambit_model::GatewayNames {
    class.names(&meta.name, |annotation| meta.annotation(annotation).map(|value| &**value))
}

fn key(gateway: &Gateway) -> Key {
    Key::new(Kind::Gateway, gateway.meta.namespace.clone(), gateway.meta.name.clone())
}
