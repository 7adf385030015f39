//! Joining and leaving, while pods run and while traffic runs.

use std::time::{Duration, Instant};

use super::kubectl::{done, exec};
use super::load::Load;
use super::shop::{AMBIENT, Shop};
use super::together;

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn running_pods_join_and_leave_without_a_restart() {
    let _cluster = together().await;
    let shop = Shop::open("join", "").await;
    shop.strict().await;
    shop.expect("client", "web", true).await;
    let begun = Instant::now();
    shop.label("istio.io/dataplane-mode=ambient").await;
    for (pod, captured) in [("client", true), ("web", true), ("outsider", false)] {
        shop.captured(pod, captured).await;
    }
    println!("joined {:?} after the label", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // Who has an identity gets through, who stays outside does not; the kubelet's probes are neither.
    shop.expect("outsider", "web", false).await;
    shop.expect("client", "web", true).await;
    shop.ready().await;
    shop.label("istio.io/dataplane-mode-").await;
    shop.expect("outsider", "web", true).await;
    shop.expect("client", "web", true).await;
    shop.captured("web", false).await;
    assert_eq!(shop.restarts().await, "0 0 0");
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn one_pod_joins_or_leaves_by_its_own_label() {
    let _cluster = together().await;
    let shop = Shop::open("single", "").await;
    done("label pod -n single web istio.io/dataplane-mode=ambient").await;
    shop.captured("web", true).await;
    shop.captured("client", false).await;
    shop.label("istio.io/dataplane-mode=ambient").await;
    shop.captured("client", true).await;
    done("label pod -n single --overwrite web istio.io/dataplane-mode=none").await;
    shop.captured("web", false).await;
    shop.expect("client", "web", true).await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn new_pods_are_captured_before_they_start() {
    let _cluster = together().await;
    let shop = Shop::open("fresh", AMBIENT).await;
    shop.strict().await;
    shop.expect("outsider", "web", false).await;
    // Its probes pass under STRICT, and nobody outside has ever got through to it.
    shop.server("second", "node2").await;
    shop.ready().await;
    shop.captured("second", true).await;
    assert_eq!(shop.ask("outsider", "second").await, None);
    shop.expect("client", "second", true).await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn joining_and_leaving_costs_no_request() {
    let _cluster = together().await;
    let shop = Shop::empty("busy", "").await;
    shop.server("near", "node1").await;
    shop.server("far", "node2").await;
    shop.ready().await;
    let near = Load::start(&shop, "to-near", "node1", "http://near/ --keep 10").await;
    let far = Load::start(&shop, "to-far", "node1", "http://far/ --keep 10").await;
    for _ in 0..3 {
        for (label, captured) in
            [("istio.io/dataplane-mode=ambient", true), ("istio.io/dataplane-mode-", false)]
        {
            shop.label(label).await;
            for pod in ["near", "far", "to-near", "to-far"] {
                shop.captured(pod, captured).await;
            }
            near.goes_on(200).await;
            far.goes_on(200).await;
        }
    }
    near.nothing_failed("same node").await;
    far.nothing_failed("across nodes").await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_captured_pod_asks_the_tunnel_for_names() {
    let _cluster = together().await;
    let shop = Shop::open("names", AMBIENT).await;
    // A name that no server of DNS knows.
    super::kubectl::apply(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {name: made-up, namespace: names}\nspec:\n  hosts: [made-up.example]\n  \
         addresses: [240.9.9.9]\n  resolution: STATIC\n  location: MESH_EXTERNAL\n  \
         ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints: [{address: 192.0.2.1}]\n",
    )
    .await;
    let ask = |pod, name| async move { exec("names", pod, &["nslookup", name]).await };
    ambit_tests::eventually(|| async {
        match ask("client", "made-up.example").await {
            Some(answer) if answer.contains("240.9.9.9") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(ask("outsider", "made-up.example").await, None);
    // Names of the cluster, and those that nobody has.
    let web = ask("client", "web.names.svc.cluster.local").await;
    assert!(web.is_some_and(|answer| answer.contains("Address")));
    assert_eq!(ask("client", "nobody.example").await, None);
    shop.close().await;
}
