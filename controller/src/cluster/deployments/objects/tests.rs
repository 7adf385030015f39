//! Gateways and what is deployed for them, as tables.

use kube::api::DynamicObject;

use super::*;
use crate::cluster::deployments::gateway::{self, read};

fn parse(metadata: &Value, spec: &Value) -> Result<Option<Gateway>, String> {
    let mut object = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": "gw", "namespace": "shop", "uid": "uid-of-gw" },
        "spec": { "listeners": [{ "name": "mesh", "port": 15008, "protocol": "HBONE" }] },
    });
    merge(&mut object, json!({ "metadata": metadata, "spec": spec }), "");
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    read(&object)
}

fn gateway(class: &str, metadata: &Value) -> Gateway {
    parse(metadata, &json!({ "gatewayClassName": class })).unwrap().unwrap()
}

fn template() -> Template {
    Template {
        image: "r.example/waypoint:1".to_owned(),
        control_plane: "https://ambit-controller.mesh.svc:15012".to_owned(),
        audience: "istio-ca".to_owned(),
        cluster_id: "c".to_owned(),
        cluster_domain: "d".to_owned(),
        trust_domain: "t".to_owned(),
    }
}

fn overlays(key: &str, text: &str) -> Overlays {
    Overlays::read(&[(key.to_owned(), text.to_owned())].into()).unwrap()
}

fn deploy(gateway: &Gateway, overlays: &[&Overlays]) -> BTreeMap<Part, Value> {
    let wanted = objects(gateway, overlays, &template()).unwrap();
    wanted.into_iter().map(|wanted| (wanted.key.part, wanted.body)).collect()
}

#[test]
fn classes_differ_in_names_and_type() {
    for (class, name, kind, managed) in [
        ("istio-waypoint", "gw", "ClusterIP", "istio.io-mesh-controller"),
        ("ambit-waypoint", "gw", "ClusterIP", "ambit.dev-mesh-controller"),
        ("istio", "gw-istio", "LoadBalancer", "istio.io-gateway-controller"),
        ("ambit", "gw", "LoadBalancer", "ambit.dev-gateway-controller"),
    ] {
        let all = deploy(&gateway(class, &json!({})), &[]);
        let parts: Vec<Part> = all.keys().copied().collect();
        assert_eq!(parts, [Part::ServiceAccount, Part::Deployment, Part::Service], "{class}");
        for body in all.values() {
            let metadata = &body["metadata"];
            assert_eq!(metadata["name"], name);
            assert_eq!(metadata["namespace"], "shop");
            assert_eq!(metadata["labels"][GATEWAY_NAME], "gw");
            assert_eq!(metadata["labels"][MANAGED], managed);
            assert_eq!(metadata["ownerReferences"][0]["uid"], "uid-of-gw");
        }
        assert_eq!(all[&Part::Service]["spec"]["type"], kind, "{class}");
        let empty = all.values().any(|body| body["metadata"]["annotations"] == json!({}));
        assert!(!empty, "{class}: an empty map is nobody's for long");
    }
}

#[test]
fn annotations_name_things_and_choose_the_type() {
    let metadata = json!({ "annotations": {
        "gateway.istio.io/name-override": "edge",
        "gateway.istio.io/service-account": "door",
        SERVICE_TYPE: "NodePort",
    } });
    let all = deploy(&gateway("istio", &metadata), &[]);
    assert_eq!(all[&Part::Deployment]["metadata"]["name"], "edge");
    assert_eq!(all[&Part::ServiceAccount]["metadata"]["name"], "door");
    let pod = &all[&Part::Deployment]["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "door");
    assert_eq!(all[&Part::Service]["spec"]["type"], "NodePort");
    let wrong = gateway("istio", &json!({ "annotations": { SERVICE_TYPE: "Magic" } }));
    let error = objects(&wrong, &[], &template()).unwrap_err();
    assert!(error.contains("\"Magic\" is none of ClusterIP"), "{error}");
}

#[test]
fn pods_are_hardened_and_know_who_they_are() {
    let all = deploy(&gateway("istio-waypoint", &json!({})), &[]);
    let template = &all[&Part::Deployment]["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["istio.io/dataplane-mode"], "none");
    let pod = &template["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["securityContext"]["sysctls"], Value::Null, "a waypoint needs no low port");
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "r.example/waypoint:1");
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
    assert_eq!(container["readinessProbe"]["httpGet"]["port"], 15021);
    let environment = container["env"].as_array().unwrap();
    let value =
        |name: &str| environment.iter().find(|v| v["name"] == name).map(|v| v["value"].clone());
    assert_eq!(value("GATEWAY_NAME"), Some("gw".into()));
    assert_eq!(value("XDS_ADDRESS"), Some("https://ambit-controller.mesh.svc:15012".into()));
    assert_eq!(value("NETWORK"), None);
    let token = &pod["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["audience"], "istio-ca");

    let ingress = deploy(&gateway("ambit", &json!({})), &[]);
    let pod = &ingress[&Part::Deployment]["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["sysctls"][0]["value"], "0");
}

#[test]
fn listeners_become_ports_once() {
    let listener = |name: &str, port: u16, protocol: &str| json!({ "name": name, "port": port, "protocol": protocol });
    let spec = json!({ "gatewayClassName": "ambit", "listeners": [
        listener("http", 80, "HTTP"),
        listener("other.host", 80, "HTTP"),
        listener("a.b", 443, "HTTPS"),
        listener("dns", 53, "UDP"),
    ] });
    let gateway = parse(&json!({}), &spec).unwrap().unwrap();
    let service = &deploy(&gateway, &[])[&Part::Service];
    let ports = service["spec"]["ports"].as_array().unwrap();
    let of =
        |port: &Value| (port["name"].clone(), port["port"].clone(), port["appProtocol"].clone());
    let expected =
        [("status-port", 15021, "tcp"), ("http", 80, "http"), ("port-443", 443, "https")]
            .map(|(name, port, protocol)| (name.into(), port.into(), protocol.into()));
    assert_eq!(ports.iter().map(of).collect::<Vec<_>>(), expected);
}

#[test]
fn overlays_add_and_never_rename() {
    let first = overlays(
        "deployment",
        "{metadata: {name: other, labels: {team: a}}, spec: {replicas: 2, template: {spec: {containers: [{name: waypoint, resources: {requests: {cpu: 1}}}]}}}}",
    );
    let second = overlays("deployment", "spec: {replicas: 3}");
    let all = deploy(&gateway("istio-waypoint", &json!({})), &[&first, &second]);
    let deployment = &all[&Part::Deployment];
    assert_eq!(deployment["metadata"]["name"], "gw");
    assert_eq!(deployment["metadata"]["labels"]["team"], "a");
    assert_eq!(deployment["spec"]["replicas"], 3, "the later one counts");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["requests"], json!({ "cpu": 1, "memory": "32Mi" }));
    assert_eq!(container["image"], "r.example/waypoint:1");

    let scaling = overlays("horizontalPodAutoscaler", "spec: {maxReplicas: 5}");
    let budget = overlays("podDisruptionBudget", "spec: {minAvailable: 1}");
    let all = deploy(&gateway("istio", &json!({})), &[&scaling, &budget]);
    let scaling = &all[&Part::HorizontalPodAutoscaler]["spec"];
    assert_eq!(scaling["scaleTargetRef"]["name"], "gw-istio");
    assert_eq!(scaling["maxReplicas"], 5);
    let budget = &all[&Part::PodDisruptionBudget]["spec"];
    assert_eq!(budget["selector"]["matchLabels"][GATEWAY_NAME], "gw");
}

#[test]
fn infrastructure_is_on_everything() {
    let spec = json!({ "gatewayClassName": "istio-waypoint", "infrastructure": {
        "labels": { "team": "a", GATEWAY_NAME: "forged" }, "annotations": { "note": "b" },
    } });
    let gateway = parse(&json!({}), &spec).unwrap().unwrap();
    let all = deploy(&gateway, &[]);
    let template = &all[&Part::Deployment]["spec"]["template"];
    for metadata in all.values().map(|body| &body["metadata"]).chain([&template["metadata"]]) {
        assert_eq!(metadata["labels"]["team"], "a");
        assert_eq!(metadata["labels"][GATEWAY_NAME], "gw");
        assert_eq!(metadata["annotations"]["note"], "b");
    }
}

#[test]
fn some_gateways_are_somebody_elses() {
    let ours = json!({ "gatewayClassName": "istio-waypoint" });
    let newer = json!({ "annotations": { "gateway.istio.io/controller-version": "6" } });
    let same = json!({ "annotations": { "gateway.istio.io/controller-version": "5" } });
    for (metadata, spec, expected) in [
        (&json!({}), ours.clone(), true),
        (&same, ours.clone(), true),
        (&newer, ours.clone(), false),
        (&json!({}), json!({ "gatewayClassName": "nginx", "listeners": 1 }), false),
        (
            &json!({}),
            json!({ "gatewayClassName": "istio", "addresses": [{ "type": "Hostname", "value": "a" }] }),
            false,
        ),
    ] {
        assert_eq!(parse(metadata, &spec).unwrap().is_some(), expected, "{metadata} {spec}");
    }
    let wrong =
        json!({ "gatewayClassName": "istio", "listeners": [{ "name": "a", "port": 70000 }] });
    let error = parse(&json!({}), &wrong).unwrap_err();
    assert!(error.starts_with("spec.listeners[0].port: "), "{error}");
    let asked = json!({ "gatewayClassName": "istio", "addresses": [{ "value": "10.0.0.9" }] });
    let gateway: gateway::Gateway = parse(&json!({}), &asked).unwrap().unwrap();
    assert_eq!(deploy(&gateway, &[])[&Part::Service]["spec"]["loadBalancerIP"], "10.0.0.9");
}
