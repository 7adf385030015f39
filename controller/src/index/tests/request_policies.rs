//! AuthorizationPolicy with targetRefs → RequestPolicy, by the Gateway whose proxies get it.

use ambit_model::RequestCondition::*;
use ambit_model::StringMatch::{Exact, Prefix, Presence, Suffix};
use ambit_model::{
    PathMatch, RequestAction, RequestCondition, RequestOperation, RequestPolicy, RequestRule,
    RequestSource, ServiceAccountMatch, Terms,
};

use super::*;

const HEAD: &str = "---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/use-waypoint: wp}}
";

const WEB: &str = "targetRefs: [{kind: Service, name: web}]";

fn gateway(name: &str, namespace: &str, class: &str, protocol: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{gatewayClassName: {class}, listeners: [{{name: mesh, port: 15008, protocol: {protocol}, allowedRoutes: {{namespaces: {{from: All}}}}}}]}}
status: {{addresses: [{{type: Hostname, value: {name}.{namespace}.svc.cluster.local}}]}}
"
    )
}

fn waypoint(name: &str) -> String {
    gateway(name, "shop", "istio-waypoint", "HBONE")
}

fn policy(namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

/// A mesh with the waypoint `wp`, the service `web` behind it and a policy in `shop`.
fn with(spec: &str) -> Mesh {
    let yaml = [HEAD, &waypoint("wp"), &service("web", "10.1.0.1", ""), &policy("shop", spec)];
    Mesh::new(&yaml.concat())
}

impl Mesh {
    fn request_policy(&self, gateway: &str, name: &str) -> Option<RequestPolicy> {
        let resources = self.index.snapshot().at(gateway, ResourceType::RequestPolicy);
        let wire = resources.get(name)?.wire.clone();
        let response = DeltaDiscoveryResponse::decode(wire).expect("a response");
        let any = response.resources.into_iter().next()?.resource?;
        let decoded = decode::request_policy(name, &any.value, &mut Interner::default());
        Some(decoded.policy.expect("a policy"))
    }

    /// The targets of `shop/p` at each Gateway, in lines.
    fn places(&self) -> Vec<String> {
        let snapshot = self.index.snapshot();
        let names = ["shop/p", "istio-system/p"];
        let of = |gateway: &Str, name: &str| {
            Some((gateway.clone(), self.request_policy(gateway, name)?))
        };
        let found = snapshot.gateways().flat_map(|g| names.iter().filter_map(move |n| of(g, n)));
        found.map(|(gateway, policy)| format!("{gateway}: {}", targets(&policy))).collect()
    }

    /// The condition of the policy.
    fn condition(&self) -> String {
        let key = Key::new(Kind::AuthorizationPolicy, "shop", "p");
        let conditions = self.index.conditions(&key, &[]);
        let [condition] = &conditions[..] else { panic!("{conditions:?}") };
        format!("{} {}: {}", condition.status, condition.reason, condition.message)
    }
}

fn targets(policy: &RequestPolicy) -> String {
    let names = policy.targets.iter().map(|target| match target {
        ambit_model::PolicyTarget::Gateway => "all".to_owned(),
        ambit_model::PolicyTarget::Service(service) => service.to_string(),
    });
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_policy_goes_to_the_proxies_that_stand_in_front_of_what_it_names() {
    let class = "kind: GatewayClass, group: gateway.networking.k8s.io, name: istio-waypoint";
    let at = "kind: Gateway, group: gateway.networking.k8s.io, name";
    let entry = "kind: ServiceEntry, group: networking.istio.io, name: far";
    let web = "shop/web.shop.svc.cluster.local";
    let table: Vec<(&str, String, Vec<String>)> = vec![
        ("shop", WEB.into(), vec![format!("shop/wp: {web}")]),
        (
            "shop",
            format!("targetRefs: [{{{entry}}}]"),
            vec!["shop/other: shop/a.far shop/b.far".into()],
        ),
        ("shop", format!("targetRef: {{{at}: wp}}"), vec!["shop/wp: all".into()]),
        ("shop", format!("targetRefs: [{{{at}: in}}]"), vec!["shop/in: all".into()]),
        (
            "shop",
            format!(
                "targetRefs: [{{kind: Service, name: web}}, {{{at}: wp}}, {{{at}: other}}, {{{at}: wp}}]"
            ),
            vec!["shop/other: all".into(), format!("shop/wp: {web} all")],
        ),
        ("shop", "targetRefs: [{kind: Service, name: none}]".into(), vec![]),
        ("shop", format!("targetRefs: [{{{class}}}]"), vec![]),
        ("shop", "selector: {matchLabels: {app: web}}".into(), vec![]),
        ("istio-system", String::new(), vec![]),
        (
            "istio-system",
            format!("targetRefs: [{{{class}}}]"),
            vec!["far/wp: all".into(), "shop/other: all".into(), "shop/wp: all".into()],
        ),
        ("istio-system", WEB.into(), vec![]),
    ];
    let entry = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: shop, labels: {istio.io/use-waypoint: other}}
spec: {hosts: [a.far, b.far], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}
";
    for (namespace, spec, expected) in table {
        let mesh = Mesh::new(
            &[
                HEAD,
                &waypoint("wp"),
                &waypoint("other"),
                &gateway("wp", "far", "istio-waypoint", "HBONE"),
                &gateway("in", "shop", "ambit", "HTTP"),
                &service("web", "10.1.0.1", ""),
                entry,
                &policy(namespace, &spec),
            ]
            .concat(),
        );
        assert_eq!(mesh.places(), expected, "{namespace} {spec}");
    }
}

#[test]
fn a_gateway_is_told_before_it_is_ready() {
    let at = "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: wp}]";
    let starting = waypoint("wp")
        .replace("status: {addresses: [{type: Hostname, value: wp.shop.svc.cluster.local}]}", "");
    assert!(!starting.contains("addresses"));
    let mesh = Mesh::new(&[HEAD, &starting, &policy("shop", at)].concat());
    assert_eq!(mesh.places(), ["shop/wp: all"]);
}

#[test]
fn places_follow_what_is_written_later() {
    let mut mesh = with(WEB);
    assert_eq!(mesh.places(), ["shop/wp: shop/web.shop.svc.cluster.local"]);
    mesh.write("other.yaml", &waypoint("other"));
    let elsewhere = service("web", "10.1.0.1", "")
        .replace("namespace: shop}", "namespace: shop, labels: {istio.io/use-waypoint: other}}");
    let whole = [HEAD, &waypoint("wp"), &elsewhere, &policy("shop", WEB)].concat();
    mesh.write("mesh.yaml", &whole);
    assert_eq!(mesh.places(), ["shop/other: shop/web.shop.svc.cluster.local"]);
    mesh.write("other.yaml", "");
    assert_eq!(mesh.places(), [""; 0]);
}

#[test]
fn actions_are_passed_on() {
    let of =
        |spec: &str| with(&format!("{WEB}, {spec}")).request_policy("shop/wp", "shop/p").unwrap();
    let table = [
        ("rules: [{}]", RequestAction::Allow),
        ("action: ALLOW, rules: [{}]", RequestAction::Allow),
        ("action: DENY, rules: [{}]", RequestAction::Deny),
        ("action: AUDIT, rules: [{}]", RequestAction::Audit),
        ("action: CUSTOM, provider: {name: ext}, rules: [{}]", RequestAction::Custom("ext".into())),
    ];
    for (spec, action) in table {
        let policy = of(spec);
        assert_eq!((policy.action, policy.dry_run), (action, false), "{spec}");
        assert_eq!(policy.rules, [RequestRule::default()], "{spec}");
    }
    assert_eq!(of("action: ALLOW").rules, []);
    let yaml = policy("shop", WEB)
        .replace("namespace: shop", "namespace: shop, annotations: {istio.io/dry-run: 'true'}");
    let mesh = Mesh::new(&[HEAD, &waypoint("wp"), &service("web", "10.1.0.1", ""), &yaml].concat());
    assert!(mesh.request_policy("shop/wp", "shop/p").unwrap().dry_run);
    assert_eq!(mesh.problems(), [""; 0]);
}

// === every field ===

fn any<T>(values: impl IntoIterator<Item = T>) -> Terms<T> {
    Terms::any_of(values)
}

fn rule(spec: &str) -> RequestRule {
    let policy = with(&format!("{WEB}, rules: [{spec}]")).request_policy("shop/wp", "shop/p");
    policy.expect("a policy").rules.remove(0)
}

#[test]
fn sources_and_operations() {
    let account = |namespace: &str, name: &str| ServiceAccountMatch {
        namespace: namespace.into(),
        service_account: name.into(),
    };
    let net = |text: &str| text.parse::<ipnet::IpNet>().unwrap();
    let found = rule(
        "{from: [{source: {principals: ['*'], notPrincipals: [a], requestPrincipals: [iss/*], notRequestPrincipals: ['*x'],
            namespaces: [n], notNamespaces: [m], serviceAccounts: [sa, ns/sa], notServiceAccounts: [b],
            ipBlocks: [10.0.0.0/8], notIpBlocks: [10.1.1.1], remoteIpBlocks: ['fd00::/8'], notRemoteIpBlocks: [1.1.1.1]}}],
          to: [{operation: {hosts: [a.example, '*.b'], notHosts: ['c:*'], ports: ['80'], notPorts: ['81'],
            methods: [GET], notMethods: [P*], paths: [/a, /b*, '*.png', '*', '/c/{*}/{**}'], notPaths: [/d]}}]}",
    );
    let text = |text: PathMatch| text;
    let source = RequestSource {
        principals: Terms { values: vec![Presence()], not_values: vec![Exact("a".into())] },
        request_principals: Terms {
            values: vec![Prefix("iss/".into())],
            not_values: vec![Suffix("x".into())],
        },
        namespaces: Terms { values: vec![Exact("n".into())], not_values: vec![Exact("m".into())] },
        service_accounts: Terms {
            values: vec![account("shop", "sa"), account("ns", "sa")],
            not_values: vec![account("shop", "b")],
        },
        ip_blocks: Terms { values: vec![net("10.0.0.0/8")], not_values: vec![net("10.1.1.1/32")] },
        remote_ip_blocks: Terms {
            values: vec![net("fd00::/8")],
            not_values: vec![net("1.1.1.1/32")],
        },
    };
    let operation = RequestOperation {
        hosts: Terms {
            values: vec![Exact("a.example".into()), Suffix(".b".into())],
            not_values: vec![Prefix("c:".into())],
        },
        ports: Terms { values: vec![80], not_values: vec![81] },
        methods: Terms { values: vec![Exact("GET".into())], not_values: vec![Prefix("P".into())] },
        paths: Terms {
            values: vec![
                text(PathMatch::Text(Exact("/a".into()))),
                PathMatch::Text(Prefix("/b".into())),
                PathMatch::Text(Suffix(".png".into())),
                PathMatch::Text(Presence()),
                PathMatch::Template("/c/{*}/{**}".parse().unwrap()),
            ],
            not_values: vec![PathMatch::Text(Exact("/d".into()))],
        },
    };
    assert_eq!(found, RequestRule { from: vec![source], to: vec![operation], when: vec![] });
}

#[test]
fn conditions() {
    let net = |text: &str| any([text.parse::<ipnet::IpNet>().unwrap()]);
    let text = || any([Exact("1.1.1.1".into())]);
    let claim = |path: &[&str]| AuthClaim {
        claim: path.iter().map(|name| Str::from(*name)).collect(),
        terms: text(),
    };
    let header = |name: &str| Header { name: name.into(), terms: text() };
    let account =
        ServiceAccountMatch { namespace: "shop".into(), service_account: "1.1.1.1".into() };
    let table: Vec<(&str, RequestCondition)> = vec![
        ("source.ip", SourceIp(net("1.1.1.1/32"))),
        ("remote.ip", RemoteIp(net("1.1.1.1/32"))),
        ("destination.ip", DestinationIp(net("1.1.1.1/32"))),
        ("source.namespace", SourceNamespace(text())),
        ("source.principal", SourcePrincipal(text())),
        ("source.serviceAccount", SourceServiceAccount(any([account]))),
        ("request.auth.principal", AuthPrincipal(text())),
        ("request.auth.audiences", claim(&["aud"])),
        ("request.auth.presenter", claim(&["azp"])),
        ("request.auth.claims[a]", claim(&["a"])),
        ("request.auth.claims[a.b][c d]", claim(&["a.b", "c d"])),
        ("request.headers[X-User]", header("X-User")),
        ("request.headers[:authority]", header(":authority")),
        ("connection.sni", Sni(text())),
    ];
    for (key, condition) in table {
        assert_eq!(
            rule(&format!("{{when: [{{key: '{key}', values: [1.1.1.1]}}]}}")).when,
            [condition]
        );
    }
    let port = rule("{when: [{key: destination.port, values: ['80'], notValues: ['81']}]}").when;
    assert_eq!(port, [DestinationPort(Terms { values: vec![80], not_values: vec![81] })]);
}

// === what cannot be understood ===

/// Reads a policy with a mistake in it: what was told, and what is enforced.
fn wrong(spec: &str) -> (String, Option<RequestPolicy>) {
    let mut mesh = Mesh::new(&[HEAD, &waypoint("wp"), &service("web", "10.1.0.1", "")].concat());
    let changes = mesh.files.read("policy.yaml".into(), Ok(&policy("shop", spec)));
    let reports: Vec<String> = mesh.files.reports().iter().map(ToString::to_string).collect();
    mesh.index.apply(changes);
    (reports.join("; "), mesh.request_policy("shop/wp", "shop/p"))
}

#[test]
fn a_policy_that_cannot_be_understood_denies_everything_it_is_about() {
    let table = [
        ("action: MAYBE", "spec.action"),
        ("action: CUSTOM, rules: [{}]", "spec.provider.name"),
        ("rules: [{from: [{source: {}}]}]", "spec.rules[0].from[0].source"),
        ("rules: [{}, {to: [{operation: {}}]}]", "spec.rules[1].to[0].operation"),
        ("rules: [{to: [{operation: {path: [/a]}}]}]", "spec.rules[0].to[0].operation.path"),
        ("rules: [{to: [{operation: {ports: [http]}}]}]", "spec.rules[0].to[0].operation.ports[0]"),
        (
            "rules: [{to: [{operation: {methods: ['']}}]}]",
            "spec.rules[0].to[0].operation.methods[0]",
        ),
        (
            "rules: [{to: [{operation: {paths: ['/{*}.x']}}]}]",
            "spec.rules[0].to[0].operation.paths[0]",
        ),
        (
            "rules: [{to: [{operation: {notPaths: ['/{**}/{*}']}}]}]",
            "spec.rules[0].to[0].operation.notPaths[0]",
        ),
        (
            "rules: [{from: [{source: {remoteIpBlocks: [x]}}]}]",
            "spec.rules[0].from[0].source.remoteIpBlocks[0]",
        ),
        ("rules: [{when: [{key: source.ip}]}]", "spec.rules[0].when[0].values"),
        ("rules: [{when: [{key: source.labels, values: [a]}]}]", "spec.rules[0].when[0].key"),
        (
            "rules: [{when: [{key: 'experimental.envoy.filters.a[b]', values: [a]}]}]",
            "spec.rules[0].when[0].key",
        ),
        ("rules: [{when: [{key: request.headers, values: [a]}]}]", "spec.rules[0].when[0].key"),
        ("rules: [{when: [{key: 'request.headers[]', values: [a]}]}]", "spec.rules[0].when[0].key"),
        (
            "rules: [{when: [{key: 'request.headers[a][b]', values: [a]}]}]",
            "spec.rules[0].when[0].key",
        ),
        (
            "rules: [{when: [{key: 'request.headers[:path]', values: [a]}]}]",
            "spec.rules[0].when[0].key",
        ),
        (
            "rules: [{when: [{key: 'request.headers[a b]', values: [a]}]}]",
            "spec.rules[0].when[0].key",
        ),
        (
            "rules: [{when: [{key: 'request.auth.claims[a]b', values: [a]}]}]",
            "spec.rules[0].when[0].key",
        ),
        ("rules: [{when: [{key: remote.ip, values: [a]}]}]", "spec.rules[0].when[0].values[0]"),
    ];
    for (spec, field) in table {
        let (report, policy) = wrong(&format!("{WEB}, {spec}"));
        assert!(report.contains(&format!("{field}: ")), "{spec}: {report}");
        assert!(report.contains("everything it is about is denied"), "{spec}: {report}");
        let policy = policy.expect(spec);
        assert_eq!(policy.action, RequestAction::Deny, "{spec}");
        assert_eq!(policy.rules, [RequestRule::default()], "{spec}");
        assert_eq!(targets(&policy), "shop/web.shop.svc.cluster.local");
    }
}

#[test]
fn targets_that_can_be_read_are_closed_and_an_audit_closes_nothing() {
    let refs = "targetRefs: [{kind: Pod, name: x}, {kind: Service, name: web}]";
    let (report, policy) = wrong(refs);
    assert!(report.contains("spec.targetRefs[0].kind"), "{report}");
    assert_eq!(policy.unwrap().action, RequestAction::Deny);
    let (report, policy) =
        wrong(&format!("{WEB}, action: AUDIT, rules: [{{from: [{{source: {{}}}}]}}]"));
    assert!(report.contains("nothing is reported"), "{report}");
    let policy = policy.unwrap();
    assert_eq!((policy.action, policy.rules), (RequestAction::Audit, vec![]));
}

#[test]
fn the_status_says_which_paths_no_request_has() {
    let mesh = with(&format!(
        "{WEB}, action: DENY, rules: [{{to: [{{operation: {{paths: [/a, //b], notPaths: ['c?d']}}}}]}}]"
    ));
    assert_eq!(
        mesh.condition(),
        "true PartiallyInvalid: attached to Gateway shop/wp; \
         spec.rules[0].to[0].operation.paths[1]: never matches: paths are compared without repeated slashes and dot segments; \
         spec.rules[0].to[0].operation.notPaths[0]: never matches: paths begin with a slash"
    );
    assert_eq!(with(WEB).condition(), "true Accepted: attached to Gateway shop/wp");
    let of_class = |class: &str| {
        let at = "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: in}]";
        let gateway = gateway("in", "shop", class, "HTTP");
        Mesh::new(&[HEAD, &gateway, &policy("shop", at)].concat()).condition()
    };
    assert_eq!(of_class("ambit"), "true Accepted: attached to Gateway shop/in");
    assert!(of_class("nginx").starts_with("false AncestorNotBound: "));
}

// === from the object to the verdict ===

struct Sent(Vec<(&'static str, &'static str)>);

impl ambit_policy::HeaderValues for Sent {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        self.0.iter().filter(|(n, _)| *n == name).for_each(|(_, value)| see(value.as_bytes()));
    }
}

/// Whether the request passes: from `frontend` of namespace `front`, `GET /path`, with headers.
fn passes(spec: &str, method: &str, path: &str, headers: &[(&'static str, &'static str)]) -> bool {
    use ambit_policy::{CompiledPolicy, EncodedSlashes, RequestFacts, RequestPath};
    let policy = with(&format!("{WEB}, {spec}")).request_policy("shop/wp", "shop/p").expect("one");
    let policy = CompiledPolicy::new(policy);
    let path = RequestPath::parse(method, path.as_bytes(), EncodedSlashes::Decode).expect("a path");
    let ip: std::net::IpAddr = [10, 0, 0, 1].into();
    let facts = RequestFacts {
        method,
        path: &path,
        host: Some("web.shop:80"),
        headers: &Sent(headers.to_vec()),
        source_identity: Some(&ambit_model::Identity::new("cluster.local", "front", "frontend")),
        source_ip: ip,
        remote_ip: ip,
        destination: (ip, 80).into(),
        sni: None,
        auth: None,
    };
    ambit_policy::decide_request(&facts, [&policy]).allowed()
}

#[test]
fn objects_as_written_decide() {
    let viewer = "rules: [{from: [{source: {principals: [cluster.local/ns/front/sa/frontend]}}], to: [{operation: {methods: [GET, HEAD], paths: [/info*]}}]}]";
    let admin = "action: DENY, rules: [{to: [{operation: {paths: [/admin, /admin/*]}}], from: [{source: {notNamespaces: [ops]}}]}]";
    let token = "action: DENY, rules: [{from: [{source: {notRequestPrincipals: ['*']}}]}]";
    let beta = "rules: [{when: [{key: 'request.headers[X-Beta]', values: ['yes']}]}]";
    let no: &[(&str, &str)] = &[];
    let table = [
        (viewer, "GET", "/info", no, true),
        (viewer, "GET", "/info/a?b", no, true),
        (viewer, "POST", "/info", no, false),
        (viewer, "GET", "/other", no, false),
        (viewer, "GET", "/info/..%2fother", no, false),
        (admin, "GET", "/", no, true),
        (admin, "GET", "/admin", no, false),
        (admin, "GET", "/x/../%61dmin/y", no, false),
        (token, "GET", "/", no, false),
        (beta, "GET", "/", &[("x-beta", "yes")], true),
        (beta, "GET", "/", &[("x-beta", "no"), ("x-beta", "yes")], false),
        (beta, "GET", "/", no, false),
        ("action: ALLOW", "GET", "/", no, false),
        ("action: DENY", "GET", "/", no, true),
    ];
    for (spec, method, path, headers, expected) in table {
        assert_eq!(
            passes(spec, method, path, headers),
            expected,
            "{spec} {method} {path} {headers:?}"
        );
    }
}

#[test]
fn dumps_can_be_read_back() {
    let spec = "rules: [{from: [{source: {namespaces: ['*']}}], to: [{operation: {paths: ['/a/{*}', '/b*'], notPorts: ['1']}}], when: [{key: 'request.headers[a]', values: [b]}]}]";
    let policy = with(&format!("{WEB}, {spec}")).request_policy("shop/wp", "shop/p").expect("one");
    let dump = serde_json::to_value(&policy).expect("JSON");
    assert_eq!(serde_json::from_value::<RequestPolicy>(dump).expect("a policy"), policy);
}
