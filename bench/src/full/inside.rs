//! What is too small to be seen from outside, measured in this process by calling what the proxy calls.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ambit_model::{
    Authorization, HealthStatus, Identity, Match, NamespacedHostname, StringMatch, TunnelProtocol,
    Workload,
};
use ambit_policy::{Facts, UnknownPolicy, decide};
use ambit_state::{Config, Kind, Store, Update};
use ambit_telemetry::{
    ConnectionSecurity, PeerLabels, Reporter, ResponseFlags, TrafficLabels, TrafficMetrics,
};
use prometheus_client::registry::Registry;

use crate::figure::{Bar, Figure, Limit, SUBJECT, Unit, counted};
use crate::results::percentile;
use crate::testbed::state_file::{NAMESPACE, policy};

/// What policies may cost a connection, seconds.
const DECISION: f64 = 5e-6;
/// What a change of one workload may cost, seconds.
const UPDATE: f64 = 50e-6;
/// Changes that are timed.
const UPDATES: u32 = 5_000;
/// Workloads of a node.
const PODS_OF_NODE: u32 = 50;
/// How long something short is repeated.
const LONG_ENOUGH: Duration = Duration::from_millis(500);

/// One decision about a connection to a workload that so many policies apply to: those that name other identities or
/// addresses are found by them, those that name other ports are asked one by one.
pub(super) fn policies(count: u32) -> [Figure; 3] {
    [("identities", stranger as fn(u32) -> _), ("addresses", policy), ("ports", closed)]
        .map(|(what, policy)| decision(count, what, policy))
}

fn decision(count: u32, what: &str, policy: fn(u32) -> Authorization) -> Figure {
    let mut store = Store::new(Config { node: "node-0".into() });
    let policies = (0..count).map(|number| Update::Authorization(Box::new(policy(number))));
    let pod = Workload { namespace: NAMESPACE.into(), ..workload(0) };
    store.apply(policies.chain([
        Update::Workload(Box::new(pod.clone())),
        Update::Synced(Kind::Addresses),
        Update::Synced(Kind::Authorizations),
    ]));
    let reader = store.reader();
    let source = Identity {
        trust_domain: "cluster.local".into(),
        namespace: NAMESPACE.into(),
        service_account: "client".into(),
    };
    let facts = Facts {
        source_ip: IpAddr::V4(Ipv4Addr::new(10, 244, 1, 2)),
        source_identity: Some(&source),
        destination: SocketAddr::from((Ipv4Addr::new(10, 244, 2, 2), 8080)),
    };
    let took = repeated(|| {
        let snapshot = reader.snapshot();
        let candidates = snapshot.policies_for(&pod, facts.source_identity, facts.source_ip);
        let decision = decide(&facts, candidates, UnknownPolicy::Deny);
        black_box(decision.allowed());
    });
    let policies = counted(count, "policy", "policies");
    one(format!("{policies} about other {what}: a decision (in process)"), took, Some(DECISION))
}

/// A policy that denies an identity that nobody has.
fn stranger(number: u32) -> Authorization {
    let principal = format!("cluster.local/ns/{NAMESPACE}/sa/stranger-{number}");
    let principals = vec![StringMatch::Exact(principal.into())];
    let rules = vec![vec![vec![Match { principals, ..Match::default() }]]];
    Authorization { rules, ..policy(number) }
}

/// A policy that denies a port that is not asked for.
fn closed(number: u32) -> Authorization {
    let destination_ports = vec![20_000 + (number % 10_000) as u16];
    let rules = vec![vec![vec![Match { destination_ports, ..Match::default() }]]];
    Authorization { rules, ..policy(number) }
}

/// The metrics of one connection from beginning to end.
pub(super) fn metrics() -> Figure {
    let metrics = TrafficMetrics::register(&mut Registry::default());
    let labels = TrafficLabels {
        source: Some(PeerLabels { namespace: NAMESPACE.into(), ..PeerLabels::default() }),
        destination: Some(PeerLabels { namespace: NAMESPACE.into(), ..PeerLabels::default() }),
        security: ConnectionSecurity::MutualTls,
        ..TrafficLabels::new(Reporter::Source)
    };
    let took = repeated(|| {
        let connection = metrics.open(black_box(&labels));
        connection.received(100);
        connection.sent(100);
        connection.close(ResponseFlags::None);
    });
    one("metrics of a connection (in process)".to_owned(), took, None)
}

/// The change of one workload among so many, its publication included, with a reader that looks at every version.
pub(super) fn state(workloads: u32) -> Vec<Figure> {
    let mut store = Store::new(Config { node: "node-0".into() });
    let all = (0..workloads).map(|pod| Update::Workload(Box::new(workload(pod))));
    store.apply(all.chain([Update::Synced(Kind::Addresses), Update::Synced(Kind::Authorizations)]));
    let reader = store.reader();
    let mut seen = reader.snapshot();
    let mut took = Vec::new();
    for number in 0..UPDATES {
        // Spread over the mesh, and another status each time so that something changes.
        let pod = number.wrapping_mul(7_919) % workloads.max(1);
        let status = [HealthStatus::Unhealthy, HealthStatus::Healthy][number as usize % 2];
        let update = Update::Workload(Box::new(Workload { status, ..workload(pod) }));
        let began = Instant::now();
        store.apply([update]);
        took.push(began.elapsed().as_secs_f64());
        seen = reader.snapshot();
    }
    black_box(&seen);
    let mean = took.iter().sum::<f64>() / f64::from(UPDATES);
    took.sort_by(f64::total_cmp);
    let title = format!("{workloads} workloads: change of one (in process)");
    let p99 = percentile(&took, 0.99).unwrap_or_default();
    vec![one(title.clone(), mean, Some(UPDATE)), one(format!("{title}: p99"), p99, None)]
}

fn workload(pod: u32) -> Workload {
    let app = pod / 10;
    let (name, namespace) = (format!("app-{app}"), format!("namespace-{}", app % 100));
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 128, 0, 0).to_bits() + pod + 1);
    let service = NamespacedHostname::new(&*namespace, &*format!("{name}.{namespace}.svc"));
    Workload {
        uid: format!("Kubernetes//Pod/{namespace}/{name}-{pod}").into(),
        name: format!("{name}-{pod}").into(),
        namespace: namespace.into(),
        service_account: name.as_str().into(),
        canonical_name: name.as_str().into(),
        workload_name: name.into(),
        workload_ips: vec![address.into()],
        protocol: TunnelProtocol::Hbone,
        node: format!("node-{}", pod / PODS_OF_NODE).into(),
        services: [(service, [(80, 8080)].into())].into(),
        ..Workload::default()
    }
}

/// The mean duration of `work`, seconds.
fn repeated(mut work: impl FnMut()) -> f64 {
    let (mut times, began) = (0u32, Instant::now());
    while began.elapsed() < LONG_ENOUGH {
        for _ in 0..100 {
            work();
        }
        times += 100;
    }
    began.elapsed().as_secs_f64() / f64::from(times)
}

fn one(title: String, seconds: f64, most: Option<f64>) -> Figure {
    let bar = most.map(|most| Bar::Value(Limit::AtMost(most)));
    Figure::new(title, Unit::Seconds, [(SUBJECT, Some(seconds))], bar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_timed_really_happens() {
        let none = policies(0).map(|figure| figure.of(SUBJECT).unwrap());
        let [by_identity, by_address, by_port] =
            policies(500).map(|figure| figure.of(SUBJECT).unwrap());
        assert!(by_port > none[2] && by_port > by_identity, "those by port are asked");
        assert!(by_port > by_address, "those by address are not");
        let figures = state(200);
        assert_eq!(figures.len(), 2);
        assert!(metrics().of(SUBJECT).unwrap() > 0.0);
    }
}
