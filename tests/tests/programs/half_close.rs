//! Connections of which one side has ended while the other goes on.

use ambit_tests::{eventually, missing};

use super::{Scene, Way};

#[tokio::test]
async fn across_nodes() {
    the_client_ends_first(Way::Tunnel).await;
}

#[tokio::test]
async fn on_one_node() {
    the_client_ends_first(Way::Local).await;
}

#[tokio::test]
async fn by_the_server_across_nodes() {
    the_server_ends_first(Way::Tunnel).await;
}

#[tokio::test]
async fn by_the_server_on_one_node() {
    the_server_ends_first(Way::Local).await;
}

/// `sort` has nothing to say before it has read everything.
async fn the_client_ends_first(way: Way) {
    if missing(&["nc", "socat"]).is_some() {
        return;
    }
    let scene = Scene::start(way).await;
    // socat waits for the answer as long as it must.
    let _server =
        scene.serve(8080, &["socat", "-t", "20", "TCP4-LISTEN:8080,fork", "EXEC:sort -n"]).await;
    let (server, limit) = (scene.server(), 2 * ambit_tests::DEADLINE);
    for count in [1, 100_000] {
        let input: String = (0..count).rev().map(|n| format!("{n}\n")).collect();
        let nc = ["nc", "-N", &server, "8080"];
        let answer = scene.mesh.run_with("client", &nc, input.as_bytes(), limit).await.ok();
        assert!(answer.lines().eq((0..count).map(|n| n.to_string())), "{count} lines");
    }
    scene.carried(2).await;
    scene.ended().await;
}

/// The server has said everything and goes on listening.
async fn the_server_ends_first(way: Way) {
    if missing(&["nc", "ss"]).is_some() {
        return;
    }
    let scene = Scene::start(way).await;
    let mut server = scene.serve(8080, &["nc", "-lN", "8080"]).await;
    server.write_line("only this").await;
    server.stdin = None;
    let address = scene.server();
    let mut client = scene.mesh.start("client", &["nc", "-N", &address, "8080"]);
    assert_eq!(client.line().await, "only this");
    eventually(|| async {
        let ended = scene.call(&["ss", "-Htn", "state", "close-wait", "dport = :8080"]).await;
        if ended.lines().count() == 1 { Ok(()) } else { Err("the end does not arrive".to_owned()) }
    })
    .await;
    for text in ["still", "talking"] {
        client.write_line(text).await;
        assert_eq!(server.line().await, text);
    }
    client.stdin = None;
    assert!(client.ended().await.success());
    assert!(server.ended().await.success());
    assert_eq!(server.line().await, "");
    scene.carried(1).await;
    scene.ended().await;
}
