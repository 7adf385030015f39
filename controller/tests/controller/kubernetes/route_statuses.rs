//! What the controller says in the status of routes.

use serde_json::{Value, json};

use super::{NAMESPACES, controller};
use crate::api::Api;
use crate::harness::{eventually, service};

const ROUTES: &str = "apis/gateway.networking.k8s.io/v1/httproutes";

fn route(spec: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web, namespace: shop}}
spec: {spec}
"
    )
}

/// The conditions of each parent, as `controller: type status reason: message`.
fn lines(api: &Api) -> Vec<String> {
    let object = api.get(ROUTES, "shop", "web").unwrap_or_default();
    let parents = object["status"]["parents"].as_array().cloned().unwrap_or_default();
    let of = |parent: &Value| {
        let text = |value: &Value, field: &str| value[field].as_str().expect("text").to_owned();
        let name = text(parent, "controllerName");
        let conditions = parent["conditions"].as_array().cloned().unwrap_or_default();
        let line = |c: &Value| {
            let [kind, status, reason, message] =
                ["type", "status", "reason", "message"].map(|field| text(c, field));
            format!("{name}: {kind} {status} {reason}: {message}")
        };
        conditions.iter().map(line).collect::<Vec<_>>()
    };
    parents.iter().flat_map(of).collect()
}

async fn says(api: &Api, expected: &[&str]) {
    eventually(|| async {
        // Of an older generation: not yet.
        let object = api.get(ROUTES, "shop", "web").expect("a route");
        let all = object["status"]["parents"].as_array().cloned().unwrap_or_default();
        let fresh =
            all.iter().flat_map(|p| p["conditions"].as_array().cloned().unwrap_or_default());
        let fresh =
            fresh.into_iter().all(|c| c["observedGeneration"] == object["metadata"]["generation"]);
        fresh && lines(api) == expected
    })
    .await;
}

#[tokio::test]
async fn routes_say_what_becomes_of_each_parent() {
    let api = Api::start().await;
    let parent = "parentRefs: [{group: '', kind: Service, name: web}]";
    api.apply(
        &[
            NAMESPACES,
            &route(&format!("{{{parent}, rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}")),
        ]
        .concat(),
    );
    let controller = controller(&api, "one").await;
    says(
        &api,
        &[
            "istio.io/mesh-controller: Accepted False NoMatchingParent: there is no Service shop/web",
            "istio.io/mesh-controller: ResolvedRefs False BackendNotFound: there is no Service shop/web",
        ],
    )
    .await;
    api.apply(&service("web", "10.1.0.1"));
    let good = [
        "istio.io/mesh-controller: Accepted True Accepted: attached",
        "istio.io/mesh-controller: ResolvedRefs True ResolvedRefs: all references are resolved",
    ];
    says(&api, &good).await;
    let entry = api.get(ROUTES, "shop", "web").expect("a route")["status"]["parents"][0].clone();
    assert_eq!(entry["parentRef"], json!({"group": "", "kind": "Service", "name": "web"}));

    // A mistake, and a parent of somebody else.
    api.apply(&route(&format!("{{{parent}, rules: [{{matches: [{{path: {{type: Odd}}}}]}}]}}")));
    says(
        &api,
        &[
            "istio.io/mesh-controller: Accepted False UnsupportedValue: spec.rules[0].matches[0].path.type: \"Odd\" is none of Exact, PathPrefix, RegularExpression; its last good version stays in force",
            good[1],
        ],
    )
    .await;
    let other = "status: {parents: [{controllerName: example.com/x, parentRef: {name: other}, conditions: []}]}";
    let both = format!(
        "{{{parent}, rules: [{{sessionPersistence: {{}}, backendRefs: [{{name: web, port: 80}}]}}]}}"
    );
    api.apply(&format!("{}{other}\n", route(&both)));
    says(
        &api,
        &[
            "istio.io/mesh-controller: Accepted True Accepted: spec.rules[0].sessionPersistence: is not known here and means nothing",
            good[1],
        ],
    )
    .await;
    let parents = api.get(ROUTES, "shop", "web").expect("a route")["status"]["parents"].clone();
    assert_eq!(
        parents[0],
        json!({"controllerName": "example.com/x", "parentRef": {"name": "other"}, "conditions": []})
    );
    let writes = api.status_writes(ROUTES);
    controller.stop().await;
    let again = super::controller(&api, "two").await;
    says(&api, &[ "istio.io/mesh-controller: Accepted True Accepted: spec.rules[0].sessionPersistence: is not known here and means nothing", good[1]]).await;
    assert_eq!(api.status_writes(ROUTES), writes, "a restart writes nothing");
    again.stop().await;
}
