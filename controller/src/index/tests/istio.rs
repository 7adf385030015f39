//! VirtualServices and DestinationRules.

use ambit_proto::ambit::{TrafficPolicy, WorkloadLabels};

use super::routes::HEAD;
use super::*;

fn mesh(yaml: &str) -> Mesh {
    Mesh::new(
        &[HEAD, &service("web", "10.1.0.1", ""), &service("v2", "10.1.0.2", ""), yaml].concat(),
    )
}

fn virtual_service(name: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec: {{{spec}}}
"
    )
}

fn rule(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{spec}}}
"
    )
}

/// What a rule for `web` becomes: its lines without the port and the table.
fn http(rule: &str) -> Vec<String> {
    let yaml = virtual_service("r", &format!("hosts: [web], http: [{rule}]"));
    mesh(&yaml).web()[2..].to_vec()
}

const WEB: &str = "    1 shop/web.shop.svc.cluster.local:80";
const RETRY: &str = "    retry 2 on [0] codes [503] after 0";

impl Mesh {
    fn says(&self, kind: Kind, name: &str) -> String {
        let conditions = self.index.conditions(&Key::new(kind, "shop", name), &[]);
        let condition = &conditions[0];
        format!("{} {}: {}", condition.status, condition.reason, condition.message)
    }

    pub(super) fn treatment(&self, gateway: &str, service: &str) -> Option<TrafficPolicy> {
        let resource =
            self.index.snapshot().at(gateway, ResourceType::TrafficPolicy).get(service)?;
        let response = DeltaDiscoveryResponse::decode(resource.wire.clone()).unwrap();
        let any = response.resources.into_iter().next()?.resource?;
        Some(TrafficPolicy::decode(&any.value[..]).unwrap())
    }

    pub(super) fn labels(&self) -> Vec<String> {
        let bodies = self.names(ResourceType::WorkloadLabels).into_iter().map(|name| {
            let body = self.body(ResourceType::WorkloadLabels, &name).unwrap();
            let WorkloadLabels { uid, labels, gateway } =
                WorkloadLabels::decode(&body[..]).unwrap();
            assert_eq!(uid, name);
            let gateway = if gateway { " gateway" } else { "" };
            format!("{} {labels:?}{gateway}", uid.rsplit('/').next().unwrap())
        });
        bodies.collect()
    }
}

#[test]
fn matches_are_taken_in_their_order() {
    let cases = "{uri: {prefix: /a}, ignoreUriCase: true}, {uri: {exact: /b}, method: {exact: GET}}, {uri: {regex: '/c.*'}, scheme: {exact: https}, authority: {prefix: x}}, {headers: {A: {exact: '1'}, b: {}}, withoutHeaders: {c: {regex: '.+'}}, queryParams: {q: {prefix: z}}}, {sourceNamespace: front, sourceLabels: {app: x}}, {port: 81}, {gateways: [ingress]}, {port: 80}";
    let lines = http(&format!("{{match: [{cases}], route: [{{destination: {{host: web}}}}]}}"));
    let matches: Vec<&str> =
        lines.iter().filter_map(|line| line.split_once(" ->")).map(|l| l.0.trim()).collect();
    assert_eq!(
        matches,
        [
            "/a**(i)",
            "=/b GET",
            "~/c.* scheme https authority x*",
            "a:1 b:* not c~.+ ?q:z*",
            "from \"front\" {\"app\": \"x\"}",
            "",
        ]
    );
}

#[test]
fn everything_that_a_rule_does_is_passed_on() {
    let lines = http(
        "{name: n, route: [{destination: {host: web}, weight: 9, headers: {response: {remove: [X]}}}, {destination: {host: v2.shop.svc.cluster.local, port: {number: 80}}, weight: 1}],
          rewrite: {uri: /new, authority: a.example}, headers: {request: {set: {A: '1'}}}, timeout: 2s,
          retries: {attempts: 3, perTryTimeout: 1s, retryOn: '5xx,unavailable,429'},
          mirror: {host: v2}, mirrorPercentage: {value: 12.5},
          fault: {delay: {fixedDelay: 5s, percentage: {value: 0.1}}, abort: {httpStatus: 503}},
          corsPolicy: {allowOrigins: [{exact: 'https://a'}], allowMethods: [GET], maxAge: 24h}}",
    );
    assert_eq!(
        lines,
        [
            "   -> VirtualService shop/r http 0 (n)",
            "    cors from https://a methods GET for 86400 s",
            "    request set a=1",
            "    rewrite host a.example prefix /new",
            "    9 shop/web.shop.svc.cluster.local:80",
            "      response remove x",
            "    1 shop/v2.shop.svc.cluster.local:80",
            "    mirror 125000 shop/v2.shop.svc.cluster.local:80",
            "    timeouts 2000 -",
            "    retry 3 on [3, 1, 0] codes [429] after 0 within 1000",
            "    fault delay 1000 by 5000 abort 1000000 with Some(HttpStatus(503))",
        ]
    );
    for (rule, expected) in [
        ("{redirect: {uri: /x, authority: b.example}}", "    redirect 301 b.example full /x"),
        ("{directResponse: {status: 418, body: {string: tea}}}", "    respond 418 tea"),
        (
            "{rewrite: {uriRegexRewrite: {match: '^/a/(.*)', rewrite: '/\\1'}}, route: [{destination: {host: web}}]}",
            "    rewrite regex ^/a/(.*) by /\\1",
        ),
        (
            "{route: [{destination: {host: none}}]}",
            "    1 ! there is no service none.shop.svc.cluster.local",
        ),
        (
            "{route: [{destination: {host: web, port: {number: 81}}}]}",
            "    1 ! web.shop.svc.cluster.local has no TCP port 81",
        ),
        (
            "{route: [{destination: {host: web, subset: v3}}]}",
            "    1 ! no DestinationRule has the subset v3 of web.shop.svc.cluster.local",
        ),
        ("{route: [{destination: {host: web}}], retries: {attempts: 0}}", WEB),
    ] {
        let lines = http(rule);
        assert_eq!(lines[1], expected, "{rule}");
        assert_eq!(lines.contains(&RETRY.to_owned()), !rule.contains("attempts"), "{rule}");
    }
}

#[test]
fn delegates_have_the_rules_that_both_match() {
    let root = "hosts: [web], http: [{match: [{uri: {prefix: /a}}], timeout: 3s, delegate: {name: inner}}, {route: [{destination: {host: v2}}]}]";
    let inner = "http: [{match: [{uri: {prefix: /a/b}, method: {exact: GET}}, {uri: {prefix: /other}}], route: [{destination: {host: web}}]}, {route: [{destination: {host: web}}]}]";
    let mut mesh = mesh(&virtual_service("root", root));
    mesh.write("inner.yaml", &virtual_service("inner", inner));
    let lines: Vec<String> = mesh.web()[2..]
        .iter()
        .filter(|l| l.contains("->") || l.contains("timeouts"))
        .cloned()
        .collect();
    assert_eq!(
        lines,
        [
            "  /a/b** GET -> VirtualService shop/inner http 0",
            "    timeouts 3000 -",
            "  /a** -> VirtualService shop/inner http 1",
            "    timeouts 3000 -",
            "   -> VirtualService shop/root http 1",
        ]
    );
    mesh.write("inner.yaml", "");
    assert_eq!(mesh.web()[2], "   -> VirtualService shop/root http 1");
}

#[test]
fn connections_are_routed_too() {
    let spec = "hosts: [web], tls: [{match: [{sniHosts: [a.example], port: 80}, {port: 81, sniHosts: [b.example]}], route: [{destination: {host: web}}]}], tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: v2}}]}]";
    let lines = mesh(&virtual_service("r", spec)).web();
    assert_eq!(
        lines[2..],
        [
            "  tls a.example VirtualService shop/r tls 0",
            WEB,
            "  tcp VirtualService shop/r tcp 0",
            "    1 shop/v2.shop.svc.cluster.local:80",
        ]
    );
}

#[test]
fn a_virtual_service_says_what_becomes_of_it() {
    let web = |name: &str, more: &str| {
        virtual_service(
            name,
            &format!("hosts: [web], {more}http: [{{route: [{{destination: {{host: web}}}}]}}]"),
        )
    };
    let says = |yaml: &str| mesh(yaml).says(Kind::VirtualService, "r");
    assert_eq!(says(&web("r", "")), "true Accepted: in force at waypoints");
    assert_eq!(
        says(&web("r", "").replace("hosts: [web]", "hosts: [none]")),
        "false TargetNotFound: no service has one of its hosts"
    );
    let rival =
        web("a", "").replace("name: a,", "name: a, creationTimestamp: '2026-01-01T00:00:00Z',");
    let mesh_of_two = mesh(&[web("r", ""), rival].concat());
    assert_eq!(
        mesh_of_two.says(Kind::VirtualService, "r"),
        "false Conflicted: VirtualService shop/a is for Service shop/web already"
    );
    assert!(mesh_of_two.web()[2].contains("VirtualService shop/a http 0"));
    let route = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: h, namespace: shop}
spec: {parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}
";
    let both = mesh(&[&web("r", ""), route].concat());
    assert_eq!(
        both.says(Kind::VirtualService, "r"),
        "false Conflicted: Service shop/web has routes of the Gateway API, which count instead"
    );
    assert!(both.web()[2].contains("HTTPRoute shop/h"));
    let unbound = HEAD.replace("istio.io/use-waypoint: wp", "");
    let mesh = Mesh::new(&[&unbound, &service("web", "10.1.0.1", "")[..], &web("r", "")].concat());
    assert!(mesh.says(Kind::VirtualService, "r").starts_with("false AncestorNotBound"));
}

#[test]
fn what_is_not_enforced_is_named() {
    let mut files = Files::default();
    let rule = "{route: [{destination: {host: web}}], retries: {retryOn: 'reset,odd', retryRemoteLocalities: true}}";
    files.read(
        "a.yaml".into(),
        Ok(&virtual_service(
            "r",
            &format!("hosts: [web], gateways: [mesh, front], http: [{rule}]"),
        )),
    );
    let problems: Vec<String> = files.reports().iter().map(|r| r.problem.to_string()).collect();
    assert_eq!(
        problems,
        [
            "retries.retryOn: \"odd\" is not enforced",
            "spec.gateways: \"front\" is not enforced: Gateways of Istio's API are not served",
            "spec.http[0].retries.retryRemoteLocalities: is not known here and means nothing",
        ]
    );
    let mut index = Index::new(Settings::default());
    index.apply(files.read("b.yaml".into(), Ok(&[HEAD, &service("web", "10.1.0.1", "")].concat())));
    let reports = files.reports();
    let read: Vec<Problem> = reports.into_iter().map(|report| report.problem).collect();
    let mut mesh = Mesh { files, index };
    mesh.index.apply(Files::default().read(
        "a.yaml".into(),
        Ok(&virtual_service("r", "hosts: [web], http: [{route: [{destination: {host: web}}]}]")),
    ));
    let condition = &mesh.index.conditions(&Key::new(Kind::VirtualService, "shop", "r"), &read)[0];
    assert_eq!((condition.status, &*condition.reason), (true, "PartiallyInvalid"));
    assert!(condition.message.contains("\"odd\" is not enforced"));
}

#[test]
fn subsets_are_labels_and_only_those_that_are_asked_for_are_told() {
    let yaml = [
        virtual_service(
            "r",
            "hosts: [web], http: [{route: [{destination: {host: web, subset: v1}}]}]",
        ),
        rule("d", "shop", "host: web, subsets: [{name: v1, labels: {version: v1}}]"),
        pod("a", "10.0.0.1", "labels: {app: web, version: v1}"),
        pod("b", "10.0.0.2", "labels: {app: web}"),
    ];
    let mut mesh = mesh(&yaml.concat());
    assert_eq!(
        mesh.web()[3],
        "    1 shop/web.shop.svc.cluster.local:80 subset v1 {\"version\": \"v1\"}"
    );
    assert_eq!(mesh.labels(), ["a {\"version\": \"v1\"}"]);
    mesh.write("caller.yaml", &virtual_service("s", "hosts: [v2], http: [{match: [{sourceLabels: {app: web}}], route: [{destination: {host: v2}}]}]"));
    assert_eq!(
        mesh.labels(),
        ["a {\"app\": \"web\", \"version\": \"v1\"}", "b {\"app\": \"web\"}"]
    );
    mesh.write("caller.yaml", "");
    assert_eq!(mesh.labels(), ["a {\"version\": \"v1\"}"]);
}

#[test]
fn a_rule_is_told_to_those_who_send_traffic_to_its_host() {
    let treated = |mesh: &Mesh, service: &str| {
        let policy = mesh.treatment("shop/wp", &format!("{service}.svc.cluster.local"))?;
        let balancer = policy.settings[0].balancer.as_ref()?;
        Some(balancer.algorithm().as_str_name().to_owned())
    };
    let random = "trafficPolicy: {loadBalancer: {simple: RANDOM}}";
    let mut mesh = mesh(&rule("d", "shop", &format!("host: web, {random}")));
    assert_eq!(treated(&mesh, "shop/web.shop").as_deref(), Some("RANDOM"));
    // Another namespace's service, once traffic is sent there.
    let other = service("x", "10.1.0.9", "").replace("namespace: shop", "namespace: other");
    mesh.write("x.yaml", &[other, rule("d", "other", &format!("host: x, {random}"))].concat());
    assert_eq!(treated(&mesh, "other/x.other"), None);
    mesh.write(
        "send.yaml",
        &virtual_service(
            "r",
            "hosts: [v2], http: [{route: [{destination: {host: x.other.svc.cluster.local}}]}]",
        ),
    );
    assert_eq!(treated(&mesh, "other/x.other").as_deref(), Some("RANDOM"));
    // The proxies' own namespace comes first.
    let own =
        "host: x.other.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}";
    mesh.write("own.yaml", &rule("own", "shop", own));
    assert_eq!(treated(&mesh, "other/x.other").as_deref(), Some("ROUND_ROBIN"));
    mesh.write("send.yaml", "");
    assert_eq!(treated(&mesh, "other/x.other"), None);
    assert_eq!(mesh.says(Kind::DestinationRule, "d"), "true Accepted: in force at waypoints");
    mesh.write("mesh.yaml", HEAD);
    mesh.write("d.yaml", &rule("d", "shop", "host: web"));
    assert_eq!(
        mesh.says(Kind::DestinationRule, "d"),
        "false TargetNotFound: no service has the host web"
    );
}

#[test]
fn ports_replace_and_subsets_add() {
    let spec = "host: web, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}, outlierDetection: {consecutive5xxErrors: 2, interval: 1s}, portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, sni: a}}]}, subsets: [{name: v1, labels: {}, trafficPolicy: {connectionPool: {tcp: {maxConnections: 9}}}}]";
    let policy = mesh(&rule("d", "shop", spec))
        .treatment("shop/wp", "shop/web.shop.svc.cluster.local")
        .unwrap();
    let lines: Vec<String> = policy
        .settings
        .iter()
        .map(|s| {
            let pool = s.connection_pool.as_ref().and_then(|pool| pool.max_connections);
            let outlier = s.outlier_detection.as_ref().map(|o| (o.consecutive_5xx, o.interval));
            let tls = s.tls.as_ref().map(|tls| (tls.sni.as_str(), tls.system_authorities));
            format!("{} {:?} {pool:?} {outlier:?} {tls:?}", s.port, s.subset)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "80 \"v1\" None None Some((\"a\", true))",
            "0 \"v1\" Some(9) Some((2, 1000)) None",
            "80 \"\" None None Some((\"a\", true))",
            "0 \"\" Some(7) Some((2, 1000)) None",
        ]
    );
}

#[test]
fn tls_takes_certificates_and_authorities_from_secrets() {
    use super::backend_tls::pair;
    let ((ca, _), (chain, key)) = (pair(), pair());
    let secret = |name: &str, fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, text)| format!("{name}: {text:?}, "));
        let fields = fields.collect::<String>();
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: shop}}\nstringData: {{{fields}}}\n"
        )
    };
    let whole = secret("c", &[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", &ca)]);
    let apart = secret("c", &[("cert", &chain), ("key", &key)]);
    let of_ca = secret("c-cacert", &[("cacert", &ca)]);
    let halved = [apart.clone(), of_ca.clone()].concat();
    // What is told of mode, name, authorities and certificate; or why requests are refused.
    for (tls, secrets, expected) in [
        ("mode: SIMPLE", "", Ok("SIMPLE web.shop.svc.cluster.local system")),
        ("mode: SIMPLE, caCertificates: system, sni: a", "", Ok("SIMPLE a system")),
        (
            "mode: SIMPLE, insecureSkipVerify: true",
            "",
            Ok("SIMPLE web.shop.svc.cluster.local anybody"),
        ),
        ("mode: SIMPLE, sni: a, credentialName: c", &whole, Ok("SIMPLE a ca")),
        ("mode: SIMPLE, sni: a, credentialName: 'kubernetes://c'", &of_ca, Ok("SIMPLE a ca")),
        ("mode: MUTUAL, sni: a, credentialName: c", &whole, Ok("MUTUAL a ca shown")),
        ("mode: MUTUAL, sni: a, credentialName: c", &halved, Ok("MUTUAL a ca shown")),
        ("mode: MUTUAL, sni: a, credentialName: c", &apart, Ok("MUTUAL a system shown")),
        ("mode: ISTIO_MUTUAL", "", Ok("MESH ")),
        (
            "mode: SIMPLE, credentialName: c",
            &apart,
            Err("Secret shop/c: there is none with authorities (ca.crt or cacert)"),
        ),
        (
            "mode: MUTUAL, credentialName: c",
            "",
            Err("Secret shop/c: there is none that can be read"),
        ),
        (
            "mode: MUTUAL, credentialName: c",
            &of_ca,
            Err("Secret shop/c: there is none that can be read"),
        ),
        ("mode: MUTUAL", "", Err("tls.credentialName is missing, which MUTUAL needs")),
        (
            "mode: SIMPLE, caCertificates: /etc/ca.pem",
            "",
            Err("tls.caCertificates is a file, and waypoints have none"),
        ),
        (
            "mode: MUTUAL, clientCertificate: /a, privateKey: /b",
            "",
            Err("tls.clientCertificate is a file"),
        ),
        (
            "mode: SIMPLE, credentialName: 'configmap://c'",
            "",
            Err("\"configmap://c\" is no Secret's name"),
        ),
    ] {
        let mut mesh =
            mesh(&rule("d", "shop", &format!("host: web, trafficPolicy: {{tls: {{{tls}}}}}")));
        mesh.write("secrets.yaml", secrets);
        let policy = mesh.treatment("shop/wp", "shop/web.shop.svc.cluster.local").unwrap();
        let told = policy.settings[0].tls.clone().unwrap();
        let says = mesh.says(Kind::DestinationRule, "d");
        match expected {
            Ok(expected) => {
                let mut text = format!("{} {}", told.mode().as_str_name(), told.sni);
                for (part, there) in [
                    (" system", told.system_authorities),
                    (" ca", told.authorities.starts_with(ca.trim().as_bytes())),
                    (" anybody", told.insecure_skip_verify),
                    (
                        " shown",
                        told.certificate
                            .is_some_and(|shown| shown.key.starts_with(key.trim().as_bytes())),
                    ),
                ] {
                    text += if there { part } else { "" };
                }
                assert_eq!((&*text, &*told.invalid), (expected, ""), "{tls}");
                assert_eq!(says, "true Accepted: in force at waypoints", "{tls}");
            }
            Err(why) => {
                assert!(told.invalid.contains(why), "{tls}: {}", told.invalid);
                assert!(says.starts_with("false Invalid: requests are refused: "), "{tls}: {says}");
                assert!(says.contains(why), "{tls}: {says}");
            }
        }
    }
}

#[test]
fn of_tls_what_is_not_enforced_is_named() {
    for (tls, unused) in [
        ("mode: DISABLE", None),
        ("mode: ISTIO_MUTUAL, sni: a", Some("sni")),
        ("mode: DISABLE, subjectAltNames: [a]", Some("subjectAltNames")),
        ("credentialName: c", Some("credentialName")),
        ("mode: ISTIO_MUTUAL, caCertificates: /a", Some("caCertificates")),
        ("mode: SIMPLE, subjectAltNames: [a]", None),
        ("mode: SIMPLE, subjectAltNames: [a], insecureSkipVerify: true", Some("subjectAltNames")),
        ("mode: SIMPLE, caCrl: /a", Some("caCrl")),
    ] {
        let mut files = Files::default();
        let text = rule("d", "shop", &format!("host: web, trafficPolicy: {{tls: {{{tls}}}}}"));
        files.read("a.yaml".into(), Ok(&text));
        let reports = files.reports();
        let named: Vec<&str> =
            reports.iter().filter_map(|r| r.problem.field.rsplit('.').next()).collect();
        assert_eq!(named, Vec::from_iter(unused), "{tls}");
        assert!(reports.iter().all(|report| report.problem.remark), "{tls}");
    }
}
