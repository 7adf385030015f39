//! Bad objects in a cluster: one line each, and the rest goes on.

use ambit_xds::Held;
use serde_json::Value;

use super::{NAMESPACES, controller, review, system_pod};
use crate::api::Api;
use crate::harness::{Running, eventually, pod, service};

/// What is wrong now, as `object: field: reason`; each line stands in the log once.
async fn remarks(controller: &Running) -> Vec<String> {
    let listed = controller.get("/debug/objects").await;
    let list: Value = serde_json::from_str(&listed).expect("JSON");
    let line = |remark: &Value| {
        let text = |field: &str| remark[field].as_str().expect("text").to_owned();
        format!("{}: {}: {}", text("object"), text("field"), text("reason"))
    };
    list["refused"].as_array().expect("a list").iter().map(line).collect()
}

/// Waits until just this is wrong; each line is the beginning of a remark.
async fn wrong(controller: &Running, expected: &[&str]) {
    eventually(|| async {
        let lines = remarks(controller).await;
        lines.len() == expected.len() && lines.iter().zip(expected).all(|(a, b)| a.starts_with(b))
    })
    .await;
    let count = controller.metric("ambit_controller_refused_objects").await;
    assert!((count - f64::from(u32::try_from(expected.len()).unwrap())).abs() < 0.1, "{count}");
}

/// Of a Namespace and of a Node only metadata is read, which the API server keeps in order.
const BAD: &str = "---
{apiVersion: v1, kind: Pod, metadata: {name: bad, namespace: shop}, spec: {nodeName: node-a}, status: {podIPs: [{ip: 300.1.2.3}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: bad, namespace: shop}, spec: {ports: [{port: 80000}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: bad, namespace: shop}, addressType: IPv4, endpoints: [{addresses: [x]}]}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: bad, namespace: shop}, spec: {hosts: []}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: bad, namespace: shop}, spec: {address: 'unix:///x'}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: bad, namespace: odd}, spec: {rulez: []}}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: bad, namespace: odd}, spec: {mtls: {mode: STRIKT}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: bad, namespace: shop}, spec: {listeners: [{port: 0}]}}
";

#[tokio::test]
async fn an_object_of_each_kind_that_cannot_be_used_is_one_line() {
    let api = Api::start().await;
    api.apply(&[NAMESPACES, &pod("web", "10.0.0.1", "node-a"), BAD].concat());
    system_pod(&api, "zt-a", "ztunnel", "node-a");
    let controller = controller(&api, "one").await;
    let expected = [
        "AuthorizationPolicy odd/bad: spec.rulez: unknown field",
        "EndpointSlice shop/bad: endpoints[0].addresses[0]: \"x\" is not an IP address",
        "Gateway shop/bad: spec.listeners[0].port: ",
        "PeerAuthentication odd/bad: spec.mtls.mode: \"STRIKT\" is none of",
        "Pod shop/bad: status.podIPs[0].ip: \"300.1.2.3\" is not an IP address",
        "Service shop/bad: spec.ports[0].port: ",
        "ServiceEntry shop/bad: spec.hosts: is missing",
        "WorkloadEntry shop/bad: spec.address: Unix sockets",
    ];
    wrong(&controller, &expected).await;
    let ends = remarks(&controller).await;
    assert!(ends[0].ends_with("everything it selects is denied until this is corrected"));
    assert!(ends[3].ends_with("STRICT is enforced until this is corrected"));

    // The good ones are served, and go on being served.
    let mut proxy = controller.proxy_with("token-of-zt-a", Held::default());
    let told = proxy.synced().await;
    assert!(told.contains(&"+Kubernetes//Pod/shop/web".to_owned()), "{told:?}");
    assert!(told.contains(&"+odd/bad".to_owned()), "the policy denies: {told:?}");
    api.apply(&pod("db", "10.0.0.2", "node-b"));
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/db"]);
    // An object that becomes bad keeps its last good version; nobody is told anything.
    api.apply(&pod("db", "10.0.0.x", "node-b"));
    eventually(|| async { remarks(&controller).await.len() == 9 }).await;
    let line = remarks(&controller).await.swap_remove(5);
    assert!(line.starts_with("Pod shop/db: status.podIP: "), "{line}");
    assert!(line.ends_with("; its last good version stays in force"), "{line}");
    api.apply(&pod("new", "10.0.0.3", "node-b"));
    assert_eq!(proxy.changes().await, ["+Kubernetes//Pod/shop/new"]);
}

#[tokio::test]
async fn what_two_objects_claim_one_of_them_has() {
    let api = Api::start().await;
    let entry = |name: &str, host: &str, year: i32| {
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop, creationTimestamp: '{year}-01-01T00:00:00Z'}}
spec: {{hosts: [{host}], resolution: STATIC, ports: [{{number: 80, name: http}}]}}
"
        )
    };
    let yaml = [
        NAMESPACES.to_owned(),
        service("web", "10.1.0.1"),
        entry("thief", "web.shop.svc.cluster.local", 2020),
        entry("older", "x.example", 2021),
        entry("newer", "x.example", 2022),
    ];
    api.apply(&yaml.concat());
    let controller = controller(&api, "one").await;
    let hosts = [
        "ServiceEntry shop/newer: spec.hosts[0]: x.example is already the host of ServiceEntry shop/older",
        "ServiceEntry shop/thief: spec.hosts[0]: web.shop.svc.cluster.local is already the host of Service shop/web",
    ];
    wrong(&controller, &hosts).await;
    // Who claimed it first goes: the other one has it.
    api.delete("apis/networking.istio.io/v1/serviceentries", "shop", "older");
    wrong(&controller, &hosts[1..]).await;
    api.delete("apis/networking.istio.io/v1/serviceentries", "shop", "thief");
    wrong(&controller, &[]).await;
    let says = || api.conditions("apis/networking.istio.io/v1/serviceentries", "shop", "newer");
    eventually(|| async { says().is_empty() }).await;
}

#[tokio::test]
async fn an_address_belongs_to_the_pod_that_runs() {
    let api = Api::start().await;
    let aged = |name: &str, year: i32, more: &str| {
        pod(name, "10.0.0.1", "node-a").replace(
            "namespace: shop,",
            &format!("namespace: shop, creationTimestamp: '{year}-01-01T00:00:00Z', {more}"),
        )
    };
    let ended = |name: &str, phase: &str| {
        aged(name, 2026, "").replace("phase: Running", &format!("phase: {phase}"))
    };
    // Pods that have ended still name the address that they had.
    let yaml = [aged("runs", 2025, ""), ended("done", "Succeeded"), ended("failed", "Failed")];
    api.apply(&[NAMESPACES, &yaml.concat()].concat());
    system_pod(&api, "zt-a", "ztunnel", "node-a");
    let controller = controller(&api, "one").await;
    wrong(&controller, &[]).await;
    let mut proxy = controller.proxy_with("token-of-zt-a", Held::default());
    assert_eq!(proxy.synced().await, ["+Kubernetes//Pod/shop/runs"]);

    // The address has a new pod before the old one is gone.
    api.apply(&aged("next", 2026, ""));
    let mut changes = proxy.changes().await;
    changes.sort();
    assert_eq!(changes, ["+Kubernetes//Pod/shop/next", "-Kubernetes//Pod/shop/runs"]);
    wrong(
        &controller,
        &["Pod shop/runs: status.podIP: 10.0.0.1 is already the address of Pod shop/next"],
    )
    .await;
    // One that is going gives way to one that stays, whatever their age.
    api.apply(&aged("next", 2026, "deletionTimestamp: '2026-02-01T00:00:00Z',"));
    let mut changes = proxy.changes().await;
    changes.sort();
    assert_eq!(changes, ["+Kubernetes//Pod/shop/runs", "-Kubernetes//Pod/shop/next"]);
}

#[tokio::test]
async fn requests_that_are_refused_are_counted_by_reason() {
    use ambit_identity::CertificateSource as _;
    use ambit_model::Identity;

    let api = Api::start().await;
    api.apply(&[NAMESPACES, &pod("web", "10.0.0.1", "node-a")].concat());
    system_pod(&api, "zt-a", "ztunnel", "node-a");
    system_pod(&api, "waypoint", "waypoint", "node-a");
    let mut expired = review("zt-a", "ztunnel");
    expired["authenticated"] = false.into();
    expired["error"] = "service account token has expired".into();
    api.token("expired", expired);
    let mut foreign = review("zt-a", "ztunnel");
    foreign["audiences"] = serde_json::json!(["https://kubernetes.default.svc"]);
    api.token("for-others", foreign);
    let controller = controller(&api, "one").await;
    let identity = |account: &str| Identity::new("cluster.local", "shop", account);
    let good = controller.certificates("token-of-zt-a");
    eventually(|| async { good.fetch(&identity("web")).await.is_ok() }).await;
    let refused = async |reason: &str| {
        let name = format!("ambit_controller_certificates_refused_total{{reason=\"{reason}\"}}");
        controller.metric(&name).await
    };
    for (token, account, reason) in [
        ("expired", "web", "token"),
        ("for-others", "web", "token"),
        ("token-of-waypoint", "web", "not_trusted"),
        ("token-of-zt-a", "nobody", "not_on_node"),
    ] {
        let before = refused(reason).await;
        let result = controller.certificates(token).fetch(&identity(account)).await;
        assert!(result.is_err(), "{token}");
        assert!(refused(reason).await > before, "{token}: {reason}");
    }
    assert!(controller.metric("ambit_controller_certificates_issued_total").await >= 1.0);
    assert!(good.fetch(&identity("web")).await.is_ok(), "others go on");
}
