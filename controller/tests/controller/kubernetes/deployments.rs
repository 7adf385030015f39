//! What is deployed for Gateways, and what is not.

use serde_json::{Value, json};

use super::{CONFIG_MAPS, NAMESPACES, controller};
use crate::api::{Api, Trouble};
use crate::harness::eventually;

const ACCOUNTS: &str = "api/v1/serviceaccounts";
const CLASSES: &str = "apis/gateway.networking.k8s.io/v1/gatewayclasses";
const DEPLOYMENTS: &str = "apis/apps/v1/deployments";
const GATEWAYS: &str = "apis/gateway.networking.k8s.io/v1/gateways";
const SERVICES: &str = "api/v1/services";

async fn cluster() -> Api {
    let api = Api::start().await;
    api.apply(NAMESPACES);
    api
}

fn gateway(class: &str, more: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gw, namespace: shop, uid: uid-of-gw}}
spec:
  gatewayClassName: {class}
  listeners: [{{name: mesh, port: 15008, protocol: HBONE}}]
{more}"
    )
}

fn object(api: &Api, resource: &str) -> Option<Value> {
    api.get(resource, "shop", "gw")
}

fn container(api: &Api) -> Value {
    let deployment = object(api, DEPLOYMENTS).unwrap_or_default();
    deployment["spec"]["template"]["spec"]["containers"][0].clone()
}

async fn there(api: &Api, resources: &[&str], expected: bool) {
    eventually(|| async {
        resources.iter().all(|resource| object(api, resource).is_some() == expected)
    })
    .await;
}

const ALL: [&str; 3] = [ACCOUNTS, DEPLOYMENTS, SERVICES];

#[tokio::test]
async fn a_gateway_is_deployed_and_kept_so() {
    let api = cluster().await;
    let _controller = controller(&api, "one").await;
    api.apply(&gateway("istio-waypoint", ""));
    there(&api, &ALL, true).await;
    for resource in ALL {
        let owner = &object(&api, resource).expect("there")["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["kind"], &owner["uid"]), (&json!("Gateway"), &json!("uid-of-gw")));
    }
    // Somebody deletes one thing and spoils another.
    api.delete(SERVICES, "shop", "gw");
    let mut spoilt = object(&api, DEPLOYMENTS).expect("there");
    spoilt["spec"]["template"]["spec"]["containers"][0]["image"] = "other".into();
    api.apply(&spoilt.to_string());
    there(&api, &[SERVICES], true).await;
    eventually(|| async { container(&api)["image"] != "other" }).await;
    // The class is given to somebody else.
    api.apply(&gateway("nginx", ""));
    there(&api, &ALL, false).await;
}

#[tokio::test]
async fn classes_are_there_and_accepted() {
    let api = cluster().await;
    api.apply(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: example.com/other}
",
    );
    let _controller = controller(&api, "one").await;
    for class in ["ambit", "ambit-waypoint", "istio-waypoint"] {
        eventually(|| async {
            api.conditions(CLASSES, "", class)
                == ["Accepted True Accepted: Handled by Ambit's controller"]
        })
        .await;
    }
    assert!(api.conditions(CLASSES, "", "istio").is_empty(), "it is of another controller");
}

#[tokio::test]
async fn config_maps_add_to_what_is_deployed() {
    let api = cluster().await;
    api.apply(
        "---
apiVersion: v1
kind: ConfigMap
metadata: {name: defaults, namespace: istio-system, labels: {gateway.istio.io/defaults-for-class: istio-waypoint}}
data: {deployment: 'spec: {replicas: 2, paused: false}'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: own, namespace: shop}
data: {deployment: 'spec: {replicas: 3}', podDisruptionBudget: 'spec: {minAvailable: 1}'}
",
    );
    let _controller = controller(&api, "one").await;
    let own = "  infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: own}}\n";
    api.apply(&gateway("istio-waypoint", own));
    there(&api, &[DEPLOYMENTS, "apis/policy/v1/poddisruptionbudgets"], true).await;
    let spec = || object(&api, DEPLOYMENTS).expect("there")["spec"].clone();
    assert_eq!((&spec()["replicas"], &spec()["paused"]), (&json!(3), &json!(false)));

    api.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: own, namespace: shop}, data: {deployment: 'spec: {replicas: 4}'}}");
    eventually(|| async { spec()["replicas"] == 4 }).await;
    there(&api, &["apis/policy/v1/poddisruptionbudgets"], false).await;
    api.delete(CONFIG_MAPS, "istio-system", "defaults");
    eventually(|| async { spec()["paused"].is_null() }).await;
}

#[tokio::test]
async fn what_is_somebody_elses_is_left_and_what_was_istios_is_taken_over() {
    let api = cluster().await;
    api.apply(
        "---
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: shop}
spec: {selector: {app: theirs}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: gw, namespace: shop, annotations: {role: theirs}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gw, namespace: shop, labels: {gateway.istio.io/managed: istio.io-mesh-controller}}
spec: {template: {spec: {containers: [{name: istio-proxy, image: proxyv2}]}}}
",
    );
    let _controller = controller(&api, "one").await;
    api.apply(&gateway("istio-waypoint", ""));
    eventually(|| async { container(&api)["name"] == "waypoint" }).await;
    let deployment = object(&api, DEPLOYMENTS).expect("there");
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array().cloned();
    assert_eq!(containers.map(|all| all.len()), Some(1));
    let service = object(&api, SERVICES).expect("there");
    assert_eq!(service["spec"]["selector"], json!({"app": "theirs"}));
    let account = object(&api, ACCOUNTS).expect("there");
    assert_eq!(account["metadata"]["annotations"]["role"], "theirs");

    api.delete(SERVICES, "shop", "gw");
    eventually(|| async {
        object(&api, SERVICES).is_some_and(|s| s["spec"]["ports"][1]["port"] == 15008)
    })
    .await;
}

#[tokio::test]
async fn a_missing_right_or_kind_is_waited_for() {
    let api = cluster().await;
    api.fail(GATEWAYS, Some(Trouble::Missing));
    let _controller = controller(&api, "one").await;
    api.apply(&gateway("istio-waypoint", ""));
    api.fail(DEPLOYMENTS, Some(Trouble::Forbidden));
    api.fail(GATEWAYS, None);
    there(&api, &[SERVICES, ACCOUNTS], true).await;
    assert!(object(&api, DEPLOYMENTS).is_none());
    api.fail(DEPLOYMENTS, None);
    there(&api, &[DEPLOYMENTS], true).await;
}
