//! TLS with endpoints: BackendTLSPolicies, and what a Gateway shows.

use ambit_proto::ambit::UpstreamTls;
use ambit_proto::ambit::upstream_tls::Mode;

use super::gateways::{HTTP, gateway, route, secret};
use super::routes::HEAD;
use super::*;

/// A self-signed certificate and its key.
pub(super) fn pair() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    (pair.cert.pem(), pair.signing_key.serialize_pem())
}

pub(super) fn authorities(name: &str, namespace: &str, pem: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, namespace: {namespace}}}
data: {{ca.crt: {pem:?}, other: x}}
"
    )
}

/// A policy in `shop` for `target` of the service `web`.
fn policy(name: &str, target: &str, validation: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{targetRefs: [{{group: '', kind: Service, name: web{target}}}], validation: {{{validation}}}}}
"
    )
}

const BY_CA: &str =
    "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}], hostname: b.example";
const SYSTEM: &str = "wellKnownCACertificates: System, hostname: b.example";

/// A service with the ports `http` and `other`, behind a waypoint.
fn behind_waypoint(yaml: &str) -> Mesh {
    let web = service("web", "10.1.0.1", "")
        .replace("targetPort: http}]", "targetPort: http}, {name: other, port: 81}]");
    Mesh::new(&[HEAD, &web, yaml].concat())
}

impl Mesh {
    /// What `gateway` is told of `web`, by port and subset.
    fn tls(&self, gateway: &str) -> Vec<(u32, String, Option<UpstreamTls>)> {
        let policy = self.treatment(gateway, "shop/web.shop.svc.cluster.local");
        let settings = policy.into_iter().flat_map(|policy| policy.settings);
        settings.map(|s| (s.port, s.subset, s.tls)).collect()
    }

    /// What port 80 of `web` is refused for.
    fn refusal(&self, gateway: &str) -> String {
        let found = self.tls(gateway).into_iter().find(|(port, ..)| *port == 80);
        found.and_then(|(.., tls)| tls).expect("TLS").invalid
    }

    /// What a policy says of each Gateway, in lines.
    fn says_tls(&self, name: &str) -> Vec<String> {
        let entries = self.wanted(Kind::BackendTlsPolicy, name).entries.unwrap();
        assert_eq!(entries.field, "ancestors");
        let line = |entry: &crate::watch::Entry| {
            let conditions = entry.conditions.iter();
            let reasons = conditions.map(|c| format!(" {} {} {}", c.kind, c.status, c.reason));
            let controller = entry.about["controllerName"].as_str().unwrap();
            let name = entry.about["ancestorRef"]["name"].as_str().unwrap();
            format!("{name} {controller}{}", reasons.collect::<String>())
        };
        entries.entries.iter().map(line).collect()
    }
}

#[test]
fn a_policy_is_told_to_waypoints_and_gateways_that_send_traffic_there() {
    let (ca, _) = pair();
    let yaml = [
        authorities("ca", "shop", &ca),
        gateway(HTTP),
        route("r", "shop", "", ""),
        gateway(HTTP).replace("name: front", "name: idle"),
    ];
    let mut mesh = behind_waypoint(&yaml.concat());
    mesh.write("p.yaml", &policy("p", ", sectionName: http", BY_CA));
    for gateway in ["shop/wp", "shop/front"] {
        let told = mesh.tls(gateway);
        let [(80, subset, Some(tls))] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&**subset, tls.mode(), &*tls.sni), ("", Mode::Simple, "b.example"));
        assert_eq!(String::from_utf8_lossy(&tls.authorities).trim(), ca.trim());
        assert_eq!((tls.system_authorities, &*tls.invalid), (false, ""));
    }
    assert_eq!(mesh.tls("shop/idle"), []);
    let fine = "Accepted true Accepted ResolvedRefs true ResolvedRefs";
    assert_eq!(
        mesh.says_tls("p"),
        [
            format!("front ambit.dev/gateway-controller {fine}"),
            format!("wp istio.io/mesh-controller {fine}"),
        ]
    );
    mesh.write("system.yaml", &policy("o", "", &format!("{SYSTEM}, subjectAltNames: [{{type: URI, uri: 'spiffe://a/b'}}, {{type: Hostname, hostname: c.example}}]")));
    let told = mesh.tls("shop/wp");
    let other = told.iter().find(|(port, ..)| *port == 81).unwrap().2.clone().unwrap();
    assert!(other.system_authorities && other.authorities.is_empty());
    assert_eq!(other.subject_alt_names, ["spiffe://a/b", "c.example"]);
    mesh.write("mesh.yaml", HEAD);
    assert_eq!(mesh.says_tls("p"), [""; 0]);
}

#[test]
fn what_cannot_be_verified_is_refused() {
    let (ca, _) = pair();
    let twice = "caCertificateRefs: [{group: '', kind: ConfigMap, name: none}, {group: '', kind: ConfigMap, name: ca}], hostname: b.example";
    for (validation, map, why, says) in [
        (
            BY_CA,
            "",
            "there is no ConfigMap shop/ca with the key ca.crt",
            "false NoValidCACertificate ResolvedRefs false InvalidCACertificateRef",
        ),
        (
            BY_CA,
            "nothing",
            "ConfigMap shop/ca: ca.crt: authorities",
            "false NoValidCACertificate ResolvedRefs false InvalidCACertificateRef",
        ),
        (
            &BY_CA.replace("kind: ConfigMap", "kind: Secret"),
            &ca,
            "Secret shop/ca: authorities are in ConfigMaps",
            "false NoValidCACertificate ResolvedRefs false InvalidKind",
        ),
        (
            &SYSTEM.replace("System", "theirs.example/all"),
            "",
            "spec.validation.wellKnownCACertificates: \"theirs.example/all\" is not known",
            "false Invalid ResolvedRefs true ResolvedRefs",
        ),
        (
            "hostname: b.example",
            "",
            "spec.validation.caCertificateRefs: is missing",
            "false Invalid ResolvedRefs true ResolvedRefs",
        ),
        (
            &format!("{SYSTEM}, subjectAltNames: [{{type: Hostname, hostname: '*.example'}}]"),
            "",
            "spec.validation.subjectAltNames[0].hostname: is a wildcard",
            "false Invalid ResolvedRefs true ResolvedRefs",
        ),
        (
            &SYSTEM.replace("b.example", "b_/"),
            "",
            "spec.validation.hostname: \"b_/\" is not a host name",
            "false Invalid ResolvedRefs true ResolvedRefs",
        ),
        (twice, &ca, "", "true Accepted ResolvedRefs false InvalidCACertificateRef"),
    ] {
        let map = if map.is_empty() { String::new() } else { authorities("ca", "shop", map) };
        let mesh = behind_waypoint(&[policy("p", "", validation), map].concat());
        let refusal = mesh.refusal("shop/wp");
        match why {
            "" => assert_eq!(refusal, "", "{validation}"),
            why => assert!(
                refusal.starts_with(&format!("BackendTLSPolicy shop/p: {why}")),
                "{refusal}"
            ),
        }
        assert_eq!(mesh.says_tls("p"), [format!("wp istio.io/mesh-controller Accepted {says}")]);
    }
}

#[test]
fn of_several_policies_the_oldest_counts_and_one_for_a_port_goes_first() {
    let named = |name: &str, target: &str, host: &str, age: u8| {
        policy(name, target, &SYSTEM.replace("b.example", host)).replace(
            "namespace: shop}",
            &format!("namespace: shop, creationTimestamp: '2026-01-0{age}T00:00:00Z'}}"),
        )
    };
    let yaml = [
        named("young", "", "young.example", 3),
        named("old", "", "old.example", 2),
        named("port", ", sectionName: other", "port.example", 4),
        named("nowhere", ", sectionName: none", "none.example", 1),
    ];
    let mesh = behind_waypoint(&yaml.concat());
    let names = mesh.tls("shop/wp").into_iter().map(|(port, _, tls)| (port, tls.unwrap().sni));
    assert_eq!(
        names.collect::<Vec<_>>(),
        [(80, "old.example".to_owned()), (81, "port.example".to_owned())]
    );
    for (name, says) in [
        ("young", "false Conflicted"),
        ("old", "true Accepted"),
        ("port", "true Accepted"),
        ("nowhere", "false TargetNotFound"),
    ] {
        let all = mesh.says_tls(name);
        assert!(all[0].contains(&format!("Accepted {says}")), "{name}: {all:?}");
    }
}

#[test]
fn a_policy_adds_its_tls_to_every_part_of_a_destination_rule() {
    let rule = "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d, namespace: shop}
spec: {host: web, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}, subsets: [{name: v1, labels: {a: b}}, {name: v2, labels: {}, trafficPolicy: {tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 9}}}]}}]}
";
    let mesh = behind_waypoint(&[&policy("p", ", sectionName: http", SYSTEM), rule].concat());
    let told = mesh.treatment("shop/wp", "shop/web.shop.svc.cluster.local").unwrap();
    // As proxies choose: the first of the port and the subset.
    let chosen = |port: u32, subset: &str| {
        let fits =
            |s: &&ambit_proto::ambit::Settings| [0, port].contains(&s.port) && s.subset == subset;
        let found = told.settings.iter().find(fits).unwrap();
        let most = found.connection_pool.as_ref().and_then(|pool| pool.max_connections);
        (most, found.tls.as_ref().map(UpstreamTls::mode))
    };
    for (subset, most) in [("", 7), ("v1", 7), ("v2", 9)] {
        assert_eq!(chosen(80, subset), (Some(most), Some(Mode::Simple)), "{subset}");
    }
    assert_eq!(chosen(81, ""), (Some(7), None));
    assert_eq!(chosen(81, "v2"), (Some(7), Some(Mode::Disabled)));
}

#[test]
fn a_gateway_shows_its_certificate_to_endpoints() {
    let (chain, key) = pair();
    let front = gateway(HTTP)
        .replace("listeners:", "tls: {backend: {clientCertificateRef: {name: c}}}, listeners:");
    let yaml = [policy("p", "", SYSTEM), front, route("r", "shop", "", "")].concat();
    let mut mesh = behind_waypoint(&yaml);
    assert!(
        mesh.refusal("shop/front").contains("spec.tls.backend of the Gateway: there is no Secret")
    );
    assert_eq!(mesh.refusal("shop/wp"), "");
    assert!(mesh.front().contains(&"ResolvedRefs false InvalidClientCertificateRef".to_owned()));
    mesh.write("secret.yaml", &secret("c", "shop", &chain, &key));
    let told = mesh.tls("shop/front")[0].2.clone().unwrap();
    assert_eq!((told.mode(), &*told.invalid), (Mode::Mutual, ""));
    let shown = told.certificate.unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.chain).trim(), chain.trim());
    assert!(mesh.front().contains(&"ResolvedRefs true ResolvedRefs".to_owned()));
}

#[test]
fn clients_are_asked_for_certificates_by_port() {
    let (chain, key) = pair();
    let (ca, _) = pair();
    let https = |name: &str, port: u16| {
        format!(
            "{{name: {name}, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: c}}]}}}}"
        )
    };
    let by = |name: &str, more: &str| {
        format!(
            "{{validation: {{caCertificateRefs: [{{group: '', kind: ConfigMap, name: {name}}}]{more}}}}}"
        )
    };
    let listeners =
        [https("whole", 443), https("port", 8443), https("off", 9443), HTTP.to_owned()].join(", ");
    let tls = |default: &str, port: &str| {
        gateway(&listeners).replace(
            "listeners:",
            &format!("tls: {{frontend: {{default: {default}, perPort: [{{port: 8443, tls: {port}}}, {{port: 9443, tls: {{}}}}]}}}}, listeners:"),
        )
    };
    let mesh_of = |gateway: String, map: &str| {
        Mesh::new(&[gateway, secret("c", "shop", &chain, &key), map.to_owned()].concat())
    };
    let asked = |mesh: &Mesh| {
        let listeners = mesh.listeners().into_iter().filter_map(|listener| {
            let tls = listener.tls?;
            let ca = String::from_utf8(tls.client_authorities).unwrap();
            Some((listener.name, ca.trim().to_owned(), tls.client_certificate_optional))
        });
        listeners.collect::<Vec<_>>()
    };
    let map = authorities("ca", "shop", &ca);
    let line = |name: &str, ca: &str, optional| (name.to_owned(), ca.trim().to_owned(), optional);
    let mesh = mesh_of(tls(&by("ca", ""), &by("ca", ", mode: AllowInsecureFallback")), &map);
    assert_eq!(
        asked(&mesh),
        [line("off", "", false), line("port", &ca, true), line("whole", &ca, false)]
    );
    let insecure = "InsecureFrontendValidationMode true ConfigurationChanged".to_owned();
    assert!(mesh.front().contains(&insecure));

    let mesh = mesh_of(tls(&by("none", ""), &by("ca", "")), &map);
    assert_eq!(asked(&mesh), [line("off", "", false), line("port", &ca, false)]);
    assert!(!mesh.front().contains(&insecure));
    let refused = "whole 0 Accepted: NoValidCACertificate ResolvedRefs: InvalidCACertificateRef Programmed: Invalid";
    assert!(mesh.front().contains(&refused.to_owned()), "{:?}", mesh.front());
    assert!(mesh.front().contains(&"http 0".to_owned()));

    for (reference, reason) in [
        ("{group: '', kind: Service, name: ca}", "InvalidCACertificateKind"),
        ("{group: '', kind: ConfigMap, name: ca, namespace: other}", "RefNotPermitted"),
    ] {
        let asks = format!("{{validation: {{caCertificateRefs: [{reference}]}}}}");
        let elsewhere = authorities("ca", "other", &ca);
        let mut mesh = mesh_of(tls("{}", &asks), &elsewhere);
        assert_eq!(asked(&mesh), [line("off", "", false), line("whole", "", false)]);
        let refused = format!(
            "port 0 Accepted: NoValidCACertificate ResolvedRefs: {reason} Programmed: Invalid"
        );
        assert!(mesh.front().contains(&refused), "{:?}", mesh.front());
        if reason == "RefNotPermitted" {
            mesh.write("grant.yaml", "apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}], to: [{group: '', kind: ConfigMap}]}
");
            assert_eq!(asked(&mesh).len(), 3);
        }
    }
}
