//! What is to be done, as a table of what happens.

use serde_json::json;

use super::*;

fn name() -> Name {
    Name { namespace: "shop".to_owned(), name: "gw".to_owned() }
}

fn wanted(text: &str) -> Wanted {
    let key = PartKey { part: Part::Service, namespace: "shop".to_owned(), name: "gw".to_owned() };
    Wanted { key, body: json!(text) }
}

fn seen(version: u64, owned: Option<&str>) -> Seen {
    Seen {
        gateway: name(),
        owner: Some("uid".to_owned()),
        version: Some(version),
        owned: owned.map(|text| json!(text)),
    }
}

/// A desk with a Gateway, whose Service was written with what it owns at `version` 5.
fn desk(now: Instant) -> Desk {
    let mut desk = Desk::default();
    let gateway = Known { uid: "uid".to_owned(), gateway: None };
    desk.gateway(name(), Some(gateway), now);
    assert_eq!(desk.next(now), None, "the defaults are not known yet");
    desk.defaults(BTreeMap::new(), now);
    assert_eq!(desk.next(now).unwrap().0, name());
    assert_eq!(desk.step(&wanted("a"), now), Step::Write);
    desk.written(&wanted("a"), seen(5, Some("mine")), now);
    desk.settled(&name());
    assert_eq!(desk.next(now), None);
    desk
}

#[tokio::test]
async fn what_was_written_is_left_until_it_differs() {
    let now = Instant::now();
    let mut desk = desk(now);
    let key = wanted("a").key;
    for (event, expected) in [
        (Some(seen(3, None)), Step::Leave),
        (Some(seen(5, Some("mine"))), Step::Leave),
        (Some(seen(6, Some("mine"))), Step::Leave),
        (Some(seen(7, Some("less"))), Step::Write),
        (None, Step::Write),
    ] {
        desk.part(key.clone(), event.clone(), now);
        assert_eq!(desk.step(&wanted("a"), now), expected, "{event:?}");
    }
    assert_eq!(desk.step(&wanted("b"), now), Step::Write, "the Gateway wants another thing");
    assert!(desk.next(now).is_some(), "a change of a part has its Gateway looked at");
}

#[tokio::test]
async fn who_insists_gets_his_way_for_a_while() {
    let now = Instant::now();
    let mut desk = desk(now);
    let mut version = 6;
    let mut change = |desk: &mut Desk, now| {
        version += 1;
        desk.part(wanted("a").key, Some(seen(version, Some("less"))), now);
        let step = desk.step(&wanted("a"), now);
        if step == Step::Write {
            version += 1;
            desk.written(&wanted("a"), seen(version, Some("mine")), now);
        }
        step
    };
    for _ in 0..REWRITES {
        assert_eq!(change(&mut desk, now), Step::Write);
    }
    assert_eq!(change(&mut desk, now), Step::GiveWay);
    assert_eq!(change(&mut desk, now + CALM / 2), Step::Leave, "that has been said");
    assert_eq!(desk.step(&wanted("b"), now), Step::Write, "its Gateway has changed");
    desk.settled(&name());
    assert_eq!(desk.wake(now), Some(now + CALM), "it is not forgotten");
    assert_eq!(change(&mut desk, now + CALM), Step::Write, "long ago");
}

#[tokio::test]
async fn what_is_not_wanted_any_more_is_found() {
    let now = Instant::now();
    let mut desk = desk(now);
    let known = Known { uid: "uid".to_owned(), gateway: None };
    assert_eq!(desk.extra(&known, &[wanted("a")]), []);
    assert_eq!(desk.extra(&known, &[]), [wanted("a").key]);
    let other = Known { uid: "another".to_owned(), gateway: None };
    assert_eq!(desk.extra(&other, &[]), [], "an earlier Gateway's of the same name");
    desk.part(wanted("a").key, Some(seen(9, None)), now);
    assert_eq!(desk.extra(&known, &[]), [], "not written by the controller");
    desk.only(Part::Service, &BTreeSet::new(), now);
    assert!(!desk.is_own(&wanted("a").key, "uid"), "gone");
}

#[tokio::test]
async fn a_failure_waits_for_its_time() {
    let now = Instant::now();
    let mut desk = desk(now);
    let later = now + Duration::from_secs(5);
    desk.again(&name(), later);
    desk.part(wanted("a").key, None, now);
    assert_eq!((desk.next(now), desk.wake(now)), (None, Some(later)));
    assert!(desk.next(later).is_some());
    desk.settled(&name());
    desk.part(wanted("a").key, Some(seen(9, None)), now);
    assert!(desk.next(now).is_some(), "nothing has failed");
    desk.gateways(&BTreeSet::new());
    assert_eq!(desk.next(later), None, "gone");
}

#[tokio::test]
async fn listeners_that_sets_are_said_to_serve_are_deployed() {
    let now = Instant::now();
    let object = |text: serde_json::Value| serde_json::from_value(text).unwrap();
    let read = super::super::gateway::read(&object(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "gw", "namespace": "shop", "uid": "uid"},
        "spec": {"gatewayClassName": "ambit", "listeners": [{"name": "own", "port": 80}]},
    })));
    let set = |port: u16, programmed: &str| {
        super::super::gateway::read_set(&object(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "ListenerSet",
            "metadata": {"name": "set", "namespace": "team"},
            "spec": {
                "parentRef": {"name": "gw", "namespace": "shop"},
                "listeners": [{"name": "a", "port": port}, {"name": "b", "port": 9}],
            },
            "status": {"listeners": [
                {"name": "a", "conditions": [{"type": "Programmed", "status": programmed}]},
            ]},
        })))
    };
    let mut desk = Desk::default();
    desk.defaults(BTreeMap::new(), now);
    let known = Known { uid: "uid".to_owned(), gateway: read.unwrap() };
    desk.gateway(name(), Some(known), now);
    let of_set = Name { namespace: "team".to_owned(), name: "set".to_owned() };
    // What is due, if anything is: ports with their names.
    let due = |desk: &mut Desk| {
        let (_, known) = desk.next(now)?;
        desk.settled(&name());
        let listeners = known.gateway.unwrap().listeners;
        let text = listeners.iter().map(|l| format!("{} {}", l.name, l.port));
        Some(text.collect::<Vec<_>>().join(", "))
    };
    assert_eq!(due(&mut desk).as_deref(), Some("own 80"));
    desk.listener_set(of_set.clone(), set(81, "False"), now);
    assert_eq!(due(&mut desk).as_deref(), Some("own 80"));
    desk.listener_set(of_set.clone(), set(81, "True"), now);
    assert_eq!(due(&mut desk).as_deref(), Some("own 80, port-81 81"));
    desk.listener_set(of_set.clone(), set(81, "True"), now);
    assert_eq!(due(&mut desk), None, "nothing new");
    desk.listener_sets(&BTreeSet::from([of_set]), now);
    assert_eq!(due(&mut desk), None);
    desk.listener_sets(&BTreeSet::new(), now);
    assert_eq!(due(&mut desk).as_deref(), Some("own 80"));
}
