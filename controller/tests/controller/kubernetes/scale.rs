//! Many events, large objects, several replicas, and an API server that comes and goes.

use std::fmt::Write as _;

use ambit_xds::Held;
use serde_json::Value;

use tokio::sync::watch;

use super::{CONFIG_MAPS, NAMESPACES, PODS, controller, system_pod};
use crate::api::{Api, Trouble};
use crate::harness::{Running, eventually, forward, pod};

async fn mesh() -> Api {
    let api = Api::start().await;
    let pods = [pod("web", "10.0.0.1", "node-a"), pod("db", "10.0.0.2", "node-b")].concat();
    api.apply(&[NAMESPACES, &pods].concat());
    system_pod(&api, "zt-a", "ztunnel", "node-a");
    api
}

async fn leads(replica: &Running) -> bool {
    replica.metric("ambit_controller_is_leader").await > 0.0
}

#[tokio::test]
async fn a_storm_of_events_is_few_pushes_and_ends_with_the_last_state() {
    let api = mesh().await;
    let controller = controller(&api, "one").await;
    let mut proxy = controller.proxy_with("token-of-zt-a", Held::default());
    proxy.synced().await;
    for i in 0..5000_u32 {
        api.apply(&pod("web", &format!("10.3.{}.{}", i / 250, i % 250 + 1), "node-a"));
    }
    api.apply(&pod("last", "10.0.0.9", "node-b"));
    while !proxy.changes().await.contains(&"+Kubernetes//Pod/shop/last".to_owned()) {}
    let pushes = controller.metric("ambit_controller_pushes_total{type=\"WDS\"}").await;
    assert!(pushes < 1000.0, "{pushes} pushes");
    let listed = controller.get("/debug/objects").await;
    assert!(listed.contains("\"addresses\": 3"), "{listed}");
    let waiting = async || controller.metric("ambit_controller_changes_waiting").await;
    eventually(|| async { waiting().await < 1.0 }).await;
}

#[tokio::test]
async fn a_large_object_is_an_object() {
    let api = mesh().await;
    let mut policy = "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: large, namespace: shop}
spec: {rules: [{from: [{source: {principals: ["
        .to_owned();
    for i in 0..100_000 {
        write!(policy, "cluster.local/ns/shop/sa/a-long-name-of-an-account-{i},").unwrap();
    }
    policy.push_str("last]}}]}]}\n");
    assert!(policy.len() > 5_000_000);
    let controller = controller(&api, "one").await;
    let mut proxy = controller.proxy_with("token-of-zt-a", Held::default());
    proxy.synced().await;
    api.apply(&policy);
    assert_eq!(proxy.changes().await, ["+shop/large"]);
    api.apply(&pod("new", "10.0.0.3", "node-b"));
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/new"]);
}

#[tokio::test]
async fn replicas_serve_the_same_versions() {
    let api = mesh().await;
    let (one, two) = tokio::join!(controller(&api, "one"), controller(&api, "two"));
    let address = watch::Sender::new(one.address);
    let port = forward(address.subscribe()).await;
    let mut proxy = one.proxy_at(port, "token-of-zt-a", Held::default());
    assert_eq!(proxy.synced().await, ["+Kubernetes//Pod/shop/db", "+Kubernetes//Pod/shop/web"]);
    // The proxy comes to the other replica with the versions of the first.
    address.send_replace(two.address);
    let _files = one.stop().await;
    let connected = async || two.metric("ambit_controller_connected_proxies").await;
    eventually(|| async { connected().await > 0.0 }).await;
    api.apply(&pod("new", "10.0.0.3", "node-b"));
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/new"], "and nothing again");
}

#[tokio::test]
async fn a_leader_that_is_cut_off_gives_way_to_another() {
    let api = mesh().await;
    let door = api.door().await;
    let one = controller(&door, "one").await;
    assert!(leads(&one).await, "it is alone");
    let two = controller(&api, "two").await;
    assert!(!leads(&two).await);
    door.shut();
    // Never both: the first one gives up before the second one takes over.
    eventually(|| async {
        let both = (leads(&two).await, leads(&one).await);
        assert_ne!(both, (true, true));
        both == (true, false)
    })
    .await;
    let holder = || -> Option<Value> {
        let lease =
            api.get("apis/coordination.k8s.io/v1/leases", "istio-system", "ambit-controller")?;
        Some(lease["spec"]["holderIdentity"].clone())
    };
    assert_eq!(holder(), Some("two".into()));
    api.apply("{apiVersion: v1, kind: Namespace, metadata: {name: later}}");
    eventually(|| async { api.get(CONFIG_MAPS, "later", "istio-ca-root-cert").is_some() }).await;
}

#[tokio::test]
async fn an_outage_of_the_api_server_is_an_outage_of_news_alone() {
    let api = mesh().await;
    let controller = controller(&api, "one").await;
    let mut proxy = controller.proxy_with("token-of-zt-a", Held::default());
    proxy.synced().await;
    api.fail("", Some(Trouble::Down));
    eventually(|| async { controller.get("/debug/objects").await.contains("until it answers") })
        .await;
    // Whoever was known is served on, also on a new stream.
    let mut again = controller.proxy_with("token-of-zt-a", Held::default());
    assert!(again.synced().await.contains(&"+Kubernetes//Pod/shop/web".to_owned()));
    api.delete(PODS, "shop", "db");
    api.apply(&pod("new", "10.0.0.3", "node-b"));
    api.compact();
    api.fail("", None);
    for proxy in [&mut proxy, &mut again] {
        let mut changes = proxy.changes().await;
        if changes.len() < 2 {
            changes.extend(proxy.changes().await);
        }
        changes.sort();
        assert_eq!(changes, ["+Kubernetes//Pod/shop/new", "-Kubernetes//Pod/shop/db"]);
    }
    eventually(|| async { !controller.get("/debug/objects").await.contains("until it answers") })
        .await;
}

#[tokio::test]
async fn what_goes_ahead_is_told_once_and_so_is_the_rest() {
    let api = mesh().await;
    let controller = controller(&api, "one").await;
    let mut proxy = controller.proxy_with("token-of-zt-a", Held::default());
    proxy.synced().await;
    // Thousands elsewhere, and some here, while the proxy is busy with the first of them.
    for i in 0..3000_u32 {
        let ip = format!("10.4.{}.{}", i / 250, i % 250 + 1);
        api.apply(&pod(&format!("p-{i}"), &ip, if i % 100 == 7 { "node-a" } else { "node-b" }));
    }
    let mut told = Vec::new();
    while told.len() < 3000 {
        told.extend(proxy.changes().await);
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 3000, "each once");
}
