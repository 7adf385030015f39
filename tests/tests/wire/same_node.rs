//! Two pods of one node: the path without TLS, and everything that still has its say on it.

use std::time::{Duration, Instant};

use ambit_tests::{Mesh, MeshBuilder, eventually, missing, soon};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a connection attempt may still take the local path after the tunnel port has become unreachable, and
/// what a busy machine adds.
const STALE: Duration = Duration::from_secs(5 + 1);

fn builder() -> MeshBuilder {
    Mesh::builder().pod("client", "n1").pod("other", "n1").pod("server", "n1")
}

/// The ways of a pod's open connections in one direction.
fn ways(dump: &Value, pod: &str, direction: &str) -> Vec<String> {
    let pod = &dump["workloadState"][format!("Kubernetes//Pod/default/{pod}")];
    let connections = pod["connections"][direction].as_array().unwrap();
    connections.iter().map(|one| one["protocol"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_way_is_local_unless_told_otherwise() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let encrypted = |pod| builder().workload(pod, |workload| workload.encrypt_local = true);
    for (mesh, way, security) in [
        (builder(), "LOCAL", "node_local"),
        (builder().env("ENCRYPT_LOCAL", "true"), "HBONE", "mutual_tls"),
        (encrypted("client"), "HBONE", "mutual_tls"),
        (encrypted("server"), "HBONE", "mutual_tls"),
        (encrypted("other"), "LOCAL", "node_local"),
    ] {
        let mesh = mesh.start().await;
        mesh.greeter("server", 8080, "server for");
        let to = mesh.at("server", 8080);
        let mut tcp = mesh.dial("client", to).await.unwrap();
        let mut greeting = vec![0; format!("server for {}\n", mesh.ip("client")).len()];
        soon(tcp.read_exact(&mut greeting)).await.unwrap();
        assert_eq!(greeting, format!("server for {}\n", mesh.ip("client")).as_bytes());
        let dump = mesh.config_dump("n1").await;
        assert_eq!(ways(&dump, "client", "outbound"), [way]);
        assert_eq!(ways(&dump, "server", "inbound"), [way]);
        let metrics = mesh.metrics("n1").await;
        for reporter in ["source", "destination"] {
            let told = metrics.lines().any(|line| {
                line.starts_with("istio_tcp_connections_opened_total")
                    && line.contains(&format!(r#"reporter="{reporter}""#))
                    && line.contains(&format!(r#"connection_security_policy="{security}""#))
                    && line.contains(
                        r#"source_principal="spiffe://cluster.local/ns/default/sa/client""#,
                    )
                    && line.contains(
                        r#"destination_principal="spiffe://cluster.local/ns/default/sa/server""#,
                    )
            });
            assert!(told, "nothing of {security} by the {reporter}:\n{metrics}");
        }
    }
}

#[tokio::test]
async fn what_stops_hbone_at_its_source_stops_the_local_path() {
    stop_hbone("client", "output").await;
}

#[tokio::test]
async fn what_stops_hbone_at_its_destination_stops_the_local_path() {
    stop_hbone("server", "input").await;
}

/// Drops what goes to the tunnel port at one hook of one pod, as the agent of a NetworkPolicy would.
async fn stop_hbone(pod: &str, hook: &str) {
    if missing(&["nft"]).is_some() {
        return;
    }
    let mesh = builder().start().await;
    mesh.greeter("server", 8080, "server for");
    let to = mesh.at("server", 8080);
    let greeting = format!("server for {}", mesh.ip("client"));
    assert_eq!(mesh.ask("client", to).await, greeting);
    let rules = format!(
        "add table inet t; add chain inet t c {{ type filter hook {hook} priority 0; }}; \
         add rule inet t c tcp dport 15008 drop"
    );
    mesh.run(pod, &["nft", &rules]).await.ok();
    let dropped = Instant::now();
    loop {
        let started = dropped.elapsed();
        let answer = mesh.ask("client", to).await;
        if answer != greeting {
            assert_eq!(answer, "reset");
            break;
        }
        assert!(started < STALE, "still the local path after {started:?}");
    }
    mesh.logged("n1", &format!("no answer from {}", mesh.at("server", 15008))).await;
    mesh.run(pod, &["nft", "delete table inet t"]).await.ok();
    eventually(|| async {
        let answer = mesh.ask("client", to).await;
        if answer == greeting { Ok(()) } else { Err(answer) }
    })
    .await;
}

#[tokio::test]
async fn a_drained_tunnel_lets_connections_of_its_node_finish() {
    if missing(&[]).is_some() {
        return;
    }
    let mesh = builder().start().await;
    mesh.greeter("server", 8080, "server for");
    let mut held = mesh.dial("client", mesh.at("server", 8080)).await.unwrap();
    let mut greeting = vec![0; format!("server for {}\n", mesh.ip("client")).len()];
    soon(held.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(ways(&mesh.config_dump("n1").await, "client", "outbound"), ["LOCAL"]);
    mesh.on_node("n1", &["kill", "-TERM", &mesh.pid("n1").to_string()]).await.ok();
    eventually(|| async {
        match mesh.dial("client", mesh.at("server", 15008)).await {
            Ok(_) => Err("the tunnel still takes connections".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    soon(held.write_all(b"still there\n")).await.unwrap();
    let mut echoed = [0; 12];
    soon(held.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(&echoed, b"still there\n");
}

#[tokio::test]
async fn policy_knows_the_source_by_its_namespace() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let deny = |name: &str, condition: Value| {
        json!({
            "name": name, "namespace": "default", "scope": "Namespace", "action": "Deny",
            "rules": [[[condition]]],
        })
    };
    let mut mesh = builder()
        .plain_pod("stranger", "n1")
        .policy(deny("strict", json!({"notPrincipals": [{"Presence": []}]})))
        .policy(deny("not-client", json!({"principals": [{"Suffix": "/sa/client"}]})))
        .start()
        .await;
    mesh.greeter("server", 8080, "server for");
    let to = mesh.at("server", 8080);
    assert_eq!(mesh.ask("client", to).await, "reset");
    assert_eq!(mesh.ask("stranger", to).await, "reset");
    assert_eq!(mesh.ask("other", to).await, format!("server for {}", mesh.ip("other")));
    mesh.logged("n1", "explicitly denied by: default/not-client").await;

    let mut held = mesh.dial("other", to).await.unwrap();
    soon(held.read_u8()).await.unwrap();
    assert_eq!(ways(&mesh.config_dump("n1").await, "server", "inbound"), ["LOCAL"]);
    mesh.update(|state| {
        let other = json!({"principals": [{"Suffix": "/sa/other"}]});
        state.policies.push(serde_json::from_value(deny("not-other", other)).unwrap());
    })
    .await;
    let error = soon(held.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
