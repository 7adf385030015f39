//! PeerAuthentication → policies.

use ambit_model::{Action, Match, Scope, StringMatch};

use super::*;

const STATIC: &str = "istio-system/istio_converted_static_strict";

fn peer(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

fn created(yaml: &str, year: u16) -> String {
    yaml.replace(
        "metadata: {",
        &format!("metadata: {{creationTimestamp: '{year}-01-01T00:00:00Z', "),
    )
}

fn anonymous(more: Match) -> Match {
    Match { not_principals: vec![StringMatch::Presence()], ..more }
}

#[test]
fn the_effective_mode_is_that_of_the_narrowest_scope_that_sets_one() {
    let strict = "mtls: {mode: STRICT}";
    let permissive = "mtls: {mode: PERMISSIVE}";
    let own = |mode: &str| format!("selector: {{matchLabels: {{app: web}}}}, {mode}");
    let mesh = |mode| peer("istio-system", "m", mode);
    let ns = |mode| peer("shop", "n", mode);
    let wl = |mode: &str| peer("shop", "w", &own(mode));
    let table = [
        (vec![], false),
        (vec![mesh(strict)], true),
        (vec![mesh(permissive)], false),
        (vec![mesh("mtls: {mode: DISABLE}")], false),
        (vec![mesh(strict), ns(permissive)], false),
        (vec![mesh(strict), ns("mtls: {mode: UNSET}")], true),
        (vec![mesh(strict), ns("")], true),
        (vec![mesh(permissive), ns(strict)], true),
        (vec![ns(strict), wl(permissive)], false),
        (vec![ns(strict), wl("mtls: {mode: UNSET}")], true),
        (vec![ns(permissive), wl(strict)], true),
        (vec![peer("other", "n", strict)], false),
        (
            vec![peer("shop", "w", &format!("selector: {{matchLabels: {{app: db}}}}, {strict}"))],
            false,
        ),
        // Of two for the same scope the oldest counts.
        (vec![created(&ns(strict), 2020), created(&peer("shop", "a", permissive), 2021)], true),
        (
            vec![created(&wl(permissive), 2020), created(&peer("shop", "a", &own(strict)), 2021)],
            false,
        ),
        // In the root namespace a selector selects nothing.
        (vec![peer("istio-system", "s", &own(strict))], false),
    ];
    for (objects, strict) in table {
        let yaml = [pod("web", "10.0.0.1", "labels: {app: web}"), objects.concat()].concat();
        let mesh = Mesh::new(&yaml);
        let policies: Vec<String> =
            mesh.pod("web").authorization_policies.iter().map(ToString::to_string).collect();
        let expected: &[&str] = if strict { &[STATIC] } else { &[] };
        assert_eq!(policies, expected, "{objects:#?}");
        assert_eq!(mesh.policy(STATIC).is_some(), !objects.is_empty());
    }
}

#[test]
fn strict_denies_whoever_has_no_identity() {
    let policy = Mesh::new(&peer("shop", "n", "")).policy(STATIC).unwrap();
    assert_eq!((policy.action, policy.scope), (Action::Deny, Scope::WorkloadSelector));
    assert_eq!(policy.rules, [[[anonymous(Match::default())]]]);
}

#[test]
fn ports_that_differ_have_a_policy_of_their_own() {
    let except = |p| vec![Match { not_destination_ports: vec![p], ..Match::default() }];
    let only = |p| vec![vec![anonymous(Match { destination_ports: vec![p], ..Match::default() })]];
    let nobody = || vec![anonymous(Match::default())];
    let table = [
        (
            "STRICT",
            "{80: {mode: PERMISSIVE}, 90: {mode: DISABLE}}",
            Some(vec![vec![nobody(), except(80), except(90)]]),
            true,
        ),
        ("STRICT", "{80: {mode: STRICT}, 90: {}}", None, true),
        (
            "PERMISSIVE",
            "{80: {mode: STRICT}, 90: {mode: STRICT}}",
            Some(vec![only(80), only(90)]),
            false,
        ),
        ("DISABLE", "{80: {mode: STRICT}}", Some(vec![only(80)]), false),
        ("PERMISSIVE", "{80: {mode: DISABLE}}", None, false),
        ("UNSET", "{80: {mode: STRICT}}", Some(vec![only(80)]), false),
    ];
    for (mode, ports, rules, strict) in table {
        let spec = format!(
            "selector: {{matchLabels: {{app: web}}}}, mtls: {{mode: {mode}}}, portLevelMtls: {ports}"
        );
        let mesh = Mesh::new(
            &[pod("web", "10.0.0.1", "labels: {app: web}"), peer("shop", "w", &spec)].concat(),
        );
        let name = "shop/converted_peer_authentication_w";
        let policy = mesh.policy(name);
        assert_eq!(policy.as_ref().map(|p| p.rules.clone()), rules, "{mode} {ports}");
        let expected: Vec<&str> = match (&policy, strict) {
            (Some(_), _) => vec![name],
            (None, true) => vec![STATIC],
            (None, false) => vec![],
        };
        let refers: Vec<String> =
            mesh.pod("web").authorization_policies.iter().map(ToString::to_string).collect();
        assert_eq!(refers, expected, "{mode} {ports}");
    }
}

#[test]
fn what_is_inherited_changes_the_meaning_of_ports() {
    let own = peer(
        "shop",
        "w",
        "selector: {matchLabels: {app: web}}, portLevelMtls: {80: {mode: PERMISSIVE}}",
    );
    let mut mesh = Mesh::new(&own);
    let name = "shop/converted_peer_authentication_w";
    assert_eq!(mesh.policy(name), None);
    mesh.write("ns.yaml", &peer("shop", "n", "mtls: {mode: STRICT}"));
    assert!(mesh.policy(name).is_some());
    mesh.write("ns.yaml", "");
    assert_eq!(mesh.policy(name), None);
}
