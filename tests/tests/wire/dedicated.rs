//! A tunnel of one workload alone, in the workload's own network namespace.

use ambit_model::TunnelProtocol;
use ambit_redirect::{Backend, Capture};
use ambit_tests::{Mesh, Running, binary, missing};

const METRIC: &str = "istio_tcp_connections_opened_total";

/// Starts a tunnel for `pod` inside it and waits until it listens.
async fn start(mesh: &Mesh, pod: &str) -> Running {
    ambit_redirect::apply(mesh.pod(pod).room().netns(), &Capture::default(), Backend::Nftables)
        .unwrap();
    let variable = |name: &str, value: &str| format!("{name}={value}");
    let path = |file: &str| mesh.dir().join(file).to_str().unwrap().to_owned();
    let settings = [
        variable("PROXY_MODE", "dedicated"),
        variable("PROXY_WORKLOAD_INFO", &format!("default/{pod}/{pod}")),
        variable("PACKET_MARK", "1337"),
        variable("LOCAL_XDS_PATH", &path("state.yaml")),
        variable("LOCAL_CA_DIR", &path("ca")),
        variable("XDS_ADDRESS", ""),
    ];
    let ztunnel = binary("ztunnel");
    let mut command = vec!["env"];
    command.extend(settings.iter().map(String::as_str));
    command.push(ztunnel.to_str().unwrap());
    let tunnel = mesh.start(pod, &command);
    mesh.listening(pod, 15008).await;
    tunnel
}

#[tokio::test]
async fn one_workload_has_a_tunnel_of_its_own() {
    if missing(&["curl", "ss"]).is_some() {
        return;
    }
    let mesh = Mesh::builder()
        .plain_pod("alone", "n1")
        .workload("alone", |workload| workload.protocol = TunnelProtocol::Hbone)
        .pod("other", "n2")
        .plain_pod("stranger", "n2")
        .start()
        .await;
    let _tunnel = start(&mesh, "alone").await;
    for pod in ["alone", "other"] {
        mesh.greeter(pod, 8080, pod);
    }
    for (from, to) in [("alone", "other"), ("other", "alone"), ("stranger", "alone")] {
        let answer = mesh.ask(from, mesh.at(to, 8080)).await;
        assert_eq!(answer, format!("{to} {}", mesh.ip(from)), "from {from}");
    }
    let own = mesh.run("alone", &["curl", "-sS", "http://127.0.0.1:15020/metrics"]).await.ok();
    for (of, metrics, source, security) in [
        ("alone", &own, "alone", "mutual_tls"),
        ("alone", &own, "other", "mutual_tls"),
        ("alone", &own, "stranger", "unknown"),
        ("other", &mesh.metrics("n2").await, "alone", "mutual_tls"),
        ("other", &mesh.metrics("n2").await, "other", "mutual_tls"),
    ] {
        let told = metrics.lines().any(|line| {
            line.starts_with(METRIC)
                && line.contains(&format!(r#"source_workload="{source}""#))
                && line.contains(&format!(r#"connection_security_policy="{security}""#))
        });
        assert!(told, "the tunnel of {of} does not tell of {source}:\n{metrics}");
    }
}
