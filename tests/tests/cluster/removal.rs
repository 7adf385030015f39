//! The mesh is removed, and put back.

use ambit_tests::binary;
use tokio::process::Command;

use super::alone;
use super::kubectl::{cluster, done, kubectl};
use super::load::Load;
use super::shop::{AMBIENT, Shop};

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn removal_leaves_nothing_and_cuts_nothing() {
    let _cluster = alone().await;
    let shop = Shop::empty("removal", AMBIENT).await;
    shop.server("near", "node1").await;
    shop.server("far", "node2").await;
    shop.ready().await;
    let near = Load::start(&shop, "to-near", "node1", "http://near/ --keep 10").await;
    let far = Load::start(&shop, "to-far", "node1", "http://far/ --keep 10").await;
    ambit(&["uninstall"]).await;
    for load in [&near, &far] {
        load.goes_on(200).await;
    }
    near.nothing_failed("same node").await;
    far.nothing_failed("across nodes").await;
    nothing_is_left().await;
    ambit(&["install"]).await;
    for pod in ["near", "far"] {
        shop.captured(pod, true).await;
    }
    far.goes_on(200).await;
    far.nothing_failed("put back").await;
    // Somebody deletes the agent first, which leaves nodes as they are.
    done("delete daemonset -n istio-system ambit-agent --wait").await;
    ambit(&["uninstall"]).await;
    nothing_is_left().await;
    ambit(&["install"]).await;
    shop.close().await;
}

async fn nothing_is_left() {
    for node in ["node1", "node2"] {
        let inside = |command| cluster_shell(node, command);
        assert_eq!(inside("ls /opt/cni/bin | grep -c ambit || true").await, "0\n");
        assert_eq!(inside("grep -l ambit /etc/cni/net.d/* || true").await, "");
        assert_eq!(inside("nft list tables | grep -c ambit || true").await, "0\n");
        assert_eq!(inside("pgrep -x ztunnel || pgrep -x ambit-agent || true").await, "");
        assert_eq!(inside("find /run/istio-cni /run/ztunnel -mindepth 1").await, "");
    }
    for kind in ["clusterrole", "clusterrolebinding"] {
        let left = done(&format!("get {kind} -o name")).await;
        assert!(!left.contains("ambit"), "{left}");
    }
    assert!(!kubectl(&["get", "namespace", "istio-system"], "").await.status.success());
    assert!(
        !kubectl(&["get", "configmap", "-n", "removal", "istio-ca-root-cert"], "")
            .await
            .status
            .success()
    );
}

async fn ambit(arguments: &[&str]) {
    let output = Command::new(binary("ambit")).args(arguments).output().await.expect("it is there");
    assert!(output.status.success(), "ambit {arguments:?}: {output:?}");
}

async fn cluster_shell(node: &str, command: &str) -> String {
    cluster(&["enter", node, "sh", "-c", command]).await
}
