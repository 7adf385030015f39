//! What stands behind a waypoint that enforces a policy is reached through that waypoint alone.

use ambit_model::{Action, Scope, StringMatch};

use super::*;

const GUARD: &str = "shop/istio_allow_waypoint_shop_wp";

fn gateway(namespace: &str, name: &str) -> String {
    format!("---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}, labels: {{istio.io/waypoint-for: all}}}}
spec: {{gatewayClassName: istio-waypoint, listeners: [{{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {{namespaces: {{from: All}}}}}}]}}
status: {{addresses: [{{type: IPAddress, value: 10.1.0.9}}]}}
")
}

fn policy(namespace: &str, target: &str, more: &str) -> String {
    format!(
        "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: l7, namespace: {namespace}}}
spec: {{targetRefs: [{target}], {more}}}
"
    )
}

fn bound(name: &str, ip: &str, more: &str) -> String {
    let metadata = format!("namespace: shop, labels: {{istio.io/use-waypoint: wp}}, {more}");
    service(name, ip, "").replace("namespace: shop", &metadata)
}

/// Two services behind one waypoint, and a third one that is not.
fn shop() -> String {
    [
        bound("web", "10.1.0.1", ""),
        bound("db", "10.1.0.2", ""),
        service("free", "10.1.0.3", ""),
        pod("web", "10.0.0.1", "labels: {app: web}"),
        pod("db", "10.0.0.2", "labels: {app: db}"),
        pod("free", "10.0.0.3", "labels: {app: free}"),
        gateway("shop", "wp"),
    ]
    .concat()
}

/// The pods of `shop` that refer to the guard.
fn guarded(mesh: &Mesh) -> Vec<&'static str> {
    let refers = |name: &&str| mesh.pod(name).authorization_policies.iter().any(|p| &**p == GUARD);
    ["db", "free", "web"].into_iter().filter(refers).collect()
}

const WEB: &str = "{kind: Service, name: web}";
const AT_GATEWAY: &str = "{group: gateway.networking.k8s.io, kind: Gateway, name: wp}";
const CLASS: &str = "{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}";

#[test]
fn a_policy_closes_what_it_is_about() {
    let table = [
        (String::new(), vec![]),
        (policy("shop", WEB, ""), vec!["web"]),
        (policy("shop", WEB, "action: CUSTOM, provider: {name: ext}"), vec!["web"]),
        (policy("shop", AT_GATEWAY, ""), vec!["db", "web"]),
        (policy("istio-system", CLASS, ""), vec!["db", "web"]),
        (policy("shop", "{kind: Service, name: free}", ""), vec![]),
        (policy("shop", WEB, "action: AUDIT"), vec![]),
        (
            policy("shop", WEB, "")
                .replace("name: l7", "name: l7, annotations: {istio.io/dry-run: 'true'}"),
            vec![],
        ),
        (policy("shop", "{kind: Service, name: absent}", ""), vec![]),
    ];
    for (policy, expected) in table {
        let mesh = Mesh::new(&[shop(), policy.clone()].concat());
        assert_eq!(guarded(&mesh), expected, "{policy}");
        assert_eq!(mesh.policy(GUARD).is_some(), !expected.is_empty(), "{policy}");
    }
}

#[test]
fn the_waypoints_pods_are_let_through_and_nobody_without_them() {
    let mut mesh = Mesh::new(&[shop(), policy("shop", WEB, "")].concat());
    let guard = mesh.policy(GUARD).unwrap();
    assert_eq!((guard.action, guard.scope), (Action::Allow, Scope::WorkloadSelector));
    assert_eq!(guard.rules, Vec::<Vec<Vec<ambit_model::Match>>>::new(), "matches nobody");
    let part = "labels: {gateway.networking.k8s.io/gateway-name: wp}";
    mesh.write("pods", &[pod("wp-1", "10.0.0.7", part), pod("wp-2", "10.0.0.8", part)].concat());
    let rules = mesh.policy(GUARD).unwrap().rules;
    let principals = &rules[0][0][0].principals;
    let exact = |name: &str| StringMatch::Exact(format!("cluster.local/ns/shop/sa/{name}").into());
    assert_eq!((rules.len(), principals), (1, &vec![exact("wp-1"), exact("wp-2")]));
    assert_eq!(mesh.pod("wp-1").authorization_policies, [] as [Str; 0], "not guarded by itself");
    mesh.write("pods", "");
    assert_eq!(mesh.policy(GUARD).unwrap(), guard);
}

#[test]
fn the_guard_goes_with_what_it_is_for() {
    let mut mesh = Mesh::new(&shop());
    mesh.write("policy", &policy("shop", WEB, ""));
    assert_eq!(guarded(&mesh), ["web"]);
    for (file, yaml, back) in [
        ("policy", String::new(), policy("shop", WEB, "")),
        ("policy", policy("shop", WEB, "action: AUDIT"), policy("shop", WEB, "")),
        (
            "mesh.yaml",
            shop().replacen("istio.io/use-waypoint: wp", "istio.io/use-waypoint: none", 1),
            shop(),
        ),
    ] {
        mesh.write(file, &yaml);
        assert_eq!(guarded(&mesh), [""; 0], "{yaml}");
        assert!(mesh.policy(GUARD).is_none(), "{yaml}");
        mesh.write(file, &back);
        assert_eq!(guarded(&mesh), ["web"], "{back}");
    }
    mesh.write("mesh.yaml", &shop().replace("[{type: IPAddress, value: 10.1.0.9}]", "[]"));
    assert_eq!(guarded(&mesh), ["web"], "a waypoint that is not ready is not got around");
}

#[test]
fn a_service_or_its_namespace_can_opt_out() {
    let open = "annotations: {ambit.dev/allow-direct: 'true'}";
    let shut = "annotations: {ambit.dev/allow-direct: 'false'}";
    let namespace = |more: &str| {
        format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, {more}}}\n")
    };
    for (service, of_namespace, expected) in
        [("", "", vec!["web"]), (open, "", vec![]), ("", open, vec![]), (shut, open, vec!["web"])]
    {
        let shop =
            shop().replace(&bound("web", "10.1.0.1", ""), &bound("web", "10.1.0.1", service));
        let mesh = Mesh::new(&[shop, namespace(of_namespace), policy("shop", WEB, "")].concat());
        assert_eq!(guarded(&mesh), expected, "{service} / {of_namespace}");
    }
}

#[test]
fn a_workload_that_has_a_waypoint_itself_is_guarded_by_the_gateways_policy() {
    let own = "labels: {app: free, istio.io/use-waypoint: wp}";
    let shop = shop().replace("labels: {app: free}", own);
    let mesh = Mesh::new(&[shop.clone(), policy("shop", AT_GATEWAY, "")].concat());
    assert_eq!(guarded(&mesh), ["db", "free", "web"]);
    // A policy about a service says nothing about workloads that are not behind it.
    let mesh = Mesh::new(&[shop, policy("shop", WEB, "")].concat());
    assert_eq!(guarded(&mesh), ["web"]);
}

#[test]
fn a_canary_is_let_through_too() {
    let labels = "labels: {istio.io/use-waypoint: wp, istio.io/use-waypoint-canary: next}, annotations: {istio.io/use-waypoint-canary-weight: '5'}";
    let shop = shop().replacen("labels: {istio.io/use-waypoint: wp}", labels, 1);
    let yaml = [shop, gateway("shop", "next"), policy("shop", WEB, "")];
    let mesh = Mesh::new(&yaml.concat());
    let names = mesh.pod("web").authorization_policies.clone();
    assert_eq!(names, ["shop/istio_allow_waypoint_shop_next".into(), Str::from(GUARD)]);
    assert!(names.iter().all(|name| mesh.policy(name).is_some()));
}

#[test]
fn a_waypoint_of_another_namespace_guards_as_well() {
    let far = gateway("shop", "wp").replace("namespace: shop", "namespace: infra");
    let labels = "istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: infra";
    let shop =
        shop().replace(&gateway("shop", "wp"), &far).replace("istio.io/use-waypoint: wp", labels);
    for policy in [policy("shop", WEB, ""), policy("infra", AT_GATEWAY, "")] {
        let mesh = Mesh::new(&[shop.clone(), policy].concat());
        let guard = "infra/istio_allow_waypoint_infra_wp";
        assert_eq!(mesh.pod("web").authorization_policies, [Str::from(guard)]);
        assert!(mesh.policy(guard).is_some());
    }
}
