//! What the controller says in the status of objects.

use serde_json::Value;

use super::{NAMESPACES, controller};
use crate::api::{Api, Trouble};
use crate::harness::{eventually, service};

const POLICIES: &str = "apis/security.istio.io/v1/authorizationpolicies";
const PEERS: &str = "apis/security.istio.io/v1/peerauthentications";
const ENTRIES: &str = "apis/networking.istio.io/v1/serviceentries";
const WORKLOADS: &str = "apis/networking.istio.io/v1/workloadentries";
const GATEWAYS: &str = "apis/gateway.networking.k8s.io/v1/gateways";
const SERVICES: &str = "api/v1/services";

const GATEWAY: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wp, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.1.0.9}]}
";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {spec}
"
    )
}

/// Waits until an object of `shop` says just this; each line is the beginning of a condition's.
async fn says(api: &Api, resource: &str, name: &str, expected: &[&str]) {
    eventually(|| async {
        let lines = api.conditions(resource, "shop", name);
        lines.len() == expected.len() && lines.iter().zip(expected).all(|(a, b)| a.starts_with(b))
    })
    .await;
}

fn condition(api: &Api, resource: &str, name: &str) -> Value {
    api.get(resource, "shop", name).expect("an object")["status"]["conditions"][0].clone()
}

#[tokio::test]
async fn policies_say_whether_they_are_enforced() {
    let api = Api::start().await;
    api.apply(&[NAMESPACES, &policy("p", "{}"), &policy("bad", "{action: ALOW}")].concat());
    let controller = controller(&api, "one").await;
    says(&api, POLICIES, "p", &["ZtunnelAccepted True Accepted: enforced by ztunnels"]).await;
    says(
        &api,
        POLICIES,
        "bad",
        &["ZtunnelAccepted False UnsupportedValue: spec.action: \"ALOW\" is none of ALLOW, DENY, AUDIT, CUSTOM; everything it selects is denied until this is corrected"],
    )
    .await;

    // The same status of a newer generation keeps its time.
    let first = condition(&api, POLICIES, "p");
    assert_eq!(first["observedGeneration"], 1);
    api.apply(&policy("p", "{action: DENY}"));
    eventually(|| async { condition(&api, POLICIES, "p")["observedGeneration"] == 2 }).await;
    assert_eq!(condition(&api, POLICIES, "p")["lastTransitionTime"], first["lastTransitionTime"]);
    api.apply(&policy("bad", "{action: ALLOW}"));
    says(&api, POLICIES, "bad", &["ZtunnelAccepted True Accepted"]).await;

    // From ztunnels to a waypoint: the old condition goes.
    api.apply(&policy("p", "{targetRefs: [{kind: Service, name: web}]}"));
    says(
        &api,
        POLICIES,
        "p",
        &["WaypointAccepted False TargetNotFound: there is no Service shop/web"],
    )
    .await;
    api.apply(&service("web", "10.1.0.1"));
    says(&api, POLICIES, "p", &["WaypointAccepted False AncestorNotBound"]).await;
    api.apply(GATEWAY);
    api.apply(
        &service("web", "10.1.0.1").replace("shop}", "shop, labels: {istio.io/use-waypoint: wp}}"),
    );
    says(&api, POLICIES, "p", &["WaypointAccepted True Accepted: attached to Gateway shop/wp"])
        .await;
    says(&api, SERVICES, "web", &["istio.io/WaypointBound True WaypointAccepted"]).await;
    api.delete(GATEWAYS, "shop", "wp");
    says(&api, SERVICES, "web", &["istio.io/WaypointBound False WaypointIsNotReady"]).await;
    says(&api, POLICIES, "p", &["WaypointAccepted False AncestorNotBound"]).await;
    api.apply(&service("web", "10.1.0.1"));
    says(&api, SERVICES, "web", &[]).await;
    assert!(
        controller.metric("ambit_controller_status_writes_total{outcome=\"written\"}").await > 6.0
    );
}

#[tokio::test]
async fn every_kind_says_what_is_wrong_with_it() {
    let api = Api::start().await;
    let bad = "---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: p, namespace: shop}
spec: {mtls: {mode: STRIKT}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: shop}
spec: {hosts: [], ports: []}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w, namespace: shop}
spec: {}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 0, protocol: HBONE}]}
status: {conditions: [{type: Accepted, status: 'True', reason: Accepted, message: by somebody else}]}
";
    let service = service("bad", "10.1.0.1").replace("port: 80,", "port: 80000,");
    api.apply(&[NAMESPACES, bad, &service].concat());
    let _controller = controller(&api, "one").await;
    let invalid = "ambit.dev/Accepted False Invalid: ";
    let line = |rest: &str| format!("{invalid}{rest}");
    says(&api, PEERS, "p", &[&line("spec.mtls.mode: \"STRIKT\" is none of")]).await;
    assert!(
        api.conditions(PEERS, "shop", "p")[0]
            .ends_with("STRICT is enforced until this is corrected")
    );
    says(&api, ENTRIES, "e", &[&line("spec.hosts: is missing")]).await;
    says(&api, WORKLOADS, "w", &[&line("spec.address: is missing")]).await;
    says(&api, SERVICES, "bad", &[&line("spec.ports[0].port: ")]).await;
    // What others say stays.
    says(
        &api,
        GATEWAYS,
        "g",
        &["Accepted True Accepted: by somebody else", &line("spec.listeners[0].port")],
    )
    .await;

    // What is put right says nothing more.
    api.apply(&bad.replace("STRIKT", "STRICT").replace("spec: {}", "spec: {address: 192.0.2.1}"));
    says(&api, PEERS, "p", &[]).await;
    says(&api, WORKLOADS, "w", &[]).await;
}

#[tokio::test]
async fn nothing_is_written_twice() {
    let api = Api::start().await;
    let many: Vec<String> = (0..20).map(|i| policy(&format!("p{i}"), "{}")).collect();
    api.apply(&[NAMESPACES, &many.concat()].concat());
    let (one, two) = tokio::join!(controller(&api, "one"), controller(&api, "two"));
    for i in 0..20 {
        says(&api, POLICIES, &format!("p{i}"), &["ZtunnelAccepted True Accepted"]).await;
    }
    assert_eq!(api.status_writes(POLICIES), 20, "one replica, once for each object");
    one.stop().await;
    two.stop().await;

    // A restart finds everything said; the next change is the only thing to write.
    let third = controller(&api, "three").await;
    api.apply(&policy("new", "{}"));
    says(&api, POLICIES, "new", &["ZtunnelAccepted True Accepted"]).await;
    assert_eq!(api.status_writes(POLICIES), 21);
    let pending = async || third.metric("ambit_controller_statuses_pending").await;
    eventually(|| async { pending().await < 1.0 }).await;

    // What somebody takes away is said again.
    api.apply(&policy("p0", "{}").replace("spec", "status: {conditions: []}\nspec"));
    says(&api, POLICIES, "p0", &["ZtunnelAccepted True Accepted"]).await;
}

#[tokio::test]
async fn a_right_that_is_missing_concerns_its_kind_alone() {
    let api = Api::start().await;
    let status = format!("{POLICIES}/status");
    api.fail(&status, Some(Trouble::Forbidden));
    api.apply(&[NAMESPACES, &policy("p", "{}"), &policy("q", "{}")].concat());
    api.apply("{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: w, namespace: shop}, spec: {}}");
    let controller = controller(&api, "one").await;
    says(&api, WORKLOADS, "w", &["ambit.dev/Accepted False Invalid"]).await;
    let forbidden = async || {
        controller.metric("ambit_controller_status_writes_total{outcome=\"forbidden\"}").await
    };
    eventually(|| async { forbidden().await >= 1.0 }).await;
    assert_eq!(api.conditions(POLICIES, "shop", "p"), [""; 0]);
    api.fail(&status, None);
    says(&api, POLICIES, "p", &["ZtunnelAccepted True Accepted"]).await;
    says(&api, POLICIES, "q", &["ZtunnelAccepted True Accepted"]).await;
}
