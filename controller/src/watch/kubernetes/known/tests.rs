//! Table tests of what follows from lists and events.

use serde_json::{Value, json};

use super::*;
use crate::watch::kinds::{self, Trimmed};

fn read(kind: Kind, value: Value) -> Read {
    let Trimmed { key, object, problems } = kinds::trim(kind, value, Vec::new());
    let standing = kind.has_status().then(Standing::default);
    Read { key, object, problems, standing }
}

fn pod(name: &str, ip: &str) -> Read {
    read(
        Kind::Pod,
        json!({
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"nodeName": "a"},
            "status": {"podIP": ip},
        }),
    )
}

/// Takes an event in; returns what changed, as `+name` and `-name`, and whether there is news besides.
fn take(known: &mut Known, event: Event) -> (Vec<String>, bool) {
    let mut update = Update::default();
    let news = known.take(event, &mut update);
    let line = |change: &Change| {
        format!("{}{}", if change.object.is_some() { '+' } else { '-' }, change.key.name)
    };
    (update.changes.iter().map(line).collect(), news)
}

fn lines(known: &Known) -> Vec<String> {
    known.reports().iter().map(ToString::to_string).collect()
}

#[test]
fn a_list_tells_what_has_gone_since_the_last_one() {
    let mut known = Known::new([Kind::Pod]);
    let list = |pods| Event::Listed(Kind::Pod, pods);
    assert!(!known.is_complete());
    let first = take(&mut known, list(vec![pod("a", "10.0.0.1"), pod("b", "10.0.0.2")]));
    assert_eq!(first, (vec!["+a".to_owned(), "+b".to_owned()], true));
    assert!(known.is_complete());
    let second = take(&mut known, list(vec![pod("b", "10.0.0.2"), pod("c", "10.0.0.3")]));
    assert_eq!(second, (vec!["-a".to_owned(), "+c".to_owned()], false));
}

#[test]
fn what_does_not_alter_the_trimmed_object_is_no_change() {
    let mut known = Known::new([]);
    assert_eq!(take(&mut known, Event::Applied(pod("a", "10.0.0.1"))).0, ["+a"]);
    assert_eq!(take(&mut known, Event::Applied(pod("a", "10.0.0.1"))), (vec![], false));
    assert_eq!(take(&mut known, Event::Applied(pod("a", "10.0.0.9"))).0, ["+a"]);
    assert_eq!(take(&mut known, Event::Gone(pod("a", "").key)).0, ["-a"]);
    assert_eq!(take(&mut known, Event::Gone(pod("a", "").key)), (vec![], false));
}

#[test]
fn an_unusable_object_keeps_its_last_good_version_and_an_unusable_policy_closes() {
    let mut known = Known::new([]);
    take(&mut known, Event::Applied(pod("a", "10.0.0.1")));
    assert_eq!(take(&mut known, Event::Applied(pod("a", "nonsense"))), (vec![], true));
    let [line] = &lines(&known)[..] else { panic!("{:?}", lines(&known)) };
    assert!(line.contains("Pod shop/a: status.podIP"), "{line}");
    assert!(line.ends_with("; its last good version stays in force"), "{line}");
    assert_eq!(take(&mut known, Event::Applied(pod("a", "10.0.0.1"))), (vec![], true));
    assert_eq!(lines(&known), Vec::<String>::new());

    let metadata = json!({"name": "p", "namespace": "shop"});
    let policy = json!({"metadata": metadata, "spec": {"rules": 5}});
    let policy = read(Kind::AuthorizationPolicy, policy);
    assert_eq!(take(&mut known, Event::Applied(policy)), (vec!["+p".to_owned()], true));
}

#[test]
fn kinds_out_of_reach_do_not_hold_up_the_others_and_lose_nothing() {
    let mut known = Known::new([Kind::Pod, Kind::Gateway, Kind::ServiceEntry]);
    take(&mut known, Event::Troubled(Kind::Gateway, Trouble::Missing));
    take(&mut known, Event::Listed(Kind::Pod, vec![pod("a", "10.0.0.1")]));
    let outage = || Trouble::Unreachable("connection refused".to_owned());
    take(&mut known, Event::Troubled(Kind::ServiceEntry, outage()));
    assert!(!known.is_complete(), "entries may be there");
    let forbidden = Event::Troubled(Kind::ServiceEntry, Trouble::Forbidden);
    assert_eq!(take(&mut known, forbidden), (vec![], true));
    assert!(known.is_complete());

    assert_eq!(take(&mut known, Event::Troubled(Kind::Pod, outage())), (vec![], true));
    assert_eq!(take(&mut known, Event::Troubled(Kind::Pod, outage())), (vec![], false));
    assert_eq!(take(&mut known, Event::Recovered(Kind::Pod)), (vec![], true));
    let reports = lines(&known);
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports[0].contains("gateways.gateway.networking.k8s.io"), "{reports:?}");
    assert!(reports[1].contains(r#"resources: ["serviceentries"]"#), "{reports:?}");
}

#[test]
fn nothing_is_complete_without_the_right_to_read_policies() {
    let policies = [Kind::AuthorizationPolicy, Kind::PeerAuthentication];
    let tls = [Kind::BackendTlsPolicy, Kind::DestinationRule];
    for kind in [&policies[..], &tls, &[Kind::Namespace, Kind::Pod]].concat() {
        let mut known = Known::new([kind]);
        take(&mut known, Event::Troubled(kind, Trouble::Forbidden));
        assert!(!known.is_complete(), "{kind:?}");
        assert_eq!(known.missing_rights().len(), 1, "{kind:?}");
        take(&mut known, Event::Listed(kind, vec![]));
        assert!(known.is_complete() && known.missing_rights().is_empty(), "{kind:?}");
    }
}
