//! The tunnel as applications see it.

use ambit_tests::{Mesh, echoes, missing, open};

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

/// Where both choose among four ports, every one of the client's is one of the tunnel's own connections in its name.
#[tokio::test]
async fn a_client_outside_the_mesh_keeps_connections_whose_ports_are_taken_in_its_name() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = Mesh::builder().plain_pod("outsider", "n1").pod("server", "n2").start().await;
    mesh.greeter("server", 8080, "server");
    for pod in ["outsider", "server"] {
        mesh.sysctl(pod, "net.ipv4.ip_local_port_range", "40000 40003").await;
    }
    let (outsider, to) = (mesh.pod("outsider").room().netns(), mesh.at("server", 8080));
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(open(outsider, to).await.unwrap());
    }
    for tcp in &mut held {
        echoes(tcp).await.unwrap();
    }
}
