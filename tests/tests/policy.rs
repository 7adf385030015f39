//! Layer 4 policy, as applications feel it: on the tunnel, on the local path and in the clear.

use ambit_tests::{Mesh, MeshBuilder, eventually, missing, soon};
use serde_json::{Value, json};

const NEEDS: [&str; 2] = ["curl", "python3"];

/// A policy of the mesh's namespace.
fn policy(name: &str, action: &str, scope: &str, rules: Value) -> Value {
    json!({"name": name, "namespace": "default", "action": action, "scope": scope, "rules": rules, "dryRun": false})
}

fn principal(name: &str) -> Value {
    json!({"principals": [{"Exact": format!("cluster.local/ns/default/sa/{name}")}]})
}

/// Two clients and a server in the mesh, and a client outside; `server` is on the node given.
fn pods(server_node: &str) -> MeshBuilder {
    Mesh::builder()
        .pod("friend", "n1")
        .pod("stranger", "n1")
        .plain_pod("outsider", "n1")
        .pod("server", server_node)
}

/// Whether `client` gets an answer from the server.
async fn reaches(mesh: &Mesh, client: &str) -> bool {
    let url = format!("http://{}:8080/", mesh.ip("server"));
    mesh.run(client, &["curl", "-sS", "-o", "/dev/null", "-m", "10", &url]).await.status.success()
}

async fn serve(mesh: &Mesh) -> ambit_tests::Running {
    let server = mesh.start("server", &["python3", "-m", "http.server", "8080"]);
    mesh.listening("server", 8080).await;
    server
}

#[tokio::test]
async fn allow_deny_and_strict_on_every_path() {
    if missing(&NEEDS).is_some() {
        return;
    }
    let strict =
        policy("strict", "Deny", "Namespace", json!([[[{"notPrincipals": [{"Presence": []}]}]]]));
    // What is said, and who reaches the server then: friend, stranger, outsider.
    let table: [(&str, Vec<Value>, [bool; 3]); 7] = [
        ("nothing", vec![], [true, true, true]),
        (
            "allow a friend",
            vec![policy("p", "Allow", "Namespace", json!([[[principal("friend")]]]))],
            [true, false, false],
        ),
        (
            "deny a stranger",
            vec![policy("p", "Deny", "Global", json!([[[principal("stranger")]]]))],
            [true, false, true],
        ),
        ("strict", vec![strict], [true, true, false]),
        (
            "allow with no rules",
            vec![policy("p", "Allow", "Namespace", json!([]))],
            [false, false, false],
        ),
        (
            "deny with no rules",
            vec![policy("p", "Deny", "Namespace", json!([]))],
            [true, true, true],
        ),
        (
            "deny another port",
            vec![policy("p", "Deny", "Namespace", json!([[[{"destinationPorts": [9999]}]]]))],
            [true, true, true],
        ),
    ];
    for node in ["n1", "n2"] {
        let mut mesh = pods(node).start().await;
        let _server = serve(&mesh).await;
        for (what, policies, expected) in &table {
            let policies = policies.iter().cloned().map(|p| serde_json::from_value(p).unwrap());
            mesh.update(|state| state.policies = policies.collect()).await;
            let mut reached = [false; 3];
            for (client, reached) in ["friend", "stranger", "outsider"].iter().zip(&mut reached) {
                *reached = reaches(&mesh, client).await;
            }
            assert_eq!(reached, *expected, "{what}, server on {node}");
        }
    }
}

#[tokio::test]
async fn a_policy_that_arrives_closes_the_connection_it_forbids_and_no_other() {
    if missing(&NEEDS).is_some() {
        return;
    }
    for node in ["n1", "n2"] {
        let mut mesh = pods(node).start().await;
        let _server = mesh.start("server", &["python3", "-uc", ECHO_SERVER]);
        mesh.listening("server", 9000).await;
        let address = mesh.ip("server");
        let mut connections = Vec::new();
        for client in ["friend", "stranger", "outsider"] {
            let mut running = mesh.start(client, &["python3", "-uc", ECHO_CLIENT, &address]);
            running.write_line("hello").await;
            assert_eq!(running.line().await, "hello", "{client}");
            connections.push(running);
        }
        let deny = policy("deny", "Deny", "Namespace", json!([[[principal("stranger")]]]));
        mesh.update(|state| state.policies = vec![serde_json::from_value(deny).unwrap()]).await;
        let [friend, stranger, outsider] = &mut connections[..] else { unreachable!() };
        assert_eq!(soon(stranger.line()).await, "closed", "server on {node}");
        for (client, running) in [("friend", friend), ("outsider", outsider)] {
            running.write_line("still here").await;
            assert_eq!(running.line().await, "still here", "{client}, server on {node}");
        }
        let server_node = mesh.pod("server").node().to_owned();
        eventually(|| async {
            let metrics = mesh.metrics(&server_node).await;
            let counted = metrics.lines().any(|line| {
                line.starts_with("istio_tcp_connections_closed_total")
                    && line.contains("reporter=\"destination\"")
                    && line.contains("response_flags=\"DENY\"")
            });
            if counted { Ok(()) } else { Err("the closed connection is not counted".into()) }
        })
        .await;
    }
}

#[tokio::test]
async fn unknown_policies_deny_until_they_arrive_and_removed_ones_stay_while_they_are_meant() {
    if missing(&NEEDS).is_some() {
        return;
    }
    let mut mesh = pods("n2")
        .workload("server", |w| w.authorization_policies = vec!["default/later".into()])
        .start()
        .await;
    let _server = serve(&mesh).await;
    assert!(!reaches(&mesh, "friend").await, "nobody knows what the policy says");
    let refused = mesh.metrics("n2").await;
    assert!(
        refused.contains("ambit_policy_decisions_total{reason=\"unknown_policy\"} 1"),
        "{refused}"
    );
    let later = policy("later", "Allow", "WorkloadSelector", json!([[[principal("friend")]]]));
    mesh.update(|state| state.policies = vec![serde_json::from_value(later).unwrap()]).await;
    assert!(reaches(&mesh, "friend").await);
    assert!(!reaches(&mesh, "stranger").await);
    mesh.update(|state| state.policies.clear()).await;
    eventually(|| async {
        match mesh.config_dump("n2").await["retainedPolicies"].to_string() {
            retained if retained == "[\"default/later\"]" => Ok(()),
            retained => Err(retained),
        }
    })
    .await;
    assert!(!reaches(&mesh, "stranger").await, "the server still refers to the policy");
    mesh.update(|state| {
        for workload in &mut state.workloads {
            workload.authorization_policies.clear();
        }
    })
    .await;
    eventually(|| async {
        if reaches(&mesh, "stranger").await { Ok(()) } else { Err("still denied".into()) }
    })
    .await;
}

#[tokio::test]
async fn unknown_policies_can_be_skipped_as_upstream_does() {
    if missing(&NEEDS).is_some() {
        return;
    }
    let mesh = pods("n2")
        .workload("server", |w| w.authorization_policies = vec!["default/later".into()])
        .env("UNKNOWN_POLICY", "allow")
        .start()
        .await;
    let _server = serve(&mesh).await;
    assert!(reaches(&mesh, "friend").await);
    mesh.logged("n2", "skipping unknown policy").await;
}

#[tokio::test]
async fn dry_run_policies_are_only_reported() {
    if missing(&NEEDS).is_some() {
        return;
    }
    let mut deny = policy("maybe", "Deny", "Namespace", json!([[[principal("friend")]]]));
    deny["dryRun"] = true.into();
    let mesh = pods("n2").policy(deny).start().await;
    let _server = serve(&mesh).await;
    assert!(reaches(&mesh, "friend").await);
    mesh.logged("n2", "dry-run policy matches").await;
}

/// Echoes lines to any number of clients.
const ECHO_SERVER: &str = "
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
Server(('0.0.0.0', 9000), Echo).serve_forever()
";

/// Sends lines of its input, prints what comes back, and says when the connection is closed by the other side.
const ECHO_CLIENT: &str = "
import socket, sys, threading
s = socket.create_connection((sys.argv[1], 9000))
def receive():
    try:
        for line in s.makefile(): print(line, end='')
    except OSError: pass
    print('closed')
threading.Thread(target=receive, daemon=True).start()
for line in sys.stdin: s.sendall(line.encode())
";
