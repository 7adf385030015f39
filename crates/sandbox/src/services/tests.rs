//! Services as tables: addresses, members, rules, slices.

use std::collections::BTreeSet;

use super::*;
use crate::cluster::Objects;
use crate::manifest;

fn objects(text: &str) -> Objects {
    let manifest = manifest::read("f", text);
    assert_eq!(manifest.refusals, []);
    Objects(manifest.documents.into_iter().map(|doc| (doc.key, doc.object)).collect())
}

fn service(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{spec}}}\n"
    )
}

fn pod(number: u8, app: &str, node: &str) -> PodView {
    PodView {
        key: PodKey::new("shop", &format!("{app}-{number}")),
        uid: format!("uid-{number}"),
        labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
        ports: BTreeMap::from([("http".to_owned(), 8000 + u16::from(number))]),
        ips: vec![[10, 244, 1, number].into(), format!("fd00:10:244:1::{number}").parse().unwrap()],
        node: node.to_owned(),
        ready: true,
        terminating: false,
    }
}

fn gateways() -> [IpAddr; 2] {
    [[10, 244, 1, 1].into(), "fd00:10:244:1::1".parse().unwrap()]
}

fn view(text: &str, pods: &[PodView]) -> ServiceView {
    let (mut views, problems) = views(&objects(text), pods, &mut Addresses::default(), true);
    assert_eq!(problems, []);
    views.remove(0)
}

const WEB: &str = "selector: {app: web}, ports: [{port: 80, targetPort: http}]";

#[test]
fn addresses_are_stable_and_unique() {
    let names: Vec<String> = (0..500).map(|number| format!("s{number}")).collect();
    let text: String = names.iter().map(|name| service(name, "ports: [{port: 1}]")).collect();
    let all = |addresses: &mut Addresses| views(&objects(&text), &[], addresses, true).0;
    let (mut once, mut twice) = (Addresses::default(), Addresses::default());
    let first = all(&mut once);
    assert_eq!(first, all(&mut once));
    assert_eq!(first, all(&mut twice));
    let vips: BTreeSet<IpAddr> = first.iter().flat_map(|view| view.vips.clone()).collect();
    assert_eq!(vips.len(), names.len());
}

#[test]
fn addresses_follow_the_spec() {
    let dns: IpAddr = DNS_V4.into();
    for (spec, families) in [
        ("ports: [{port: 1}]", "4"),
        ("ports: [{port: 1}], ipFamilyPolicy: PreferDualStack", "46"),
        ("ports: [{port: 1}], ipFamilies: [IPv6]", "6"),
        ("ports: [{port: 1}], ipFamilies: [IPv6, IPv4], ipFamilyPolicy: RequireDualStack", "64"),
        ("ports: [{port: 1}], clusterIP: None", ""),
        ("type: ExternalName, externalName: example.com", ""),
        ("ports: [{port: 1}], clusterIP: 10.96.7.7", "4"),
    ] {
        let view = view(&service("s", spec), &[]);
        let found: String =
            view.vips.iter().map(|vip| if vip.is_ipv4() { '4' } else { '6' }).collect();
        assert_eq!(found, families, "{spec}");
        assert!(!view.vips.contains(&dns));
    }
    let text = service("a", "ports: [{port: 1}], clusterIP: 10.96.0.10");
    let text = text + &service("b", "ports: [{port: 1}], clusterIP: 1.2.3.4");
    let (views, problems) = views(&objects(&text), &[], &mut Addresses::default(), true);
    assert_eq!((views.len(), problems.len()), (0, 2), "{problems:?}");
}

#[test]
fn members_are_selected_and_their_ports_resolved() {
    let mut unready = pod(3, "web", "b");
    unready.ready = false;
    let mut elsewhere = pod(4, "web", "b");
    elsewhere.key.namespace = "other".to_owned();
    let pods = [pod(1, "web", "a"), pod(2, "db", "a"), unready, elsewhere];
    let view = view(&service("web", WEB), &pods);
    let targets: Vec<_> = view.members.iter().map(|member| member.targets.clone()).collect();
    assert_eq!(targets, [vec![Some(8001)], vec![Some(8003)]]);
    assert_eq!(view.available().count(), 1);
    let all = service("web", &format!("{WEB}, publishNotReadyAddresses: true"));
    assert_eq!(super::tests::view(&all, &pods).available().count(), 2);
    assert!(super::tests::view(&service("web", "ports: [{port: 80}]"), &pods).members.is_empty());
}

#[test]
fn slices_of_the_user_count_too() {
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
                 metadata: {name: s, namespace: shop, labels: {kubernetes.io/service-name: ext}}\n\
                 ports: [{name: '', port: 9000}]\n\
                 endpoints: [{addresses: [172.30.0.1]}, {addresses: [172.30.0.2], conditions: {ready: false}}]\n";
    let view = view(&(service("ext", "ports: [{port: 80}]") + slice), &[]);
    let rules = node_rules("a", &gateways(), std::slice::from_ref(&view));
    assert!(rules.contains("tcp dport 80 dnat ip to 172.30.0.1:9000"), "{rules}");
    assert!(slices(&view, true).is_empty(), "the user's own are passed on as they are");
}

#[test]
fn node_rules_are_as_recorded() {
    let dual = format!("{WEB}, ipFamilyPolicy: PreferDualStack");
    let local = format!("{WEB}, internalTrafficPolicy: Local");
    let udp = "selector: {app: db}, ports: [{port: 53, protocol: UDP}]";
    let text = [service("a", &dual), service("b", &local), service("c", udp)].concat();
    let pods = [pod(1, "web", "a"), pod(2, "web", "b"), pod(3, "db", "a")];
    let (views, _) = views(&objects(&text), &pods, &mut Addresses::default(), true);
    insta::assert_snapshot!(node_rules("a", &gateways(), &views));
}

#[test]
fn slices_are_as_recorded() {
    let mut leaving = pod(2, "web", "b");
    leaving.terminating = true;
    let mut other_port = pod(3, "web", "b");
    other_port.ready = false;
    let view = view(&service("web", WEB), &[pod(1, "web", "a"), leaving, other_port]);
    let slices = slices(&view, true);
    insta::assert_snapshot!(serde_json::to_string_pretty(&slices).unwrap());
}
