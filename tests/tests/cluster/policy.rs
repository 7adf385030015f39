//! Policy and encryption between pods of a real cluster.

use std::path::Path;
use std::process::Stdio;

use ambit_tests::{eventually, soon};
use tokio::process::Command;

use super::kubectl::{cluster, done};
use super::shop::{AMBIENT, Client, Shop};
use super::together;

/// Text that only a request of this test carries.
const MARK: &str = "only-for-your-eyes";

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn strict_has_exceptions_by_port() {
    let _cluster = together().await;
    let shop = Shop::open("ports", AMBIENT).await;
    shop.strict().await;
    shop.expect("outsider", "web:90", false).await;
    let by_port = "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {9090: {mode: PERMISSIVE}}}";
    shop.secure("PeerAuthentication", "ports", by_port).await;
    shop.expect("outsider", "web:90", true).await;
    shop.expect("outsider", "web", false).await;
    shop.expect("client", "web", true).await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_policy_lets_the_named_through_on_both_ways() {
    let _cluster = together().await;
    let shop = Shop::open("named", AMBIENT).await;
    // Another server, on the clients' own node.
    shop.server("near", "node1").await;
    done("create serviceaccount -n named friend").await;
    super::kubectl::apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: friend, namespace: named}\nspec:\n  nodeName: node1\n  \
         serviceAccountName: friend\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
         - {name: c, image: 'ambit.test/tools:1', imagePullPolicy: IfNotPresent, command: [sleep, infinity]}\n",
    )
    .await;
    shop.ready().await;
    let rule = "{action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/named/sa/friend]}}]}]}";
    shop.secure("AuthorizationPolicy", "friends", rule).await;
    for server in ["web", "near"] {
        shop.expect("client", server, false).await;
        shop.expect("friend", server, true).await;
        shop.expect("outsider", server, false).await;
    }
    // Its probes have no identity, and still pass.
    shop.ready().await;
    shop.secure(
        "AuthorizationPolicy",
        "not-there",
        "{action: DENY, rules: [{from: [{source: {principals: ['*/sa/friend']}}], to: [{operation: {ports: ['9090']}}]}]}",
    )
    .await;
    for server in ["web", "near"] {
        shop.expect("friend", &format!("{server}:90"), false).await;
        shop.expect("friend", server, true).await;
    }
    shop.close().await;
}

/// tcpdump on the interface of node1.
struct Wire(tokio::process::Child);

impl Wire {
    async fn tap(filter: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster.py");
        let mut child = Command::new(program)
            .args([
                "enter",
                "node1",
                "tcpdump",
                "-n",
                "-i",
                "eth0",
                "--immediate-mode",
                "-B8192",
                "-s2000",
                "-A",
                filter,
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it is there");
        let stderr = child.stderr.take().expect("it was asked for");
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stderr));
        while let Some(line) = soon(lines.next_line()).await.expect("it prints text") {
            if line.contains("listening on") {
                break;
            }
        }
        Self(child)
    }

    /// What was seen, as text.
    async fn end(self) -> String {
        cluster(&["enter", "node1", "sh", "-c", "kill -TERM $(pgrep -x tcpdump)"]).await;
        let output = soon(self.0.wait_with_output()).await.expect("it ends");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn nothing_can_be_read_between_nodes() {
    let _cluster = together().await;
    let shop = Shop::empty("wire", "").await;
    shop.client(Client { name: "client", node: "node1", labels: "" }).await;
    shop.server("web", "node2").await;
    shop.ready().await;
    let address = done("get pod -n wire web -o jsonpath={.status.podIP}").await;
    let request = |mark: &'static str| {
        let shop = &shop;
        async move {
            let asked = shop.ask("client", &format!("web/{mark}")).await;
            if asked.is_some() { Ok(()) } else { Err("no answer".to_owned()) }
        }
    };
    // Without the mesh it can be, or this test would see nothing anyway.
    let wire = Wire::tap(&format!("tcp and host {address}")).await;
    eventually(|| request(MARK)).await;
    assert!(wire.end().await.contains(MARK));

    shop.label("istio.io/dataplane-mode=ambient").await;
    shop.captured("client", true).await;
    shop.captured("web", true).await;
    shop.strict().await;
    shop.client(Client {
        name: "outsider",
        node: "node1",
        labels: "istio.io/dataplane-mode: none",
    })
    .await;
    shop.ready().await;
    shop.expect("outsider", "web", false).await;
    let wire = Wire::tap(&format!("tcp and host {address}")).await;
    eventually(|| request(MARK)).await;
    let seen = wire.end().await;
    assert!(seen.contains(".15008"), "nothing was captured: {seen}");
    assert!(!seen.contains(MARK), "{seen}");
    shop.close().await;
}
