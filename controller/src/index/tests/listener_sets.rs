//! Listeners that others add to a Gateway.

use super::gateways::{HTTP, gateway, route, secret};
use super::routes::print::print;
use super::*;
use crate::watch::Wanted;

/// A Gateway of class `ambit` in `shop` that takes sets as `allowed` says.
fn open(allowed: &str) -> String {
    let listeners = HTTP.replace("port: 80", "port: 80, hostname: own.example");
    gateway(&listeners).replace("listeners:", &format!("{allowed}listeners:"))
}

const ALL: &str = "allowedListeners: {namespaces: {from: All}}, ";

fn set(name: &str, namespace: &str, age: u8, listeners: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '2026-01-0{age}T00:00:00Z'}}
spec: {{parentRef: {{name: front, namespace: shop}}, listeners: [{listeners}]}}
"
    )
}

fn listener(name: &str, host: &str) -> String {
    format!(
        "{{name: {name}, port: 80, protocol: HTTP, hostname: {host}, allowedRoutes: {{namespaces: {{from: Same}}}}}}"
    )
}

/// A route in `namespace` at a set there.
fn at_set(name: &str, namespace: &str, set: &str, section: &str) -> String {
    route(name, namespace, "", "").replace(
        "{name: front, namespace: shop}",
        &format!("{{group: gateway.networking.k8s.io, kind: ListenerSet, name: {set}{section}}}"),
    )
}

impl Mesh {
    /// What a set says of itself and of its listeners, in lines.
    fn set(&self, namespace: &str, name: &str) -> Vec<String> {
        let key = Key::new(Kind::ListenerSet, namespace, name);
        let Wanted { conditions, entries } = self.index.wanted(&key, &[]);
        let own =
            conditions.iter().map(|c| format!("{} {} {}", c.kind.as_str(), c.status, c.reason));
        let of_listeners = entries.iter().flat_map(|e| &e.entries).map(|entry| {
            let flaws = entry.conditions.iter().filter(|c| c.status == (c.kind == "Conflicted"));
            let flaws = flaws.map(|c| format!(" {}: {}", c.kind, c.reason)).collect::<String>();
            let name = entry.about["name"].as_str().unwrap();
            format!("{name} {}{flaws}", entry.about["attachedRoutes"])
        });
        own.chain(of_listeners).collect()
    }

    fn names_of_listeners(&self) -> Vec<String> {
        self.listeners().into_iter().map(|listener| listener.name).collect()
    }

    fn attached_sets(&self) -> Option<u64> {
        let entries = self.wanted(Kind::Gateway, "front").entries.unwrap();
        entries.beside.get("attachedListenerSets").and_then(serde_json::Value::as_u64)
    }
}

#[test]
fn routes_are_attached_to_the_set_that_they_name() {
    let yaml = [
        open(ALL),
        set(
            "more",
            "team",
            1,
            &[listener("a", "a.example"), listener("b", "b.example")].join(", "),
        ),
        service("web", "10.1.0.1", ""),
        service("web", "10.1.0.2", "").replace("namespace: shop", "namespace: team"),
        route("own", "shop", "", ""),
        at_set("both", "team", "more", ""),
        at_set("one", "team", "more", ", sectionName: a"),
        at_set("foreign", "shop", "more, namespace: team", ""),
    ];
    let mut mesh = Mesh::new(&yaml.concat());
    assert_eq!(mesh.names_of_listeners(), ["http", "team/more/a", "team/more/b"]);
    let served = |name: &str| {
        let lines = print(&mesh.route("shop/front", &format!("listener/{name}")).unwrap());
        let names = lines.iter().filter_map(|line| line.split_once("HTTPRoute "));
        let mut names: Vec<String> =
            names.map(|(_, rule)| rule.split(' ').next().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(served("http/own.example"), ["shop/own"]);
    assert_eq!(served("team/more/a/a.example"), ["team/both", "team/one"]);
    assert_eq!(served("team/more/b/b.example"), ["team/both"]);
    assert_eq!(mesh.attached("foreign"), "NotAllowedByListeners");
    let says = ["Accepted true Accepted", "Programmed false ParentNotProgrammed", "a 2", "b 1"];
    assert_eq!(mesh.set("team", "more"), says);
    assert_eq!((mesh.attached_sets(), mesh.front().last().unwrap().as_str()), (Some(1), "http 1"));
    // A Gateway's listeners are not found by the name of a set's.
    mesh.write("wrong.yaml", &route("wrong", "shop", ", sectionName: a", ""));
    assert_eq!(mesh.attached("wrong"), "NoMatchingParent");
    let ready = pod("p", "10.0.0.9", "labels: {gateway.networking.k8s.io/gateway-name: front}");
    mesh.write("ready.yaml", &[ready, service("front", "10.1.0.9", "")].concat());
    assert_eq!(mesh.set("team", "more")[1], "Programmed true Programmed");
}

#[test]
fn a_gateway_says_whose_sets_count() {
    let namespaces =
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {a: b}}\n";
    for (allowed, of_shop, of_team) in [
        ("", false, false),
        ("allowedListeners: {}, ", false, false),
        ("allowedListeners: {namespaces: {}}, ", false, false),
        ("allowedListeners: {namespaces: {from: None}}, ", false, false),
        ("allowedListeners: {namespaces: {from: Same}}, ", true, false),
        (ALL, true, true),
        (
            "allowedListeners: {namespaces: {from: Selector, selector: {matchLabels: {a: b}}}}, ",
            false,
            true,
        ),
    ] {
        let yaml = [
            open(allowed),
            namespaces.to_owned(),
            set("s", "shop", 1, &listener("a", "a.example")),
            set("s", "team", 1, &listener("b", "b.example")),
        ];
        let mesh = Mesh::new(&yaml.concat());
        for (namespace, counts) in [("shop", of_shop), ("team", of_team)] {
            let says = mesh.set(namespace, "s");
            let expected =
                if counts { "Accepted true Accepted" } else { "Accepted false NotAllowed" };
            assert_eq!(says[0], expected, "{allowed} {namespace}");
        }
        let count = u64::from(of_shop) + u64::from(of_team);
        assert_eq!(mesh.attached_sets(), (!allowed.is_empty()).then_some(count), "{allowed}");
        assert_eq!(mesh.listeners().len() as u64, 1 + count);
    }
}

#[test]
fn of_listeners_that_clash_the_first_is_served() {
    let tls = "{name: t, port: 80, protocol: TLS, tls: {mode: Passthrough}}";
    let yaml = [
        open(ALL),
        set(
            "young",
            "shop",
            3,
            &[listener("a", "a.example"), listener("c", "c.example")].join(", "),
        ),
        set(
            "old",
            "team",
            2,
            &[listener("own", "own.example"), listener("a", "a.example"), tls.to_owned()]
                .join(", "),
        ),
        set("lost", "shop", 4, &listener("a", "a.example")),
    ];
    let mut mesh = Mesh::new(&yaml.concat());
    assert_eq!(mesh.names_of_listeners(), ["http", "shop/young/c", "team/old/a"]);
    let host =
        "Accepted: HostnameConflict Conflicted: HostnameConflict Programmed: HostnameConflict";
    let protocol =
        "Accepted: ProtocolConflict Conflicted: ProtocolConflict Programmed: ProtocolConflict";
    assert_eq!(
        mesh.set("team", "old"),
        [
            "Accepted true ListenersNotValid",
            "Programmed false ParentNotProgrammed",
            &format!("own 0 {host}"),
            "a 0",
            &format!("t 0 {protocol}"),
        ]
    );
    assert_eq!(
        mesh.set("shop", "lost")[..2],
        ["Accepted false ListenersNotValid", "Programmed false ListenersNotValid"]
    );
    assert_eq!(mesh.attached_sets(), Some(2));
    mesh.write("mesh.yaml", &[&yaml[0], &yaml[1], &yaml[3]].map(String::as_str).concat());
    assert_eq!(mesh.names_of_listeners(), ["http", "shop/young/a", "shop/young/c"]);
}

#[test]
fn certificates_of_a_set_are_its_own() {
    let (chain, key) = super::backend_tls::pair();
    let https = "{name: s, port: 443, protocol: HTTPS, hostname: s.example, tls: {certificateRefs: [{name: c}]}}";
    let mut mesh = Mesh::new(&[open(ALL), set("more", "team", 1, https)].concat());
    // That the Gateway may refer to its own is nothing to the set.
    mesh.write("other.yaml", &secret("c", "shop", &chain, &key));
    assert_eq!(mesh.names_of_listeners(), ["http"]);
    assert!(mesh.set("team", "more")[2].starts_with("s 0 ResolvedRefs: InvalidCertificateRef"));
    mesh.write("own.yaml", &secret("c", "team", &chain, &key));
    assert_eq!(mesh.names_of_listeners(), ["http", "team/more/s"]);
}
