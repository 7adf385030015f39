//! Gateways that let traffic in.

use ambit_proto::ambit::{Listener, ListenerProtocol};
use serde_json::Value;

use super::routes::print::print;
use super::*;
use crate::watch::Wanted;

/// A Gateway of class `ambit` in `shop` with these listeners.
pub(super) fn gateway(listeners: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, namespace: shop}}
spec: {{gatewayClassName: ambit, listeners: [{listeners}]}}
"
    )
}

/// An HTTPRoute at that Gateway; `spec` comes before its rule, which leads to `name`.
pub(super) fn route(name: &str, namespace: &str, parent: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{parentRefs: [{{name: front, namespace: shop{parent}}}], {spec}rules: [{{matches: [{{path: {{value: /{name}}}}}], backendRefs: [{{name: web, port: 80}}]}}]}}
"
    )
}

pub(super) fn secret(name: &str, namespace: &str, chain: &str, key: &str) -> String {
    let indented = |text: &str| text.trim().replace('\n', "\n    ");
    let (chain, key) = (indented(chain), indented(key));
    format!(
        "---
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    {chain}
  tls.key: |
    {key}
"
    )
}

pub(super) const HTTP: &str =
    "{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}";

impl Mesh {
    pub(super) fn wanted(&self, kind: Kind, name: &str) -> Wanted {
        self.index.wanted(&Key::new(kind, "shop", name), &[])
    }

    /// The conditions of `front`, and of each listener, in lines.
    pub(super) fn front(&self) -> Vec<String> {
        let Wanted { conditions, entries } = self.wanted(Kind::Gateway, "front");
        let own =
            conditions.iter().map(|c| format!("{} {} {}", c.kind.as_str(), c.status, c.reason));
        let of_listeners = entries.iter().flat_map(|e| &e.entries).map(|entry| {
            let routes = &entry.about["attachedRoutes"];
            let name = entry.about["name"].as_str().unwrap();
            let flaws = entry.conditions.iter().filter(|c| c.status == (c.kind == "Conflicted"));
            let flaws = flaws.map(|c| format!(" {}: {}", c.kind, c.reason)).collect::<String>();
            format!("{name} {routes}{flaws}")
        });
        own.chain(of_listeners).collect()
    }

    /// Why the route is or is not attached to its first parent.
    pub(super) fn attached(&self, name: &str) -> String {
        let entries = self.wanted(Kind::HttpRoute, name).entries.unwrap();
        let Some(entry) = entries.entries.first() else { return "nobody's".to_owned() };
        assert_eq!(entry.about["controllerName"], "ambit.dev/gateway-controller");
        entry.conditions[0].reason.to_string()
    }

    pub(super) fn listeners(&self) -> Vec<Listener> {
        let snapshot = self.index.snapshot();
        let resources = snapshot.at("shop/front", ResourceType::Listener).iter();
        let decoded = resources.map(|resource| {
            let response = DeltaDiscoveryResponse::decode(resource.wire.clone()).unwrap();
            let any = response.resources.into_iter().next().unwrap().resource.unwrap();
            Listener::decode(&any.value[..]).unwrap()
        });
        decoded.collect()
    }

    fn hosts(&self) -> Vec<String> {
        let snapshot = self.index.snapshot();
        let names = snapshot.at("shop/front", ResourceType::Route).iter();
        names.map(|r| r.name.strip_prefix("listener/").unwrap().to_owned()).collect()
    }
}

#[test]
fn listeners_that_can_be_used_are_told() {
    let web = service("web", "10.1.0.1", "");
    let mesh = Mesh::new(&[gateway(HTTP), web, route("a", "shop", "", "")].concat());
    let listeners = mesh.listeners();
    let listener = &listeners[0];
    assert_eq!((&*listener.name, listener.port), ("http", 80));
    assert_eq!(listener.protocol(), ListenerProtocol::PlainHttp);
    assert_eq!(mesh.hosts(), ["http/"]);
    assert_eq!(
        print(&mesh.route("shop/front", "listener/http/").unwrap()),
        ["table 0", "  /a* -> HTTPRoute shop/a rule 0", "    1 shop/web.shop.svc.cluster.local:80"]
    );
    assert_eq!(mesh.attached("a"), "Accepted");
    assert_eq!(
        mesh.front(),
        ["Accepted true Accepted", "Programmed false AddressNotAssigned", "http 1"]
    );
}

#[test]
fn each_host_has_its_own_routes_and_then_those_of_its_wildcards() {
    let yaml = [
        gateway(&HTTP.replace("port: 80", "port: 80, hostname: '*.example'")),
        service("web", "10.1.0.1", ""),
        route("exact", "shop", "", "hostnames: [a.example, b.other], "),
        route("wide", "shop", "", "hostnames: ['*.example'], "),
        route("all", "shop", "", ""),
        route("deep", "shop", "", "hostnames: ['*.a.example'], "),
    ];
    let mesh = Mesh::new(&yaml.concat());
    assert_eq!(mesh.hosts(), ["http/*.a.example", "http/*.example", "http/a.example"]);
    for (host, expected) in [
        ("a.example", vec!["exact", "wide", "all"]),
        ("*.a.example", vec!["deep", "wide", "all"]),
        ("*.example", vec!["wide", "all"]),
    ] {
        let lines = print(&mesh.route("shop/front", &format!("listener/http/{host}")).unwrap());
        let names: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.split_once("HTTPRoute shop/")?.1.split(' ').next())
            .collect();
        assert_eq!(names[0], expected[0], "{host}");
        let (mut names, mut expected) = (names, expected);
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "{host}");
    }
}

#[test]
fn a_route_says_why_it_is_not_attached() {
    let same = HTTP.replace(", allowedRoutes: {namespaces: {from: All}}", "");
    let grpc = HTTP.replace("{from: All}", "{from: All}, kinds: [{kind: GRPCRoute}]");
    for (listener, namespace, parent, hosts, expected) in [
        (HTTP, "shop", "", "", "Accepted"),
        (HTTP, "shop", ", sectionName: http, port: 80", "", "Accepted"),
        (HTTP, "shop", ", sectionName: https", "", "NoMatchingParent"),
        (HTTP, "shop", ", port: 81", "", "NoMatchingParent"),
        (&grpc, "shop", "", "", "NotAllowedByListeners"),
        (
            &HTTP.replace("port: 80", "port: 80, hostname: a.example"),
            "shop",
            "",
            "hostnames: [b.example], ",
            "NoMatchingListenerHostname",
        ),
        (&same, "shop", "", "", "Accepted"),
    ] {
        let mesh = Mesh::new(&[gateway(listener), route("r", namespace, parent, hosts)].concat());
        assert_eq!(mesh.attached("r"), expected, "{listener} {parent}");
    }
    let other = route("r", "shop", "", "").replace("namespace: shop}]", "namespace: else}]");
    let elsewhere = gateway(&same).replace("namespace: shop}", "namespace: else}");
    assert_eq!(
        Mesh::new(&[elsewhere, other.clone()].concat()).attached("r"),
        "NotAllowedByListeners"
    );
    assert_eq!(Mesh::new(&other).attached("r"), "nobody's");
    let of_others = gateway(HTTP).replace("gatewayClassName: ambit", "gatewayClassName: theirs");
    let mesh = Mesh::new(&[of_others, route("r", "shop", "", "")].concat());
    assert_eq!(mesh.attached("r"), "nobody's");
    assert_eq!(mesh.wanted(Kind::Gateway, "front"), Wanted::default());
}

#[test]
fn listeners_that_cannot_be_used_say_why() {
    let tls = "tls: {certificateRefs: [{name: c}]}";
    let table = [
        ("{name: a, port: 53, protocol: UDP}".to_owned(), vec!["a 0 Accepted: UnsupportedProtocol Programmed: Invalid"]),
        ("{name: a, port: 15008, protocol: HBONE}".to_owned(), vec!["a 0 Accepted: UnsupportedProtocol Programmed: Invalid"]),
        ("{name: a, port: 443, protocol: HTTPS}".to_owned(), vec!["a 0 Accepted: UnsupportedValue Programmed: Invalid"]),
        (format!("{{name: a, port: 443, protocol: HTTPS, {tls}}}"), vec!["a 0 ResolvedRefs: InvalidCertificateRef Programmed: Invalid"]),
        (
            "{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c, namespace: other}]}}".to_owned(),
            vec!["a 0 ResolvedRefs: RefNotPermitted Programmed: Invalid"],
        ),
        (
            "{name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: HTTPRoute}, {kind: TCPRoute}]}}".to_owned(),
            vec!["a 0 ResolvedRefs: InvalidRouteKinds"],
        ),
        (
            format!("{{name: a, port: 80, protocol: HTTP}}, {{name: b, port: 80, protocol: HTTPS, {tls}}}"),
            vec![
                "a 0 Accepted: ProtocolConflict Conflicted: ProtocolConflict Programmed: ProtocolConflict",
                "b 0 Accepted: ProtocolConflict Conflicted: ProtocolConflict ResolvedRefs: InvalidCertificateRef Programmed: ProtocolConflict",
            ],
        ),
        (
            "{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}, {name: c, port: 80, hostname: c.example, protocol: HTTP}".to_owned(),
            vec![
                "a 0 Accepted: HostnameConflict Conflicted: HostnameConflict Programmed: HostnameConflict",
                "b 0 Accepted: HostnameConflict Conflicted: HostnameConflict Programmed: HostnameConflict",
                "c 0",
            ],
        ),
        ("{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough}}".to_owned(), vec!["a 0"]),
    ];
    for (listeners, expected) in table {
        let mesh = Mesh::new(&gateway(&listeners));
        assert_eq!(mesh.front()[2..], expected, "{listeners}");
        let usable = expected.iter().filter(|line| !line.contains("Programmed")).count();
        assert_eq!(mesh.listeners().len(), usable);
        let accepted = match (usable, expected.len() - usable) {
            (_, 0) => "Accepted true Accepted",
            (0, _) => "Accepted false ListenersNotValid",
            _ => "Accepted true ListenersNotValid",
        };
        assert_eq!(mesh.front()[0], accepted, "{listeners}");
    }
}

#[test]
fn certificates_come_from_secrets_that_may_be_referred_to() {
    let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let listener = |namespace: &str| {
        gateway(&format!(
            "{{name: a, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: c, namespace: {namespace}}}]}}}}"
        ))
    };
    let mesh = Mesh::new(&[listener("shop"), secret("c", "shop", &chain, &key)].concat());
    let told = mesh.listeners()[0].tls.clone().unwrap().certificates;
    let text = |pem: &[u8]| String::from_utf8_lossy(pem).trim().to_owned();
    assert_eq!(text(&told[0].chain), chain.trim());
    assert_eq!(text(&told[0].key), key.trim());
    let mut mesh = Mesh::new(&[listener("other"), secret("c", "other", &chain, &key)].concat());
    assert_eq!(mesh.listeners(), []);
    let grant = "---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}], to: [{group: '', kind: Secret}]}
";
    mesh.write("grant.yaml", grant);
    assert_eq!(mesh.listeners().len(), 1);
    let mesh = Mesh::new(&[listener("shop"), secret("c", "shop", "nonsense", &key)].concat());
    assert_eq!(mesh.front()[2], "a 0 ResolvedRefs: InvalidCertificateRef Programmed: Invalid");
}

#[test]
fn connections_are_routed_by_name_or_not_at_all() {
    let listeners = "{name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}, {name: tcp, port: 9000, protocol: TCP}";
    let kind = |kind: &str, name: &str, spec: &str| {
        route(name, "shop", "", spec)
            .replace("HTTPRoute", kind)
            .replace(&format!("matches: [{{path: {{value: /{name}}}}}], "), "")
    };
    let yaml = [
        gateway(listeners),
        service("web", "10.1.0.1", ""),
        kind("TLSRoute", "t", "hostnames: [a.example], "),
        kind("TCPRoute", "u", ""),
    ];
    let mesh = Mesh::new(&yaml.concat());
    assert_eq!(mesh.hosts(), ["tcp/", "tls/a.example"]);
    let backend = "    1 shop/web.shop.svc.cluster.local:80";
    let tls = print(&mesh.route("shop/front", "listener/tls/a.example").unwrap());
    assert_eq!(tls, ["table 0", "  tls a.example TLSRoute shop/t rule 0", backend]);
    let tcp = print(&mesh.route("shop/front", "listener/tcp/").unwrap());
    assert_eq!(tcp, ["table 0", "  tcp TCPRoute shop/u rule 0", backend]);
}

#[test]
fn addresses_are_those_of_the_service_once_proxies_are_ready() {
    let ready = |name: &str| {
        pod(
            &format!("{name}-1"),
            "10.0.0.9",
            &format!("labels: {{gateway.networking.k8s.io/gateway-name: {name}}}"),
        )
    };
    let addresses = |class: &str, service: &str, pod: &str| {
        let gateway =
            gateway(HTTP).replace("gatewayClassName: ambit", &format!("gatewayClassName: {class}"));
        let mesh = Mesh::new(&[&gateway, service, pod].concat());
        let entries = mesh.wanted(Kind::Gateway, "front").entries.unwrap();
        let list = entries.beside.get("addresses").cloned().unwrap_or_default();
        let values = list.as_array().cloned().unwrap_or_default();
        values.iter().map(|v: &Value| v["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let inside = service("front", "10.1.0.9", "");
    let outside = service("front", "10.1.0.9", "type: LoadBalancer")
        + "status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}\n";
    let waiting = service("front", "10.1.0.9", "type: LoadBalancer");
    let host = "front.shop.svc.cluster.local";
    let none: [&str; 0] = [];
    assert_eq!(addresses("ambit-waypoint", &inside, ""), none);
    assert_eq!(addresses("ambit-waypoint", &inside, &ready("front")), ["10.1.0.9", host]);
    assert_eq!(addresses("ambit", &outside, &ready("front")), ["192.0.2.1"]);
    assert_eq!(addresses("ambit", &waiting, &ready("front")), none);
    assert_eq!(addresses("ambit", &inside, &ready("front")), ["10.1.0.9", host]);
    assert_eq!(addresses("istio", &inside, &ready("front")), none);
    let suffixed = service("front-istio", "10.1.0.9", "");
    assert_eq!(
        addresses("istio", &suffixed, &ready("front")),
        ["10.1.0.9", "front-istio.shop.svc.cluster.local"]
    );
}

#[test]
fn only_config_maps_add_fields_to_what_is_deployed() {
    for (reference, expected) in [
        ("{group: '', kind: ConfigMap, name: own}", "Accepted true Accepted"),
        ("{group: other.example, kind: ConfigMap, name: own}", "Accepted false InvalidParameters"),
        ("{group: other.example, kind: Own, name: own}", "Accepted false InvalidParameters"),
    ] {
        let infrastructure = format!("infrastructure: {{parametersRef: {reference}}}, listeners");
        let mesh = Mesh::new(&gateway(HTTP).replace("listeners", &infrastructure));
        assert_eq!(mesh.front()[0], expected, "{reference}");
    }
}

#[test]
fn what_its_pods_are_is_known_to_waypoints() {
    let label = "labels: {gateway.networking.k8s.io/gateway-name: front}";
    let mut mesh = Mesh::new(&pod("a", "10.0.0.1", label));
    assert_eq!(mesh.labels(), [""; 0]);
    mesh.write("gateway.yaml", &gateway(HTTP));
    assert_eq!(mesh.labels(), ["a {} gateway"]);
    let waypoint = gateway(HTTP).replace("ClassName: ambit", "ClassName: ambit-waypoint");
    mesh.write("gateway.yaml", &waypoint);
    assert_eq!(mesh.labels(), [""; 0]);
}
