//! The tunnel as applications see it.

use ambit_tests::{Mesh, missing};

#[tokio::test]
async fn curl_reaches_a_server_on_another_node_by_pod_and_by_service() {
    if missing(&["curl", "python3"]).is_some() {
        return;
    }
    let mesh = Mesh::builder()
        .pod("client", "n1")
        .pod("server", "n2")
        .service("web", "10.96.0.1", (80, 8080), &["server"])
        .start()
        .await;
    let _server = mesh.start("server", &["python3", "-m", "http.server", "8080"]);
    mesh.listening("server", 8080).await;
    for host in [format!("{}:8080", mesh.ip("server")), "10.96.0.1".to_owned()] {
        let url = format!("http://{host}/");
        let answer = mesh.run("client", &["curl", "-sS", "-m", "10", &url]).await.ok();
        assert!(answer.contains("Directory listing"), "{answer}");
    }
}
