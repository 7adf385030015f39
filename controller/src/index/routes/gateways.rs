//! What the proxies of a Gateway do: their listeners, and for each of these one `Route` for each host.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ambit_model::{GatewayClass, GatewayRole, Str};
use ambit_proto::ambit as proto;
use ambit_xds::ResourceType;
use ambit_xds::encode::Encoded;

use super::listeners::{Front, Judged};
use super::{hostnames, tables};
use crate::index::{Output, World};
use crate::watch::Meta;
use crate::watch::kinds::{Gateway, Route};

/// The routes of a listener, by host.
pub(super) type ByHost<'a> = BTreeMap<Str, Vec<&'a Arc<Route>>>;

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
    let key = [gateway.key()];
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
        name: judged.name().to_string(),
        port: of.port.into(),
        protocol: protocol.into(),
        hostname: of.hostname.to_string(),
        tls: (!certificates.is_empty()).then(|| {
            let (client_authorities, optional) = judged
                .clients
                .as_ref()
                .map(|clients| (clients.authorities.clone(), clients.optional))
                .unwrap_or_default();
            proto::ListenerTls {
                certificates,
                client_authorities,
                client_certificate_optional: optional,
            }
        }),
        required_features: Vec::new(),
    };
    Encoded::message(ResourceType::Listener, judged.name(), &message)
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
    let target =
        proto::ListenerHost { listener: judged.name().to_string(), hostname: host.to_string() };
    let message = proto::Route {
        target: Some(proto::route::Target::Listener(target)),
        tables: vec![table],
        ..proto::Route::default()
    };
    let name = format!("listener/{}/{host}", judged.name()).into();
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
pub(super) fn attached<'a>(world: World<'a>, front: &Front<'a>) -> Vec<ByHost<'a>> {
    let mut listeners = vec![ByHost::new(); front.listeners.len()];
    for owner in front.owners(world) {
        for route in world.inputs.routes_of(&owner) {
            let mut seen = BTreeSet::new();
            let own = route.parents.iter().filter(|parent| parent.key().as_ref() == Some(&owner));
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
    }
    listeners
}

pub(super) fn names(class: &GatewayClass, meta: &Meta) -> ambit_model::GatewayNames {
    class.names(&meta.name, |annotation| meta.annotation(annotation).map(|value| &**value))
}
