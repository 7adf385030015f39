//! What goes wrong is said in one line that names the next step.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::harness::{Files, Running, eventually, pod, service, write};

/// Runs the program until it ends by itself.
fn run(files: &Files, more: &[&str]) -> Output {
    let options = files.options(more);
    Command::new(env!("CARGO_BIN_EXE_controller"))
        .args(&options[1..])
        .env_remove("RUST_LOG")
        .output()
        .expect("the program")
}

/// The one line a program says before it ends in failure.
fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert!(!text.contains("panicked"), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1, "{text}");
    lines[0].to_owned()
}

#[test]
fn what_cannot_go_on_ends_with_the_next_step() {
    let files = Files::new;
    let expect = |files: &Files, more: &[&str], words: &[&str]| {
        let line = complaint(&run(files, more));
        assert!(line.starts_with("controller: "), "{line}");
        for word in words {
            assert!(line.contains(word), "{word}: {line}");
        }
    };
    let missing = files();
    std::fs::remove_dir(missing.path("objects")).unwrap();
    expect(&missing, &[], &["--from-dir", "objects", "name a directory"]);
    let file = files();
    std::fs::remove_dir(file.path("objects")).unwrap();
    write(&file.path("objects"), "");
    expect(&file, &[], &["--from-dir", "name a directory"]);
    let open = files();
    std::fs::set_permissions(open.path("tokens"), std::fs::Permissions::from_mode(0o644)).unwrap();
    expect(&open, &[], &["--node-tokens", "run chmod 600"]);
    let tokens = files();
    tokens.replace("tokens", "{}");
    expect(&tokens, &[], &["--node-tokens", "line 1"]);
    let half = files();
    std::fs::create_dir(half.path("ca")).unwrap();
    write(&half.path("ca/root-cert.pem"), "x");
    expect(&half, &[], &["--ca-dir", "missing"]);
    let nowhere = files();
    expect(&nowhere, &["--root-cert-out", "/nonexistent/root.pem"], &["--root-cert-out"]);
    expect(&nowhere, &["--plaintext", "--listen", "0.0.0.0:0"], &["--plaintext", "loopback"]);
    expect(&nowhere, &["--listen", "192.0.2.1:15012"], &["--listen 192.0.2.1:15012"]);
    expect(
        &nowhere,
        &["--trust-domain", "A/B", "--cluster-id", "a/b"],
        &["--trust-domain", "--cluster-id"],
    );
}

#[test]
fn an_authority_that_cannot_sign_is_refused() {
    let with = |key: &str, certificate: &str| {
        let files = Files::new();
        std::fs::create_dir(files.path("ca")).unwrap();
        write(&files.path("ca/ca-key.pem"), key);
        write(&files.path("ca/ca-cert.pem"), certificate);
        write(&files.path("ca/root-cert.pem"), certificate);
        complaint(&run(&files, &[]))
    };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let good = params.self_signed(&key).unwrap().pem();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let expired = params.self_signed(&key).unwrap().pem();
    let line = with(&key.serialize_pem(), &expired);
    assert!(line.contains("--ca-dir") && line.contains("renew it"), "{line}");
    let line = with("unreadable", &good);
    assert!(line.contains("ca-key.pem"), "{line}");
    let line = with(&KeyPair::generate().unwrap().serialize_pem(), &good);
    assert!(line.contains("ca-key.pem") && line.contains("pair"), "{line}");
}

#[tokio::test]
async fn a_second_controller_on_the_port_gives_way() {
    let first = Running::start(Files::new(), &[]).await;
    let address = first.address.to_string();
    let second = Files::new();
    let output = tokio::task::spawn_blocking(move || run(&second, &["--listen", &address])).await;
    let line = complaint(&output.unwrap());
    assert!(line.contains(&first.address.to_string()) && line.contains("in use"), "{line}");
}

#[tokio::test]
async fn bad_objects_are_listed_and_the_good_ones_served() {
    let files = Files::new();
    let yaml = [
        pod("web", "10.0.0.1", "node-a"),
        pod("twin", "10.0.0.1", "node-b"),
        service("web", "10.1.0.1"),
        service("bad", "10.1.0.2").replace("port: 80", "port: 80000"),
        "---\napiVersion: example.com/v1\nkind: Surprise\nmetadata: {name: s}\n".to_owned(),
    ];
    files.replace("objects/a.yaml", &yaml.concat());
    files.replace("objects/b.yaml", "kind: [");
    let controller = Running::start(files, &[]).await;
    let mut proxy = controller.proxy();
    let told = proxy.synced().await;
    assert_eq!(told, ["+Kubernetes//Pod/shop/twin", "+shop/web.shop.svc.cluster.local"]);
    let listed = controller.get("/debug/objects").await;
    let list: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let refused: Vec<String> = list["refused"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|r| {
            let file = r["file"].as_str().expect("a file").rsplit('/').next().unwrap().to_owned();
            let text = |field: &str| r[field].as_str().expect("text").to_owned();
            format!("{file} {} {} {}", r["line"], text("object"), text("field"))
        })
        .collect();
    assert_eq!(
        refused,
        [
            "a.yaml 2 Pod shop/web status.podIP",
            "a.yaml 19 Service shop/bad spec.ports[0].port",
            "a.yaml 24 Surprise s kind",
            "b.yaml 0 the file ",
        ]
    );
    assert!((controller.metric("ambit_controller_refused_objects").await - 4.0).abs() < 0.1);

    // A correction is taken in, and the remark goes.
    controller.files.replace("objects/b.yaml", &pod("db", "10.0.0.7", "node-b"));
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/db"]);
    eventually(|| async { controller.metric("ambit_controller_refused_objects").await < 3.5 })
        .await;
    // And a new mistake changes nothing for anybody.
    controller.files.replace("objects/b.yaml", "kind: [");
    eventually(|| async { controller.metric("ambit_controller_refused_objects").await > 3.5 })
        .await;
    assert!(
        controller.get("/debug/objects").await.contains("its last good version stays in force")
    );
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_denies_at_once() {
    let controller = Running::start(Files::new(), &[]).await;
    let mut proxy = controller.proxy();
    proxy.synced().await;
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec: {action: ALOW}\n";
    controller.files.replace("objects/p.yaml", policy);
    assert_eq!(proxy.changes().await, ["+shop/p"]);
    let listed = controller.get("/debug/objects").await;
    assert!(listed.contains("everything it selects is denied until this is corrected"), "{listed}");
}
