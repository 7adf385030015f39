//! Builders of small meshes for tests.

use std::sync::Arc;

use ambit_model::{
    Action, Authorization, GatewayAddress, GatewayDestination, LoadBalancer, LoadBalancerMode,
    LoadBalancerScope, Match, NamespacedHostname, NetworkAddress, NetworkCidr, Scope, Service, Str,
    StringMatch, TunnelProtocol, Workload,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::{Config, Snapshot, Store, Update};

/// The node of the store in tests.
pub(crate) const NODE: &str = "node-1";

pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// A store that has applied `updates` as one batch.
pub(crate) fn store(updates: impl IntoIterator<Item = Update>) -> Store {
    let mut store = Store::new(Config { node: NODE.into() });
    store.apply(updates);
    store
}

pub(crate) fn snapshot(updates: impl IntoIterator<Item = Update>) -> Arc<Snapshot> {
    store(updates).snapshot()
}

/// The uid of pod `name` in namespace `shop`.
pub(crate) fn uid(name: &str) -> Str {
    format!("Kubernetes//Pod/shop/{name}").into()
}

/// A pod of namespace `shop` in the mesh, whose service account has its name.
pub(crate) fn pod(name: &str, ip: &str) -> Workload {
    Workload {
        uid: uid(name),
        name: name.into(),
        namespace: "shop".into(),
        service_account: name.into(),
        workload_ips: vec![ip.parse().unwrap()],
        protocol: TunnelProtocol::Hbone,
        node: NODE.into(),
        ..Workload::default()
    }
}

/// A service of namespace `shop` with port 80 → 8080; headless if `vip` is empty.
pub(crate) fn service(name: &str, vip: &str) -> Service {
    let vip = (!vip.is_empty()).then(|| NetworkAddress::new("", vip.parse().unwrap()));
    Service {
        name: name.into(),
        namespace: "shop".into(),
        hostname: format!("{name}.shop").into(),
        vips: vip.into_iter().collect(),
        ports: [(80, 8080)].into(),
        ..Service::default()
    }
}

pub(crate) fn key(name: &str) -> NamespacedHostname {
    NamespacedHostname::new("shop", format!("{name}.shop"))
}

pub(crate) fn cidr(range: &str) -> NetworkCidr {
    NetworkCidr::new("", range.parse().unwrap())
}

pub(crate) fn balancer(mode: LoadBalancerMode, scopes: &[LoadBalancerScope]) -> LoadBalancer {
    LoadBalancer { routing_preferences: scopes.into(), mode, health_policy: Default::default() }
}

/// A gateway named by its service or hostname in namespace `shop`.
pub(crate) fn named(name: &str) -> GatewayAddress {
    GatewayAddress { destination: GatewayDestination::Hostname(key(name)), hbone_mtls_port: 15008 }
}

/// A gateway at `network/ip`.
pub(crate) fn at(address: &str) -> GatewayAddress {
    let destination = GatewayDestination::Address(address.parse().unwrap());
    GatewayAddress { destination, hbone_mtls_port: 15008 }
}

/// A policy of namespace `shop` that allows a peer of namespace `name`.
pub(crate) fn policy(name: &str, scope: Scope) -> Authorization {
    let from = Match { namespaces: vec![StringMatch::Prefix(name.into())], ..Match::default() };
    Authorization {
        name: name.into(),
        namespace: "shop".into(),
        scope,
        action: Action::Allow,
        rules: vec![vec![vec![from]]],
        dry_run: false,
    }
}

/// `workload` as an endpoint of services `names`, without ports of its own.
pub(crate) fn of(names: &[&str], workload: Workload) -> Workload {
    let services = names.iter().map(|name| (key(name), [].into())).collect();
    Workload { services, ..workload }
}

/// `value` after `change`.
pub(crate) fn but<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}
