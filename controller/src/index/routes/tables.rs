//! The routes of one port → a table, in order of precedence.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use ambit_model::Str;
use ambit_proto::ambit as proto;

use super::actions;
use super::destinations::{Destination, Port};
use crate::index::World;
use crate::watch::Kind;
use crate::watch::kinds::{ParentRef, Route};

/// The tables of a service: for every port that routes are attached to, one for callers of each namespace that has
/// routes of its own for it, and one for all others, of the service's namespace.
pub(super) fn of_service(world: World<'_>, destination: &Destination) -> Vec<proto::Table> {
    let mut tables = Vec::new();
    for port in &destination.ports {
        let mut by_namespace: BTreeMap<Str, Vec<&Arc<Route>>> = BTreeMap::new();
        for route in world.inputs.routes_of(&destination.key) {
            if applies(route, destination, port) {
                let own = route.meta.namespace == destination.key.namespace;
                let consumers = if own { Str::default() } else { route.meta.namespace.clone() };
                by_namespace.entry(consumers).or_default().push(route);
            }
        }
        for (consumers, mut routes) in by_namespace {
            keep_most_specific(&mut routes);
            tables.push(proto::Table {
                port: port.number.into(),
                consumer_namespace: consumers.to_string(),
                ..table(world, &mut routes, port.number)
            });
        }
    }
    tables
}

/// The routes of one kind, flattened. `port` is where requests come in.
pub(super) fn table(world: World<'_>, routes: &mut [&Arc<Route>], port: u16) -> proto::Table {
    routes.sort_by_cached_key(|route| route.meta.age());
    let mut table = proto::Table::default();
    let mut ranked = Vec::new();
    for route in routes {
        for (number, rule) in route.rules.iter().enumerate() {
            let name = || actions::name(route, number, rule);
            match route.kind {
                Kind::TlsRoute => table.tls.push(proto::TlsEntry {
                    name: name(),
                    sni: route.hostnames.iter().map(ToString::to_string).collect(),
                    backends: actions::shares(world, route, rule),
                    ..proto::TlsEntry::default()
                }),
                Kind::TcpRoute => table.tcp.push(proto::TcpEntry {
                    name: name(),
                    backends: actions::shares(world, route, rule),
                    ..proto::TcpEntry::default()
                }),
                _ => {
                    let action = u32::try_from(table.actions.len()).unwrap_or(u32::MAX);
                    table.actions.push(actions::http(world, route, (number, rule), port));
                    ranked.extend(rule.matches.iter().map(|m| {
                        let entry = proto::HttpEntry { r#match: Some(m.http.clone()), action };
                        (Reverse(m.rank), entry)
                    }));
                }
            }
        }
    }
    // Stable: of equal ranks the older route, the earlier rule and the earlier match go first.
    ranked.sort_by_key(|(rank, _)| *rank);
    table.http = ranked.into_iter().map(|(_, entry)| entry).collect();
    table
}

/// Whether a parent of `route` is this port.
fn applies(route: &Route, destination: &Destination, port: &Port) -> bool {
    let http = matches!(route.kind, Kind::HttpRoute | Kind::GrpcRoute);
    let named = |parent: &ParentRef| {
        parent.key().as_ref() == Some(&destination.key) && port.is_named(parent)
    };
    (!http || port.is_http()) && route.parents.iter().any(named)
}

/// Where routes of several kinds are attached to one port, the most specific kind alone counts.
fn keep_most_specific(routes: &mut Vec<&Arc<Route>>) {
    let order = [Kind::GrpcRoute, Kind::HttpRoute, Kind::TlsRoute, Kind::TcpRoute];
    let first = order.into_iter().find(|kind| routes.iter().any(|route| route.kind == *kind));
    routes.retain(|route| Some(route.kind) == first);
}
