//! From files to proxies.

use ambit_xds::{Held, ResourceType};

use crate::harness::{Files, Running, STRICT, TOKEN_A, eventually, forward, pod, service};

const WEB: &str = "Kubernetes//Pod/shop/web";
const SERVICE: &str = "shop/web.shop.svc.cluster.local";
const STRICT_POLICY: &str = "istio-system/istio_converted_static_strict";

fn mesh() -> Files {
    let files = Files::new();
    let yaml = [pod("web", "10.0.0.1", "node-a"), service("web", "10.1.0.1")].concat();
    files.replace("objects/web.yaml", &yaml);
    files
}

#[tokio::test]
async fn a_proxy_is_told_everything_and_then_each_change() {
    let controller = Running::start(mesh(), &[]).await;
    let mut proxy = controller.proxy();
    assert_eq!(proxy.synced().await, [format!("+{WEB}"), format!("+{SERVICE}")]);
    let files = &controller.files;

    files.replace("objects/db.yml", &pod("db", "10.0.0.2", "node-b"));
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/db"]);

    // A policy, and the workloads that now refer to it.
    std::fs::create_dir(files.path("objects/policies")).unwrap();
    files.replace("objects/policies/strict.yaml", STRICT);
    let mut changes = [proxy.changes().await, proxy.changes().await].concat();
    changes.sort();
    assert_eq!(
        changes,
        ["+Kubernetes//Pod/shop/db", &format!("+{WEB}"), &format!("+{STRICT_POLICY}")]
    );

    files.replace("objects/db.yml", &pod("db", "10.0.0.3", "node-b"));
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/db"]);
    std::fs::remove_file(files.path("objects/db.yml")).unwrap();
    assert_eq!(proxy.changes().await, ["-Kubernetes//Pod/shop/db"]);
    std::fs::remove_dir_all(files.path("objects/policies")).unwrap();
    let mut changes = [proxy.changes().await, proxy.changes().await].concat();
    changes.sort();
    assert_eq!(changes, [format!("+{WEB}"), format!("-{STRICT_POLICY}")]);
}

#[tokio::test]
async fn files_may_be_written_in_place_linked_and_moved() {
    let controller = Running::start(mesh(), &[]).await;
    let mut proxy = controller.proxy();
    proxy.synced().await;
    let files = &controller.files;

    crate::harness::write(&files.path("objects/a.yaml"), &pod("a", "10.0.0.2", "node-a"));
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/a"]);
    files.replace("elsewhere.yaml", &pod("b", "10.0.0.3", "node-a"));
    std::os::unix::fs::symlink(files.path("elsewhere.yaml"), files.path("objects/b.yaml")).unwrap();
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/b"]);
    std::fs::rename(files.path("objects/a.yaml"), files.path("objects/a.txt")).unwrap();
    assert_eq!(proxy.changes().await, ["-Kubernetes//Pod/shop/a"]);
    // A directory that was filled before it came.
    std::fs::create_dir(files.path("new")).unwrap();
    files.replace("new/c.json", r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c", "namespace": "shop"}, "status": {"podIP": "10.0.0.4"}}"#);
    std::fs::rename(files.path("new"), files.path("objects/new")).unwrap();
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/c"]);
    files.replace("objects/new/c.json", "{}");
    // No longer an object, and said so; another file is still followed.
    assert_eq!(proxy.changes().await, ["-Kubernetes//Pod/shop/c"]);
}

#[tokio::test]
async fn who_comes_back_is_told_only_the_difference() {
    let controller = Running::start(mesh(), &[]).await;
    let mut held = Held::default();
    held.insert(ResourceType::Address, WEB.into(), "0000000000000001");
    held.insert(ResourceType::Address, "Kubernetes//Pod/shop/old".into(), "0000000000000002");
    held.insert(ResourceType::Authorization, "shop/old".into(), "");
    let body = controller.get("/debug/objects").await;
    assert!(body.contains("\"addresses\": 2"), "{body}");
    let mut proxy = controller.proxy_with(TOKEN_A, held);
    assert_eq!(
        proxy.synced().await,
        ["-Kubernetes//Pod/shop/old", &format!("+{WEB}"), &format!("+{SERVICE}"), "-shop/old"]
    );
}

#[tokio::test]
async fn proxies_outlive_the_controller_and_get_what_changed_meanwhile() {
    let files = mesh();
    files.replace("objects/db.yaml", &pod("db", "10.0.0.2", "node-b"));
    let controller = Running::start(files, &[]).await;
    let (address, behind) = tokio::sync::watch::channel(controller.address);
    let mut proxy = controller.proxy_at(forward(behind).await, TOKEN_A, Held::default());
    proxy.synced().await;
    let files = controller.stop().await;
    files.replace("objects/web.yaml", &pod("web", "10.0.0.1", "node-a"));
    let controller = Running::start(files, &[]).await;
    address.send_replace(controller.address);
    let expected = [format!("-{SERVICE}"), format!("+{WEB}")];
    assert_eq!(proxy.changes().await, expected, "and nothing that it has already");
}

#[tokio::test]
async fn every_proxy_is_told_and_the_time_it_took_is_measured() {
    let controller = Running::start(mesh(), &[]).await;
    let mut proxies: Vec<_> = (0..20).map(|_| controller.proxy()).collect();
    for proxy in &mut proxies {
        proxy.synced().await;
    }
    assert!((controller.metric("ambit_controller_connected_proxies").await - 20.0).abs() < 0.1);
    controller.files.replace("objects/db.yaml", &pod("db", "10.0.0.2", "node-b"));
    for proxy in &mut proxies {
        assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/db"]);
    }
    eventually(|| async {
        controller.metric("ambit_controller_config_propagation_seconds_count").await >= 1.0
    })
    .await;
    let clients = controller.get("/debug/clients").await;
    assert_eq!(clients.matches("\"node\": \"node-a\"").count(), 20, "{clients}");
    assert!(controller.metric("ambit_controller_pushed_bytes_total").await > 1000.0);
    drop(proxies);
    eventually(|| async { controller.metric("ambit_controller_connected_proxies").await < 0.1 })
        .await;
}

#[tokio::test]
async fn without_a_valid_token_nothing_is_told() {
    let controller = Running::start(mesh(), &[]).await;
    let _stranger = controller.proxy_with("no-such-token", Held::default());
    eventually(|| async {
        controller.metric("ambit_controller_refused_streams_total{reason=\"token\"}").await >= 2.0
    })
    .await;
    assert!(controller.metric("ambit_controller_pushes_total{type=\"WDS\"}").await < 0.1);
}

#[tokio::test]
async fn plaintext_is_served_on_the_loopback_and_needs_the_token_too() {
    let controller = Running::start(mesh(), &["--plaintext"]).await;
    let node = ambit_xds::Node::ztunnel("1.1.1.1", "zt", "istio-system", "node-a");
    let mut config = ambit_xds::Config::new(format!("http://{}", controller.address), node);
    config.token = ambit_xds::Token::Literal(TOKEN_A.to_owned());
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let client = ambit_xds::Client::new(config, ambit_xds::Metrics::default());
    let task = tokio::spawn(client.run(move |_| {
        // The test may be over.
        let _ = sender.send(());
        Vec::new()
    }));
    assert!(crate::harness::soon(events.recv()).await.is_some());
    task.abort();
}

#[tokio::test]
async fn without_its_directory_the_last_state_stays_until_it_is_back() {
    let controller = Running::start(mesh(), &[]).await;
    let mut proxy = controller.proxy();
    proxy.synced().await;
    let files = &controller.files;
    std::fs::rename(files.path("objects"), files.path("away")).unwrap();
    // Filled before it is in place, so that nobody sees it empty.
    std::fs::create_dir(files.path("next")).unwrap();
    files.replace("next/db.yaml", &pod("db", "10.0.0.2", "node-b"));
    files.replace("next/web.yaml", &pod("web", "10.0.0.1", "node-a"));
    std::fs::rename(files.path("next"), files.path("objects")).unwrap();
    let expected = [format!("-{SERVICE}"), "+Kubernetes//Pod/shop/db".into(), format!("+{WEB}")];
    assert_eq!(proxy.changes().await, expected);
    files.replace("objects/more.yaml", &pod("more", "10.0.0.3", "node-b"));
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/more"]);
}
