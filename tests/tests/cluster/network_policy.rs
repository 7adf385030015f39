//! NetworkPolicy keeps its meaning for pods of the mesh. (The cluster's enforcer works on what nodes forward.)

use super::kubectl::apply;
use super::shop::{AMBIENT, Client, Shop};
use super::together;

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_denied_pair_stays_denied() {
    let _cluster = together().await;
    let shop = Shop::empty("denied", AMBIENT).await;
    shop.client(Client { name: "friend", node: "node1", labels: "role: friend" }).await;
    shop.client(Client { name: "stranger", node: "node1", labels: "" }).await;
    shop.server("near", "node1").await;
    shop.server("far", "node2").await;
    shop.ready().await;
    for pod in ["friend", "stranger"] {
        for server in ["near", "far"] {
            shop.expect(pod, server, true).await;
        }
    }
    apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {name: friends-only, namespace: denied}\nspec:\n  \
         podSelector: {matchExpressions: [{key: app, operator: In, values: [near, far]}]}\n  \
         policyTypes: [Ingress]\n  ingress:\n  \
         - {from: [{podSelector: {matchLabels: {role: friend}}}], ports: [{port: 8080}, {port: 15008}]}\n",
    )
    .await;
    for server in ["near", "far"] {
        shop.expect("stranger", server, false).await;
        shop.expect("friend", server, true).await;
    }
    // The kubelet still reaches them.
    shop.ready().await;
    assert_eq!(shop.restarts().await, "0 0 0 0");
    shop.close().await;
}
