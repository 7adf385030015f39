//! What must not break: upgrades, restarts, bad files, and pods that come and go.

use ambit_tests::{Mesh, eventually, missing, soon};
use serde_json::json;

const NEEDS: [&str; 2] = ["curl", "python3"];

/// Asks for `/` again and again on new connections until it is told to stop, and ten times at least; then prints how often,
/// and how many failed.
const CALLER: &str = "
import socket, sys, threading, select
failed = calls = 0
while calls < 10 or not select.select([sys.stdin], [], [], 0)[0]:
    calls += 1
    try:
        s = socket.create_connection((sys.argv[1], 8080), timeout=10)
        s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
        answer = b''
        while chunk := s.recv(65536): answer += chunk
        if not answer.startswith(b'HTTP/1.0 200'): raise OSError('short answer')
        s.close()
    except OSError as e:
        failed += 1
        print('failed:', e, file=sys.stderr)
    if calls == 1: print('calling', flush=True)
print(f'{calls} {failed}', flush=True)
";

#[tokio::test]
async fn a_second_tunnel_takes_over_without_one_refused_connection() {
    if missing(&NEEDS).is_some() {
        return;
    }
    for server_node in ["n1", "n2"] {
        let mut mesh = Mesh::builder().pod("client", "n1").pod("server", server_node).start().await;
        for pod in ["client", "server"] {
            mesh.sysctl(pod, "net.ipv4.tcp_migrate_req", "1").await;
        }
        let _server = mesh.start("server", &["python3", "-m", "http.server", "8080"]);
        mesh.listening("server", 8080).await;
        let address = mesh.ip("server");
        let mut caller = mesh.start("client", &["python3", "-uc", CALLER, &address]);
        assert_eq!(caller.line().await, "calling");
        let nodes: Vec<String> = mesh.topology().nodes().map(|n| n.name().to_owned()).collect();
        for node in nodes {
            mesh.replace_proxy(&node).await;
        }
        caller.write_line("stop").await;
        let counts = caller.line().await;
        let (calls, failed) = counts.split_once(' ').expect("two numbers");
        assert_eq!(failed, "0", "of {calls} calls, server on {server_node}");
    }
}

#[tokio::test]
async fn a_bad_state_file_is_refused_whole_and_the_last_good_one_stays() {
    if missing(&NEEDS).is_some() {
        return;
    }
    let mesh = Mesh::builder().pod("client", "n1").pod("server", "n2").start().await;
    let _server = mesh.start("server", &["python3", "-m", "http.server", "8080"]);
    mesh.listening("server", 8080).await;
    std::fs::write(mesh.dir().join("state.yaml"), "workloads: [{uid: x, nonsense: 1}]").unwrap();
    for node in ["n1", "n2"] {
        eventually(|| async {
            let log = mesh.log(node);
            if log.contains("state file refused") && log.contains("nonsense") {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    }
    let url = format!("http://{}:8080/", mesh.ip("server"));
    mesh.run("client", &["curl", "-sS", "-m", "10", &url]).await.ok();
}

#[tokio::test]
async fn a_bad_state_file_at_start_ends_the_process_and_is_named() {
    if missing(&[]).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.yaml");
    for (text, named) in [
        (
            "workloads: [{uid: a, namespace: n, workloadIps: [1.2.3]}]",
            "workloads[0].workloadIps[0]",
        ),
        ("workloads: {", "YAML"),
        ("policies: [{name: p}]", "policies[0]"),
        ("nothing: here", "nothing"),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = soon(
            tokio::process::Command::new(ambit_tests::binary("ztunnel"))
                .env("LOCAL_XDS_PATH", &file)
                .env("LOCAL_CA_DIR", dir.path().join("ca"))
                .env("XDS_ADDRESS", "")
                .output(),
        )
        .await
        .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(complaint.contains("state.yaml") && complaint.contains(named), "{complaint}");
        assert!(!complaint.contains("panicked"), "{complaint}");
    }
}

#[tokio::test]
async fn a_terminating_endpoint_gets_no_new_connections_and_keeps_its_old_ones() {
    if missing(&NEEDS).is_some() {
        return;
    }
    let mut mesh = Mesh::builder()
        .pod("client", "n1")
        .pod("old", "n2")
        .pod("new", "n2")
        .service("web", "10.96.0.1", (80, 8080), &["old", "new"])
        .start()
        .await;
    let _servers = ["old", "new"].map(|pod| mesh.start(pod, &["python3", "-uc", NAME_SERVER, pod]));
    for pod in ["old", "new"] {
        mesh.listening(pod, 8080).await;
    }
    // A connection that lives on the old endpoint.
    let mut held = loop {
        let mut held = mesh.start("client", &["nc", "10.96.0.1", "80"]);
        held.write_line("who").await;
        if held.line().await == "old" {
            break held;
        }
    };
    mesh.update(|state| {
        let old = state.workloads.iter_mut().find(|w| &*w.name == "old").unwrap();
        old.status = ambit_model::HealthStatus::Unhealthy;
    })
    .await;
    eventually(|| async {
        let dump = mesh.config_dump("n1").await;
        match dump["services"][0]["endpoints"].as_object().map(serde_json::Map::len) {
            Some(1) => Ok(()),
            other => Err(format!("{other:?} endpoints")),
        }
    })
    .await;
    for _ in 0..10 {
        let answer = mesh.run_with(
            "client",
            &["nc", "-N", "10.96.0.1", "80"],
            b"who\n",
            ambit_tests::DEADLINE,
        );
        assert_eq!(answer.await.ok().trim(), "new");
    }
    held.write_line("who").await;
    assert_eq!(held.line().await, "old");
}

/// Answers each line with its own name.
const NAME_SERVER: &str = "
import socketserver, sys
class Name(socketserver.StreamRequestHandler):
    def handle(self):
        for _ in self.rfile: self.wfile.write(sys.argv[1].encode() + b'\\n')
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
Server(('0.0.0.0', 8080), Name).serve_forever()
";

#[tokio::test]
async fn the_log_level_changes_at_run_time_and_readiness_is_told() {
    if missing(&["curl"]).is_some() {
        return;
    }
    let mesh = Mesh::builder().pod("client", "n1").start().await;
    assert_eq!(mesh.get("n1", "http://127.0.0.1:15021/healthz/ready").await, "ready\n");
    let set = [
        "curl",
        "-sS",
        "-X",
        "POST",
        "http://127.0.0.1:15000/logging?level=ambit_ztunnel=debug,info",
    ];
    let answer = mesh.on_node("n1", &set).await.ok();
    assert!(answer.starts_with("current log level is "), "{answer}");
    assert!(answer.contains("debug"), "{answer}");
    let get =
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:15000/logging"];
    assert_eq!(mesh.on_node("n1", &get).await.ok(), "405");
    let dump = mesh.config_dump("n1").await;
    assert_eq!(dump["workloadState"].as_object().unwrap().len(), 1);
    assert_eq!(dump["workloads"][0]["name"], json!("client"));
}
