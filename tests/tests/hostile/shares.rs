//! A pod that takes more than its share of the node.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use ambit_tests::{Answer, Mesh, eventually, identity, missing};
use futures_util::future::join_all;

use super::{Cost, counted, mesh, neighbours, unharmed};

/// How long a storm lasts, and how many connections it has under way.
const STORM: Duration = Duration::from_secs(5);
const WIDTH: usize = 128;

#[tokio::test]
async fn a_pod_gets_no_more_connections_than_its_limit_and_others_get_theirs() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh()
        .pod("hog", "n1")
        .plain_pod("outside", "n2")
        .env("POD_MAX_CONNECTIONS", "100")
        .start()
        .await;
    mesh.greeter("outside", 8080, "outside for");
    mesh.greeter("server", 8080, "server for");
    let to = mesh.at("outside", 8080);
    let hog = [r#"pod="hog""#];
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(mesh.dial("hog", to).await.unwrap());
    }
    eventually(|| async {
        match counted(&mesh, "n1", "ambit_pod_connections", &hog).await {
            100 => Ok(()),
            other => Err(format!("{other} connections")),
        }
    })
    .await;
    for _ in 0..3 {
        assert_eq!(mesh.ask("hog", to).await, "reset");
    }
    assert!(mesh.ask("asker", to).await.starts_with("outside for"));
    assert_eq!(counted(&mesh, "n1", "ambit_pod_refused_total", &hog).await, 3);
    assert_eq!(counted(&mesh, "n1", "ambit_pod_refused_total", &[]).await, 3);
    let reason = [r#"reason="pod_connections""#];
    assert_eq!(counted(&mesh, "n1", "ambit_connections_refused_total", &reason).await, 3);
    mesh.logged("n1", "POD_MAX_CONNECTIONS allows no more").await;
    held.pop();
    eventually(|| async {
        let answer = mesh.ask("hog", to).await;
        if answer.starts_with("outside for") { Ok(()) } else { Err(answer) }
    })
    .await;

    // Tunnels count as well as what they come in.
    let own = mesh.credential(&identity("caller")).await;
    let (to, server) = (mesh.at("server", 15008), identity("server"));
    let mut caller = mesh.caller("caller", &own, to, &server).await;
    let authority = mesh.at("server", 8080).to_string();
    let mut tunnels = Vec::new();
    let refused = loop {
        match caller.connect(&authority).await {
            Answer::Open(tunnel) => tunnels.push(tunnel),
            refused => break refused,
        }
    };
    assert_eq!((refused.in_a_word().as_str(), tunnels.len()), ("503", 98));
    assert_eq!(counted(&mesh, "n2", "ambit_connections_refused_total", &reason).await, 1);
    assert_eq!(counted(&mesh, "n2", "ambit_pod_refused_total", &[r#"pod="server""#]).await, 1);
}

#[tokio::test]
async fn a_pod_in_a_storm_of_connects_leaves_the_others_their_turn() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().pod("hog", "n1").start().await;
    mesh.greeter("server", 8080, "server for");
    let neighbour = neighbours(&mesh).await;
    let cost = Cost::of(&mesh, "n1");
    let to = mesh.at("server", 8080);
    let done = unharmed(&mesh, neighbour, async || storm(&mesh, to).await).await;
    let (_, memory) = cost.told("the storm");
    println!("{done} connections in {STORM:?}");
    assert!(done > 500, "{done} connections are no storm");
    // Each may have to wait for an application that is slow to take it.
    assert!(memory < (32 << 20) + (u64::from(done) << 14), "{memory} bytes");
}

/// Connects as fast as can be; says how often that was.
async fn storm(mesh: &Mesh, to: SocketAddr) -> u32 {
    let done = AtomicU32::new(0);
    let end = tokio::time::Instant::now() + STORM;
    let client = async || {
        while tokio::time::Instant::now() < end {
            drop(mesh.dial("hog", to).await);
            done.fetch_add(1, Relaxed);
        }
    };
    join_all((0..WIDTH).map(|_| client())).await;
    done.into_inner()
}
