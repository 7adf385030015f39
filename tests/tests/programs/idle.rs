//! Thousands of connections that say nothing.

use std::fs;

use ambit_tests::missing;

use super::{PYTHON, Scene, Way};

const CONNECTIONS: usize = 5 * THOUSAND;
/// The client tells of each.
const THOUSAND: usize = 1_000;
/// The most that may be resident of a tunnel. A debug build needs 20 MB, and up to 15 KB for each connection.
const RESIDENT: u64 = 120 << 20;
/// Descriptors of a tunnel besides the connections' own.
const OTHER_DESCRIPTORS: usize = 500;

#[tokio::test]
async fn across_nodes() {
    idle(Way::Tunnel).await;
}

#[tokio::test]
async fn on_one_node() {
    idle(Way::Local).await;
}

async fn idle(way: Way) {
    if missing(&[PYTHON, "ss"]).is_some() {
        return;
    }
    let scene = Scene::start(way).await;
    let _server = scene.serve(8080, &[PYTHON, "-c", include_str!("idle/server.py")]).await;
    let nodes = match way {
        Way::Tunnel => vec!["n1", "n2"],
        Way::Local => vec!["n1"],
    };
    let (server, count) = (scene.server(), CONNECTIONS.to_string());
    let mut client = scene
        .mesh
        .start("client", &[PYTHON, "-c", include_str!("idle/client.py"), &server, &count]);
    for open in (THOUSAND..=CONNECTIONS).step_by(THOUSAND) {
        assert_eq!(client.line().await, format!("open {open}"));
    }

    let sockets = match way {
        Way::Tunnel => CONNECTIONS,
        Way::Local => 2 * CONNECTIONS,
    };
    for node in &nodes {
        let (bytes, descriptors) = (resident(&scene, node), descriptors(&scene, node));
        println!("{way:?} {node}: {} kB, {descriptors} descriptors", bytes >> 10);
        assert!(bytes <= RESIDENT, "{node}: {bytes} bytes are resident");
        assert!(descriptors <= sockets + OTHER_DESCRIPTORS, "{node}: {descriptors} descriptors");
    }
    let filter = format!("sport = :8080 and dst {}", scene.client());
    let seen = scene.prepare(&["ss", "-Htn", "state", "established", &filter]).await;
    assert_eq!(seen.lines().count(), CONNECTIONS);

    client.write_line("go on").await;
    assert_eq!(client.line().await, format!("used {CONNECTIONS}"));
    scene.carried(CONNECTIONS as u64).await;
    client.stdin = None;
    assert!(client.ended().await.success());
    scene.ended().await;
    for node in nodes {
        let left = descriptors(&scene, node);
        assert!(left <= OTHER_DESCRIPTORS, "{node}: {left} descriptors are left");
    }
}

/// The resident set of a node's tunnel, in bytes.
fn resident(scene: &Scene, node: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", scene.mesh.pid(node)));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn descriptors(scene: &Scene, node: &str) -> usize {
    fs::read_dir(format!("/proc/{}/fd", scene.mesh.pid(node))).expect("it runs").count()
}
