//! What objects are to say in their status.

use super::*;
use crate::watch::ConditionType;

const GATEWAY: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wp, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.1.0.9}]}
";

/// The conditions of an object, as `type status reason: message`.
fn told(mesh: &Mesh, kind: Kind, name: &str, read: &[Problem]) -> Vec<String> {
    let conditions = mesh.index.conditions(&Key::new(kind, "shop", name), read);
    let line = |c: &crate::watch::Condition| {
        format!("{} {} {}: {}", c.kind.as_str(), c.status, c.reason, c.message)
    };
    conditions.iter().map(line).collect()
}

fn policy(spec: &str) -> String {
    format!(
        "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: p, namespace: shop}}
spec: {spec}
"
    )
}

fn web(labels: &str) -> String {
    service("web", "10.1.0.1", "")
        .replace("namespace: shop", &format!("namespace: shop, labels: {{{labels}}}"))
}

#[test]
fn policies_of_ztunnels() {
    let l7 = "{rules: [{to: [{operation: {methods: [GET]}}]}]}";
    let table = [
        ("{}", "true Accepted: enforced by ztunnels"),
        ("{action: CUSTOM}", "false UnsupportedValue: spec.action: CUSTOM is not carried out"),
        ("{action: AUDIT}", "false UnsupportedValue: spec.action: AUDIT is not carried out"),
        (l7, "true UnsupportedValue: spec.rules[0]: looks at layer 7, which only waypoints see"),
    ];
    for (spec, expected) in table {
        let lines = told(&Mesh::new(&policy(spec)), Kind::AuthorizationPolicy, "p", &[]);
        let expected = format!("ZtunnelAccepted {expected}");
        assert!(lines.len() == 1 && lines[0].starts_with(&expected), "{expected}: {lines:?}");
    }
    let problems = [Problem::new("spec.action", "is wrong"), Problem::new("", "all is denied")];
    let lines = told(&Mesh::new(&policy("{}")), Kind::AuthorizationPolicy, "p", &problems);
    let expected = "ZtunnelAccepted false UnsupportedValue: spec.action: is wrong; all is denied";
    assert_eq!(lines, [expected]);
}

#[test]
fn policies_of_waypoints() {
    let here = "{kind: Service, name: web}";
    let gone = "{kind: Service, name: db}";
    let gateway =
        |name: &str| format!("{{group: gateway.networking.k8s.io, kind: Gateway, name: {name}}}");
    let class = "{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}";
    let entry = "{group: networking.istio.io, kind: ServiceEntry, name: e}";
    let bound = "istio.io/use-waypoint: wp";
    let good = "true Accepted: attached to Gateway shop/wp";
    let table = [
        (here.to_owned(), bound, good),
        (gateway("wp"), "", good),
        (format!("{here}, {}", gateway("wp")), bound, good),
        (here.to_owned(), "", "false AncestorNotBound: Service shop/web has no waypoint; label it"),
        (
            here.to_owned(),
            "istio.io/use-waypoint: other",
            "false AncestorNotBound: Service shop/web has no waypoint: there is no Gateway shop/other",
        ),
        (gone.to_owned(), bound, "false TargetNotFound: there is no Service shop/db"),
        (gateway("x"), bound, "false TargetNotFound: there is no Gateway shop/x"),
        (entry.to_owned(), bound, "false TargetNotFound: there is no ServiceEntry shop/e"),
        (class.to_owned(), bound, "false Invalid: GatewayClass istio-waypoint can be named by"),
        (
            format!("{here}, {gone}"),
            bound,
            "true PartiallyInvalid: attached to Gateway shop/wp; there is no Service shop/db",
        ),
    ];
    for (targets, labels, expected) in table {
        let yaml = [policy(&format!("{{targetRefs: [{targets}]}}")), web(labels), GATEWAY.into()];
        let lines = told(&Mesh::new(&yaml.concat()), Kind::AuthorizationPolicy, "p", &[]);
        let expected = format!("WaypointAccepted {expected}");
        assert!(lines.len() == 1 && lines[0].starts_with(&expected), "{expected}: {lines:?}");
    }
}

#[test]
fn waypoints_of_services_and_workloads() {
    let bound = "istio.io/WaypointBound";
    let table = [
        ("", None),
        ("istio.io/use-waypoint: none", None),
        ("istio.io/use-waypoint: wp", Some("true WaypointAccepted: attached to waypoint shop/wp")),
        (
            "istio.io/use-waypoint: other",
            Some(
                "false WaypointIsNotReady: metadata.labels[istio.io/use-waypoint]: there is no Gateway shop/other",
            ),
        ),
        (
            "istio.io/use-waypoint: wp, istio.io/use-waypoint-canary: wp",
            Some(
                "false CanarySameAsPrimary: metadata.labels[istio.io/use-waypoint-canary]: is the",
            ),
        ),
    ];
    for (labels, expected) in table {
        let mesh = Mesh::new(&[web(labels), GATEWAY.to_owned()].concat());
        let lines = told(&mesh, Kind::Service, "web", &[]);
        match expected {
            None => assert_eq!(lines, [""; 0], "{labels}"),
            Some(expected) => {
                let expected = format!("{bound} {expected}");
                assert!(lines.len() == 1 && lines[0].starts_with(&expected), "{lines:?}");
            }
        }
    }
    let vm = "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop, labels: {istio.io/use-waypoint: wp}}
spec: {address: 192.0.2.8}
";
    let lines = told(&Mesh::new(&[vm, GATEWAY].concat()), Kind::WorkloadEntry, "vm", &[]);
    assert!(
        lines[0].starts_with("istio.io/WaypointBound false UnsupportedTrafficType"),
        "{lines:?}"
    );
    let all = GATEWAY
        .replace("namespace: shop}", "namespace: shop, labels: {istio.io/waypoint-for: all}}");
    let lines = told(&Mesh::new(&[vm, &all].concat()), Kind::WorkloadEntry, "vm", &[]);
    assert_eq!(
        lines,
        ["istio.io/WaypointBound true WaypointAccepted: attached to waypoint shop/wp"]
    );
}

#[test]
fn entries_that_need_a_waypoint_say_so() {
    let entry = |metadata: &str, spec: &str| {
        let yaml = format!(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: e, namespace: shop, {metadata}}}
spec: {{ports: [{{number: 80, name: http}}], {spec}}}
"
        );
        let lines = told(&Mesh::new(&[&yaml, GATEWAY].concat()), Kind::ServiceEntry, "e", &[]);
        lines.iter().map(|line| line.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let bound = "labels: {istio.io/use-waypoint: wp}";
    let races = "annotations: {istio.io/connect-strategy: RACE_FIRST_TCP_CONNECT}";
    let wildcard = "hosts: ['*.example'], resolution: DYNAMIC_DNS";
    let plain = "hosts: [x.example], resolution: DNS";
    assert_eq!(entry("", plain), [""; 0]);
    assert_eq!(entry("", wildcard), ["istio.io/WaypointMissing true NoWaypointForWildcardService"]);
    assert_eq!(
        entry(races, plain),
        ["istio.io/WaypointMissing true NoWaypointForRacingConnectStrategy"]
    );
    for (metadata, spec) in [(bound, wildcard), (&format!("{bound}, {races}"), plain)] {
        assert_eq!(entry(metadata, spec), ["istio.io/WaypointBound true WaypointAccepted"]);
    }
    let private = entry(
        "labels: {istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: infra}",
        &format!("{plain}, exportTo: ['.']"),
    );
    assert_eq!(private, ["istio.io/WaypointBound false WaypointIsNotReady"]);
}

#[test]
fn an_entry_that_only_its_namespace_sees_has_no_waypoint_elsewhere() {
    let far = GATEWAY
        .replace("namespace: shop", "namespace: infra")
        .replace("protocol: HBONE", "protocol: HBONE, allowedRoutes: {namespaces: {from: All}}");
    for (export, expected) in [
        ("'*'", "istio.io/WaypointBound true WaypointAccepted"),
        (".", "istio.io/WaypointBound false CrossNamespaceWaypointForbidden"),
    ] {
        let entry = format!("---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: e, namespace: shop, labels: {{istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: infra}}}}
spec: {{hosts: [x.example], resolution: DNS, exportTo: [{export}], ports: [{{number: 80, name: http}}]}}
");
        let mesh = Mesh::new(&[&*entry, &far].concat());
        let lines = told(&mesh, Kind::ServiceEntry, "e", &[]);
        assert!(lines.len() == 1 && lines[0].starts_with(expected), "{export}: {lines:?}");
        assert_eq!(mesh.service("shop/x.example").unwrap().waypoint.is_some(), export != ".");
    }
}

#[test]
fn what_is_not_in_force_says_so_and_the_rest_says_nothing() {
    let mesh = Mesh::new(
        &[web(""), service("twin", "10.1.0.1", ""), service("good", "10.1.0.3", "")].concat(),
    );
    let problem = [Problem::new("spec.ports[0].port", "is wrong")];
    let table = [
        (Kind::Service, "good", &[][..], vec![]),
        (
            Kind::Service,
            "web",
            &[],
            vec![
                "ambit.dev/Accepted false Invalid: spec.clusterIP: 10.1.0.1 is already the address of Service shop/twin; the service is left out",
            ],
        ),
        (
            Kind::Service,
            "good",
            &problem,
            vec!["ambit.dev/Accepted false Invalid: spec.ports[0].port: is wrong"],
        ),
        (
            Kind::ServiceEntry,
            "unreadable",
            &problem,
            vec!["ambit.dev/Accepted false Invalid: spec.ports[0].port: is wrong"],
        ),
        (Kind::ServiceEntry, "absent", &[], vec![]),
    ];
    for (kind, name, read, expected) in table {
        assert_eq!(told(&mesh, kind, name, read), expected, "{name}");
    }
    let two = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: shop}
spec: {hosts: [web.shop.svc.cluster.local, y.example], ports: [{number: 80, name: http}]}
";
    let lines = told(&Mesh::new(&[&web(""), two].concat()), Kind::ServiceEntry, "e", &[]);
    assert!(
        lines[0].starts_with("ambit.dev/Accepted false PartiallyInvalid: spec.hosts[0]"),
        "{lines:?}"
    );
    let condition = ConditionType::InForce.as_str();
    assert!(lines.len() == 1 && lines[0].starts_with(condition));
}

#[test]
fn classes_whose_gateways_are_deployed() {
    for (name, controller, expected) in [
        ("ambit", "ambit.dev/gateway-controller", &["Accepted true Accepted"][..]),
        ("mine", "ambit.dev/gateway-controller", &["Accepted false Unsupported"]),
        ("ambit", "example.com/other", &[]),
    ] {
        let class = format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {{name: {name}}}, spec: {{controllerName: {controller}}}}}"
        );
        let mesh = Mesh::new(&class);
        let conditions = mesh.index.conditions(&Key::new(Kind::GatewayClass, "", name), &[]);
        let lines =
            conditions.iter().map(|c| format!("{} {} {}", c.kind.as_str(), c.status, c.reason));
        assert_eq!(lines.collect::<Vec<_>>(), expected, "{name} {controller}");
    }
}
