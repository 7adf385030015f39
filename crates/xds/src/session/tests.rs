//! Table tests of the session machine.

use ambit_model::{Authorization, Scope, Service, Workload};
use ambit_proto::discovery::DeltaDiscoveryRequest;
use bytes::Bytes;
use prost::Message as _;

use super::{Held, Session};
use crate::encode::Encoded;
use crate::wire::{Any, Resource, Response};
use crate::{Change, Config, Event, Node, Rejected, ResourceType};

use ResourceType::{Address, Authorization as Policy};

fn session() -> Session {
    let node = Node::ztunnel("10.0.0.9", "zt-1", "istio-system", "node-a");
    Session::new(&Config::new("http://localhost", node), Held::default())
}

fn workload(name: &str) -> Workload {
    Workload { uid: format!("c//Pod/ns/{name}").into(), name: name.into(), ..Workload::default() }
}

fn policy(name: &str) -> Authorization {
    Authorization {
        name: name.into(),
        namespace: "ns".into(),
        scope: Scope::Namespace,
        action: ambit_model::Action::Allow,
        rules: Vec::new(),
        dry_run: false,
    }
}

fn encoded(e: Encoded) -> Resource {
    resource(e.kind, &e.name, &e.version_text(), e.body)
}

fn resource(kind: ResourceType, name: &str, version: &str, value: Bytes) -> Resource {
    let any = Any { type_url: kind.url().to_owned(), value };
    Resource { version: version.to_owned(), resource: Some(any), name: name.to_owned() }
}

fn response(kind: ResourceType, nonce: &str, resources: &[Resource], removed: &[&str]) -> Response {
    Response {
        resources: resources.iter().map(|r| r.encode_to_vec().into()).collect(),
        type_url: kind.url().to_owned(),
        nonce: nonce.to_owned(),
        removed_resources: removed.iter().map(ToString::to_string).collect(),
    }
}

/// What the owner of the session was handed.
struct Content {
    updates: Vec<Change>,
    synced: Vec<ResourceType>,
    rejected: Vec<Rejected>,
}

fn take(session: &mut Session, response: Response) -> (Content, DeltaDiscoveryRequest) {
    let (mut updates, mut synced) = (Vec::new(), Vec::new());
    let outcome = session.response(response, &mut |event| {
        match event {
            Event::Batch(batch) => updates.extend(batch),
            Event::Synced(kind) => synced.push(kind),
        }
        Vec::new()
    });
    outcome.kind.expect("a subscribed type");
    (Content { updates, synced, rejected: outcome.rejected }, outcome.answer)
}

fn names(content: &Content) -> Vec<String> {
    content
        .updates
        .iter()
        .map(|change| match change {
            Change::Workload(w) => format!("+{}", w.uid),
            Change::Service(s) => format!("+{}", s.key()),
            Change::Authorization(p) => format!("+{}", p.key()),
            Change::Resource { name, .. } => format!("+{name}"),
            Change::Removed { name, .. } => format!("-{name}"),
        })
        .collect()
}

#[test]
fn a_stream_begins_with_one_wildcard_request_a_type_in_order() {
    let requests = session().connect();
    let urls: Vec<&str> = requests.iter().map(|r| r.type_url.as_str()).collect();
    assert_eq!(urls, [ambit_proto::ADDRESS_TYPE, ambit_proto::AUTHORIZATION_TYPE]);
    for request in requests {
        assert!(request.resource_names_subscribe.is_empty());
        assert!(request.resource_names_unsubscribe.is_empty());
        assert!(request.initial_resource_versions.is_empty());
        assert_eq!((request.response_nonce.as_str(), request.error_detail), ("", None));
        let node = request.node.expect("a node");
        assert_eq!(node.id, "ztunnel~10.0.0.9~zt-1.istio-system~istio-system.svc.cluster.local");
        let fields = node.metadata.expect("metadata").fields;
        assert_eq!(
            fields.keys().collect::<Vec<_>>(),
            ["INSTANCE_IPS", "NAME", "NAMESPACE", "NODE_NAME"]
        );
    }
}

#[test]
fn a_good_response_is_acknowledged_and_its_versions_are_named_on_the_next_stream() {
    let mut session = session();
    let service =
        Service { namespace: "ns".into(), hostname: "web.ns.svc".into(), ..Service::default() };
    let resources = [encoded(Encoded::workload(&workload("a"))), encoded((&service).into())];
    let versions: Vec<String> = resources.iter().map(|r| r.version.clone()).collect();
    let (content, answer) = take(&mut session, response(Address, "n1", &resources, &[]));
    assert_eq!(names(&content), ["+c//Pod/ns/a", "+ns/web.ns.svc"]);
    let bare = DeltaDiscoveryRequest {
        type_url: Address.url().to_owned(),
        response_nonce: "n1".to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    assert_eq!(answer, bare, "an acknowledgement has a type and a nonce and nothing else");

    let next = session.connect();
    let held = &next[0].initial_resource_versions;
    assert_eq!(held["c//Pod/ns/a"], versions[0]);
    assert_eq!(held["ns/web.ns.svc"], versions[1]);
    assert_eq!(held.len(), 2);
    assert!(next[1].initial_resource_versions.is_empty());
}

#[test]
fn each_type_is_synced_by_its_first_response_only() {
    let mut session = session();
    for (kind, expected) in
        [(Policy, true), (Policy, false), (Address, true), (Address, false), (Policy, false)]
    {
        let (content, _) = take(&mut session, response(kind, "n", &[], &[]));
        assert_eq!(content.synced, expected.then_some(kind).as_slice());
    }
}

#[test]
fn removals_come_first_and_are_forgotten() {
    let mut session = session();
    let a = encoded(Encoded::workload(&workload("a")));
    take(&mut session, response(Address, "1", &[a], &[]));
    let b = encoded(Encoded::workload(&workload("b")));
    let message = response(Address, "2", &[b], &["c//Pod/ns/a", "never/known"]);
    let (content, answer) = take(&mut session, message);
    assert_eq!(names(&content), ["-c//Pod/ns/a", "-never/known", "+c//Pod/ns/b"]);
    assert_eq!(answer.error_detail, None);
    let held = &session.connect()[0].initial_resource_versions;
    assert_eq!(held.keys().collect::<Vec<_>>(), ["c//Pod/ns/b"]);
}

#[test]
fn a_refused_resource_is_named_and_the_good_ones_are_used() {
    let mut session = session();
    let bad = resource(Address, "c//Pod/ns/bad", "7", Bytes::from_static(b"\xff\xff"));
    let message = response(Address, "n", &[bad, encoded(Encoded::workload(&workload("a")))], &[]);
    let (content, answer) = take(&mut session, message);
    assert_eq!(names(&content), ["+c//Pod/ns/a"]);
    assert_eq!(content.rejected.len(), 1);
    assert_eq!(&*content.rejected[0].name, "c//Pod/ns/bad");
    let detail = answer.error_detail.expect("a refusal");
    assert_eq!(detail.code, 3);
    assert!(detail.message.starts_with("c//Pod/ns/bad: not a valid Address"), "{}", detail.message);
    assert_eq!(answer.response_nonce, "n");
    let held = &session.connect()[0].initial_resource_versions;
    assert_eq!(held.keys().collect::<Vec<_>>(), ["c//Pod/ns/a"]);
}

#[test]
fn a_refused_update_leaves_the_old_version_held() {
    let mut session = session();
    let good = encoded(Encoded::authorization(&policy("p")));
    let version = good.version.clone();
    take(&mut session, response(Policy, "1", &[good], &[]));
    let mut message = crate::encode::authorization(&policy("p"));
    message.action = 99;
    let bad = resource(Policy, "ns/p", "2", message.encode_to_vec().into());
    let (content, answer) = take(&mut session, response(Policy, "2", &[bad], &[]));
    assert!(names(&content).is_empty(), "the old version stays enforced");
    assert_eq!(content.rejected[0].reason, "policy: action 99 is unknown");
    assert!(answer.error_detail.is_some());
    assert_eq!(session.connect()[1].initial_resource_versions["ns/p"], version);
}

#[test]
fn a_malformed_policy_that_was_never_known_denies_until_it_can_be_read() {
    let mut session = session();
    let mut message = crate::encode::authorization(&policy("p"));
    message.action = 99;
    let bad = resource(Policy, "ns/p", "2", message.encode_to_vec().into());
    let (content, answer) = take(&mut session, response(Policy, "1", &[bad], &[]));
    let Change::Authorization(stand_in) = &content.updates[0] else { panic!("a policy") };
    assert_eq!(stand_in.action, ambit_model::Action::Deny);
    assert_eq!(stand_in.scope, Scope::Namespace);
    assert_eq!(stand_in.rules, vec![Vec::<Vec<ambit_model::Match>>::new()]);
    assert!(answer.error_detail.is_some());
    // Named without a version, so that the control plane sends it again or says that it is gone.
    assert_eq!(session.connect()[1].initial_resource_versions["ns/p"], "");

    let good = encoded(Encoded::authorization(&policy("p")));
    let (content, answer) = take(&mut session, response(Policy, "2", &[good], &[]));
    assert_eq!(names(&content), ["+ns/p"]);
    assert_eq!(answer.error_detail, None);
}

#[test]
fn what_is_no_resource_of_the_type_is_refused() {
    let body = Encoded::workload(&workload("a")).body;
    let other_type = Any { type_url: Policy.url().to_owned(), value: body.clone() };
    let table = [
        (
            Resource { name: "x".to_owned(), ..Resource::default() },
            "the resource holds \"\" instead of type.googleapis.com/istio.workload.Address",
        ),
        (
            Resource { name: "x".to_owned(), resource: Some(other_type), ..Resource::default() },
            "the resource holds \"type.googleapis.com/istio.security.Authorization\" instead of \
             type.googleapis.com/istio.workload.Address",
        ),
        (
            resource(Address, "x", "1", body),
            "the resource describes \"c//Pod/ns/a\", which is not its name",
        ),
        (
            resource(Address, "x", "1", Bytes::new()),
            "the address is neither a workload nor a service",
        ),
    ];
    for (resource, reason) in table {
        let (content, _) = take(&mut session(), response(Address, "n", &[resource], &[]));
        assert_eq!(content.rejected[0].reason, reason);
        assert!(content.updates.is_empty());
    }
}

#[test]
fn a_policy_is_never_stood_in_for_under_another_name() {
    let mut message = crate::encode::authorization(&policy("p"));
    message.action = 99;
    let bad = resource(Policy, "ns/other", "2", message.encode_to_vec().into());
    let (content, _) = take(&mut session(), response(Policy, "1", &[bad], &[]));
    assert!(content.updates.is_empty());
    assert_eq!(content.rejected.len(), 1);
}

#[test]
fn an_undecodable_envelope_is_refused_alone() {
    let mut message = response(Address, "n", &[encoded(Encoded::workload(&workload("a")))], &[]);
    message.resources.insert(0, Bytes::from_static(b"\x0a\xff"));
    let (content, _) = take(&mut session(), message);
    assert_eq!(&*content.rejected[0].name, "resource 0 of the response");
    assert_eq!(names(&content), ["+c//Pod/ns/a"]);
}

#[test]
fn a_refusal_names_a_bounded_number_of_resources() {
    let bad: Vec<Resource> = (0..50)
        .map(|i| resource(Address, &format!("r{i}"), "1", Bytes::from_static(b"\xff")))
        .collect();
    let (content, answer) = take(&mut session(), response(Address, "n", &bad, &[]));
    assert_eq!(content.rejected.len(), 50);
    let message = answer.error_detail.expect("a refusal").message;
    assert!(message.contains("r19: ") && !message.contains("r20: "), "{message}");
    assert!(message.ends_with("and 30 more"), "{message}");
}

#[test]
fn an_unknown_type_is_acknowledged_and_ignored() {
    let message = Response {
        type_url: "type.googleapis.com/x".into(),
        nonce: "n".into(),
        ..Response::default()
    };
    let outcome = session().response(message, &mut |event| panic!("{event:?}"));
    assert_eq!(outcome.kind, None);
    assert_eq!(outcome.answer.type_url, "type.googleapis.com/x");
    assert_eq!(outcome.answer.response_nonce, "n");
    assert_eq!(outcome.answer.error_detail, None);
}

#[test]
fn a_resumed_session_names_what_it_was_given() {
    let mut held = Held::default();
    held.insert(Address, "c//Pod/ns/a".into(), "00000000000000ab");
    held.insert(Policy, "ns/p".into(), "");
    let requests = Session::new(&Config::new("http://localhost", Node::default()), held).connect();
    assert_eq!(requests[0].initial_resource_versions["c//Pod/ns/a"], "00000000000000ab");
    assert_eq!(requests[1].initial_resource_versions["ns/p"], "");
}

#[test]
fn what_is_held_shares_the_uid_of_its_workload() {
    let mut session = session();
    for nonce in ["1", "2"] {
        let resource = encoded(Encoded::workload(&workload("a")));
        let (content, _) = take(&mut session, response(Address, nonce, &[resource], &[]));
        let Change::Workload(workload) = &content.updates[0] else { panic!("a workload") };
        let held = session.held.name(Address, &workload.uid).expect("held");
        assert!(ambit_model::Str::ptr_eq(&held, &workload.uid));
    }
}

#[test]
fn what_the_owner_refuses_is_named_beside_what_cannot_be_decoded() {
    let mut session = session();
    let bad = resource(Address, "bad", "1", Bytes::from_static(b"\xff"));
    let good = encoded(Encoded::workload(&workload("a")));
    let outcome = session.response(response(Address, "n", &[bad, good], &[]), &mut |event| {
        let Event::Batch(batch) = event else { return Vec::new() };
        let refuse = |change| match change {
            Change::Workload(w) => {
                Rejected { kind: Address, name: w.uid, reason: "not wanted".to_owned() }
            }
            other => panic!("{other:?}"),
        };
        batch.map(refuse).collect()
    });
    let message = outcome.answer.error_detail.expect("a refusal").message;
    assert!(
        message.starts_with("bad: ") && message.ends_with("; c//Pod/ns/a: not wanted"),
        "{message}"
    );
    assert_eq!(session.connect()[0].initial_resource_versions["c//Pod/ns/a"], "");
}
