//! A tunnel that is killed, and the next one.

use std::time::{Duration, Instant};

use ambit_tests::{Mesh, eventually, missing, open, soon};
use tokio::io::AsyncReadExt;

use super::{PORT, apart};

/// How soon connections have to flow again.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_killed_tunnel_leaves_nothing_behind_and_the_next_one_serves_within_a_second() {
    if missing(&["ss"]).is_some() {
        return;
    }
    let mut mesh = apart().start().await;
    mesh.greeter("server", PORT, "server");
    let (netns, to) = (mesh.pod("client").room().netns().clone(), mesh.at("server", PORT));
    for (node, pod) in [("n1", "client"), ("n2", "server")] {
        let mut held = open(&netns, to).await.unwrap();
        let before = listeners(&mesh, pod).await;
        assert!(before.len() > 3, "{before:?}");
        mesh.crash(node).await;
        assert_eq!(listeners(&mesh, pod).await, [""; 0], "of a process that is gone");
        // Whoever was talking is told, instead of being left to wait.
        let told = soon(held.read(&mut [0])).await;
        assert!(!matches!(told, Ok(1..)), "{told:?}");

        mesh.restart(node);
        let began = Instant::now();
        eventually(|| async { open(&netns, to).await.map(drop).map_err(|e| e.to_string()) }).await;
        let took = began.elapsed();
        println!("{node}: the first connection {took:?} after the start");
        assert!(took < SOON, "{took:?}");
        eventually(|| async {
            let now = listeners(&mesh, pod).await;
            if now == before { Ok(()) } else { Err(format!("{now:?} instead of {before:?}")) }
        })
        .await;
    }
}

/// The ports of the tunnel on which something listens in a pod, one for each socket.
async fn listeners(mesh: &Mesh, pod: &str) -> Vec<String> {
    let sockets = mesh.run(pod, &["ss", "-Hltn"]).await.ok();
    let ports = sockets
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3)?.rsplit(':').next().map(str::to_owned));
    let mut ports: Vec<String> = ports.filter(|port| port.starts_with("150")).collect();
    ports.sort();
    ports
}
