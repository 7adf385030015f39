//! Table tests of the files.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::watch::Kind;
use crate::watch::kinds::Enforcement;

fn read(files: &mut Files, name: &str, text: &str) -> Vec<Change> {
    files.read(PathBuf::from(name), Ok(text))
}

fn reports(text: &str) -> Vec<String> {
    let mut files = Files::default();
    read(&mut files, "f.yaml", text);
    files.reports().iter().map(ToString::to_string).collect()
}

fn pod(name: &str, ip: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\nstatus: {{podIP: {ip}}}\n"
    )
}

fn key(name: &str) -> Key {
    Key::new(Kind::Pod, "shop", name)
}

fn names(changes: &[Change]) -> Vec<String> {
    let sign = |c: &Change| if c.object.is_some() { '+' } else { '-' };
    changes.iter().map(|c| format!("{}{}", sign(c), c.key.name)).collect()
}

/// Each document is one object with one mistake; the line is all that the operator sees.
#[test]
fn every_mistake_names_file_line_object_and_field() {
    let table = [
        ("a: [", "f.yaml: the file: "),
        ("just text", "f.yaml:1: object without name: a Kubernetes object is expected"),
        ("kind: Pod", "f.yaml:1: Pod without name: apiVersion: is missing"),
        ("apiVersion: v1\nmetadata: {name: x}", "f.yaml:1: object x: kind: is missing"),
        (
            "apiVersion: v1\nkind: Podd\nmetadata: {name: x}",
            "f.yaml:1: Podd x: kind: v1 Podd is not a kind that the controller reads",
        ),
        (
            "apiVersion: apps/v1\nkind: Service\nmetadata: {name: x}",
            "f.yaml:1: Service x: kind: apps/v1 Service is not a kind",
        ),
        ("apiVersion: v1\nkind: Pod", "f.yaml:1: Pod default/unnamed-"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: Up_per}",
            "metadata.name: \"Up_per\" is not a name",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: a/b}",
            "metadata.namespace: \"a/b\" is not a namespace's name",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {app: 1}}",
            "Pod default/x: metadata.labels.app: invalid type: integer `1`, expected a string",
        ),
        (&pod("x", "10.0.0.300"), "Pod shop/x: status.podIP: \"10.0.0.300\" is not an IP address"),
        (&pod("x", "0.0.0.0"), "status.podIP: 0.0.0.0 cannot be anybody's address"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {serviceAccountName: a/b}",
            "spec.serviceAccountName: \"a/b\" is not a service account's name",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, ports: [{containerPort: 70000}]}]}",
            "spec.containers[0].ports[0].containerPort: 70000 is not a port; use 1 to 65535",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 0}]}",
            "Service default/x: spec.ports[0].port: 0 is not a port",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 80}, {port: 80}]}",
            "spec.ports[1].port: 80 is used twice",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIP: ten}",
            "spec.clusterIP: \"ten\" is not an IP address",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: http}]}",
            "spec.ports[0].port: invalid type: string \"http\"",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {internalTrafficPolicy: Near}",
            "spec.internalTrafficPolicy: \"Near\" is neither Cluster nor Local",
        ),
        (
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\naddressType: IPv4\nendpoints: [{addresses: [here]}]",
            "endpoints[0].addresses[0]: \"here\" is not an IP address",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x}\nspec: {}",
            "ServiceEntry default/x: spec.hosts: is missing",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x}\nspec: {hosts: [a.b], resolution: STATICC}",
            "spec.resolution: \"STATICC\" is none of NONE, STATIC, DNS",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x}\nspec: {hosts: [a.b], ports: [{number: -1}]}",
            "spec.ports[0].number: -1 is not a port",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x}\nspec: {hosts: [a.b], endpoints: [{address: 'unix:///x'}]}",
            "spec.endpoints[0].address: Unix sockets",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: x}\nspec: {address: 10.0.0.1, ports: {http: 99999}}",
            "WorkloadEntry default/x: spec.ports.http: 99999 is not a port",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: x}\nspec: {listeners: [{port: 15008, allowedRoutes: {namespaces: {from: Some}}}]}",
            "spec.listeners[0].allowedRoutes.namespaces.from: \"Some\" is none of",
        ),
    ];
    for (text, expected) in table {
        let reports = reports(text);
        assert!(reports.iter().any(|r| r.contains(expected)), "{expected}\n in {reports:?}");
        assert!(reports.iter().all(|r| !r.contains('\n')), "{reports:?}");
    }
}

#[test]
fn a_policy_that_cannot_be_understood_closes_what_it_selects() {
    let policy = |spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: shop}}\nspec: {spec}"
        )
    };
    let table = [
        ("{selector: {matchLabels: {app: a}}, action: DENI}", "spec.action: \"DENI\" is none of"),
        ("{selector: {matchLabels: {app: a}}, rulez: []}", "spec.rulez: unknown field"),
        ("{rules: [{form: []}]}", "spec.rules[0].form: unknown field"),
        ("{rules: [{from: [{source: {}}]}]}", "spec.rules[0].from[0].source: says nothing"),
        (
            "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}]}",
            "spec.rules[0].from[0].source.ipBlocks[0]: \"10.0.0.0/33\" is not an IP",
        ),
        ("{rules: [{from: [{source: {principals: ['']}}]}]}", "source.principals[0]: is empty"),
        (
            "{rules: [{from: [{source: {serviceAccounts: [a/b/c]}}]}]}",
            "serviceAccounts[0]: \"a/b/c\" is not of the form",
        ),
        (
            "{rules: [{to: [{operation: {ports: ['80a']}}]}]}",
            "spec.rules[0].to[0].operation.ports[0]: \"80a\" is not a port",
        ),
        (
            "{rules: [{to: [{operation: {ports: [80]}}]}]}",
            "spec.rules[0].to[0].operation.ports[0]: invalid type: integer",
        ),
        (
            "{rules: [{when: [{key: source.ip}]}]}",
            "spec.rules[0].when[0].values: neither values nor notValues",
        ),
        (
            "{selector: {matchLabels: {app: a}}, targetRefs: [{kind: Service}]}",
            "spec.selector: cannot stand beside targetRefs",
        ),
    ];
    for (spec, expected) in table {
        let mut files = Files::default();
        let changes = read(&mut files, "f.yaml", &policy(spec));
        let reports: Vec<String> = files.reports().iter().map(ToString::to_string).collect();
        assert!(reports.iter().any(|r| r.contains(expected)), "{expected}\n in {reports:?}");
        let [Change { object: Some(Object::AuthorizationPolicy(policy)), .. }] = &changes[..]
        else {
            panic!("{changes:?}")
        };
        assert_eq!(policy.enforcement, Enforcement::Deny, "{spec}");
        assert_eq!(policy.selector.is_empty(), !spec.contains("app: a"), "{spec}");
    }
}

/// A slip in what says that it is a policy must not open what it closes.
#[test]
fn what_was_meant_to_be_a_policy_closes_what_it_selects() {
    let table = [
        ("security.istio.io/v1", "AuthorizationPolicyy", Kind::AuthorizationPolicy),
        ("security.istio.io/v1", "authorizationpolicy", Kind::AuthorizationPolicy),
        ("security.istio.io/v1", "", Kind::AuthorizationPolicy),
        ("security.istio/v1", "AuthorizationPolicy", Kind::AuthorizationPolicy),
        ("", "AuthorizationPolicy", Kind::AuthorizationPolicy),
        ("v1", "PeerAuthentication", Kind::PeerAuthentication),
    ];
    for (version, kind, meant) in table {
        let mut files = Files::default();
        let text = format!(
            "apiVersion: '{version}'\nkind: '{kind}'\nmetadata: {{name: p}}\nspec: {{rules: [{{}}]}}"
        );
        let changes = read(&mut files, "f.yaml", &text);
        let [Change { key, object: Some(object) }] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(key.kind, meant);
        match object {
            Object::AuthorizationPolicy(p) => assert_eq!(p.enforcement, Enforcement::Deny),
            Object::PeerAuthentication(p) => {
                assert_eq!(p.mode, Some(crate::watch::kinds::MtlsMode::Strict));
            }
            other => panic!("{other:?}"),
        }
        let reports = files.reports();
        let report = reports.last().unwrap().to_string();
        assert!(report.ends_with("until this is corrected"), "{reports:?}");
    }
    assert_eq!(
        reports(
            "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: x}"
        ),
        [""; 0]
    );
}

#[test]
fn a_policy_without_a_usable_name_closes_its_namespace() {
    for metadata in
        ["{namespace: shop}", "{name: 7, namespace: shop}", "{name: A_B, namespace: shop}"]
    {
        let mut files = Files::default();
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {metadata}\nspec: {{action: ALLOW, rules: [{{}}]}}"
        );
        let changes = read(&mut files, "f.yaml", &text);
        let [Change { object: Some(Object::AuthorizationPolicy(policy)), .. }] = &changes[..]
        else {
            panic!("{metadata}: {changes:?}")
        };
        assert_eq!(policy.enforcement, Enforcement::Deny);
        assert_eq!(&*policy.meta.namespace, "shop");
        assert!(policy.meta.name.starts_with("unnamed-"));
    }
}

#[test]
fn a_peer_authentication_that_cannot_be_understood_is_strict() {
    for spec in [
        "{mtls: {mode: STRIKT}}",
        "{mtsl: {mode: STRICT}}",
        "{portLevelMtls: {http: {mode: DISABLE}}}",
        "{portLevelMtls: {70000: {mode: DISABLE}}}",
    ] {
        let mut files = Files::default();
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p, namespace: shop}}\nspec: {spec}"
        );
        let changes = read(&mut files, "f.yaml", &text);
        let [Change { object: Some(Object::PeerAuthentication(policy)), .. }] = &changes[..] else {
            panic!("{spec}: {changes:?}")
        };
        assert_eq!(policy.mode, Some(crate::watch::kinds::MtlsMode::Strict));
        assert!(policy.ports.is_empty());
        let reports = files.reports();
        assert!(
            reports.iter().any(|r| r.problem.message.contains("STRICT is enforced")),
            "{reports:?}"
        );
    }
}

#[test]
fn ports_of_a_peer_authentication_may_be_numbers() {
    let mut files = Files::default();
    let text = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec:\n  mtls: {mode: STRICT}\n  portLevelMtls:\n    8080: {mode: DISABLE}\n";
    let changes = read(&mut files, "f.yaml", text);
    assert_eq!(files.reports(), []);
    let Some(Object::PeerAuthentication(policy)) = &changes[0].object else { panic!() };
    assert_eq!(policy.ports.keys().collect::<Vec<_>>(), [&8080]);
}

#[test]
fn one_bad_object_never_stops_the_good_ones() {
    let mut files = Files::default();
    let text = format!(
        "{}---\n{}---\n---\n{}",
        pod("a", "10.0.0.1"),
        pod("b", "nonsense"),
        pod("c", "10.0.0.3")
    );
    assert_eq!(names(&read(&mut files, "f.yaml", &text)), ["+a", "+c"]);
    let reports = files.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].location.as_ref().unwrap().line, 6);
}

#[test]
fn lists_and_json_are_read_too() {
    let mut files = Files::default();
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}",
        pod("a", "10.0.0.1").trim_end().replace('\n', "\n  ")
    );
    assert_eq!(names(&read(&mut files, "l.yaml", &list)), ["+a"]);
    let json =
        r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b", "namespace": "shop"}}"#;
    assert_eq!(names(&read(&mut files, "j.json", json)), ["+b"]);
    assert_eq!(files.reports(), []);
}

#[test]
fn kinds_that_mean_nothing_here_are_passed_over() {
    for (version, kind) in
        [("v1", "ServiceAccount"), ("apps/v1", "Deployment"), ("v1", "ConfigMap")]
    {
        assert_eq!(
            reports(&format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}")),
            [""; 0]
        );
    }
}

#[test]
fn a_file_that_no_longer_parses_keeps_its_last_good_objects() {
    let mut files = Files::default();
    read(&mut files, "f.yaml", &pod("a", "10.0.0.1"));
    assert_eq!(read(&mut files, "f.yaml", "a: ["), []);
    let report = files.reports()[0].to_string();
    assert!(report.ends_with("its last good version stays in force"), "{report}");
    assert_eq!(files.read("f.yaml".into(), Err("cannot be read: denied".to_owned())), []);
    assert!(files.reports()[0].to_string().contains("cannot be read: denied"));
    assert_eq!(names(&read(&mut files, "f.yaml", &pod("b", "10.0.0.1"))), ["-a", "+b"]);
    assert_eq!(files.reports(), []);
}

#[test]
fn an_object_that_breaks_keeps_its_own_last_good_version() {
    let mut files = Files::default();
    read(&mut files, "f.yaml", &pod("a", "10.0.0.1"));
    let text = format!("{}---\n{}", pod("a", "10.0.0.x"), pod("b", "10.0.0.2"));
    assert_eq!(names(&read(&mut files, "f.yaml", &text)), ["+b"]);
    let reports: Vec<String> = files.reports().iter().map(ToString::to_string).collect();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].contains("Pod shop/a: status.podIP"), "{reports:?}");
    assert!(reports[0].ends_with("; its last good version stays in force"), "{reports:?}");
    // And still does when something else in the file changes.
    let text = format!("{}---\n{}", pod("a", "10.0.0.x"), pod("c", "10.0.0.2"));
    assert_eq!(names(&read(&mut files, "f.yaml", &text)), ["-b", "+c"]);
    assert_eq!(files.location(&key("a")).unwrap().line, 1);
    assert_eq!(names(&files.remove(Path::new("f.yaml"))), ["-a", "-c"]);
}

#[test]
fn of_two_objects_with_one_key_the_first_counts() {
    let mut files = Files::default();
    assert_eq!(names(&read(&mut files, "b.yaml", &pod("a", "10.0.0.2"))), ["+a"]);
    assert_eq!(names(&read(&mut files, "a.yaml", &pod("a", "10.0.0.1"))), ["+a"]);
    let reports: Vec<String> = files.reports().iter().map(ToString::to_string).collect();
    assert_eq!(
        reports,
        ["b.yaml:1: Pod shop/a: metadata.name: already defined in a.yaml:1; this one is left out"]
    );
    let changes = files.remove(Path::new("a.yaml"));
    let Some(Object::Pod(pod)) = &changes[0].object else { panic!("{changes:?}") };
    assert_eq!(pod.ips, ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(files.reports(), []);
}

#[test]
fn hostile_yaml_is_an_error_and_no_disaster() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\ni: [*h,*h,*h,*h,*h,*h,*h,*h,*h]\n";
    let deep = "[".repeat(100_000);
    for text in [bomb, deep.as_str(), "\u{0}", "--- !!binary x", "? : ?", "- - - -\n\t- x"] {
        let reports = reports(text);
        assert!(!reports.is_empty(), "{}", &text[..text.len().min(20)]);
    }
}

/// One good object of each kind.
const GOOD: [&str; 10] = [
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}",
    "apiVersion: v1\nkind: Node\nmetadata: {name: n, labels: {topology.kubernetes.io/zone: z}}",
    "apiVersion: v1\nkind: Pod\nmetadata: {name: p, creationTimestamp: '2026-01-01T00:00:00Z'}\nspec: {containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}\nstatus: {podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}",
    "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: 10.1.0.1, selector: {a: b}, ports: [{port: 80, targetPort: http}]}",
    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\naddressType: IPv4\nports: [{name: http, port: 80}]\nendpoints: [{addresses: [10.0.0.1]}]",
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s}\nspec: {hosts: [a.b], addresses: [10.0.0.0/8], resolution: STATIC, endpoints: [{address: 10.0.0.1}], ports: [{number: 80, name: http}]}",
    "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: s}\nspec: {address: 10.0.0.1, weight: 3, ports: {http: 80}}",
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: s}\nspec: {action: DENY, rules: [{from: [{source: {ipBlocks: [10.0.0.0/8], serviceAccounts: [a/b]}}], when: [{key: source.ip, values: [1.2.3.4]}]}]}",
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: s}\nspec: {selector: {matchLabels: {a: b}}, portLevelMtls: {80: {mode: STRICT}}}",
    "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: s}\nspec: {gatewayClassName: c, listeners: [{port: 80, protocol: HBONE}]}\nstatus: {addresses: [{value: 10.0.0.1}]}",
];

#[test]
fn good_objects_of_every_kind_are_read_without_a_remark() {
    for text in GOOD {
        let mut files = Files::default();
        assert_eq!(read(&mut files, "f.yaml", text).len(), 1, "{text}");
        assert_eq!(files.reports(), [], "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_is_a_disaster(text in ".{0,200}") {
        reports(&text);
    }

    /// A changed object is good, or a remark says what is wrong; never both gone and silent.
    #[test]
    fn no_change_of_an_object_is_a_disaster(
        of in 0..GOOD.len(), at in any::<prop::sample::Index>(), cut in 0_usize..4, with in "[ -~\n]{0,3}",
    ) {
        let good = GOOD[of];
        let start = at.index(good.len());
        let end = (start + cut).min(good.len());
        let text = [&good[..start], &with, &good[end..]].concat();
        let mut files = Files::default();
        let changes = read(&mut files, "f.yaml", &text);
        let silent = changes.is_empty() && files.reports().is_empty();
        prop_assert!(!silent, "{}", text);
        let mut index = crate::index::Index::new(crate::index::Settings::default());
        index.apply(changes);
    }
}
