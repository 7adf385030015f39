//! Routes of the Gateway API in front of services.

mod precedence;
pub(super) mod print;
mod references;

use super::*;

use print::print;

pub(super) const HEAD: &str = "---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/use-waypoint: wp}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wp, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: Hostname, value: wp.shop.svc.cluster.local}]}
";

impl Mesh {
    /// What the proxies of `gateway` do for `host`.
    pub(super) fn route(&self, gateway: &str, name: &str) -> Option<ambit_proto::ambit::Route> {
        let resource = self.index.snapshot().at(gateway, ResourceType::Route).get(name)?;
        let response = DeltaDiscoveryResponse::decode(resource.wire.clone()).expect("a response");
        let any = response.resources.into_iter().next()?.resource?;
        Some(ambit_proto::ambit::Route::decode(&any.value[..]).expect("a route"))
    }

    /// What the waypoint does for the service `web`, in lines.
    pub(super) fn web(&self) -> Vec<String> {
        let route = self.route("shop/wp", "service/shop/web.shop.svc.cluster.local");
        print(&route.expect("a route"))
    }
}

/// Services `web` and `v2` on port 80, and these rules for `web`, in flow style.
fn web_with(rules: &str) -> Mesh {
    let route = http_route("r", "shop", rules);
    Mesh::new(
        &[HEAD, &service("web", "10.1.0.1", ""), &service("v2", "10.1.0.2", ""), &route].concat(),
    )
}

/// An HTTPRoute for `web` in `shop`.
fn http_route(name: &str, namespace: &str, rules: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{parentRefs: [{{group: '', kind: Service, name: web, namespace: shop}}], rules: [{rules}]}}
"
    )
}

#[test]
fn a_service_with_a_waypoint_has_a_route_without_any_object() {
    let mesh = Mesh::new(&[HEAD, &service("web", "10.1.0.1", "")].concat());
    assert_eq!(mesh.web(), ["port 80 Http1"]);
    let gateways: Vec<&str> = mesh.index.snapshot().gateways().map(|name| &**name).collect();
    assert_eq!(gateways, ["shop/wp"]);
    let none = HEAD.replace("istio.io/use-waypoint: wp", "");
    let mesh = Mesh::new(&[&none, &service("web", "10.1.0.1", "")[..]].concat());
    assert_eq!(mesh.index.snapshot().gateways().count(), 0);
}

#[test]
fn what_is_spoken_on_a_port_is_said_by_its_protocol_or_its_name() {
    let table = [
        ("name: http-api", "Http1"),
        ("name: http2", "Http2"),
        ("name: grpc-web-x", "Grpc"),
        ("name: tcp", "Tcp"),
        ("name: mongo-db", "Tcp"),
        ("name: tls", "Tls"),
        ("name: https", "Tls"),
        ("name: api", "Detect"),
        ("name: tcp, appProtocol: kubernetes.io/h2c", "Http2"),
        ("name: tcp, appProtocol: kubernetes.io/ws", "Http1"),
        ("name: tcp, appProtocol: grpc", "Grpc"),
        ("name: http, appProtocol: unheard.of/x", "Detect"),
    ];
    for (port, expected) in table {
        let web =
            service("web", "10.1.0.1", "").replace("name: http, port", &format!("{port}, port"));
        let mesh = Mesh::new(&[HEAD, &web].concat());
        assert_eq!(mesh.web(), [format!("port 80 {expected}")], "{port}");
    }
}

#[test]
fn everything_a_rule_says_is_passed_on() {
    let mesh = web_with(
        "{name: all, matches: [{path: {type: Exact, value: /a}, method: GET, headers: [{name: X-A, value: b}], queryParams: [{name: q, type: RegularExpression, value: 'c+'}]}],
          filters: [
            {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: '1'}], add: [{name: b, value: '2'}], remove: [C]}},
            {type: URLRewrite, urlRewrite: {hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}},
            {type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}, fraction: {numerator: 1, denominator: 8}}},
            {type: CORS, cors: {allowOrigins: ['https://*.example.com'], allowMethods: [GET], maxAge: 60}}],
          backendRefs: [{name: web, port: 80, weight: 9, filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [d]}}]}, {name: v2, port: 80}],
          timeouts: {request: 10s, backendRequest: 500ms},
          retry: {codes: [503], attempts: 3, backoff: 100ms}}",
    );
    assert_eq!(
        mesh.web(),
        [
            "port 80 Http1",
            "table 80",
            "  =/a GET x-a:b ?q~c+ -> HTTPRoute shop/r rule 0 (all)",
            "    request set a=1 add b=2 remove c",
            "    rewrite host new.example prefix /b",
            "    cors from ~https://.+\\.example\\.com methods GET for 60 s",
            "    9 shop/web.shop.svc.cluster.local:80",
            "      response remove d",
            "    1 shop/v2.shop.svc.cluster.local:80",
            "    mirror 125000 shop/v2.shop.svc.cluster.local:80",
            "    timeouts 10000 500",
            "    retry 3 on [0, 1] codes [503] after 100",
        ]
    );
    assert_eq!(mesh.problems(), [""; 0]);
}

#[test]
fn redirects_have_no_backends() {
    let redirect = |more: &str| {
        let mesh = web_with(&format!(
            "{{filters: [{{type: RequestRedirect, requestRedirect: {{{more}}}}}]}}"
        ));
        mesh.web()[3..].to_vec()
    };
    assert_eq!(redirect("hostname: a.example"), ["    redirect 302 a.example:80"]);
    assert_eq!(redirect("scheme: https, statusCode: 301"), ["    redirect 301 https://"]);
    let full = "port: 8443, path: {type: ReplaceFullPath, replaceFullPath: /x}";
    assert_eq!(redirect(full), ["    redirect 302 :8443 full /x"]);
}

#[test]
fn parents_may_name_a_port() {
    let web = service("web", "10.1.0.1", "")
        .replace("targetPort: http}]", "targetPort: http}, {name: admin, port: 81}]");
    for (parent, expected) in [
        ("", vec!["table 80", "table 81"]),
        (", port: 81", vec!["table 81"]),
        (", sectionName: http", vec!["table 80"]),
        (", sectionName: http, port: 81", vec![]),
        (", port: 82", vec![]),
    ] {
        let route = http_route("r", "shop", "{backendRefs: [{name: web, port: 80}]}")
            .replace("namespace: shop}]", &format!("namespace: shop{parent}}}]"));
        let mesh = Mesh::new(&[HEAD, &web, &route].concat());
        let tables: Vec<String> =
            mesh.web().into_iter().filter(|line| line.starts_with("table")).collect();
        assert_eq!(tables, expected, "{parent}");
    }
}

#[test]
fn routes_of_another_namespace_are_for_its_callers() {
    let rule = "{backendRefs: [{group: networking.istio.io, kind: Hostname, name: web.shop.svc.cluster.local, port: 80}]}";
    let mut mesh = web_with(rule);
    mesh.write("consumer.yaml", &http_route("c", "client", rule));
    let backend = "    1 shop/web.shop.svc.cluster.local:80";
    assert_eq!(
        mesh.web(),
        [
            "port 80 Http1",
            "table 80",
            "  /* -> HTTPRoute shop/r rule 0",
            backend,
            "table 80 for client",
            "  /* -> HTTPRoute client/c rule 0",
            backend,
        ]
    );
}

#[test]
fn the_most_specific_kind_of_route_counts() {
    let mut mesh = web_with("{backendRefs: [{name: web, port: 80}]}");
    let other = |kind: &str| {
        http_route("o", "shop", "{backendRefs: [{name: v2, port: 80}]}").replace("HTTPRoute", kind)
    };
    for (kind, expected) in [
        ("GRPCRoute", "  /* -> GRPCRoute shop/o rule 0"),
        ("TLSRoute", "  /* -> HTTPRoute shop/r rule 0"),
        ("TCPRoute", "  /* -> HTTPRoute shop/r rule 0"),
    ] {
        mesh.write("other.yaml", &other(kind));
        assert_eq!(mesh.web()[2], expected);
        assert_eq!(mesh.web().len(), 4);
    }
    mesh.write(
        "mesh.yaml",
        &[HEAD, &service("web", "10.1.0.1", ""), &service("v2", "10.1.0.2", "")].concat(),
    );
    assert_eq!(mesh.web()[2], "  tcp TCPRoute shop/o rule 0");
    mesh.write(
        "other.yaml",
        &other("TLSRoute").replace("spec: {", "spec: {hostnames: ['*.example'], "),
    );
    assert_eq!(mesh.web()[2], "  tls *.example TLSRoute shop/o rule 0");
}

#[test]
fn connections_that_are_no_requests_have_no_http_routes() {
    let web = service("web", "10.1.0.1", "").replace("name: http, port", "name: tcp, port");
    let route = http_route("r", "shop", "{backendRefs: [{name: web, port: 80}]}");
    assert_eq!(Mesh::new(&[HEAD, &web, &route].concat()).web(), ["port 80 Tcp"]);
}

#[test]
fn each_host_of_an_entry_has_its_route() {
    let entry = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e, namespace: shop}
spec: {hosts: [a.example, '*.b.example'], resolution: STATIC, ports: [{number: 443, name: tls, protocol: HTTPS}]}
";
    let mesh = Mesh::new(&[HEAD, entry].concat());
    let route = mesh.route("shop/wp", "service/shop/a.example").expect("a route");
    assert_eq!(print(&route), ["port 443 Tls"]);
    assert_eq!(mesh.route("shop/wp", "service/shop/*.b.example"), None);
}

#[test]
fn a_canary_is_told_as_well() {
    let canary = HEAD.replace("name: wp, namespace", "name: canary, namespace");
    let web = service("web", "10.1.0.1", "").replace(
        "namespace: shop",
        "namespace: shop, labels: {istio.io/use-waypoint: wp, istio.io/use-waypoint-canary: canary}, annotations: {istio.io/use-waypoint-canary-weight: '10'}",
    );
    let canary = canary.split_once("---\napiVersion: gateway").map(|(_, rest)| rest).unwrap();
    let mut mesh = Mesh::new(&[HEAD, &format!("---\napiVersion: gateway{canary}"), &web].concat());
    let name = "service/shop/web.shop.svc.cluster.local";
    assert_eq!(mesh.route("shop/wp", name), mesh.route("shop/canary", name));
    assert!(mesh.route("shop/wp", name).is_some());
    mesh.write("mesh.yaml", &[HEAD, &service("web", "10.1.0.1", "")].concat());
    assert_eq!(mesh.route("shop/canary", name), None);
}
