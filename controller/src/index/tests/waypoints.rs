//! Waypoints in front of services and workloads.

use ambit_model::{GatewayAddress, GatewayDestination};

use super::*;

fn gateway(name: &str, more: &str, spec: &str) -> String {
    format!("---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: shop, {more}}}
spec: {{gatewayClassName: istio-waypoint, listeners: [{{name: mesh, port: 15008, protocol: HBONE{spec}}}]}}
status: {{addresses: [{{type: IPAddress, value: 10.1.0.9}}, {{type: Hostname, value: {name}.shop.svc.cluster.local}}]}}
")
}

fn namespace(labels: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, labels: {{{labels}}}}}\n"
    )
}

fn labelled(labels: &str) -> String {
    service("web", "10.1.0.1", "")
        .replace("namespace: shop", &format!("namespace: shop, labels: {{{labels}}}"))
}

fn named(name: &str) -> Option<GatewayAddress> {
    let host = format!("shop/{name}.shop.svc.cluster.local").parse().unwrap();
    Some(GatewayAddress { destination: GatewayDestination::Hostname(host), hbone_mtls_port: 15008 })
}

#[test]
fn the_object_says_which_or_else_its_namespace() {
    let both = [gateway("wp", "", ""), gateway("other", "", "")].concat();
    for (own, of_namespace, expected) in [
        ("", "", None),
        ("istio.io/use-waypoint: wp", "", named("wp")),
        ("", "istio.io/use-waypoint: wp", named("wp")),
        ("istio.io/use-waypoint: other", "istio.io/use-waypoint: wp", named("other")),
        ("istio.io/use-waypoint: none", "istio.io/use-waypoint: wp", None),
    ] {
        let mesh = Mesh::new(&[labelled(own), namespace(of_namespace), both.clone()].concat());
        assert_eq!(mesh.svc("web").waypoint, expected, "{own} / {of_namespace}");
        assert_eq!(mesh.problems(), [""; 0]);
    }
}

#[test]
fn a_waypoint_that_cannot_be_used_is_told_and_not_replaced() {
    let ns = namespace("istio.io/use-waypoint: good");
    let good = gateway("good", "", "");
    let unready = gateway("wp", "", "").split("status:").next().unwrap().to_owned();
    let table = [
        (String::new(), "there is no Gateway shop/wp", named("wp")),
        (unready, "Gateway shop/wp is not ready", named("wp")),
        (
            gateway("wp", "labels: {istio.io/waypoint-for: workload}", ""),
            "does not serve this kind of traffic",
            None,
        ),
        (
            gateway("wp", "", ", allowedRoutes: {namespaces: {from: None}}"),
            "does not allow namespace shop",
            None,
        ),
    ];
    for (gateway, expected, waypoint) in table {
        let mesh = Mesh::new(
            &[labelled("istio.io/use-waypoint: wp"), ns.clone(), good.clone(), gateway].concat(),
        );
        assert_eq!(mesh.svc("web").waypoint, waypoint, "{expected}");
        let problems = mesh.problems();
        assert!(problems.len() == 1 && problems[0].contains(expected), "{expected}: {problems:?}");
        assert!(
            problems[0].starts_with("Service shop/web: metadata.labels[istio.io/use-waypoint]")
        );
    }
}

#[test]
fn other_namespaces_have_to_be_allowed() {
    let other = |allowed: &str| {
        let yaml = [
            labelled("istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: infra"),
            namespace("team: a"),
            gateway("wp", "", allowed).replace("namespace: shop,", "namespace: infra,"),
        ];
        Mesh::new(&yaml.concat()).svc("web").waypoint.is_some()
    };
    for (allowed, expected) in [
        ("", false),
        (", allowedRoutes: {namespaces: {from: All}}", true),
        (
            ", allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}",
            true,
        ),
        (
            ", allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: b}}}}",
            false,
        ),
    ] {
        assert_eq!(other(allowed), expected, "{allowed}");
    }
}

#[test]
fn workloads_and_services_have_their_own_kinds_of_traffic() {
    for (kind, service, workload) in [
        ("service", true, false),
        ("workload", false, true),
        ("all", true, true),
        ("none", false, false),
    ] {
        let yaml = [
            labelled(""),
            pod("web", "10.0.0.1", "labels: {app: web}"),
            namespace("istio.io/use-waypoint: wp"),
            gateway("wp", &format!("labels: {{istio.io/waypoint-for: {kind}}}"), ""),
        ];
        let mesh = Mesh::new(&yaml.concat());
        assert_eq!(mesh.svc("web").waypoint.is_some(), service, "{kind}");
        assert_eq!(mesh.pod("web").waypoint.is_some(), workload, "{kind}");
        assert_eq!(mesh.problems(), [""; 0], "inherited: nothing to tell");
    }
}

#[test]
fn waypoints_are_not_behind_themselves() {
    let part = pod("wp-1", "10.0.0.1", "labels: {gateway.networking.k8s.io/gateway-name: wp}");
    let managed = labelled("gateway.istio.io/managed: istio.io-mesh-controller");
    let yaml = [
        part,
        managed,
        namespace("istio.io/use-waypoint: wp"),
        gateway("wp", "labels: {istio.io/waypoint-for: all}", ""),
    ];
    let mesh = Mesh::new(&yaml.concat());
    assert_eq!(mesh.pod("wp-1").waypoint, None);
    assert_eq!(mesh.svc("web").waypoint, None);
}

#[test]
fn without_a_name_the_address_is_used() {
    let mut bare = gateway("wp", "", "");
    bare = bare
        .replace(", {type: Hostname, value: wp.shop.svc.cluster.local}", "")
        .replace("port: 15008", "port: 15009");
    let mesh = Mesh::new(&[labelled("istio.io/use-waypoint: wp"), bare].concat());
    let waypoint = mesh.svc("web").waypoint.unwrap();
    assert_eq!(waypoint.destination, GatewayDestination::Address("/10.1.0.9".parse().unwrap()));
    assert_eq!(waypoint.hbone_mtls_port, 15009);
}

#[test]
fn a_canary_takes_its_share() {
    let gateways = [gateway("wp", "", ""), gateway("canary", "", "")].concat();
    let web = |labels: &str, weight: &str| {
        let metadata = format!(
            "namespace: shop, labels: {{istio.io/use-waypoint: wp, {labels}}}, annotations: {{{weight}}}"
        );
        Mesh::new(
            &[
                service("web", "10.1.0.1", "").replace("namespace: shop", &metadata),
                gateways.clone(),
            ]
            .concat(),
        )
    };
    let canary = "istio.io/use-waypoint-canary: canary";
    let mesh = web(canary, "istio.io/use-waypoint-canary-weight: '10'");
    let weighted = mesh.svc("web").weighted_waypoints;
    let shares: Vec<_> = weighted.iter().map(|w| (Some(w.destination.clone()), w.weight)).collect();
    assert_eq!(shares, [(named("wp"), 90), (named("canary"), 10)]);
    assert_eq!(mesh.svc("web").waypoint, named("wp"));
    for (labels, weight) in [
        (canary, ""),
        (canary, "istio.io/use-waypoint-canary-weight: '101'"),
        ("istio.io/use-waypoint-canary: wp", "istio.io/use-waypoint-canary-weight: '10'"),
        ("istio.io/use-waypoint-canary: missing", "istio.io/use-waypoint-canary-weight: '10'"),
    ] {
        let mesh = web(labels, weight);
        assert_eq!(
            (mesh.svc("web").weighted_waypoints, mesh.svc("web").waypoint),
            (vec![], named("wp"))
        );
        assert_eq!(mesh.problems().len(), 1, "{labels} {weight}");
    }
}

#[test]
fn whoever_names_a_waypoint_may_let_traffic_past_one_that_is_not_ready() {
    let annotated = |text: &str, on: &str| {
        text.replace(on, &format!("{on}, annotations: {{ambit.dev/waypoint-fail-open: 'true'}}"))
    };
    let (own, of_namespace) =
        (labelled("istio.io/use-waypoint: wp"), namespace("istio.io/use-waypoint: wp"));
    let plain = service("web", "10.1.0.1", "");
    for (objects, waypoint) in [
        ([own.clone(), namespace("")], named("wp")),
        ([annotated(&own, "name: web"), namespace("")], None),
        ([own, annotated(&namespace(""), "name: shop")], None),
        ([plain.clone(), of_namespace.clone()], named("wp")),
        ([plain, annotated(&of_namespace, "name: shop")], None),
    ] {
        let mesh = Mesh::new(&objects.concat());
        assert_eq!(mesh.svc("web").waypoint, waypoint, "{objects:?}");
    }
}
