//! Backends that cannot be used.

use super::*;

/// What becomes of `web`'s only rule: its lines without the first three.
fn rule(mesh: &Mesh) -> Vec<String> {
    mesh.web()[3..].to_vec()
}

#[test]
fn what_cannot_be_used_keeps_its_share_and_is_refused() {
    for (backend, expected) in [
        ("{name: none, port: 80}", "BackendNotFound: there is no Service shop/none"),
        ("{name: v2}", "BackendNotFound: Service shop/v2: a port is needed"),
        ("{name: v2, port: 81}", "BackendNotFound: Service shop/v2 has no TCP port 81"),
        (
            "{name: v2, kind: Bucket, group: cloud.example, port: 80}",
            "InvalidKind: Bucket shop/v2: traffic cannot be sent to objects of this kind",
        ),
        (
            "{name: x, namespace: other, port: 80}",
            "RefNotPermitted: Service other/x: no ReferenceGrant in other lets objects of kind HTTPRoute in shop refer to it",
        ),
        (
            "{name: v2, port: 80, filters: [{type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}]}",
            "filters of type \"ExtensionRef\" are not supported",
        ),
    ] {
        let mesh =
            web_with(&format!("{{backendRefs: [{{name: web, port: 80, weight: 3}}, {backend}]}}"));
        let web = "    3 shop/web.shop.svc.cluster.local:80".to_owned();
        assert_eq!(rule(&mesh), [web, format!("    1 ! {expected}")]);
        let problem = format!("HTTPRoute shop/r: spec.rules[0].backendRefs[1]: {expected}");
        assert_eq!(mesh.problems(), [problem]);
    }
}

#[test]
fn rules_without_a_backend_serve_nothing() {
    for (rules, expected) in [
        ("{}", "    1 ! the rule has no backendRefs"),
        (
            "{backendRefs: [{name: web, port: 80, weight: 0}]}",
            "    1 ! no backend of the rule has a weight",
        ),
        (
            "{filters: [{type: ExternalAuth, externalAuth: {}}], backendRefs: [{name: web, port: 80}]}",
            "    1 ! filters of type \"ExternalAuth\" are not supported",
        ),
    ] {
        assert_eq!(rule(&web_with(rules)), [expected]);
    }
}

#[test]
fn other_namespaces_have_to_grant_it() {
    let rules = "{backendRefs: [{name: x, namespace: other, port: 80}], filters: [{type: RequestMirror, requestMirror: {backendRef: {name: x, namespace: other, port: 80}}}]}";
    let mut mesh = web_with(rules);
    mesh.write(
        "x.yaml",
        &service("x", "10.1.0.9", "").replace("namespace: shop", "namespace: other"),
    );
    let granted = [
        "    1 other/x.other.svc.cluster.local:80",
        "    mirror 1000000 other/x.other.svc.cluster.local:80",
    ];
    for (from, to, expected) in [
        ("HTTPRoute, namespace: shop", "Service", true),
        ("HTTPRoute, namespace: shop", "Service, name: x", true),
        ("HTTPRoute, namespace: shop", "Service, name: y", false),
        ("HTTPRoute, namespace: shop", "Secret", false),
        ("GRPCRoute, namespace: shop", "Service", false),
        ("HTTPRoute, namespace: else", "Service", false),
    ] {
        mesh.write("grant.yaml", &format!("---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: g, namespace: other}}
spec: {{from: [{{group: gateway.networking.k8s.io, kind: {from}}}], to: [{{group: '', kind: {to}}}]}}
"));
        assert_eq!(rule(&mesh) == granted, expected, "{from} -> {to}");
    }
    mesh.write("grant.yaml", "");
    assert_ne!(rule(&mesh), granted);
}

#[test]
fn consumers_of_a_service_need_no_grant_for_it() {
    let rule = "{backendRefs: [{name: web, namespace: shop, port: 80}, {name: v2, namespace: shop, port: 80}]}";
    let consumer = http_route("c", "other", rule);
    let mesh = |route: &str| {
        let services = service("web", "10.1.0.1", "") + &service("v2", "10.1.0.2", "");
        Mesh::new(&[HEAD, &services, route].concat()).web()[3..].to_vec()
    };
    let refused = |name: &str| {
        format!(
            "    1 ! RefNotPermitted: Service shop/{name}: no ReferenceGrant in shop lets objects of kind HTTPRoute in other refer to it"
        )
    };
    let web = "    1 shop/web.shop.svc.cluster.local:80".to_owned();
    assert_eq!(mesh(&consumer), [web, refused("v2")]);
    // Nobody else is let in by it.
    let both = consumer.replace("parentRefs: [", "parentRefs: [{name: gateway}, ");
    assert_eq!(mesh(&both), [refused("web"), refused("v2")]);
}
