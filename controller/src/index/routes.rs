//! What waypoints and gateways do with requests: routes of all kinds → one `Route` for each host.

mod actions;
mod authorities;
mod backend_tls;
mod backends;
mod destinations;
mod gateway_status;
mod gateways;
mod hostnames;
mod istio;
mod listener_checks;
mod listener_tls;
mod listeners;
mod rule_tls;
mod rules;
mod statuses;
mod tables;
mod virtual_services;

use ambit_model::Str;
use ambit_proto::ambit as proto;
use ambit_xds::ResourceType;
use ambit_xds::encode::Encoded;

use super::{Output, World};
use crate::watch::Object;
use crate::watch::kinds::Route;

pub(super) use backend_tls::{entries as tls_entries, problems as of_tls_policy};
use destinations::Destination;
pub(super) use destinations::Found;
pub(super) use gateway_status::{
    of_gateway as gateway_status, of_listener_set as listener_set_status,
};
pub(super) use gateways::{account, of_gateway};
pub(super) use istio::condition as istio_condition;
pub(super) use rules::of_service as treatment;
pub(super) use statuses::entries;

/// What the waypoints of a service do for it, even where no route says anything.
pub(super) fn of_service(world: World<'_>, object: &Object) -> Output {
    let mut output = Output::default();
    let Some(destination) = Destination::of(world, object) else { return output };
    let gateways = destination.waypoints(world, object);
    if gateways.is_empty() {
        return output;
    }
    let ports: Vec<proto::Port> = destination.ports.iter().map(Into::into).collect();
    let routed = tables::of_service(world, &destination);
    // Behind a wildcard a waypoint could not tell where to go.
    for host in destination.hosts.iter().filter(|host| !host.hostname.starts_with('*')) {
        let service = host.to_string();
        let name: Str = format!("service/{service}").into();
        for gateway in &gateways {
            let mut tables = routed.clone();
            // The Gateway API wins where both have something to say.
            let free = destination.ports.iter().filter(|port| is_free(&routed, port));
            tables.extend(
                free.filter_map(|port| {
                    virtual_services::table(world, host, &gateway.namespace, port)
                }),
            );
            let route = proto::Route {
                target: Some(proto::route::Target::Service(service.clone())),
                ports: ports.clone(),
                tables,
                required_features: Vec::new(),
            };
            let encoded = Encoded::message(ResourceType::Route, name.clone(), &route);
            output.push_at(std::slice::from_ref(gateway), encoded);
        }
    }
    output
}

/// Whether no table is for callers of all namespaces.
fn is_free(tables: &[proto::Table], port: &destinations::Port) -> bool {
    let here = |table: &proto::Table| table.port == u32::from(port.number);
    !tables.iter().any(|table| here(table) && table.consumer_namespace.is_empty())
}

/// A route is distributed with what it is attached to; it has only problems of its own.
pub(super) fn of_route(world: World<'_>, route: &Route) -> Output {
    Output { problems: backends::problems(world, route), ..Output::default() }
}
