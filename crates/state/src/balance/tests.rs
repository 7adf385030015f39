//! Section 7: the rows on selection, FAILOVER, STRICT and scopes.

use std::collections::BTreeMap;

use ambit_model::{LoadBalancerMode::*, LoadBalancerScope::*, Locality};

use super::*;
use crate::fixtures::{balancer, pod, rng};
use crate::recorder::Recorder;

/// A workload at `region/zone/subzone` on `node` of `network`.
fn placed(name: &str, place: &str, node: &str, network: &str) -> Workload {
    let mut parts = place.split('/');
    let mut next = || parts.next().unwrap_or_default().into();
    Workload {
        locality: Locality { region: next(), zone: next(), subzone: next() },
        node: node.into(),
        network: network.into(),
        ..pod(name, "10.0.0.2")
    }
}

fn client() -> Workload {
    placed("client", "r1/z1/s1", "n1", "")
}

fn records(workloads: &[Workload]) -> Vec<Arc<Record>> {
    let mut recorder = Recorder::default();
    workloads.iter().map(|workload| Arc::new(recorder.record(workload.clone()))).collect()
}

/// How often each of `workloads` is chosen in 1,000 draws.
fn draws(
    balancer: Option<&LoadBalancer>,
    source: &Workload,
    workloads: &[Workload],
) -> BTreeMap<String, usize> {
    let records = records(workloads);
    let mut rng = rng(7);
    let mut counts = BTreeMap::new();
    for _ in 0..1000 {
        if let Some(chosen) = choose(balancer, source, records.iter(), &mut rng) {
            *counts.entry(chosen.name().to_owned()).or_default() += 1;
        }
    }
    counts
}

fn chosen(balancer: &LoadBalancer, source: &Workload, workloads: &[Workload]) -> Vec<String> {
    draws(Some(balancer), source, workloads).into_keys().collect()
}

#[test]
fn failover_takes_the_best_rank_only() {
    let failover = balancer(Failover, &[Network, Region, Zone]);
    let zone = placed("zone", "r1/z1/s9", "n9", "");
    let region = placed("region", "r1/z9/s9", "n9", "");
    let network = placed("network", "r9/z9/s9", "n9", "");
    // The zone matches by name, but the region above it does not.
    let twin_zone = placed("twin-zone", "r9/z1/s9", "n9", "");
    let far_zone = placed("far-zone", "r1/z1/s1", "n1", "far");
    let far = placed("far", "r9/z9/s9", "n9", "far");
    let cases = [
        ("zone", vec![&far, &far_zone, &network, &region, &zone], vec!["zone"]),
        ("region", vec![&far, &far_zone, &network, &twin_zone, &region], vec!["region"]),
        ("network", vec![&far, &far_zone, &network, &twin_zone], vec!["network", "twin-zone"]),
        ("other networks by the other scopes", vec![&far, &far_zone], vec!["far-zone"]),
        ("anything", vec![&far], vec!["far"]),
        ("nothing", vec![], vec![]),
    ];
    for (case, workloads, expected) in cases {
        let workloads: Vec<_> = workloads.into_iter().cloned().collect();
        assert_eq!(chosen(&failover, &client(), &workloads), expected, "{case}");
    }
}

#[test]
fn failover_stops_at_the_first_miss() {
    let failover = balancer(Failover, &[Region, Network, Zone]);
    let near = placed("near", "r1/z9/s9", "n9", "");
    // Region and zone match, but the network between them does not: one scope against two.
    let far = placed("far", "r1/z1/s1", "n1", "far");
    assert_eq!(chosen(&failover, &client(), &[near, far]), ["near"]);
}

#[test]
fn strict_takes_full_matches_only() {
    let strict = balancer(Strict, &[Region, Node]);
    let here = placed("here", "r1/z9/s9", "n1", "");
    let region = placed("region", "r1/z1/s1", "n9", "");
    let node = placed("node", "r9/z1/s1", "n1", "");
    assert_eq!(chosen(&strict, &client(), &[here, region.clone(), node.clone()]), ["here"]);
    assert!(chosen(&strict, &client(), &[region.clone(), node]).is_empty());
    assert_eq!(chosen(&balancer(Strict, &[]), &client(), &[region]), ["region"]);
}

#[test]
fn standard_ignores_preferences() {
    let standard = balancer(Standard, &[Region, Zone]);
    let workloads = [placed("here", "r1/z1/s1", "n1", ""), placed("far", "r9/z9/s9", "n9", "far")];
    assert_eq!(chosen(&standard, &client(), &workloads), ["far", "here"]);
    assert_eq!(draws(None, &client(), &workloads).len(), 2);
}

#[test]
fn every_scope_compares_its_own_property() {
    let twin = || Workload { cluster_id: "c1".into(), ..placed("twin", "r1/z1/s1", "n1", "") };
    let client = Workload { name: "client".into(), ..twin() };
    let others: [(_, fn(&mut Workload)); 6] = [
        (Region, |w| w.locality.region = "other".into()),
        (Zone, |w| w.locality.zone = "other".into()),
        (Subzone, |w| w.locality.subzone = "other".into()),
        (Node, |w| w.node = "other".into()),
        (Cluster, |w| w.cluster_id = "other".into()),
        (Network, |w| w.network = "other".into()),
    ];
    for (scope, change) in others {
        let mut stranger = twin();
        change(&mut stranger);
        let strict = balancer(Strict, &[scope]);
        assert_eq!(chosen(&strict, &client, &[twin()]), ["twin"], "{scope:?}");
        assert!(chosen(&strict, &client, &[stranger.clone()]).is_empty(), "{scope:?}");
        // It compares nothing else.
        for (other, _) in others.iter().filter(|(other, _)| *other != scope) {
            assert_eq!(chosen(&balancer(Strict, &[*other]), &client, &[stranger.clone()]).len(), 1);
        }
    }
}

#[test]
fn empty_equals_empty() {
    let nowhere = Workload { node: "".into(), ..pod("nowhere", "10.0.0.2") };
    let strict = balancer(Strict, &[Region, Zone, Subzone, Node, Cluster, Network]);
    assert_eq!(chosen(&strict, &nowhere, std::slice::from_ref(&nowhere)), ["nowhere"]);
    assert!(chosen(&strict, &client(), &[nowhere]).is_empty());
}

#[test]
fn capacity_is_weight() {
    let weighted = |name, capacity| Workload { capacity, ..pod(name, "10.0.0.2") };
    let workloads = [weighted("one", 1), weighted("none", 0), weighted("three", 3)];
    let counts = draws(None, &client(), &workloads);
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["one", "three"]);
    assert!((200..300).contains(&counts["one"]), "{counts:?}");
    assert!(draws(None, &client(), &[weighted("none", 0)]).is_empty());
    // The largest weights there are do not overflow.
    let huge = [weighted("a", u32::MAX), weighted("b", u32::MAX), weighted("c", u32::MAX)];
    assert_eq!(draws(None, &client(), &huge).len(), 3);
}

#[test]
fn a_rank_without_capacity_gives_place_to_the_next() {
    let failover = balancer(Failover, &[Zone]);
    let here = Workload { capacity: 0, ..placed("here", "r1/z1/s1", "n1", "") };
    let there = placed("there", "r1/z2/s1", "n1", "");
    assert_eq!(chosen(&failover, &client(), &[here, there]), ["there"]);
}
