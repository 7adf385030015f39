//! AuthorizationPolicy → Authorization.

use ambit_model::{Action, Match, Scope, StringMatch};

use super::*;

type Clauses = Vec<Vec<Match>>;

fn policy(namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

fn rules(spec: &str) -> Vec<Vec<Vec<Match>>> {
    Mesh::new(&policy("shop", spec)).policy("shop/p").expect("a policy").rules
}

fn exact(text: &str) -> Vec<StringMatch> {
    vec![StringMatch::Exact(text.into())]
}

#[test]
fn scope_follows_namespace_and_selector() {
    let selector = "selector: {matchLabels: {app: web}}";
    for (namespace, spec, expected) in [
        ("shop", "", Scope::Namespace),
        ("shop", "selector: {}", Scope::Namespace),
        ("shop", selector, Scope::WorkloadSelector),
        ("istio-system", "", Scope::Global),
        ("istio-system", selector, Scope::WorkloadSelector),
    ] {
        let mesh = Mesh::new(&policy(namespace, spec));
        assert_eq!(mesh.policy(&format!("{namespace}/p")).unwrap().scope, expected);
    }
}

#[test]
fn workloads_refer_to_the_policies_that_select_them() {
    let select = "selector: {matchLabels: {app: web}}";
    let yaml = [
        pod("web", "10.0.0.1", "labels: {app: web}"),
        pod("db", "10.0.0.2", "labels: {app: db}"),
        pod("far", "10.0.0.3", "labels: {app: web}").replace("namespace: shop", "namespace: other"),
        policy("shop", select),
        policy("istio-system", select),
        policy("shop", "").replace("name: p", "name: whole"),
        policy("shop", &format!("{select}, action: AUDIT")).replace("name: p", "name: audit"),
        policy("shop", &format!("{select}, targetRefs: []")).replace("name: p", "name: empty-refs"),
    ];
    let mesh = Mesh::new(&yaml.concat());
    let names = |pod: &str| -> Vec<String> {
        mesh.pod(pod).authorization_policies.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names("web"), ["shop/empty-refs", "shop/p", "istio-system/p"]);
    assert_eq!(names("db"), [""; 0]);
    assert_eq!(names("other/far"), ["istio-system/p"]);
}

#[test]
fn what_ztunnels_do_not_carry_out_is_not_sent() {
    for (spec, told) in [
        ("action: AUDIT, rules: [{}]", true),
        ("action: CUSTOM, provider: {name: x}, rules: [{}]", true),
        ("targetRefs: [{kind: Service, name: web}]", false),
        ("targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: wp}", false),
    ] {
        let mesh = Mesh::new(&policy("shop", spec));
        assert_eq!(mesh.names(ResourceType::Authorization), [""; 0], "{spec}");
        assert_eq!(mesh.problems().len(), usize::from(told), "{spec}");
    }
}

#[test]
fn dry_runs_are_sent_where_they_are_asked_for() {
    let yaml = policy("shop", "")
        .replace("namespace: shop", "namespace: shop, annotations: {istio.io/dry-run: 'true'}");
    let off = Mesh::new(&yaml);
    assert!(off.policy("shop/p").is_none());
    assert!(off.problems()[0].contains("--dry-run-policies"));
    let on = Mesh::with(Settings { dry_run_policies: true, ..Settings::default() }, &yaml);
    assert!(on.policy("shop/p").unwrap().dry_run);
}

#[test]
fn what_cannot_be_understood_denies_everything() {
    let mut mesh = Mesh::new("");
    let yaml = policy("shop", "action: NONSENSE");
    let changes = mesh.files.read("bad.yaml".into(), Ok(&yaml));
    mesh.index.apply(changes);
    let policy = mesh.policy("shop/p").unwrap();
    assert_eq!((policy.action, policy.scope), (Action::Deny, Scope::Namespace));
    assert_eq!(policy.rules, [Vec::<Vec<Match>>::new()]);
}

#[test]
fn each_part_of_a_rule_is_a_clause() {
    let spec = "rules: [{
      from: [{source: {namespaces: [a], principals: ['*', 'x/*', '*/y'], ipBlocks: [10.0.0.0/8, 1.2.3.4]}}, {source: {serviceAccounts: [web, other/db], notNamespaces: [b]}}],
      to: [{operation: {ports: ['80', '443'], notPorts: ['22']}}],
      when: [{key: source.ip, values: [10.1.0.0/16], notValues: [10.1.2.3]}, {key: destination.port, values: ['8080']}, {key: source.principal, notValues: [z]}, {key: source.namespace, values: [q]}, {key: destination.ip, values: ['fd00::/8']}]
    }]";
    let accounts = |list: &[(&str, &str)]| {
        list.iter()
            .map(|(ns, sa)| ambit_model::ServiceAccountMatch {
                namespace: (*ns).into(),
                service_account: (*sa).into(),
            })
            .collect::<Vec<_>>()
    };
    let nets =
        |list: &[&str]| list.iter().map(|n| n.parse().unwrap()).collect::<Vec<ipnet::IpNet>>();
    let m = Match::default;
    let expected = vec![vec![
        vec![Match { destination_ports: vec![80, 443], not_destination_ports: vec![22], ..m() }],
        vec![
            Match {
                namespaces: exact("a"),
                principals: vec![
                    StringMatch::Presence(),
                    StringMatch::Prefix("x/".into()),
                    StringMatch::Suffix("/y".into()),
                ],
                source_ips: nets(&["10.0.0.0/8", "1.2.3.4/32"]),
                ..m()
            },
            Match {
                service_accounts: accounts(&[("shop", "web"), ("other", "db")]),
                not_namespaces: exact("b"),
                ..m()
            },
        ],
        vec![Match {
            source_ips: nets(&["10.1.0.0/16"]),
            not_source_ips: nets(&["10.1.2.3/32"]),
            ..m()
        }],
        vec![Match { destination_ports: vec![8080], ..m() }],
        vec![Match { not_principals: exact("z"), ..m() }],
        vec![Match { namespaces: exact("q"), ..m() }],
        vec![Match { destination_ips: nets(&["fd00::/8"]), ..m() }],
    ]];
    assert_eq!(rules(spec), expected);
}

#[test]
fn rules_without_parts() {
    assert_eq!(rules(""), Vec::<Vec<Vec<Match>>>::new(), "nothing matches");
    assert_eq!(rules("rules: [{}]"), [Vec::<Vec<Match>>::new()], "everything matches");
}

/// The last column is what is left of the rule at layer 4; `None` where it never matches.
#[test]
fn layer_7_never_makes_a_policy_more_permissive() {
    let port = |p| Match { destination_ports: vec![p], ..Match::default() };
    let from = || Match { namespaces: exact("a"), ..Match::default() };
    let source = "from: [{source: {namespaces: [a]}}]";
    let table: Vec<(String, &str, Option<Clauses>)> = vec![
        // ALLOW: a rule that looks at layer 7 allows nothing.
        (format!("{source}, to: [{{operation: {{methods: [GET]}}}}]"), "ALLOW", None),
        (format!("{source}, to: [{{operation: {{methods: [GET]}}}}, {{operation: {{ports: ['80']}}}}]"), "ALLOW", None),
        (format!("{source}, when: [{{key: 'request.headers[x]', values: [y]}}]"), "ALLOW", None),
        ("from: [{source: {requestPrincipals: ['*']}}]".into(), "ALLOW", None),
        ("from: [{source: {remoteIpBlocks: [1.2.3.4]}}]".into(), "ALLOW", None),
        // DENY: the rest of the rule denies.
        (format!("{source}, to: [{{operation: {{methods: [GET]}}}}]"), "DENY", Some(vec![vec![from()]])),
        (
            format!("{source}, to: [{{operation: {{methods: [GET], ports: ['80']}}}}]"),
            "DENY",
            Some(vec![vec![port(80)], vec![from()]]),
        ),
        // One alternative without anything of layer 4 makes the whole clause true.
        (
            format!("{source}, to: [{{operation: {{paths: [/x]}}}}, {{operation: {{ports: ['80']}}}}]"),
            "DENY",
            Some(vec![vec![from()]]),
        ),
        (format!("{source}, when: [{{key: 'request.auth.claims[x]', values: [y]}}]"), "DENY", Some(vec![vec![from()]])),
        // What would deny everything is left out, except what stands on its own.
        ("to: [{operation: {methods: [GET]}}]".into(), "DENY", None),
        ("when: [{key: 'request.headers[x]', values: [y]}]".into(), "DENY", None),
        (
            "to: [{operation: {methods: [GET]}}, {operation: {ports: ['80']}}]".into(),
            "DENY",
            Some(vec![vec![port(80)]]),
        ),
        (
            "to: [{operation: {methods: [GET]}}, {operation: {ports: ['80']}}], when: [{key: 'request.headers[x]', values: [y]}]".into(),
            "DENY",
            Some(vec![vec![port(80)]]),
        ),
    ];
    for (rule, action, expected) in table {
        let spec = format!("action: {action}, rules: [{{{rule}}}]");
        let mesh = Mesh::new(&policy("shop", &spec));
        let rules = mesh.policy("shop/p").unwrap().rules;
        assert_eq!(rules, expected.into_iter().collect::<Vec<_>>(), "{spec}");
        assert!(mesh.problems()[0].contains("looks at layer 7"), "{spec}");
    }
}
