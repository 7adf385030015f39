//! Istio's ztunnel in the place of ours, under our agent and our controller.

use ambit_tests::eventually_within;
use serde_json::Value;

use super::alone;
use super::kubectl::{PATIENCE, cluster, done, kubectl, mesh_runs, prints};
use super::shop::{AMBIENT, Client, Shop};

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_peer_serves_one_node_and_then_both() {
    let Some(peer) = std::env::var_os("PEER_ZTUNNEL") else {
        println!("skipped: PEER_ZTUNNEL names no other ztunnel to work with");
        return;
    };
    let _cluster = alone().await;
    let peer = std::fs::canonicalize(peer).expect("PEER_ZTUNNEL is a program");
    // A node shows its pods the machine's files. Our image has what a program in Rust is linked with.
    let patch = format!(
        "spec: {{updateStrategy: {{type: OnDelete, rollingUpdate: null}}, template: {{spec: {{\
         volumes: [{{name: peer, hostPath: {{path: '{}', type: File}}}}], \
         containers: [{{name: ztunnel, args: [proxy, ztunnel], \
         env: [{{name: SERVICE_ACCOUNT, valueFrom: {{fieldRef: {{fieldPath: spec.serviceAccountName}}}}}}], \
         volumeMounts: [{{name: peer, mountPath: /usr/local/bin/ztunnel, readOnly: true}}]}}]}}}}}}",
        peer.display()
    );
    change(&patch).await;
    let served = tokio::spawn(peers_serve()).await;
    done("rollout undo -n istio-system daemonset/ztunnel").await;
    change("spec: {updateStrategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}}").await;
    mesh_runs().await;
    served.expect("it serves");
}

async fn peers_serve() {
    let shop = Shop::open("peer", AMBIENT).await;
    shop.server("near", "node1").await;
    shop.client(Client { name: "other", node: "node2", labels: "" }).await;
    shop.ready().await;
    shop.strict().await;
    let denied = "{action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/peer/sa/default]}}], \
                  to: [{operation: {ports: ['9090']}}]}]}";
    shop.secure("AuthorizationPolicy", "denied", denied).await;
    replace("node2").await;
    same_knowledge().await;
    works(&shop, "newcomer").await;
    replace("node1").await;
    works(&shop, "last").await;
    let said = done("logs -n istio-system -l app=ztunnel --tail=-1").await;
    let complaint = |line: &&str| {
        ["\twarn\t", "\terror\t"].iter().any(|level| line.contains(level))
            && !line.contains("\taccess\t")
    };
    assert_eq!(said.lines().filter(complaint).collect::<Vec<_>>(), Vec::<&str>::new());
    shop.close().await;
}

/// Every pair of nodes, a pod that is new, and one that leaves.
async fn works(shop: &Shop, new: &str) {
    shop.client(Client { name: new, node: "node2", labels: "" }).await;
    shop.ready().await;
    shop.captured(new, true).await;
    for server in ["web", "near"] {
        shop.expect("outsider", server, false).await;
        for client in ["client", "other", new] {
            shop.expect(client, server, true).await;
            shop.expect(client, &format!("{server}:90"), false).await;
        }
    }
    done(&format!("label pod -n peer {new} istio.io/dataplane-mode=none")).await;
    shop.captured(new, false).await;
    shop.expect(new, "web", false).await;
    assert!(!shop.restarts().await.contains(['1', '2', '3']), "probes pass");
}

/// Changes the tunnels' DaemonSet.
async fn change(patch: &str) {
    let words = ["patch", "-n", "istio-system", "daemonset", "ztunnel", "-p", patch];
    let output = kubectl(&words, "").await;
    assert!(output.status.success(), "{output:?}");
}

/// Ends a node's tunnel, whose successor is the peer, and waits for that.
async fn replace(node: &str) {
    let of_node = format!("-n istio-system -l app=ztunnel --field-selector spec.nodeName={node}");
    done(&format!("delete pod {of_node}")).await;
    let path = "jsonpath={.items[*].status.containerStatuses[*].ready}";
    prints(&format!("get pods {of_node} -o {path}"), "true").await;
}

/// Waits until both nodes' tunnels say that they know the same.
async fn same_knowledge() {
    eventually_within(PATIENCE, || async {
        let (ours, peers) = (config_dump("node1").await, config_dump("node2").await);
        for kind in ["workloads", "services", "policies"] {
            let of = |dump: &Value| sorted(dump[kind].clone());
            let (Value::Array(ours), Value::Array(peers)) = (of(&ours), of(&peers)) else {
                return Err(format!("{kind} is no list"));
            };
            let differ = |(ours, peers): &(&Value, &Value)| ours != peers;
            if let Some(pair) = ours.iter().zip(&peers).find(differ) {
                return Err(format!("{pair:?}"));
            }
            if ours.is_empty() || ours.len() != peers.len() {
                return Err(format!("{kind}: {} and {}", ours.len(), peers.len()));
            }
        }
        Ok(())
    })
    .await;
}

/// Everything that a node's tunnel says it knows.
async fn config_dump(node: &str) -> Value {
    let ask = "nsenter -t $(pgrep -x ztunnel) -n curl -sSf http://127.0.0.1:15000/config_dump";
    serde_json::from_str(&cluster(&["enter", node, "sh", "-c", ask]).await).expect("it is JSON")
}

/// The same with every list in one order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, sorted(value))).collect())
        }
        other => other,
    }
}
