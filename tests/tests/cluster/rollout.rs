//! Deployments and the mesh itself are rolled out under load.

use super::kubectl::{done, mesh_runs};
use super::load::Load;
use super::shop::{AMBIENT, Shop};
use super::{alone, together};

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_rollout_at_200_requests_a_second_fails_none() {
    let _cluster = alone().await;
    let shop = Shop::empty("rollout", AMBIENT).await;
    shop.servers("web", 6).await;
    let load = Load::start(&shop, "load", "node1", "http://web/ --rate 200").await;
    done("rollout restart -n rollout deployment/web").await;
    done("rollout status -n rollout deployment/web --timeout=120s").await;
    load.goes_on(400).await;
    let counts = load.nothing_failed("rollout of six servers").await;
    assert!(counts.answered > 400, "{counts:?}");
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn the_tunnels_are_replaced_under_500_connections() {
    let _cluster = alone().await;
    let shop = Shop::empty("upgrade", AMBIENT).await;
    shop.server("near", "node1").await;
    shop.server("far", "node2").await;
    shop.ready().await;
    // Each connection lasts ten seconds, in which it has one request; so 250 to each server are open at any time.
    let calls = |server| format!("http://{server}/?delay=10000 --rate 25 --timeout 25");
    let near = Load::start(&shop, "to-near", "node1", &calls("near")).await;
    let far = Load::start(&shop, "to-far", "node1", &calls("far")).await;
    // And others that are new, short ones.
    let short = Load::start(&shop, "short", "node1", "http://far/ --rate 50").await;
    done("rollout restart -n istio-system daemonset/ztunnel").await;
    mesh_runs().await;
    for load in [&near, &far, &short] {
        load.goes_on(300).await;
    }
    near.nothing_failed("long ones on a node").await;
    far.nothing_failed("long ones across nodes").await;
    short.nothing_failed("short ones").await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn agents_and_controllers_are_replaced_under_load() {
    let _cluster = alone().await;
    let shop = Shop::empty("control", AMBIENT).await;
    shop.server("far", "node2").await;
    shop.ready().await;
    let load = Load::start(&shop, "load", "node1", "http://far/ --rate 100").await;
    for workload in ["daemonset/ambit-agent", "deployment/ambit-controller"] {
        done(&format!("rollout restart -n istio-system {workload}")).await;
        mesh_runs().await;
    }
    load.goes_on(200).await;
    load.nothing_failed("replaced agents and controllers").await;
    // They are of use: a new pod is captured, has its identity and is known.
    shop.strict().await;
    shop.server("later", "node1").await;
    shop.ready().await;
    shop.captured("later", true).await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn pods_come_and_go_beside_long_connections() {
    let _cluster = together().await;
    let shop = Shop::empty("scale", AMBIENT).await;
    shop.servers("web", 1).await;
    let load = Load::start(&shop, "load", "node1", "tcp://web:90 --keep 50 --pause 100").await;
    for replicas in [4, 1] {
        done(&format!("scale -n scale deployment/web --replicas={replicas}")).await;
        done("rollout status -n scale deployment/web --timeout=120s").await;
        load.goes_on(500).await;
    }
    // Which of the four goes is the cluster's choice: those that were connected to it connect again.
    let counts = load.counts().await;
    assert!(counts.failed <= 50, "{counts:?}: {}", load.failures().await);
    load.until("all are connected again", |counts| counts.open == 50).await;
    shop.close().await;
}
