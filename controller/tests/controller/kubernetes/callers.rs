//! Whose tokens count, and for what.

use ambit_identity::{CertificateSource as _, FetchError};
use ambit_model::Identity;
use ambit_tls::CredentialPem;
use ambit_xds::Held;
use serde_json::Value;

use super::{NAMESPACES, PODS, controller, review, system_pod};
use crate::api::{Api, Trouble};
use crate::harness::{eventually, pod};

fn identity(namespace: &str, account: &str) -> Identity {
    Identity::new("cluster.local", namespace, account)
}

fn refused(result: &Result<CredentialPem, FetchError>) -> bool {
    matches!(result, Err(FetchError::Refused { .. }))
}

async fn mesh() -> Api {
    let api = Api::start().await;
    let pods = [pod("web", "10.0.0.1", "node-a"), pod("db", "10.0.0.2", "node-b")].concat();
    api.apply(&[NAMESPACES, &pods].concat());
    system_pod(&api, "zt-a", "ztunnel", "node-a");
    system_pod(&api, "zt-b", "ztunnel", "node-b");
    system_pod(&api, "waypoint", "waypoint", "node-a");
    api
}

#[tokio::test]
async fn node_proxies_get_their_nodes_certificates_and_others_their_own() {
    let api = mesh().await;
    let controller = controller(&api, "one").await;
    let (a, b) =
        (controller.certificates("token-of-zt-a"), controller.certificates("token-of-zt-b"));
    let waypoint = controller.certificates("token-of-waypoint");
    eventually(|| async { a.fetch(&identity("shop", "web")).await.is_ok() }).await;
    assert!(refused(&a.fetch(&identity("shop", "db")).await));
    assert!(b.fetch(&identity("shop", "db")).await.is_ok());
    assert!(waypoint.fetch(&identity("istio-system", "waypoint")).await.is_ok());
    assert!(refused(&waypoint.fetch(&identity("shop", "web")).await));
    let nobody = controller.certificates("no-such-token");
    assert!(refused(&nobody.fetch(&identity("shop", "web")).await));

    // One question for each token; the unknown one is asked about each time.
    assert_eq!(
        controller.metric("ambit_controller_token_reviews_total{outcome=\"accepted\"}").await,
        3.0
    );
    assert!(
        controller.metric("ambit_controller_token_reviews_total{outcome=\"cached\"}").await >= 2.0
    );
    assert!(
        controller.metric("ambit_controller_token_reviews_total{outcome=\"refused\"}").await >= 1.0
    );
}

#[tokio::test]
async fn a_token_counts_while_its_pod_is_there() {
    let api = mesh().await;
    api.token("token-of-another", review("zt-c", "ztunnel"));
    let mut wrong = review("zt-a", "ztunnel");
    wrong["audiences"] = Value::Null;
    api.token("token-for-others", wrong);
    let controller = controller(&api, "one").await;
    let web = identity("shop", "web");
    let a = controller.certificates("token-of-zt-a");
    eventually(|| async { a.fetch(&web).await.is_ok() }).await;
    for token in ["token-of-another", "token-for-others"] {
        assert!(refused(&controller.certificates(token).fetch(&web).await), "{token}");
    }

    // What was learnt outlasts an outage of the API server for a while; what was not can be asked again.
    api.fail("", Some(Trouble::Down));
    assert!(a.fetch(&web).await.is_ok());
    let b = controller.certificates("token-of-zt-b");
    let unknown = b.fetch(&identity("shop", "db")).await;
    assert!(unknown.is_err() && !refused(&unknown), "{unknown:?}");
    api.fail("", None);

    api.delete(PODS, "istio-system", "zt-a");
    eventually(|| async { refused(&a.fetch(&web).await) }).await;
}

#[tokio::test]
async fn a_proxy_is_told_what_happens_in_the_cluster() {
    let api = mesh().await;
    let controller = controller(&api, "one").await;
    let port = controller.status.expect("a port").port();
    let status = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let get = async |path: &'static str| controller.get_at(status, path).await;
    eventually(|| async { get("/healthz/ready").await.starts_with("ready") }).await;
    assert!(get("/metrics").await.contains("ambit_controller_is_leader 1"));
    assert!(!get("/debug/objects").await.contains("generation"), "not for everybody");
    let mut proxy = controller.proxy_with("token-of-zt-a", Held::default());
    let first = proxy.synced().await;
    assert!(first.contains(&"+Kubernetes//Pod/shop/web".to_owned()), "{first:?}");
    api.apply(&pod("new", "10.0.0.3", "node-a"));
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/new"]);
    api.delete(PODS, "shop", "new");
    assert_eq!(proxy.changes().await, ["-Kubernetes//Pod/shop/new"]);
}
