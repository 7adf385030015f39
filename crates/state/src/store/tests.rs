//! What lookups find after updates, what is published when, and what becomes of policies.

use ambit_model::{NetworkMode, Scope, TunnelProtocol, Visibility};
use ambit_policy::Candidate;

use super::*;
use crate::fixtures::*;

mod properties;

// === workloads ===

#[test]
fn the_better_claimant_of_an_address_is_found() {
    let claimant = |uid: &str, protocol| {
        but(pod("x", "10.0.0.1"), |w| {
            w.uid = uid.into();
            w.protocol = protocol;
        })
    };
    use TunnelProtocol::{Hbone, Tcp};
    // Best first; the two of one rank go by uid.
    let claimants = [
        claimant("c//Pod/shop/b", Hbone),
        claimant("c//Pod/shop/c", Hbone),
        claimant("c//Pod/shop/a", Tcp),
        claimant("c/networking.istio.io/WorkloadEntry/shop/a", Hbone),
        claimant("c/Pod/shop/a", Tcp),
    ];
    let order = |order: &[usize]| {
        let mut store = store(order.iter().map(|i| claimants[*i].clone().into()));
        for expected in &claimants {
            let found = store.snapshot().workload_at("", [10, 0, 0, 1].into()).unwrap();
            assert_eq!(found.uid, expected.uid, "{order:?}");
            store.apply([Update::RemoveAddress(expected.uid.clone())]);
        }
        assert!(store.snapshot().workload_at("", [10, 0, 0, 1].into()).is_none());
    };
    order(&[0, 1, 2, 3, 4]);
    order(&[4, 3, 2, 1, 0]);
    order(&[2, 4, 1, 0, 3]);
}

#[test]
fn addresses_are_looked_up_on_their_network() {
    let far = but(pod("far", "10.0.0.1"), |w| w.network = "far".into());
    let dual = but(pod("dual", "10.0.0.2"), |w| w.workload_ips.push("fd00::2".parse().unwrap()));
    let host = but(pod("host", "10.0.0.3"), |w| w.network_mode = NetworkMode::HostNetwork);
    let snapshot = snapshot([far.into(), dual.into(), host.into()]);
    let cases = [
        ("", "10.0.0.1", None),
        ("far", "10.0.0.1", Some("far")),
        ("nowhere", "10.0.0.1", None),
        ("", "10.0.0.2", Some("dual")),
        ("", "::ffff:10.0.0.2", Some("dual")),
        ("", "fd00::2", Some("dual")),
        ("far", "fd00::2", None),
        ("", "10.0.0.3", None),
    ];
    for (network, ip, expected) in cases {
        let found = snapshot.workload_at(network, ip.parse().unwrap());
        assert_eq!(found.as_ref().map(|w| &*w.name), expected, "{network}/{ip}");
    }
    assert!(snapshot.workload(&uid("host")).is_some());
}

#[test]
fn a_workload_comes_back_as_it_went_in() {
    let full = Workload {
        uid: "c/networking.istio.io/ServiceEntry/shop/entry/10.0.0.1".into(),
        name: "not-the-last-segment".into(),
        namespace: "shop".into(),
        trust_domain: "example.org".into(),
        service_account: "sa".into(),
        workload_ips: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        network: "net".into(),
        waypoint: Some(named("way")),
        network_gateway: Some(at("far/192.0.2.1")),
        protocol: TunnelProtocol::Hbone,
        network_mode: NetworkMode::HostNetwork,
        workload_name: "deployment".into(),
        workload_type: ambit_model::WorkloadType::Job,
        canonical_name: "canonical".into(),
        canonical_revision: "v2".into(),
        hostname: "host.example".into(),
        node: "node".into(),
        native_tunnel: true,
        encrypt_local: true,
        application_tunnel: Some(ambit_model::ApplicationTunnel {
            protocol: ambit_model::ApplicationTunnelProtocol::Proxy,
            port: Some(15088),
        }),
        authorization_policies: vec!["b/b".into(), "a/a".into()],
        status: ambit_model::HealthStatus::Unhealthy,
        cluster_id: "c".into(),
        locality: ambit_model::Locality {
            region: "r".into(),
            zone: "z".into(),
            subzone: "s".into(),
        },
        services: [(key("cart"), [(80, 8080), (443, 8443)].into()), (key("way"), [].into())].into(),
        capacity: 7,
    };
    let plain = but(pod("plain", "10.0.0.9"), |w| w.workload_ips.clear());
    let odd = but(pod("odd", "10.0.0.8"), |w| w.uid = "no-slash".into());
    let snapshot = snapshot([full.clone().into(), plain.clone().into(), odd.clone().into()]);
    for workload in [full, plain, odd] {
        assert_eq!(*snapshot.workload(&workload.uid).unwrap(), workload);
    }
    assert_eq!(snapshot.workloads().count(), 3);
}

#[test]
fn local_workloads_are_found_by_all_three_names() {
    let elsewhere = but(pod("elsewhere", "10.0.0.2"), |w| w.node = "node-2".into());
    let twin = but(pod("cart", "10.0.0.3"), |w| {
        w.uid = "c//Pod/other/cart".into();
        w.namespace = "other".into();
    });
    let mut store = store([pod("cart", "10.0.0.1").into(), elsewhere.into(), twin.into()]);
    let find = |store: &Store, namespace: &str, name: &str, account: &str| {
        store.snapshot().local_workload(namespace, name, account).map(|w| w.uid.to_string())
    };
    assert_eq!(find(&store, "shop", "cart", "cart").as_deref(), Some(&*uid("cart")));
    assert_eq!(find(&store, "other", "cart", "cart").as_deref(), Some("c//Pod/other/cart"));
    assert_eq!(find(&store, "shop", "cart", "other"), None);
    assert_eq!(find(&store, "shop", "elsewhere", "elsewhere"), None);
    assert_eq!(store.snapshot().local_workloads().count(), 2);
    // It moves away, and another is removed.
    let moved = but(pod("cart", "10.0.0.1"), |w| w.node = "node-2".into());
    store.apply([moved.into(), Update::RemoveAddress("c//Pod/other/cart".into())]);
    assert_eq!(store.snapshot().local_workloads().count(), 0);
}

#[test]
fn without_a_node_every_workload_is_local() {
    let mut store = Store::new(Config::default());
    store.apply([pod("cart", "10.0.0.1").into()]);
    assert!(store.snapshot().local_workload("shop", "cart", "cart").is_some());
}

// === services ===

#[test]
fn endpoints_may_come_before_and_after_their_service() {
    let endpoints = |snapshot: &Snapshot| {
        let service = service("cart", "");
        snapshot.endpoints(&service).map(|e| e.workload().name.to_string()).collect::<Vec<_>>()
    };
    let (a, b) = (|| of(&["cart"], pod("a", "10.0.0.1")), || of(&["cart"], pod("b", "10.0.0.2")));
    let mut store = store([b().into(), service("cart", "").into(), a().into()]);
    assert_eq!(endpoints(&store.snapshot()), ["a", "b"]);
    let left = but(a(), |w| w.services.clear());
    store.apply([left.into()]);
    assert_eq!(endpoints(&store.snapshot()), ["b"]);
    // The service goes and comes back.
    store.apply([Update::RemoveAddress("shop/cart.shop".into())]);
    assert_eq!(store.snapshot().service_count(), 0);
    store.apply([service("cart", "").into(), a().into()]);
    assert_eq!(endpoints(&store.snapshot()), ["a", "b"]);
}

#[test]
fn endpoints_of_large_services() {
    let name = |i: usize| format!("pod-{i:03}");
    let pods = || (0..200).map(|i| of(&["cart"], pod(&name(i), &format!("10.0.0.{i}"))).into());
    let mut store = store(pods().rev());
    let names = |store: &Store| {
        let service = service("cart", "");
        let snapshot = store.snapshot();
        snapshot.endpoints(&service).map(|e| e.uid()).collect::<Vec<_>>()
    };
    let expected = |range: std::ops::Range<usize>| range.map(|i| uid(&name(i))).collect::<Vec<_>>();
    assert_eq!(names(&store), expected(0..200));
    for i in 10..200 {
        store.apply([Update::RemoveAddress(uid(&name(i)))]);
        assert_eq!(names(&store).len(), 199 - (i - 10), "{i}");
    }
    assert_eq!(names(&store), expected(0..10));
    store.apply(pods());
    assert_eq!(names(&store), expected(0..200));
}

#[test]
fn services_of_a_hostname() {
    let twin = |namespace: &str, canonical| {
        but(service("cart", ""), |s| {
            s.namespace = namespace.into();
            s.canonical = canonical;
        })
    };
    let hidden = but(twin("hidden", true), |s| s.visibility = Visibility::Namespace);
    let snapshot = snapshot([
        twin("d", false).into(),
        hidden.into(),
        twin("b", false).into(),
        twin("c", true).into(),
    ]);
    let all: Vec<_> =
        snapshot.services_by_hostname("cart.shop").iter().map(|s| &*s.namespace).collect();
    assert_eq!(all, ["b", "c", "d", "hidden"]);
    let best = |namespace: &str, preferred: Option<&str>| {
        let best = snapshot.best_service("cart.shop", namespace, preferred);
        best.map(|service| service.namespace.to_string())
    };
    assert_eq!(best("d", Some("b")).as_deref(), Some("d"), "own namespace");
    assert_eq!(best("x", Some("b")).as_deref(), Some("c"), "canonical");
    assert_eq!(best("hidden", None).as_deref(), Some("hidden"), "visible to its own");
    assert!(snapshot.best_service("nobody.shop", "x", None).is_none());
}

#[test]
fn the_preferred_namespace_is_better_than_the_first() {
    let twin = |namespace: &str| but(service("cart", ""), |s| s.namespace = namespace.into());
    let snapshot = snapshot([twin("a").into(), twin("b").into()]);
    let best =
        |preferred| snapshot.best_service("cart.shop", "x", preferred).unwrap().namespace.clone();
    assert_eq!((&*best(None), &*best(Some("b")), &*best(Some("z"))), ("a", "b", "a"));
}

// === removal ===

#[test]
fn a_removed_address_is_a_workload_first() {
    // A uid that reads like a service's key.
    let odd = but(pod("odd", "10.0.0.1"), |w| w.uid = "shop/cart.shop".into());
    let mut store = store([odd.into(), service("cart", "").into()]);
    let counts = |store: &Store| {
        let snapshot = store.snapshot();
        (snapshot.workload_count(), snapshot.service_count())
    };
    let remove = || [Update::RemoveAddress("shop/cart.shop".into())];
    store.apply(remove());
    assert_eq!(counts(&store), (0, 1));
    store.apply(remove());
    assert_eq!(counts(&store), (0, 0));
    for unknown in ["shop/cart.shop", "nonsense", "a//b", "", "/", "c//Pod/shop/x"] {
        store.apply([Update::RemoveAddress(unknown.into())]);
    }
    assert_eq!(counts(&store), (0, 0));
}

// === policies ===

/// The candidates for a pod that refers to `names`: `name`, or `?name` for an unknown one.
fn candidates(store: &Store, names: &[&str]) -> Vec<String> {
    let workload = referring("x", names);
    let snapshot = store.snapshot();
    let candidates = snapshot.policies_for(&workload, None, [10, 0, 0, 1].into());
    candidates
        .filter_map(|candidate| match candidate {
            Candidate::Known(policy) => Some(policy.name.to_string()),
            Candidate::Unknown(name) => Some(format!("?{name}")),
            Candidate::HasAllow { .. } => None,
        })
        .collect()
}

fn referring(name: &str, policies: &[&str]) -> Workload {
    let policies = policies.iter().map(|policy| (*policy).into()).collect();
    but(pod(name, "10.0.0.1"), |w| w.authorization_policies = policies)
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.map(str::to_owned).collect()
}

#[test]
fn policies_apply_by_scope_and_by_reference() {
    let global = but(policy("global", Scope::Global), |p| p.namespace = "istio-system".into());
    let elsewhere = but(policy("elsewhere", Scope::Namespace), |p| p.namespace = "other".into());
    let root =
        but(policy("root", Scope::WorkloadSelector), |p| p.namespace = "istio-system".into());
    let store = store([
        policy("named", Scope::WorkloadSelector).into(),
        policy("ours", Scope::Namespace).into(),
        policy("unused", Scope::WorkloadSelector).into(),
        global.into(),
        elsewhere.into(),
        root.into(),
    ]);
    assert_eq!(candidates(&store, &[]), ["ours", "global"]);
    assert_eq!(
        candidates(&store, &["shop/named", "istio-system/root", "shop/late"]),
        ["ours", "global", "named", "root", "?shop/late"]
    );
    // One that applies anyway is not there twice; one of another namespace applies to who names it.
    assert_eq!(
        candidates(&store, &["shop/ours", "istio-system/global", "other/elsewhere"]),
        ["ours", "global", "elsewhere"]
    );
}

#[test]
fn a_policy_may_change_its_scope() {
    let mut store = store([policy("p", Scope::Namespace).into()]);
    for (scope, unnamed) in
        [(Scope::WorkloadSelector, &[][..]), (Scope::Global, &["p"]), (Scope::Namespace, &["p"])]
    {
        store.apply([policy("p", scope).into()]);
        assert_eq!(candidates(&store, &[]), unnamed, "{scope:?}");
        assert_eq!(candidates(&store, &["shop/p"]), ["p"], "{scope:?}");
        assert_eq!(store.snapshot().policy_count(), 1);
    }
}

#[test]
fn a_removed_policy_stays_until_its_last_reference_goes() {
    let remove = || Update::RemoveAuthorization("shop/p".into());
    let mut store = store([
        policy("p", Scope::WorkloadSelector).into(),
        referring("a", &["shop/p"]).into(),
        referring("b", &["shop/p", "shop/late"]).into(),
    ]);
    assert_eq!(names(store.snapshot().unknown_policies()), ["shop/late"]);
    store.apply([remove(), remove()]);
    assert_eq!(names(store.snapshot().retained_policies()), ["shop/p"]);
    assert_eq!(candidates(&store, &["shop/p"]), ["p"], "still enforced");
    // One reference goes, the other is delivered again, also as a changed workload.
    store.apply([referring("a", &[]).into(), referring("b", &["shop/p"]).into()]);
    store.apply([but(referring("b", &["shop/p"]), |w| w.capacity = 9).into()]);
    assert_eq!(names(store.snapshot().retained_policies()), ["shop/p"]);
    assert_eq!(names(store.snapshot().unknown_policies()), [""; 0]);
    store.apply([Update::RemoveAddress(uid("b"))]);
    assert_eq!(names(store.snapshot().retained_policies()), [""; 0]);
    assert_eq!(store.snapshot().policy_count(), 0);
    assert_eq!(candidates(&store, &["shop/p"]), ["?shop/p"]);
}

#[test]
fn a_retained_policy_that_comes_back_is_an_ordinary_one() {
    let mut store =
        store([policy("p", Scope::Namespace).into(), referring("a", &["shop/p"]).into()]);
    store.apply([Update::RemoveAuthorization("shop/p".into())]);
    // Retained for those that name it, and for nobody else.
    assert_eq!(candidates(&store, &[]), [""; 0]);
    assert_eq!(candidates(&store, &["shop/p"]), ["p"]);
    store.apply([policy("p", Scope::Namespace).into(), Update::RemoveAddress(uid("a"))]);
    assert_eq!(names(store.snapshot().retained_policies()), [""; 0]);
    assert_eq!(candidates(&store, &[]), ["p"]);
}

#[test]
fn a_removed_policy_nobody_names_is_gone() {
    let mut store = store([policy("p", Scope::Global).into()]);
    store.apply([Update::RemoveAuthorization("shop/p".into())]);
    assert_eq!((store.snapshot().policy_count(), candidates(&store, &[]).len()), (0, 0));
    assert_eq!(candidates(&store, &["shop/p"]), ["?shop/p"]);
}

// === publishing ===

#[test]
fn a_batch_is_published_once_and_old_snapshots_stay() {
    let mut store = Store::new(Config::default());
    let reader = store.reader();
    let mut changed = reader.changed();
    let before = reader.snapshot();
    store.apply([pod("a", "10.0.0.1").into(), pod("b", "10.0.0.2").into()]);
    assert!(changed.has_changed().unwrap());
    let after = reader.snapshot();
    assert_eq!((before.version(), after.version()), (0, 1));
    assert_eq!(*changed.borrow_and_update(), 1);
    store.apply([Update::RemoveAddress(uid("a"))]);
    assert_eq!((before.workload_count(), after.workload_count()), (0, 2));
    assert_eq!(reader.snapshot().workload_count(), 1);
    assert!(after.workload_at("", [10, 0, 0, 1].into()).is_some());
}

#[test]
fn synced_means_both() {
    for (first, second) in
        [(Kind::Addresses, Kind::Authorizations), (Kind::Authorizations, Kind::Addresses)]
    {
        let mut store = store([Update::Synced(first), Update::Synced(first)]);
        assert!(!store.snapshot().synced());
        store.apply([Update::Synced(second)]);
        assert!(store.snapshot().synced());
    }
}

#[test]
fn decisions_are_reconsidered_when_they_may_change() {
    let remote = |policies| but(referring("remote", policies), |w| w.node = "node-2".into());
    let steps: [(_, Vec<Update>, _); 16] = [
        ("a local workload with policies", vec![referring("a", &["shop/p"]).into()], true),
        ("again", vec![referring("a", &["shop/p"]).into()], false),
        (
            "something else about it",
            vec![but(referring("a", &["shop/p"]), |w| w.capacity = 2).into()],
            false,
        ),
        ("other policies", vec![referring("a", &["shop/q"]).into()], true),
        (
            "it takes no tunnels",
            vec![but(referring("a", &["shop/q"]), |w| w.protocol = TunnelProtocol::Tcp).into()],
            true,
        ),
        ("it takes tunnels", vec![referring("a", &["shop/q"]).into()], true),
        ("a workload of another node", vec![remote(&["shop/p"]).into()], false),
        ("its policies", vec![remote(&["shop/q"]).into()], false),
        ("a service", vec![service("cart", "").into()], false),
        ("a policy", vec![policy("q", Scope::WorkloadSelector).into()], true),
        ("the same policy", vec![policy("q", Scope::WorkloadSelector).into()], false),
        ("the policy goes", vec![Update::RemoveAuthorization("shop/q".into())], true),
        ("it goes again", vec![Update::RemoveAuthorization("shop/q".into())], false),
        ("first sync", vec![Update::Synced(Kind::Addresses)], true),
        ("the other node's workload goes", vec![Update::RemoveAddress(remote(&[]).uid)], false),
        ("the local one goes", vec![Update::RemoveAddress(referring("a", &[]).uid)], true),
    ];
    let mut store = store([]);
    let mut reconsider = store.reader().policies_changed();
    for (step, updates, expected) in steps {
        store.apply(updates);
        assert_eq!(reconsider.has_changed().unwrap(), expected, "{step}");
        reconsider.mark_unchanged();
    }
}
