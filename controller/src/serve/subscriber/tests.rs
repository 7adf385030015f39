//! Table tests of the subscriber machine.

use std::collections::HashMap;
use std::time::Instant;

use ambit_model::{Action, Authorization, Scope, Workload};
use ambit_proto::discovery::{DeltaDiscoveryRequest, Node, Status};
use ambit_xds::encode::Encoded;
use prost_types::{Struct, Value};

use super::*;
use crate::index::Snapshot;

use ResourceType::{Address, Authorization as Policy};

/// States of a mesh with these workloads, each `name` or `name=revision`, or `name@node` for a pod.
fn state(generation: u64, workloads: &[&str]) -> Published {
    let mut snapshot = Snapshot::default();
    for workload in workloads {
        let (name, revision) = workload.split_once('=').unwrap_or((workload, "1"));
        let (name, node) = name.split_once('@').unwrap_or((name, ""));
        let encoded = Encoded::workload(&Workload {
            uid: name.into(),
            node: node.into(),
            canonical_revision: revision.into(),
            ..Workload::default()
        });
        snapshot.add(Resource { node: node.into(), ..encoded.into() });
    }
    Published { generation, snapshot, seen: Instant::now() }
}

fn version(state: &Published, name: &str) -> String {
    state.snapshot.addresses.get(name).expect("a resource").version_text()
}

fn caller() -> Caller {
    Caller {
        node: "node-a".into(),
        namespace: "istio-system".into(),
        service_account: "ztunnel".into(),
        impersonates: true,
    }
}

fn first(kind: ResourceType) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node { id: "ztunnel~1.1.1.1~zt.istio-system~x".into(), ..Node::default() }),
        type_url: kind.url().into(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn holding(held: &[(&str, String)]) -> DeltaDiscoveryRequest {
    let versions = held.iter().map(|(name, version)| ((*name).to_owned(), version.clone()));
    DeltaDiscoveryRequest {
        initial_resource_versions: versions.collect::<HashMap<_, _>>(),
        ..first(Address)
    }
}

fn answer(push: &Push) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: push.kind.url().into(),
        response_nonce: push.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn subscribe(add: &[&str], remove: &[&str]) -> DeltaDiscoveryRequest {
    let names = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    DeltaDiscoveryRequest {
        type_url: Address.url().into(),
        resource_names_subscribe: names(add),
        resource_names_unsubscribe: names(remove),
        ..DeltaDiscoveryRequest::default()
    }
}

/// What a push brings, as `+name` and `-name`.
fn content(push: &Push) -> Vec<String> {
    let resources: Vec<_> = match &push.content {
        Content::Everything(resources) => resources.iter().collect(),
        Content::Some(resources) => resources.iter().collect(),
    };
    let added = resources.into_iter().map(|r| format!("+{}", r.name));
    added.chain(push.removed.iter().map(|name| format!("-{name}"))).collect()
}

fn deny() -> Authorization {
    Authorization {
        name: "p".into(),
        namespace: "ns".into(),
        scope: Scope::Global,
        action: Action::Deny,
        rules: vec![],
        dry_run: false,
    }
}

/// A subscriber that has taken in the first push of `state`.
fn synced(state: &Published) -> Subscriber {
    let mut subscriber = Subscriber::new(caller());
    let push = request(&mut subscriber, first(Address), state).expect("a push");
    assert_eq!(request(&mut subscriber, answer(&push), state).map(|p| content(&p)), None);
    subscriber
}

fn request(
    subscriber: &mut Subscriber,
    request: DeltaDiscoveryRequest,
    state: &Published,
) -> Option<Push> {
    subscriber.request(request, state).expect("accepted").push
}

#[test]
fn the_first_request_brings_everything_and_is_answered_even_with_nothing() {
    let mut subscriber = Subscriber::new(caller());
    let push = request(&mut subscriber, first(Address), &state(1, &["a", "b"])).unwrap();
    assert_eq!((content(&push), push.generation), (vec!["+a".into(), "+b".into()], 1));
    let push = request(&mut subscriber, first(Policy), &state(1, &[])).unwrap();
    assert_eq!((content(&push), push.kind), (vec![], Policy));
}

#[test]
fn who_reconnects_is_sent_what_differs_and_told_what_is_gone() {
    let old = state(1, &["same", "changed", "gone"]);
    let new = state(2, &["same", "changed=2", "new"]);
    let held: Vec<(&str, String)> =
        ["same", "changed", "gone"].map(|name| (name, version(&old, name))).to_vec();
    let mut subscriber = Subscriber::new(caller());
    let push = request(&mut subscriber, holding(&held), &new).unwrap();
    assert_eq!(content(&push), ["+changed", "+new", "-gone"]);
    let mut subscriber = Subscriber::new(caller());
    let push = request(&mut subscriber, holding(&[("same", String::new())]), &new).unwrap();
    assert_eq!(content(&push), ["+changed", "+new", "+same"], "held without a version");
}

#[test]
fn changes_are_pushed_at_once_and_nothing_else() {
    let mut subscriber = synced(&state(1, &["a", "b"]));
    let pushes = subscriber.published(&state(2, &["a=2", "c"]));
    assert_eq!(pushes.iter().map(content).collect::<Vec<_>>(), [["+a", "+c", "-b"]]);
    let mut subscriber = synced(&state(1, &["a"]));
    assert!(subscriber.published(&state(2, &["a"])).is_empty());
    assert_eq!(subscriber.acked(), Some(2), "nothing of it concerned this client");
}

#[test]
fn changes_wait_only_for_the_answer_to_the_last_push() {
    let mut subscriber = synced(&state(1, &["a"]));
    let push = subscriber.published(&state(2, &["a", "b"])).pop().unwrap();
    assert!(subscriber.published(&state(3, &["a", "b", "c"])).is_empty());
    assert!(subscriber.published(&state(4, &["a", "c"])).is_empty());
    assert_eq!(subscriber.acked(), Some(1));
    let latest = state(4, &["a", "c"]);
    let next = request(&mut subscriber, answer(&push), &latest).unwrap();
    assert_eq!(content(&next), ["+c", "-b"], "coalesced");
    assert_eq!(subscriber.acked(), Some(2));
    assert!(request(&mut subscriber, answer(&next), &latest).is_none());
    assert_eq!(subscriber.acked(), Some(4));
}

#[test]
fn an_answer_to_something_older_counts_for_nothing() {
    let mut subscriber = synced(&state(1, &["a"]));
    let push = subscriber.published(&state(2, &["b"])).pop().unwrap();
    let stale = DeltaDiscoveryRequest { response_nonce: "1-1".into(), ..answer(&push) };
    assert!(request(&mut subscriber, stale, &state(3, &["c"])).is_none());
    assert_eq!(subscriber.acked(), Some(1));
}

#[test]
fn a_refusal_is_told_and_not_repeated() {
    let mut subscriber = synced(&state(1, &["a"]));
    let push = subscriber.published(&state(2, &["b"])).pop().unwrap();
    let detail = Status { code: 3, message: "b: bad\nline".into(), details: vec![] };
    let refusal = DeltaDiscoveryRequest { error_detail: Some(detail), ..answer(&push) };
    let reaction = subscriber.request(refusal, &state(2, &["b"])).unwrap();
    assert_eq!(reaction.refused.as_deref(), Some("b: bad line"));
    assert!(reaction.push.is_none());
}

#[test]
fn types_do_not_wait_for_each_other() {
    let mut subscriber = synced(&state(1, &["a"]));
    let held_up = request(&mut subscriber, first(Policy), &state(1, &["a"]));
    assert!(held_up.is_some(), "not answered");
    let pushes = subscriber.published(&state(2, &["b"]));
    assert_eq!(pushes.iter().map(|p| p.kind).collect::<Vec<_>>(), [Address]);
    assert_eq!(subscriber.acked(), Some(0), "the slower type counts");
}

#[test]
fn policies_are_pushed_too() {
    let mut subscriber = Subscriber::new(caller());
    let push = request(&mut subscriber, first(Policy), &state(1, &[])).unwrap();
    request(&mut subscriber, answer(&push), &state(1, &[]));
    let mut new = state(2, &[]);
    new.snapshot.add(Encoded::authorization(&deny()).into());
    assert_eq!(content(&subscriber.published(&new)[0]), ["+ns/p"]);
}

#[test]
fn policies_arrive_before_the_workloads_that_refer_to_them() {
    let mut subscriber = synced(&state(1, &[]));
    let push = request(&mut subscriber, first(Policy), &state(1, &[])).unwrap();
    request(&mut subscriber, answer(&push), &state(1, &[]));
    let mut new = state(2, &["a"]);
    new.snapshot.add(Encoded::authorization(&deny()).into());
    let kinds: Vec<ResourceType> = subscriber.published(&new).iter().map(|p| p.kind).collect();
    assert_eq!(kinds, [Policy, Address]);
}

#[test]
fn workloads_wait_while_policies_that_they_may_refer_to_do() {
    let mut subscriber = synced(&state(1, &[]));
    let last = request(&mut subscriber, first(Policy), &state(1, &[])).unwrap();
    let mut new = state(2, &["a"]);
    new.snapshot.add(Encoded::authorization(&deny()).into());
    assert!(subscriber.published(&new).is_empty(), "the last push of policies is not answered");
    let policies = request(&mut subscriber, answer(&last), &new).unwrap();
    assert_eq!((policies.kind, content(&policies)), (Policy, vec!["+ns/p".to_owned()]));
    let workloads = request(&mut subscriber, answer(&policies), &new).unwrap();
    assert_eq!((workloads.kind, content(&workloads)), (Address, vec!["+a".to_owned()]));
}

#[test]
fn nonces_are_never_used_twice() {
    let mut subscriber = Subscriber::new(caller());
    let a = request(&mut subscriber, first(Address), &state(1, &[])).unwrap();
    let b = request(&mut subscriber, first(Policy), &state(1, &[])).unwrap();
    assert_ne!(a.nonce, b.nonce);
}

#[test]
fn names_can_be_subscribed_to_one_by_one() {
    let now = state(1, &["a", "b"]);
    let mut subscriber = Subscriber::new(caller());
    // "All, and not all" is how a client says "nothing yet".
    let nothing = DeltaDiscoveryRequest { node: first(Address).node, ..subscribe(&["*"], &["*"]) };
    let push = request(&mut subscriber, nothing, &now).unwrap();
    assert_eq!(content(&push), [""; 0]);
    assert!(request(&mut subscriber, answer(&push), &now).is_none());
    let push = request(&mut subscriber, subscribe(&["a", "missing"], &[]), &now).unwrap();
    assert_eq!(content(&push), ["+a", "-missing"]);
    request(&mut subscriber, answer(&push), &now);
    let pushes = subscriber.published(&state(2, &["a", "b=2", "c"]));
    assert!(pushes.is_empty(), "nobody asked for those");
    let push = subscriber.published(&state(3, &["a=2", "missing"])).pop().unwrap();
    assert_eq!(content(&push), ["+a", "+missing"]);
    request(&mut subscriber, answer(&push), &state(3, &["a=2", "missing"]));
    request(&mut subscriber, subscribe(&[], &["a"]), &state(3, &["a=2", "missing"]));
    assert!(subscriber.published(&state(4, &["a=3", "missing"])).is_empty());
}

#[test]
fn a_name_that_is_asked_for_again_is_sent_again() {
    let now = state(1, &["a", "b"]);
    let mut subscriber = synced(&now);
    let push = request(&mut subscriber, subscribe(&["a"], &[]), &now).unwrap();
    assert_eq!(content(&push), ["+a"]);
    request(&mut subscriber, answer(&push), &now);
    assert_eq!(content(&subscriber.published(&state(2, &["a", "b", "c"]))[0]), ["+c"], "still all");
}

#[test]
fn everything_can_be_asked_for_later() {
    let now = state(1, &["a", "b"]);
    let mut subscriber = Subscriber::new(caller());
    let named = DeltaDiscoveryRequest { node: first(Address).node, ..subscribe(&["a"], &[]) };
    let push = request(&mut subscriber, named, &now).unwrap();
    assert_eq!(content(&push), ["+a"]);
    request(&mut subscriber, answer(&push), &now);
    let push = request(&mut subscriber, subscribe(&["*"], &[]), &now).unwrap();
    assert_eq!(content(&push), ["+a", "+b"]);
}

#[test]
fn types_that_are_not_served_are_ignored() {
    let mut subscriber = Subscriber::new(caller());
    let other =
        DeltaDiscoveryRequest { type_url: "type.googleapis.com/x".into(), ..first(Address) };
    assert!(request(&mut subscriber, other, &state(1, &["a"])).is_none());
    assert_eq!(subscriber.acked(), None);
}

#[test]
fn the_client_is_who_its_token_says() {
    let metadata = |pairs: &[(&str, &str)]| {
        let text = |v: &str| Value { kind: Some(Kind::StringValue(v.to_owned())) };
        let fields = pairs.iter().map(|(k, v)| ((*k).to_owned(), text(v))).collect();
        Some(Struct { fields })
    };
    let node = |id: &str, pairs: &[(&str, &str)]| {
        Some(Node { id: id.into(), cluster: String::new(), metadata: metadata(pairs) })
    };
    let id = "ztunnel~1.1.1.1~zt.istio-system~x";
    let table = [
        (None, Err(Refusal::NoNode)),
        (node("", &[("NAMESPACE", "istio-system")]), Err(Refusal::NoNode)),
        (node(id, &[]), Ok(())),
        (node("x", &[("NAMESPACE", "istio-system")]), Ok(())),
        (node("x", &[]), Err(Refusal::OtherNamespace)),
        (node(id, &[("NAMESPACE", "shop")]), Err(Refusal::OtherNamespace)),
        (node("ztunnel~1.1.1.1~zt.shop~x", &[]), Err(Refusal::OtherNamespace)),
        (node(id, &[("SERVICE_ACCOUNT", "ztunnel")]), Ok(())),
        (node(id, &[("SERVICE_ACCOUNT", "other")]), Err(Refusal::OtherServiceAccount)),
    ];
    for (node, expected) in table {
        let mut subscriber = Subscriber::new(caller());
        let request = DeltaDiscoveryRequest { node: node.clone(), ..first(Address) };
        let result = subscriber.request(request, &state(1, &[]));
        assert_eq!(result.map(|_| ()), expected, "{node:?}");
    }
}

#[test]
fn what_is_on_the_clients_own_node_goes_ahead_of_an_answer() {
    let mut subscriber = Subscriber::new(caller());
    let before = state(1, &["old@node-a"]);
    let first_push = subscriber.request(first(Address), &before).unwrap().push.unwrap();
    let policies = subscriber.request(first(Policy), &before).unwrap().push.unwrap();
    // Others wait for the answer, also those of other nodes.
    let others = state(2, &["old@node-a", "far@node-b", "vm"]);
    assert!(subscriber.published(&others).is_empty());
    let both = state(3, &["new@node-a", "far@node-b", "vm"]);
    let ahead = subscriber.published(&both).pop().unwrap();
    assert_eq!(content(&ahead), ["+new"], "nothing that is gone, and nothing of others");
    // One at a time, and nothing twice.
    let more = state(4, &["new@node-a", "newer@node-a", "far@node-b", "vm"]);
    assert!(subscriber.published(&more).is_empty());
    assert!(subscriber.request(answer(&policies), &more).unwrap().push.is_none());

    // Answers come in order; the rest follows the first, without what has gone ahead.
    let rest = subscriber.request(answer(&first_push), &more).unwrap().push.unwrap();
    assert_eq!(content(&rest), ["+far", "+newer", "+vm", "-old"]);
    assert_eq!(subscriber.acked(), Some(1));
    assert!(subscriber.request(answer(&ahead), &more).unwrap().push.is_none());
    assert!(subscriber.request(answer(&rest), &more).unwrap().push.is_none());
    assert_eq!(subscriber.acked(), Some(4));
}

#[test]
fn nothing_goes_ahead_of_the_policies_that_it_may_refer_to() {
    let mut subscriber = Subscriber::new(caller());
    let before = state(1, &[]);
    let addresses = subscriber.request(first(Address), &before).unwrap().push.unwrap();
    let policies = subscriber.request(first(Policy), &before).unwrap().push.unwrap();
    let mut after = state(2, &["new@node-a"]);
    after.snapshot.add(Encoded::authorization(&deny()).into());
    assert!(subscriber.published(&after).is_empty(), "the policy waits for an answer");
    let pushed = subscriber.request(answer(&policies), &after).unwrap().push.unwrap();
    assert_eq!((pushed.kind, content(&pushed).len()), (Policy, 1));
    let after = Published { generation: 3, ..after };
    let ahead = subscriber.published(&after).pop().unwrap();
    assert_eq!((ahead.kind, content(&ahead)), (Address, vec!["+new".to_owned()]));
    assert!(subscriber.request(answer(&addresses), &after).unwrap().push.is_none());
    assert_eq!(subscriber.acked().unwrap(), 1, "two answers are missing");
}

/// A state with the Gateway `shop/wp` and a route for it.
fn with_gateway(generation: u64, route: &str) -> Published {
    let scopes =
        [("shop/wp", ResourceType::Route, route), ("shop/other", ResourceType::Route, route)];
    scoped(generation, scopes)
}

/// A state with the Gateway `shop/wp`, and these routes and policies for it.
fn guarded(generation: u64, routes: &[&'static str], policies: &[&'static str]) -> Published {
    guarded_by(ResourceType::RequestPolicy, generation, routes, policies)
}

/// The same with policies of another type.
fn guarded_by(
    guard: ResourceType,
    generation: u64,
    routes: &[&'static str],
    policies: &[&'static str],
) -> Published {
    let of = |kind| move |name: &&'static str| ("shop/wp", kind, *name);
    let routes = routes.iter().map(of(ResourceType::Route));
    scoped(generation, routes.chain(policies.iter().map(of(guard))))
}

fn scoped<'a>(
    generation: u64,
    resources: impl IntoIterator<Item = (&'a str, ResourceType, &'a str)>,
) -> Published {
    let yaml = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: wp, namespace: shop}";
    let mut index = crate::index::Index::new(crate::index::Settings::default());
    index.apply(crate::watch::Files::default().read("gateway.yaml".into(), Ok(yaml)));
    let mut snapshot = index.snapshot().clone();
    for (scope, kind, name) in resources {
        let message = ambit_proto::ambit::Route::default();
        let resource: Resource = Encoded::message(kind, name.into(), &message).into();
        snapshot.add(Resource { scope: scope.into(), ..resource });
    }
    Published { generation, snapshot, seen: Instant::now() }
}

/// The first request of a proxy of `gateway`.
fn of_gateway(kind: ResourceType, gateway: &str) -> DeltaDiscoveryRequest {
    let fields = [("GATEWAY".to_owned(), Value { kind: Some(Kind::StringValue(gateway.into())) })];
    DeltaDiscoveryRequest {
        node: Some(Node {
            id: "waypoint~1.1.1.1~wp-1.shop~x".into(),
            metadata: Some(Struct { fields: fields.into() }),
            ..Node::default()
        }),
        type_url: kind.url().into(),
        ..DeltaDiscoveryRequest::default()
    }
}

#[test]
fn proxies_of_a_gateway_are_told_what_is_for_them() {
    let caller = |account: &str| Caller {
        namespace: "shop".into(),
        service_account: account.into(),
        ..caller()
    };
    let state = with_gateway(1, "service/a");
    let mut subscriber = Subscriber::new(caller("wp"));
    let request = of_gateway(ResourceType::Route, "wp");
    let push = subscriber.request(request.clone(), &state).unwrap().push.expect("a push");
    assert_eq!(content(&push), ["+service/a"]);
    assert!(matches!(push.content, Content::Some(_)), "not shared with others");
    subscriber.request(answer(&push), &state).unwrap();
    let pushes = subscriber.published(&with_gateway(2, "service/b"));
    assert_eq!(pushes.iter().map(content).collect::<Vec<_>>(), [["+service/b", "-service/a"]]);

    for (account, gateway, expected) in
        [("wp", "none", Refusal::UnknownGateway), ("ztunnel", "wp", Refusal::OtherGateway)]
    {
        let request = of_gateway(ResourceType::Route, gateway);
        let refused = Subscriber::new(caller(account)).request(request, &state);
        assert_eq!(refused.unwrap_err(), expected);
    }
    let mut node_proxy = Subscriber::new(super::tests::caller());
    let push = node_proxy.request(first(ResourceType::Route), &state).unwrap().push.unwrap();
    assert_eq!(content(&push), [""; 0]);
}

/// A waypoint, and what it is sent in answer to one request or state.
struct Waypoint(Subscriber);

impl Waypoint {
    fn new() -> Self {
        let caller = caller();
        let (namespace, service_account) = ("shop".into(), "wp".into());
        Self(Subscriber::new(Caller { namespace, service_account, ..caller }))
    }

    fn asks(&mut self, kind: ResourceType, state: &Published) -> Option<Push> {
        self.0.request(of_gateway(kind, "wp"), state).unwrap().push
    }

    fn answers(&mut self, push: &Push, state: &Published) -> Option<Push> {
        self.0.request(answer(push), state).unwrap().push
    }

    /// One that has these policies and routes.
    fn synced(state: &Published) -> Self {
        let mut waypoint = Self::new();
        for kind in [ResourceType::RequestPolicy, ResourceType::Route] {
            let push = waypoint.asks(kind, state).expect("a push");
            assert!(waypoint.answers(&push, state).is_none());
        }
        waypoint
    }
}

fn contents<'a>(pushes: impl IntoIterator<Item = &'a Push>) -> Vec<String> {
    pushes.into_iter().flat_map(content).collect()
}

#[test]
fn routes_wait_for_the_policies_that_guard_them() {
    let mut waypoint = Waypoint::synced(&guarded(1, &["a"], &["p"]));
    let second = waypoint.0.published(&guarded(2, &["a", "b"], &["p", "q"]));
    assert_eq!(contents(&second), ["+q", "+b"]);
    let third = guarded(3, &["a", "b", "c"], &["p", "q", "r"]);
    assert_eq!(contents(&waypoint.0.published(&third)), [""; 0]);
    assert_eq!(contents(&waypoint.answers(&second[1], &third)), [""; 0]);
    let policy = waypoint.answers(&second[0], &third).expect("a push");
    assert_eq!(content(&policy), ["+r"]);
    let route = waypoint.answers(&policy, &third).expect("a push");
    assert_eq!(content(&route), ["+c"]);
    assert!(waypoint.answers(&route, &third).is_none());
    assert_eq!(waypoint.0.acked(), Some(3));
}

#[test]
fn who_asks_for_routes_early_is_answered_later() {
    let mut waypoint = Waypoint::new();
    let first = guarded(1, &["a"], &["p"]);
    let policies = waypoint.asks(ResourceType::RequestPolicy, &first).expect("a push");
    let second = guarded(2, &["a", "b"], &["p", "q"]);
    assert_eq!(contents(&waypoint.0.published(&second)), [""; 0]);
    assert!(waypoint.asks(ResourceType::Route, &second).is_none());
    assert!(waypoint.asks(ResourceType::Route, &second).is_none());
    let more = waypoint.answers(&policies, &second).expect("a push");
    assert_eq!(content(&more), ["+q"]);
    let routes = waypoint.answers(&more, &second).expect("a push");
    assert_eq!(
        (routes.kind, content(&routes)),
        (ResourceType::Route, vec!["+a".into(), "+b".into()])
    );
    assert!(waypoint.answers(&routes, &second).is_none());
}

#[test]
fn policies_are_taken_back_after_the_routes_that_they_guard() {
    let all = guarded(1, &["a", "b"], &["p", "q"]);
    let less = guarded(2, &["a"], &["p"]);
    let pushes = Waypoint::synced(&all).0.published(&less);
    assert_eq!(contents(&pushes), ["-b", "-q"]);

    let mut waypoint = Waypoint::synced(&all);
    let busy = waypoint.0.published(&guarded(2, &["a", "b", "c"], &["p", "q"]));
    let end = guarded(3, &["a", "b"], &["p", "r"]);
    let added = waypoint.0.published(&end);
    assert_eq!((contents(&busy), contents(&added)), (vec!["+c".into()], vec!["+r".into()]));
    assert!(waypoint.answers(&added[0], &end).is_none());
    let route = waypoint.answers(&busy[0], &end).expect("a push");
    assert_eq!(content(&route), ["-c"]);
    let policy = waypoint.answers(&route, &end).expect("a push");
    assert_eq!(content(&policy), ["-q"]);
    assert!(waypoint.answers(&policy, &end).is_none());
    assert_eq!(waypoint.0.acked(), Some(3));
}

#[test]
fn routes_wait_for_how_their_destinations_are_treated() {
    let state = |generation, routes: &[&'static str], treatments: &[&'static str]| {
        guarded_by(ResourceType::TrafficPolicy, generation, routes, treatments)
    };
    let first = state(1, &["a"], &["t"]);
    let mut waypoint = Waypoint::new();
    for kind in [ResourceType::TrafficPolicy, ResourceType::Route] {
        let push = waypoint.asks(kind, &first).expect("a push");
        assert!(waypoint.answers(&push, &first).is_none());
    }
    let treated = waypoint.0.published(&state(2, &["a"], &["t", "u"]));
    assert_eq!(contents(&treated), ["+u"]);
    let third = state(3, &["a", "b"], &["t", "u", "v"]);
    assert_eq!(contents(&waypoint.0.published(&third)), [""; 0]);
    let treated = waypoint.answers(&treated[0], &third).expect("a push");
    assert_eq!(content(&treated), ["+v"]);
    let route = waypoint.answers(&treated, &third).expect("a push");
    assert_eq!(content(&route), ["+b"]);
    let less = waypoint.0.published(&state(4, &["a"], &["t"]));
    assert_eq!(contents(&less), [""; 0]);
}
