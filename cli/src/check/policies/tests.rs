//! Policies and what is said of them.

use super::*;

const SHOP: &str = "shop";

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A namespace in the mesh with a server in it, one outside.
fn mesh() -> Mesh {
    let web = Member {
        namespace: SHOP.into(),
        name: "web-1".into(),
        labels: labels(&[("app", "web")]),
        ips: vec!["10.0.0.5".parse().unwrap()],
        ready: true,
        probed: true,
    };
    Mesh {
        namespaces: [(SHOP, "mesh"), ("old", "outside")]
            .map(|(name, team)| (name.to_owned(), labels(&[("team", team)])))
            .into(),
        enrolled: vec![SHOP.into()],
        members: vec![web],
        probes_are_judged: false,
    }
}

fn policy(name: &str, spec: Value) -> NetworkPolicy {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": SHOP}, "spec": spec}))
        .unwrap()
}

fn ingress(rule: Value) -> NetworkPolicy {
    policy("p", json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [rule]}))
}

fn egress(rule: Value) -> NetworkPolicy {
    policy("p", json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]}))
}

#[test]
fn rules_that_name_ports_without_the_tunnels() {
    let http = json!([{"port": 8080}]);
    for (name, policy, is_found) in [
        ("everybody, a port", ingress(json!({"ports": http})), true),
        ("a named port", ingress(json!({"ports": [{"port": "http"}]})), true),
        ("all ports", ingress(json!({})), false),
        ("the tunnel's too", ingress(json!({"ports": [{"port": 8080}, {"port": 15008}]})), false),
        (
            "the tunnel's in a range",
            ingress(json!({"ports": [{"port": 15000, "endPort": 15010}]})),
            false,
        ),
        ("all of TCP", ingress(json!({"ports": [{"protocol": "TCP"}]})), false),
        (
            "the tunnel's number in UDP",
            ingress(json!({"ports": [{"port": 8080}, {"port": 15008, "protocol": "UDP"}]})),
            true,
        ),
        ("UDP alone", ingress(json!({"ports": [{"port": 53, "protocol": "UDP"}]})), false),
        ("pods beside", ingress(json!({"from": [{"podSelector": {}}], "ports": http})), true),
        (
            "pods of the mesh",
            ingress(
                json!({"from": [{"namespaceSelector": {"matchLabels": {"team": "mesh"}}}], "ports": http}),
            ),
            true,
        ),
        (
            "pods outside",
            ingress(
                json!({"from": [{"namespaceSelector": {"matchLabels": {"team": "outside"}}}], "ports": http}),
            ),
            false,
        ),
        (
            "addresses of the mesh",
            ingress(json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": http})),
            true,
        ),
        (
            "addresses without the mesh's",
            ingress(
                json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.5/32"]}}], "ports": http}),
            ),
            false,
        ),
        (
            "others' pods",
            policy(
                "p",
                json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"ports": http}]}),
            ),
            false,
        ),
        ("nobody", policy("p", json!({"podSelector": {}, "ingress": []})), false),
        (
            "no ingress",
            policy(
                "p",
                json!({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{"ports": http}]}),
            ),
            false,
        ),
        ("egress to the mesh", egress(json!({"to": [{"podSelector": {}}], "ports": http})), true),
        (
            "egress without types",
            policy("p", json!({"podSelector": {}, "ingress": [{}], "egress": [{"ports": http}]})),
            true,
        ),
        (
            "egress elsewhere",
            egress(json!({"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": http})),
            false,
        ),
        (
            "egress for DNS",
            egress(json!({"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]})),
            false,
        ),
    ] {
        let complaints = lint(std::slice::from_ref(&policy), &mesh());
        assert_eq!(complaints.len(), usize::from(is_found), "{name}: {complaints:?}");
        // What is proposed is enough.
        for complaint in complaints {
            let remedy: NetworkPolicy = serde_json::from_value(complaint.remedy).unwrap();
            assert_eq!(lint(&[policy.clone(), remedy], &mesh()), [], "{name}");
        }
    }
}

#[test]
fn the_remedy_says_what_is_missing_and_no_more() {
    let from = json!([{"podSelector": {"matchLabels": {"app": "client"}}}]);
    let policy = ingress(json!({"from": from, "ports": [{"port": 8080}]}));
    let complaints = lint(&[policy], &mesh());
    let expected = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p-ambit-ingress", "namespace": "shop"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "web"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": from, "ports": [{"port": 15008, "protocol": "TCP"}]}],
        },
    });
    assert_eq!(complaints[0].remedy, expected);
    assert!(complaints[0].stops.contains("web-1") && complaints[0].policy == "shop/p");
}

#[test]
fn other_policies_may_admit_the_tunnel() {
    let narrow = ingress(
        json!({"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": 8080}]}),
    );
    let tunnel = json!([{"port": 15008}]);
    for (name, from, selector, is_covered) in [
        ("everybody", json!([]), json!({}), true),
        ("all pods", json!([{"namespaceSelector": {}}]), json!({}), true),
        ("all pods beside", json!([{"podSelector": {}}]), json!({}), true),
        (
            "others beside",
            json!([{"podSelector": {"matchLabels": {"app": "x"}}}]),
            json!({}),
            false,
        ),
        (
            "all pods elsewhere",
            json!([{"namespaceSelector": {"matchLabels": {"team": "mesh"}}}]),
            json!({}),
            false,
        ),
        ("for other pods", json!([]), json!({"matchLabels": {"app": "db"}}), false),
        ("by address", json!([{"ipBlock": {"cidr": "0.0.0.0/0"}}]), json!({}), false),
    ] {
        let other = policy(
            "other",
            json!({"podSelector": selector, "ingress": [{"from": from, "ports": tunnel}]}),
        );
        let complaints = lint(&[narrow.clone(), other], &mesh());
        assert_eq!(complaints.is_empty(), is_covered, "{name}: {complaints:?}");
    }
}

#[test]
fn probes_count_where_the_cni_judges_them_or_they_fail() {
    let closed = policy("p", json!({"podSelector": {}, "ingress": []}));
    let open = ingress(json!({"from": [{"ipBlock": {"cidr": "169.254.0.0/16"}}]}));
    for (judged, ready, probed, policies, is_found) in [
        (false, true, true, vec![closed.clone()], false),
        (true, true, true, vec![closed.clone()], true),
        (false, false, true, vec![closed.clone()], true),
        (true, true, false, vec![closed.clone()], false),
        (true, true, true, vec![closed.clone(), open], false),
        (true, true, true, vec![], false),
    ] {
        let mut mesh = mesh();
        mesh.probes_are_judged = judged;
        mesh.members[0].ready = ready;
        mesh.members[0].probed = probed;
        let complaints = lint(&policies, &mesh);
        assert_eq!(!complaints.is_empty(), is_found, "{judged} {ready} {probed}: {complaints:?}");
        for complaint in complaints {
            let remedy: NetworkPolicy = serde_json::from_value(complaint.remedy).unwrap();
            assert_eq!(lint(&[closed.clone(), remedy], &mesh), []);
        }
    }
}

#[test]
fn expressions_are_understood() {
    let matched = |operator: &str, values: &[&str], pairs: &[(&str, &str)]| {
        let selector =
            json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
        matches(&serde_json::from_value(selector).unwrap(), &labels(pairs))
    };
    assert!(matched("In", &["a", "b"], &[("app", "b")]) && !matched("In", &["a"], &[]));
    assert!(matched("NotIn", &["a"], &[]) && !matched("NotIn", &["a"], &[("app", "a")]));
    assert!(matched("Exists", &[], &[("app", "")]) && !matched("Exists", &[], &[]));
    assert!(matched("DoesNotExist", &[], &[]) && !matched("DoesNotExist", &[], &[("app", "a")]));
}
