//! Each part of the mesh is killed under load.

use std::time::Instant;

use super::alone;
use super::kubectl::{done, kill, mesh_runs, prints, prints_what};
use super::load::Load;
use super::shop::{AMBIENT, Shop};

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_killed_agent_or_controller_costs_nothing() {
    let _cluster = alone().await;
    let shop = Shop::empty("killed", AMBIENT).await;
    shop.server("far", "node2").await;
    shop.ready().await;
    let load = Load::start(&shop, "load", "node1", "http://far/ --rate 100").await;
    for (program, node) in [("ambit-agent", "node1"), ("ambit-agent", "node2")] {
        kill(node, program).await;
        mesh_runs().await;
    }
    let path = "jsonpath={.items[0].spec.nodeName}";
    let node = done(&format!("get pod -n istio-system -l app=ambit-controller -o {path}")).await;
    kill(&node, "controller").await;
    mesh_runs().await;
    load.goes_on(200).await;
    load.nothing_failed("killed agents and controller").await;
    // They took up their work where it was.
    shop.server("later", "node1").await;
    shop.ready().await;
    shop.captured("later", true).await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn another_replica_takes_over_from_the_one_that_writes() {
    let _cluster = alone().await;
    let shop = Shop::empty("replicas", AMBIENT).await;
    shop.server("far", "node2").await;
    shop.ready().await;
    done("scale -n istio-system deployment/ambit-controller --replicas=2").await;
    mesh_runs().await;
    let load = Load::start(&shop, "load", "node1", "http://far/ --rate 100").await;
    let holder = "get lease -n istio-system ambit-controller -o jsonpath={.spec.holderIdentity}";
    let first = prints_what(holder, |holder| !holder.is_empty()).await;
    done(&format!("delete pod -n istio-system {first} --grace-period=0 --force")).await;
    prints_what(holder, |holder| !holder.is_empty() && holder != first).await;
    mesh_runs().await;
    load.goes_on(200).await;
    load.nothing_failed("a leader went").await;
    // Its successor writes.
    let _later = Shop::empty("replicas-later", "").await;
    let roots = "get configmap -n replicas-later istio-ca-root-cert -o jsonpath={.metadata.name}";
    prints(roots, "istio-ca-root-cert").await;
    done("scale -n istio-system deployment/ambit-controller --replicas=1").await;
    mesh_runs().await;
    done("delete namespace replicas-later --wait=false").await;
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn a_killed_tunnel_is_back_within_seconds() {
    let _cluster = alone().await;
    let shop = Shop::open("tunnel", AMBIENT).await;
    shop.strict().await;
    shop.expect("outsider", "web", false).await;
    let load = Load::start(&shop, "load", "node1", "http://web/ --rate 100 --timeout 5").await;
    for node in ["node1", "node2"] {
        let begun = Instant::now();
        kill(node, "ztunnel").await;
        // Nothing gets around it meanwhile.
        assert_eq!(shop.ask("outsider", "web").await, None);
        let counts = load.recovers().await;
        println!(
            "killed on {node}: {counts:?}, {:.1?} until calls were answered again",
            begun.elapsed()
        );
        mesh_runs().await;
    }
    let restarts = "get pods -n istio-system -l app=ztunnel \
                    -o jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    prints_what(restarts, |counts| counts.split(' ').all(|count| count != "0")).await;
    let counts = load.counts().await;
    // 100 a second: what two outages of some seconds cost.
    assert!(counts.failed < 1500, "{counts:?}: {}", load.failures().await);
    let before = counts.failed;
    let after = load.goes_on(300).await;
    assert_eq!(after.failed, before, "{}", load.failures().await);
    shop.close().await;
}
