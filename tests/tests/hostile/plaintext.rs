//! What an outsider may send to a captured pod in the clear.

use std::net::SocketAddr;

use ambit_tests::{Mesh, missing, soon};
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Cost, counted, mesh, neighbours, served};

/// Connections that an outsider holds open without a word.
const SILENT: usize = 1000;

/// What becomes of a connection that asks for `GET / HTTP/1.0`.
async fn outcome(mesh: &Mesh, from: &str, to: SocketAddr) -> String {
    match mesh.ask(from, to).await.as_str() {
        greeting if greeting.starts_with("server for") => "served".into(),
        other => other.to_owned(),
    }
}

#[tokio::test]
async fn an_outsider_reaches_applications_that_policy_opens_and_nothing_of_the_tunnel() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let deny = json!({
        "name": "nobody-9090", "namespace": "default", "scope": "Namespace", "action": "Deny",
        "rules": [[[{"destinationPorts": [9090]}]]],
    });
    let mesh = mesh().policy(deny).start().await;
    for port in [8080, 9090] {
        mesh.greeter("server", port, "server for");
    }
    for (what, from, port, expected, reason) in [
        ("an application", "caller", 8080, "served", None),
        ("what policy denies", "caller", 9090, "reset", Some("denied")),
        ("where nobody listens", "caller", 8081, "reset", Some("refused")),
        ("the plaintext capture", "caller", 15006, "reset", Some("self_call")),
        ("the outbound capture", "caller", 15001, "reset", Some("self_call")),
        ("the DNS proxy", "caller", 15053, "reset", Some("refused")),
        // From within it is not redirected, and says itself where it was going.
        ("the plaintext capture, from within", "server", 15006, "reset", Some("self_call")),
        ("the outbound capture, from within", "server", 15001, "reset", Some("self_call")),
    ] {
        let reason = reason.map(|reason| format!(r#"reason="{reason}""#));
        let before = match &reason {
            Some(reason) => {
                counted(&mesh, "n2", "ambit_connections_refused_total", &[reason]).await
            }
            None => 0,
        };
        assert_eq!(outcome(&mesh, from, mesh.at("server", port)).await, expected, "{what}");
        if let Some(reason) = reason {
            let now = counted(&mesh, "n2", "ambit_connections_refused_total", &[&reason]).await;
            assert_eq!(now, before + 1, "{what}: {reason}");
        }
    }
}

#[tokio::test]
async fn silent_and_rude_outsiders_cost_little() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = mesh().start().await;
    mesh.greeter("server", 8080, "server for");
    let neighbour = neighbours(&mesh).await;
    let to = mesh.at("server", 8080);
    let watched = mesh.neighbour("asker", neighbour);
    let cost = Cost::of(&mesh, "n2");
    // An application sees the client's address, with a port that the kernel chooses. Connection tracking takes two
    // connections for one where the client has chosen the same.
    let connect = |_| async { mesh.dial("caller", to).await.ok() };
    let silent = stream::iter(0..SILENT).map(connect).buffer_unordered(64).collect::<Vec<_>>();
    let held: Vec<_> = silent.await.into_iter().flatten().collect();
    println!("{} of {SILENT} connections came about", held.len());
    assert!(held.len() > SILENT * 9 / 10, "{}", held.len());
    let (_, memory) = cost.told("silent connections");
    assert!(memory < SILENT as u64 * (32 << 10), "{memory} bytes");
    drop(held);
    // Gone before anybody could answer.
    let rude = |_| async {
        let Ok(mut tcp) = mesh.dial("caller", to).await else { return };
        let _ = tcp.write_all(b"PRI * HTTP/2.0\r\n\r\n").await;
        ambit_net::reset(tcp);
    };
    stream::iter(0..2 * SILENT).map(rude).buffer_unordered(64).collect::<Vec<_>>().await;
    // Bytes for nobody: what looks like a tunnel is an application's affair.
    let mut tcp = mesh.dial("caller", to).await.unwrap();
    tcp.write_all(&ambit_tests::http2::preface()).await.unwrap();
    let mut first = [0; 6];
    soon(tcp.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"server");
    served(&watched.stop().await);
    let (cpu, _) = cost.told("rude outsiders");
    println!("{:?} each", cpu / (3 * SILENT as u32));
}
