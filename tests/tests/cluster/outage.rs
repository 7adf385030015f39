//! The API server, a node, everything is switched off.

use std::time::{Duration, Instant};

use super::alone;
use super::kubectl::{cluster, mesh_runs, prints_what};
use super::load::Load;
use super::shop::{AMBIENT, Client, Shop};

/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(60);

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn traffic_and_pods_go_on_without_the_api_server() {
    let _cluster = alone().await;
    let shop = Shop::empty("outage", AMBIENT).await;
    shop.server("near", "node1").await;
    shop.server("far", "node2").await;
    shop.ready().await;
    let near = Load::start(&shop, "to-near", "node1", "http://near/ --rate 50").await;
    let far = Load::start(&shop, "to-far", "node1", "http://far/ --rate 50").await;
    let begun = Instant::now();
    cluster(&["stop", "control"]).await;
    tokio::time::sleep(OUTAGE.saturating_sub(begun.elapsed())).await;
    cluster(&["start", "control"]).await;
    prints_what("get --raw /readyz", |answer| answer == "ok").await;
    mesh_runs().await;
    for load in [&near, &far] {
        let answered = load.counts().await.answered;
        assert!(answered > 50 * OUTAGE.as_secs(), "it went on all the time, {answered}");
    }
    near.nothing_failed("same node, API server away").await;
    far.nothing_failed("across nodes, API server away").await;
    shop.server("later", "node2").await;
    shop.ready().await;
    shop.captured("later", true).await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_node_comes_back_with_its_pods_captured() {
    let _cluster = alone().await;
    let shop = Shop::empty("reboot", AMBIENT).await;
    shop.client(Client {
        name: "outsider",
        node: "node1",
        labels: "istio.io/dataplane-mode: none",
    })
    .await;
    shop.server("near", "node1").await;
    shop.server("far", "node2").await;
    shop.strict().await;
    shop.ready().await;
    shop.expect("outsider", "far", false).await;
    let near = Load::start(&shop, "to-near", "node1", "http://near/ --rate 50").await;
    let far = Load::start(&shop, "to-far", "node1", "http://far/ --rate 50 --timeout 5").await;
    cluster(&["stop", "node2"]).await;
    cluster(&["start", "node2"]).await;
    let counts = far.recovers().await;
    println!("a node was away: {counts:?}");
    // Who is outside has found no moment at which it was open.
    assert_eq!(shop.ask("outsider", "far").await, None);
    mesh_runs().await;
    shop.ready().await;
    near.nothing_failed("the other node").await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn everything_switched_off_and_on_recovers_by_itself() {
    let _cluster = alone().await;
    let shop = Shop::open("blackout", AMBIENT).await;
    shop.strict().await;
    shop.expect("outsider", "web", false).await;
    cluster(&["stop", "node1", "node2", "control"]).await;
    cluster(&["start", "control", "node1", "node2"]).await;
    prints_what("get --raw /readyz", |answer| answer == "ok").await;
    shop.expect("client", "web", true).await;
    assert_eq!(shop.ask("outsider", "web").await, None);
    mesh_runs().await;
    shop.ready().await;
    for pod in ["client", "web"] {
        shop.captured(pod, true).await;
    }
    shop.close().await;
}
