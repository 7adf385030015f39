//! The controller gone and back.

use std::net::SocketAddr;
use std::time::Duration;

use ambit_sandbox::{Component, Sandbox};
use ambit_tests::{Traffic, eventually, missing};

use super::value;
use crate::whole;

/// More than the answers to a client that has everything, less than one workload.
const NOTHING: f64 = 200.0;

#[tokio::test]
async fn a_killed_controller_is_not_missed_and_sends_nothing_twice() {
    if missing(&["curl", "nft"]).is_some() {
        return;
    }
    let sandbox = whole::start(whole::settings()).await;
    let to = SocketAddr::new(sandbox.pod("server").unwrap().ip(), whole::TCP);
    let clients = ["near", "far"].map(|client| {
        let client = sandbox.pod(client).unwrap();
        Traffic::start(client.room().netns(), to)
    });
    for client in &clients {
        client.goes_on(10).await;
    }
    let before = [received(&sandbox, "node-1").await, received(&sandbox, "node-2").await];
    sandbox.kill_component(&Component::Controller).await.unwrap();
    for (node, before) in ["node-1", "node-2"].into_iter().zip(before) {
        let after = eventually(|| async {
            let now = received(&sandbox, node).await;
            // An answer for each type: workloads with services, and policies.
            if now.messages >= before.messages + 2.0 { Ok(now) } else { Err(format!("{now:?}")) }
        })
        .await;
        let again = after.bytes - before.bytes;
        println!("{node}: {} bytes at first, {again} after the controller's restart", before.bytes);
        assert!(before.bytes > 5.0 * NOTHING && again < NOTHING, "{before:?} {after:?}");
    }
    // What changes from now on arrives.
    let strict = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: hello}
spec: {mtls: {mode: STRICT}}
";
    sandbox.apply(strict).await.unwrap();
    whole::reached(&sandbox, [true, true, false]).await;
    for client in clients {
        client.goes_on(10).await;
        let account = client.stop().await;
        assert_eq!(account.failures, [""; 0], "{account:?}");
    }
    sandbox.stop(Duration::from_secs(5)).await.unwrap();
}

/// What a tunnel has been sent.
#[derive(Clone, Copy, Debug)]
struct Received {
    messages: f64,
    bytes: f64,
}

async fn received(sandbox: &Sandbox, node: &str) -> Received {
    let tunnel = Component::Ztunnel(node.to_owned());
    let (_, metrics) = sandbox.get(&tunnel, 15020, "/metrics").await.unwrap();
    Received {
        messages: value(&metrics, "istio_xds_message_total", ""),
        bytes: value(&metrics, "istio_xds_message_bytes_total", ""),
    }
}
