//! The order of matches.

use super::*;

/// The matches of `web` in their order.
fn order(mesh: &Mesh) -> Vec<String> {
    let lines = mesh.web().into_iter();
    let entries = lines.filter_map(|line| {
        line.strip_prefix("  ").filter(|l| !l.starts_with(' ')).map(str::to_owned)
    });
    entries.map(|line| line.split(" -> ").next().unwrap().to_owned()).collect()
}

#[test]
fn the_more_specific_match_goes_first() {
    let backend = "backendRefs: [{name: web, port: 80}]";
    let rules = [
        "matches: [{}]",
        "matches: [{path: {value: /a}}, {path: {value: /a/b/}}]",
        "matches: [{path: {type: RegularExpression, value: '/x.*'}}]",
        "matches: [{path: {value: /a}, headers: [{name: h, value: '1'}]}, {path: {value: /a}, headers: [{name: h, value: '1'}, {name: i, value: '2'}]}]",
        "matches: [{path: {value: /a}, queryParams: [{name: q, value: '1'}]}, {path: {value: /a}, method: GET}]",
        "matches: [{path: {type: Exact, value: /}}]",
    ];
    let rules: Vec<String> = rules.iter().map(|rule| format!("{{{rule}, {backend}}}")).collect();
    let mesh = web_with(&rules.join(", "));
    assert_eq!(
        order(&mesh),
        ["=/", "~/x.*", "/a/b*", "/a* GET", "/a* h:1 i:2", "/a* h:1", "/a* ?q:1", "/a*", "/*",]
    );
}

#[test]
fn of_equal_matches_the_older_route_the_name_and_the_place_decide() {
    let rule = "{backendRefs: [{name: web, port: 80}]}, {backendRefs: [{name: v2, port: 80}]}";
    let route = |name: &str, created: &str| {
        http_route(name, "shop", rule)
            .replace("namespace: shop}\n", &format!("namespace: shop{created}}}\n"))
    };
    let services = [service("web", "10.1.0.1", ""), service("v2", "10.1.0.2", "")].concat();
    let yaml = [
        HEAD,
        &services,
        &route("c", ", creationTimestamp: '2026-01-02T00:00:00Z'"),
        &route("b", ", creationTimestamp: '2026-01-02T00:00:00Z'"),
        &route("d", ", creationTimestamp: '2026-01-01T00:00:00Z'"),
        &route("a", ""),
    ];
    let mesh = Mesh::new(&yaml.concat());
    let actions: Vec<String> = mesh
        .web()
        .iter()
        .filter_map(|line| line.split_once("HTTPRoute shop/").map(|(_, name)| name.to_owned()))
        .collect();
    let expected =
        ["d", "b", "c", "a"].iter().flat_map(|n| [format!("{n} rule 0"), format!("{n} rule 1")]);
    assert_eq!(actions, expected.collect::<Vec<_>>());
}

#[test]
fn grpc_methods_are_paths() {
    let rules = "{matches: [{method: {method: Get}}, {method: {service: a.B}}, {method: {service: a.B, method: Get}, headers: [{name: h, value: '1'}]}, {method: {service: a.B, method: Get}}, {method: {type: RegularExpression, service: 'a.*'}}, {}], backendRefs: [{name: web, port: 80}]}";
    let mesh = web_with("");
    let mut mesh = mesh;
    mesh.write("grpc.yaml", &http_route("g", "shop", rules).replace("HTTPRoute", "GRPCRoute"));
    assert_eq!(
        order(&mesh),
        ["=/a.B/Get h:1", "=/a.B/Get", "/a.B*", "~/(?:a.*)/[^/]+", "~/[^/]+/Get", "/*"]
    );
}
