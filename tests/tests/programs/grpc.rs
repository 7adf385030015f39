//! gRPC: Python's grpcio at both ends.

use ambit_tests::missing;

use super::{PYTHON, Scene, Way};

/// Debian's package of it, which the scripts need.
const GRPCIO: &str = "/usr/lib/python3/dist-packages/grpc/__init__.py";

#[tokio::test]
async fn across_nodes() {
    grpc(Way::Tunnel).await;
}

#[tokio::test]
async fn on_one_node() {
    grpc(Way::Local).await;
}

async fn grpc(way: Way) {
    if missing(&[PYTHON, GRPCIO]).is_some() {
        return;
    }
    let scene = Scene::start(way).await;
    let _server = scene.serve(8080, &[PYTHON, "-c", include_str!("grpc/server.py")]).await;
    let server = format!("{}:8080", scene.server());
    let report = scene.call(&[PYTHON, "-c", include_str!("grpc/client.py"), &server]).await;
    let (peer, rest) = report.split_once('\n').expect("it reports");
    assert!(peer.starts_with(&format!("ipv4:{}:", scene.client())), "{report}");
    let expected = [
        "echo 8388608 True",
        "count 1000 True",
        "talk ['ONE', 'TWO', 'THREE']",
        "fail NOT_FOUND there is nothing",
        "late DEADLINE_EXCEEDED",
        "at once 100 True",
    ];
    assert_eq!(rest.lines().collect::<Vec<_>>(), expected);
    scene.carried(1).await;
    // A client that leaves does not wait for the server's last frames; one that comes too late is answered by a reset.
    scene.over().await;
}
