//! The wire: a real tunnel on one side, a peer that this process plays by hand on the other.

mod application;
mod dedicated;
mod ends;
mod families;
mod handshake;
mod inbound;
mod networks;
mod outbound;
mod pool;
mod revocation;
mod same_node;
mod settings;

use ambit_model::{
    GatewayAddress, GatewayDestination, LocalState, NamespacedHostname, Service, Workload,
};

/// A service of the state.
fn service<'a>(state: &'a mut LocalState, name: &str) -> &'a mut Service {
    state.services.iter_mut().find(|service| &*service.name == name).expect("the service is there")
}

/// A workload of the state.
fn workload<'a>(state: &'a mut LocalState, name: &str) -> &'a mut Workload {
    state.workloads.iter_mut().find(|workload| &*workload.name == name).expect("the pod is there")
}

/// A service as a waypoint or gateway: `port` is a port of the service.
fn gateway(service: &str, port: u16) -> GatewayAddress {
    let hostname = format!("{service}.default.svc.cluster.local");
    let key = NamespacedHostname::new("default", hostname.as_str());
    GatewayAddress { destination: GatewayDestination::Hostname(key), hbone_mtls_port: port }
}
