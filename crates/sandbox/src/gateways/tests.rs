//! What is deployed, as tables.

use super::*;
use crate::manifest;

fn gateway(class: &str, more: &str) -> Objects {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n\
         metadata: {{name: gw, namespace: shop, annotations: {{gateway.istio.io/service-account: door}}}}\n\
         spec:\n  gatewayClassName: {class}\n  listeners:\n  - {{name: mesh, port: 15008, protocol: HBONE}}\n{more}"
    );
    let manifest = manifest::read("f", &text);
    assert_eq!(manifest.refusals, []);
    Objects(manifest.documents.into_iter().map(|doc| (doc.key, doc.object)).collect())
}

fn run(objects: &Objects, missing: Option<&str>) -> Deployed {
    let pod = |_: &Gateway, _: &ObjectRef| json!({ "containers": [{ "name": "c" }] });
    deployed(objects, missing.map(str::to_owned), pod)
}

fn names(deployed: &Deployed) -> Vec<String> {
    deployed.objects.iter().map(|document| document.key.to_string()).collect()
}

#[test]
fn a_gateway_of_the_mesh_is_deployed() {
    for (class, name, kind) in [
        ("istio-waypoint", "gw", "ClusterIP"),
        ("ambit-waypoint", "gw", "ClusterIP"),
        ("ambit", "gw", "LoadBalancer"),
        ("istio", "gw-istio", "LoadBalancer"),
    ] {
        let deployed = run(&gateway(class, ""), None);
        assert_eq!(deployed.problems, []);
        let expected = [
            format!("Deployment shop/{name}"),
            format!("Service shop/{name}"),
            "ServiceAccount shop/door".to_owned(),
        ];
        assert_eq!(names(&deployed), expected);
        assert_eq!(deployed.accounts, BTreeSet::from(["shop/door".to_owned()]));
        let Object::Service(service) = &deployed.objects[1].object else { panic!() };
        let spec = service.spec.as_ref().unwrap();
        assert_eq!(spec.type_.as_deref(), Some(kind), "{class}");
        assert_eq!(spec.selector, Some([(GATEWAY_NAME.to_owned(), "gw".to_owned())].into()));
        let ports: Vec<i32> = spec.ports.iter().flatten().map(|port| port.port).collect();
        assert_eq!(ports, [15021, 15008]);
        let Object::Deployment(deployment) = &deployed.objects[0].object else { panic!() };
        let labels = deployment.spec.template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
        assert_eq!(labels["istio.io/dataplane-mode"], "none");
        assert_eq!(labels[GATEWAY_NAME], "gw");
    }
}

#[test]
fn parameters_tell_how_many_pods_there_are() {
    let more = "  infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: size}}\n";
    let with = |data: &str| {
        let map = format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: size, namespace: shop}}\ndata: {data}\n"
        );
        run(&gateway("istio-waypoint", &(more.to_owned() + &map)), None)
    };
    for (data, expected) in [("{deployment: 'spec: {replicas: 3}'}", 3), ("{service: '{}'}", 1)] {
        let deployed = with(data);
        assert_eq!(deployed.problems, []);
        let Object::Deployment(deployment) = &deployed.objects[0].object else { panic!() };
        assert_eq!(deployment.spec.replicas, Some(expected), "{data}");
    }
    for deployed in [with("{deployment: '{'}"), run(&gateway("istio-waypoint", more), None)] {
        assert_eq!(deployed.problems.len(), 1, "{:?}", deployed.problems);
        assert_eq!(deployed.objects.len(), 3);
    }
}

#[test]
fn others_gateways_are_left_to_them() {
    for (class, more) in [
        ("nginx", ""),
        ("istio-remote", ""),
        ("istio-waypoint", "  addresses: [{type: Hostname, value: a.example}]\n"),
        ("istio-waypoint", "status: {addresses: [{value: 10.0.0.1}]}\n"),
    ] {
        let objects = gateway(class, more);
        assert_eq!(run(&objects, None), Deployed::default(), "{class} {more}");
        assert!(matches!(objects.0.values().next(), Some(Object::Other(_))), "passed on");
    }
}

#[test]
fn what_cannot_be_deployed_says_why() {
    let objects = gateway("istio-waypoint", "");
    let deployed = run(&objects, Some("not built"));
    assert_eq!(deployed.problems, [("Gateway shop/gw".to_owned(), "not built".to_owned())]);
    assert!(deployed.objects.is_empty() && deployed.accounts.is_empty());
    assert_eq!(run(&Objects::default(), Some("not built")).problems, [], "nobody asks for it");

    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\n\
                spec: {gatewayClassName: istio-waypoint, listeners: [{name: a, protocol: HBONE}]}";
    let manifest = manifest::read("f", text);
    let problem = manifest.refusals[0].invalid.to_string();
    assert!(problem.contains("Gateway default/gw: spec.listeners[0]: missing field"), "{problem}");
}
