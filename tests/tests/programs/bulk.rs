//! Two gigabytes in one connection, checksummed at both ends.

use std::time::Duration;

use ambit_tests::{eventually, missing};
use tokio::sync::OnceCell;

use super::{Scene, Way, total};

const BYTES: u64 = 2 << 30;
/// A stream without repetitions, so that nothing can be lost, doubled or swapped unseen.
const SOURCE: &str = "head -c 2G /dev/zero | openssl enc -aes-128-ctr -K 0f -iv 0f 2>/dev/null";
const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test]
async fn across_nodes() {
    bulk(Way::Tunnel).await;
}

#[tokio::test]
async fn on_one_node() {
    bulk(Way::Local).await;
}

async fn bulk(way: Way) {
    if missing(&["nc", "openssl", "cksum"]).is_some() {
        return;
    }
    let scene = Scene::start(way).await;
    let expected = sum_of_source(&scene).await;
    let mut receiver = scene.serve(8080, &["sh", "-c", "nc -l 8080 | cksum"]).await;
    let sender = format!("{SOURCE} | nc -N {} 8080", scene.server());
    let sent = scene.mesh.run_with("client", &["sh", "-c", &sender], b"", LIMIT).await;
    assert!(sent.status.success(), "{sent:#?}");
    assert_eq!(receiver.line().await, expected);

    scene.carried(1).await;
    scene.ended().await;
    for (node, reporter) in [("n1", "source"), (way.server_node(), "destination")] {
        eventually(|| async {
            let metrics = scene.mesh.metrics(node).await;
            let labels = [("reporter", reporter)];
            let bytes = total(&metrics, "istio_tcp_received_bytes_total", &labels);
            if bytes == BYTES { Ok(()) } else { Err(format!("{reporter} counts {bytes} bytes")) }
        })
        .await;
    }
}

/// The checksum and length of what is sent; it is always the same.
async fn sum_of_source(scene: &Scene) -> String {
    static SUM: OnceCell<String> = OnceCell::const_new();
    let sum = || async {
        let command = format!("{SOURCE} | cksum");
        let sum = scene.mesh.run_with("client", &["sh", "-c", &command], b"", LIMIT).await.ok();
        sum.trim_end().to_owned()
    };
    let sum = SUM.get_or_init(sum).await;
    assert!(sum.ends_with(&format!(" {BYTES}")), "{sum}");
    sum.clone()
}
