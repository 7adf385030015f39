//! The whole mesh from ordinary YAML: real controller, agents and tunnels on two nodes.

use std::time::Duration;

use ambit_sandbox::{Binaries, Component, Event, Options, Sandbox, Settings, Source};
use ambit_tests::{binary, eventually, missing};

/// The server's port for bytes.
pub(crate) const TCP: u16 = 9000;

const LIMIT: Duration = Duration::from_secs(60);

/// A server on the first node, clients on both, one of them outside the mesh.
const HELLO: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: hello, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Namespace
metadata: {name: outside}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: hello}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: http}]}
";

fn pod(namespace: &str, name: &str, node: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         ---\napiVersion: v1\nkind: Pod\n\
         metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\n\
         spec: {{serviceAccountName: {name}, nodeName: {node}, containers: [{spec}]}}\n"
    )
}

pub(crate) fn settings() -> Settings {
    Settings::from(Binaries {
        ztunnel: binary("ztunnel"),
        agent: binary("ambit-agent"),
        controller: binary("controller"),
        waypoint: binary("controller").with_file_name("waypoint"),
    })
}

pub(crate) async fn start(settings: Settings) -> Sandbox {
    let echo = binary("echo");
    let serve = format!(
        "{{name: c, command: [{}, serve, --http, \"8080\", --tcp-banner, \"{TCP}\"], ports: [{{name: http, containerPort: 8080}}], \
         readinessProbe: {{httpGet: {{port: http, path: /}}, periodSeconds: 1}}}}",
        echo.display()
    );
    let sleep = "{name: c, command: [sleep, infinity]}";
    let yaml = [
        HELLO.to_owned(),
        pod("hello", "server", "node-1", &serve),
        pod("hello", "near", "node-1", sleep),
        pod("hello", "far", "node-2", sleep),
        pod("outside", "outsider", "node-2", sleep),
    ]
    .concat();
    let options = Options::new(Source::Text(yaml)).with_mesh(settings);
    let sandbox = Sandbox::start(options).await.unwrap();
    if let Err(error) = sandbox.ready(LIMIT).await {
        panic!("{error}\n{}", said(&sandbox));
    }
    sandbox
}

/// The last words of every program of the mesh.
fn said(sandbox: &Sandbox) -> String {
    let node = |name: &str| name.to_owned();
    let components = [
        Component::Controller,
        Component::Agent(node("node-1")),
        Component::Agent(node("node-2")),
        Component::Ztunnel(node("node-1")),
        Component::Ztunnel(node("node-2")),
    ];
    let log = |component: &Component| {
        let log = sandbox.component_log(component).unwrap_or_default();
        format!("--- {component}\n{log}\n")
    };
    components.iter().map(log).collect()
}

/// What a client gets from the server, by the service's name; `None` if it gets nothing.
async fn ask(sandbox: &Sandbox, client: &str) -> Option<String> {
    let argv = ["curl", "-sS", "-m", "10", "http://server.hello/"];
    let output = sandbox.exec(client, &argv).await.unwrap();
    (output.code == 0).then_some(output.stdout)
}

/// Waits until exactly `expected` of near, far and outsider get an answer.
pub(crate) async fn reached(sandbox: &Sandbox, expected: [bool; 3]) {
    eventually(|| async {
        let mut answers = [false; 3];
        for (client, answered) in ["near", "far", "outsider"].iter().zip(&mut answers) {
            *answered = ask(sandbox, client).await.is_some();
        }
        if answers == expected {
            Ok(())
        } else {
            Err(format!("near, far, outsider: {answers:?}\n{}", said(sandbox)))
        }
    })
    .await;
}

#[tokio::test]
async fn policies_take_effect_while_it_runs() {
    if missing(&["curl", "nft"]).is_some() {
        return;
    }
    let sandbox = start(settings()).await;
    reached(&sandbox, [true, true, true]).await;
    let answer = ask(&sandbox, "far").await.unwrap();
    let own = sandbox.pod("far").unwrap().ip().to_string();
    assert!(answer.contains(&own), "the server sees the client's own address {own}: {answer}");

    let strict = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: hello}
spec: {mtls: {mode: STRICT}}
";
    sandbox.apply(strict).await.unwrap();
    reached(&sandbox, [true, true, false]).await;

    let only_near = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-near, namespace: hello}
spec:
  selector: {matchLabels: {app: server}}
  action: ALLOW
  rules: [{from: [{source: {principals: [cluster.local/ns/hello/sa/near]}}]}]
";
    sandbox.apply(only_near).await.unwrap();
    reached(&sandbox, [true, false, false]).await;

    sandbox.delete("AuthorizationPolicy", "hello", "only-near").await.unwrap();
    sandbox.delete("PeerAuthentication", "hello", "default").await.unwrap();
    reached(&sandbox, [true, true, true]).await;
    sandbox.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_killed_tunnel_comes_back_without_a_controller() {
    if missing(&["curl", "nft"]).is_some() {
        return;
    }
    let sandbox = start(settings()).await;
    reached(&sandbox, [true, true, true]).await;
    for node in ["node-1", "node-2"] {
        let dir = sandbox.instance().dir().join("nodes").join(node).join("state");
        eventually(|| async {
            let kept = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
            let complete = kept("state.json").contains("outsider")
                && kept("credentials.json").contains("spiffe://cluster.local/ns/hello/sa/");
            if complete { Ok(()) } else { Err(format!("{node} has not kept its state")) }
        })
        .await;
    }
    sandbox.stop_component(&Component::Controller, Duration::from_secs(5)).await.unwrap();
    for node in ["node-1", "node-2"] {
        let tunnel = Component::Ztunnel(node.to_owned());
        let before = sandbox.component_pid(&tunnel).unwrap();
        sandbox.kill_component(&tunnel).await.unwrap();
        eventually(|| async {
            match sandbox.component_pid(&tunnel).unwrap() {
                Some(pid) if Some(pid) != before => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    reached(&sandbox, [true, true, true]).await;
    assert!(said(&sandbox).contains("last known state restored"), "{}", said(&sandbox));
    sandbox.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn certificates_are_renewed_without_touching_connections() {
    if missing(&["curl", "nft", "nc"]).is_some() {
        return;
    }
    let mut settings = settings();
    settings.ztunnel_env.insert("SECRET_TTL".into(), "4s".into());
    let sandbox = start(settings).await;
    let serial = || async {
        let argv = ["curl", "-sS", "http://127.0.0.1:15000/config_dump"];
        let node = sandbox.node("node-1").unwrap();
        let mut command = node.room().command(argv[0]);
        command.args(&argv[1..]).stdout(std::process::Stdio::piped());
        let child = node.room().spawn_async(command).unwrap();
        let output = child.wait_with_output().await.unwrap();
        let dump: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let certificates = dump["certificates"].as_array().unwrap().clone();
        let of_server =
            |c: &&serde_json::Value| c["identity"] == "spiffe://cluster.local/ns/hello/sa/server";
        let server = certificates.iter().find(of_server).cloned().unwrap_or_default();
        server["certChain"][0]["serialNumber"].as_str().unwrap_or_default().to_owned()
    };
    reached(&sandbox, [true, true, true]).await;
    let first = eventually(|| async {
        match serial().await {
            none if none.is_empty() => Err("no certificate yet".to_owned()),
            serial => Ok(serial),
        }
    })
    .await;
    eventually(|| async {
        let now = serial().await;
        if now != first && !now.is_empty() { Ok(()) } else { Err(format!("still {now}")) }
    })
    .await;
    reached(&sandbox, [true, true, true]).await;
    sandbox.stop(Duration::from_secs(5)).await.unwrap();
}

/// The other node's tunnel is one that nobody here wrote, given by its path.
#[tokio::test]
async fn a_peer_serves_one_of_the_nodes() {
    let Ok(peer) = std::env::var("PEER_ZTUNNEL") else {
        println!("skipped: PEER_ZTUNNEL names no other ztunnel to work with");
        return;
    };
    if missing(&["curl", "nft"]).is_some() {
        return;
    }
    for peers_node in ["node-1", "node-2"] {
        let dir = tempfile::tempdir().unwrap();
        let choose = dir.path().join("ztunnel");
        let ours = binary("ztunnel");
        let script = format!(
            "#!/bin/sh\n[ \"$NODE_NAME\" = {peers_node} ] && exec {peer} proxy ztunnel\nexec {} proxy ztunnel\n",
            ours.display()
        );
        std::fs::write(&choose, script).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&choose, executable).unwrap();
        let mut settings = settings();
        settings.binaries.ztunnel = choose;
        let sandbox = start(settings).await;
        reached(&sandbox, [true, true, true]).await;
        let strict = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: hello}
spec: {mtls: {mode: STRICT}}
";
        sandbox.apply(strict).await.unwrap();
        reached(&sandbox, [true, true, false]).await;
        sandbox.stop(Duration::from_secs(5)).await.unwrap();
    }
}

#[tokio::test]
async fn a_gateway_whose_program_is_not_built_is_named() {
    if missing(&["curl", "nft"]).is_some() {
        return;
    }
    let mut settings = settings();
    settings.binaries.waypoint = "/nowhere/waypoint".into();
    let sandbox = start(settings).await;
    let mut events = sandbox.events();
    let gateway = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: hello}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
";
    sandbox.apply(gateway).await.unwrap();
    let named = async {
        loop {
            if let Event::Refused { origin, reason } = events.recv().await.unwrap()
                && origin == "Gateway hello/waypoint"
            {
                return reason;
            }
        }
    };
    let reason = tokio::time::timeout(LIMIT, named).await.expect("it is refused");
    assert!(reason.contains("/nowhere/waypoint is not there"), "{reason}");
    reached(&sandbox, [true, true, true]).await;
    sandbox.stop(Duration::from_secs(2)).await.unwrap();
}
