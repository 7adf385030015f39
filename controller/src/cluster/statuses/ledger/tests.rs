//! Table tests of what is written when.

use serde_json::json;

use super::*;
use crate::watch::{Condition, Detail, Entries, Entry, Held};

const NOW: &str = "2026-01-02T00:00:00Z";
const THEN: &str = "2026-01-01T00:00:00Z";

fn condition(kind: ConditionType, status: bool, message: &str) -> Condition {
    Condition { kind, status, reason: "Reason".into(), message: message.into() }
}

fn accepted(status: bool, message: &str) -> Condition {
    condition(ConditionType::ZtunnelAccepted, status, message)
}

fn present(condition: Condition, observed: i64) -> Present {
    Present { condition, observed: Some(observed), since: THEN.into() }
}

fn standing(generation: i64, present: Vec<Present>) -> Standing {
    Standing { generation: Some(generation), present, ..Standing::default() }
}

fn policy() -> Key {
    Key::new(Kind::AuthorizationPolicy, "shop", "p")
}

fn all(conditions: &[Condition]) -> Wanted {
    Wanted { conditions: conditions.to_vec(), entries: None }
}

/// What is written to a policy, as `manager: since status message, …`.
fn lines(standing: &Standing, wanted: &[Condition]) -> Vec<String> {
    let line = |write: &Write| {
        let conditions = write.conditions.iter().map(|p| {
            assert_eq!(p.observed, standing.generation);
            format!(" {} {} {}", p.since, p.condition.status, p.condition.message)
        });
        format!("{}:{}", write.manager, conditions.collect::<String>())
    };
    writes(Kind::AuthorizationPolicy, standing, &all(wanted), NOW).iter().map(line).collect()
}

#[test]
fn only_what_differs_is_written_and_the_time_is_that_of_the_status() {
    let good = || vec![present(accepted(true, "good"), 1)];
    let table = [
        // (generation, what is there, what is wanted, what is written)
        (1, vec![], vec![accepted(true, "good")], vec![format!("ztunnel: {NOW} true good")]),
        (1, good(), vec![accepted(true, "good")], vec![]),
        (2, good(), vec![accepted(true, "good")], vec![format!("ztunnel: {THEN} true good")]),
        (1, good(), vec![accepted(true, "better")], vec![format!("ztunnel: {THEN} true better")]),
        (1, good(), vec![accepted(false, "bad")], vec![format!("ztunnel: {NOW} false bad")]),
        (1, good(), vec![], vec!["ztunnel:".to_owned()]),
        (
            1,
            good(),
            vec![condition(ConditionType::WaypointAccepted, true, "there")],
            vec!["ztunnel:".to_owned(), format!("waypoint: {NOW} true there")],
        ),
        (1, vec![], vec![], vec![]),
    ];
    for (generation, present, wanted, expected) in table {
        let full = |line: &String| {
            let (manager, rest) = line.split_once(':').unwrap();
            format!("istio-ambient-{manager}-policy:{rest}")
        };
        let expected: Vec<String> = expected.iter().map(full).collect();
        assert_eq!(lines(&standing(generation, present), &wanted), expected, "{wanted:?}");
    }
}

#[test]
fn what_is_written_is_not_pending_any_more() {
    let (mut ledger, key) = (Ledger::default(), policy());
    ledger.stand(&key, standing(1, vec![]));
    ledger.want(&key, all(&[accepted(true, "good")]));
    let (next, writes) = ledger.next(None, |_| true, NOW).unwrap();
    assert_eq!((&next, writes.len(), ledger.pending()), (&key, 1, 1));
    // While it was written something else came to be wanted.
    ledger.want(&key, all(&[accepted(false, "bad")]));
    ledger.written(&key, &writes[0]);
    let (_, second) = ledger.next(Some(&key), |_| true, "2026-01-03T00:00:00Z").unwrap();
    ledger.written(&key, &second[0]);
    assert_eq!(ledger.pending(), 0);
    // The API server says the same: nothing to do, also after a restart.
    let stands = ledger.standings[&key].clone();
    let mut fresh = Ledger::default();
    for ledger in [&mut ledger, &mut fresh] {
        ledger.stand(&key, stands.clone());
        ledger.want(&key, all(&[accepted(false, "bad")]));
        assert_eq!(ledger.pending(), 0);
    }
    // Somebody else removes it: it is written again.
    ledger.stand(&key, standing(1, vec![]));
    ledger.want(&key, all(&[accepted(false, "bad")]));
    assert_eq!(ledger.pending(), 1);
    // And the object goes.
    ledger.stand(&key, Standing::default());
    ledger.want(&key, all(&[]));
    assert_eq!((ledger.pending(), ledger.standings.len()), (0, 0));
}

#[test]
fn each_object_has_its_turn_and_resting_kinds_wait() {
    let mut ledger = Ledger::default();
    let service = Key::new(Kind::Service, "shop", "web");
    let bound = condition(ConditionType::WaypointBound, true, "there");
    let other = Key::new(Kind::AuthorizationPolicy, "shop", "q");
    ledger.want(&policy(), all(&[accepted(true, "good")]));
    ledger.want(&other, all(&[accepted(true, "good")]));
    ledger.want(&service, all(&[bound]));
    let next = |last: Option<&Key>, open: &dyn Fn(Kind) -> bool| {
        ledger.next(last, open, NOW).map(|(key, _)| key)
    };
    let every = |_| true;
    assert_eq!(next(None, &every), Some(policy()));
    assert_eq!(next(Some(&policy()), &every), Some(other.clone()));
    assert_eq!(next(Some(&other), &every), Some(service.clone()));
    assert_eq!(next(Some(&service), &every), Some(policy()));
    assert_eq!(next(None, &|kind| kind == Kind::Service), Some(service));
    assert_eq!(next(None, &|_| false), None);
}

#[test]
fn objects_that_need_nothing_cost_nothing() {
    let mut ledger = Ledger::default();
    for i in 0..1000 {
        let key = Key::new(Kind::Service, "shop", format!("s{i}"));
        ledger.stand(&key, Standing::default());
        ledger.want(&key, all(&[]));
    }
    assert_eq!((ledger.pending(), ledger.standings.len()), (0, 0));
}

#[test]
fn entries_of_others_stay_as_they_are() {
    let entry = |controller: &str, status: bool| {
        let about = json!({"parentRef": {"name": "wp"}, "controllerName": controller});
        let conditions = vec![Detail::new("Accepted", status, "Because", "so it is")];
        Entry { about: about.as_object().unwrap().clone(), conditions }
    };
    let wanted = |entries: Vec<Entry>| Wanted {
        conditions: Vec::new(),
        entries: Some(Entries { field: "parents", entries, beside: Map::new() }),
    };
    let other =
        json!({"controllerName": "example.com/x", "parentRef": {"name": "wp"}, "conditions": []});
    let object = |parents: serde_json::Value| json!({"metadata": {"generation": 3, "resourceVersion": "7"}, "status": {"parents": parents}});
    let standing = |parents| Standing {
        generation: Some(3),
        held: Held::read(Kind::HttpRoute, &object(parents)),
        ..Standing::default()
    };
    let written = |standing: &Standing, entries: Vec<Entry>, now: &str| {
        let mut writes = writes(Kind::HttpRoute, standing, &wanted(entries), now);
        let write = writes.pop()?;
        assert_eq!(write.version.as_deref(), Some("7"));
        Some(write.fields["parents"].clone())
    };
    let ours = |entry: &Entry, status: &str, since: &str| {
        let mut value = serde_json::Value::Object(entry.about.clone());
        value["conditions"] = json!([{
            "type": "Accepted", "status": status, "reason": "Because", "message": "so it is",
            "observedGeneration": 3, "lastTransitionTime": since,
        }]);
        value
    };
    let good = entry("istio.io/mesh-controller", true);
    let first = written(&standing(json!([other])), vec![good.clone()], NOW).unwrap();
    assert_eq!(first, json!([other, ours(&good, "True", NOW)]));
    // The same again is not written; what changes keeps the time of what has not.
    assert_eq!(written(&standing(first.clone()), vec![good.clone()], THEN), None);
    let two = vec![good.clone(), entry("ambit.dev/mesh-controller", false)];
    let second = written(&standing(first.clone()), two.clone(), THEN).unwrap();
    assert_eq!(second, json!([other, ours(&two[0], "True", NOW), ours(&two[1], "False", THEN)]));
    let bad = vec![entry("istio.io/mesh-controller", false)];
    let third = written(&standing(first.clone()), bad.clone(), THEN).unwrap();
    assert_eq!(third, json!([other, ours(&bad[0], "False", THEN)]));
    assert_eq!(written(&standing(first), vec![], NOW).unwrap(), json!([other]));
}

#[test]
fn a_write_that_came_too_late_is_done_again_for_the_object_as_it_is() {
    let route = Key::new(Kind::HttpRoute, "shop", "r");
    let seen = |version: &str| {
        let object = json!({"metadata": {"resourceVersion": version, "generation": 1}});
        let held = Held::read(Kind::HttpRoute, &object);
        Standing { generation: Some(1), held, ..Standing::default() }
    };
    let wanted = || {
        let about = serde_json::Map::from_iter([("controllerName".to_owned(), "c".into())]);
        let entries = vec![Entry { about, conditions: Vec::new() }];
        let entries = Entries { field: "parents", entries, beside: Map::new() };
        Wanted { conditions: Vec::new(), entries: Some(entries) }
    };
    let mut ledger = Ledger::default();
    ledger.stand(&route, seen("1"));
    ledger.want(&route, wanted());
    let (_, writes) = ledger.next(None, |_| true, NOW).unwrap();
    // The watch tells of the change while the write for what was before it is refused.
    ledger.stand(&route, seen("2"));
    ledger.want(&route, wanted());
    ledger.give_up(&route, &writes[0]);
    let (_, again) = ledger.next(None, |_| true, NOW).unwrap();
    assert_eq!(again[0].version.as_deref(), Some("2"));
    // It has not told yet: the write waits until it does.
    ledger.give_up(&route, &again[0]);
    assert_eq!(ledger.pending(), 0);
}
