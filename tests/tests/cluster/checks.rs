//! `ambit check`: what is in the mesh's way is found, and what it says to add mends it.

use ambit_tests::binary;
use serde_json::Value;
use tokio::process::Command;

use super::alone;
use super::kubectl::{apply, prints_what};
use super::shop::{AMBIENT, Client, Shop};

/// What `ambit check` found, and whether that is good.
async fn check(arguments: &[&str]) -> (bool, Value) {
    let mut command = Command::new(binary("ambit"));
    let output = command.args(["check", "--json"]).args(arguments).output().await.unwrap();
    let found = serde_json::from_slice(&output.stdout);
    (output.status.success(), found.unwrap_or_else(|_| panic!("{output:?}")))
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_policy_in_the_way_is_found_and_what_is_printed_mends_it() {
    let _cluster = alone().await;
    let shop = Shop::open("look", AMBIENT).await;
    shop.expect("client", "web", true).await;
    let (good, found) = check(&[]).await;
    assert!(good, "{found}");

    apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {name: only-8080, namespace: look}\nspec:\n  podSelector: {matchLabels: {app: web}}\n  \
         policyTypes: [Ingress]\n  ingress: [{ports: [{port: 8080}]}]\n",
    )
    .await;
    // Whoever has a tunnel already keeps it.
    shop.client(Client { name: "newcomer", node: "node1", labels: "" }).await;
    shop.ready().await;
    shop.expect("newcomer", "web", false).await;
    let (good, found) = check(&[]).await;
    assert!(!good && found.to_string().contains("15008"), "{found}");
    let add = found["add"].as_array().expect("it says what to add");
    for object in add {
        apply(&object.to_string()).await;
    }
    shop.expect("newcomer", "web", true).await;
    let (good, found) = check(&[]).await;
    assert!(good, "{found}");
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn what_the_mesh_needs_is_tried_out_on_every_node() {
    let _cluster = alone().await;
    let (good, found) = check(&["--pre"]).await;
    assert!(good, "{found}");
    let checks = found["checks"].as_array().expect("a list");
    for node in ["node1", "node2"] {
        let of_node = checks.iter().filter(|check| check["node"] == node).count();
        assert!(of_node > 5, "{node}: {found}");
    }
    prints_what("get namespaces -o name", |names| !names.contains("ambit-check")).await;
}
