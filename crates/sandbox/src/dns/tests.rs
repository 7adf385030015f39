//! Questions and answers.

use hickory_proto::op::Query;

use super::*;
use crate::cluster::{Objects, PodKey};
use crate::services::{Addresses, PodView, views};

fn zone(text: &str, pods: u8) -> Zone {
    let manifest = crate::manifest::read("f", text);
    assert_eq!(manifest.refusals, []);
    let objects =
        Objects(manifest.documents.into_iter().map(|doc| (doc.key, doc.object)).collect());
    let pod = |number| PodView {
        key: PodKey::new("shop", &format!("web-{number}")),
        uid: String::new(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ports: Default::default(),
        ips: vec![[10, 244, 1, number].into(), format!("fd00::{number}").parse().unwrap()],
        node: "a".to_owned(),
        ready: true,
        terminating: false,
    };
    let pods: Vec<_> = (1..=pods).map(pod).collect();
    Zone::new(&views(&objects, &pods, &mut Addresses::default(), true).0)
}

fn service(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{spec}}}\n"
    )
}

fn ask(zone: &Zone, name: &str, kind: RecordType, udp: bool) -> Message {
    let mut request = Message::query();
    request.metadata.recursion_desired = true;
    request.add_query(Query::query(Name::from_utf8(name).unwrap(), kind));
    let answer = zone.answer(&request.to_vec().unwrap(), udp).unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, request.metadata.id);
    assert_eq!(answer.queries, request.queries);
    answer
}

#[test]
fn services_have_names() {
    let text = service("vip", "ports: [{port: 1}], clusterIP: 10.96.1.1")
        + &service("flat", "selector: {app: web}, ports: [{port: 1}], clusterIP: None")
        + &service("out", "type: ExternalName, externalName: example.com")
        + &service("near", "type: ExternalName, externalName: vip.shop.svc.cluster.local");
    let zone = zone(&text, 3);
    use RecordType::{A, AAAA, TXT};
    for (name, kind, code, answers) in [
        ("vip.shop.svc.cluster.local.", A, ResponseCode::NoError, 1),
        ("VIP.Shop.svc.cluster.LOCAL.", A, ResponseCode::NoError, 1),
        ("vip.shop.svc.cluster.local.", AAAA, ResponseCode::NoError, 0),
        ("vip.shop.svc.cluster.local.", TXT, ResponseCode::NoError, 0),
        ("flat.shop.svc.cluster.local.", A, ResponseCode::NoError, 3),
        ("flat.shop.svc.cluster.local.", AAAA, ResponseCode::NoError, 3),
        ("near.shop.svc.cluster.local.", A, ResponseCode::NoError, 2),
        ("out.shop.svc.cluster.local.", A, ResponseCode::NoError, 1),
        ("vip.shop.svc.cluster.local.shop.svc.cluster.local.", A, ResponseCode::NXDomain, 0),
        ("vip.", A, ResponseCode::NXDomain, 0),
        ("example.com.", A, ResponseCode::NXDomain, 0),
    ] {
        let answer = ask(&zone, name, kind, true);
        assert_eq!(answer.metadata.response_code, code, "{name} {kind}");
        assert_eq!(answer.answers.len(), answers, "{name} {kind}");
    }
}

#[test]
fn long_answers_are_cut_for_udp_only() {
    let text = service("flat", "selector: {app: web}, ports: [{port: 1}], clusterIP: None");
    let zone = zone(&text, 200);
    let name = "flat.shop.svc.cluster.local.";
    assert!(ask(&zone, name, RecordType::A, true).metadata.truncation);
    let answer = ask(&zone, name, RecordType::A, false);
    assert_eq!((answer.answers.len(), answer.metadata.truncation), (200, false));
}

proptest::proptest! {
    #[test]
    fn no_request_is_too_strange(bytes: Vec<u8>) {
        zone("", 0).answer(&bytes, true);
    }
}
