//! Table tests of whose tokens count.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::watch::{Files, Object};

fn review(change: impl FnOnce(&mut Value)) -> Result<Bearer, String> {
    let mut status = json!({
        "authenticated": true,
        "audiences": ["istio-ca"],
        "user": {
            "username": "system:serviceaccount:istio-system:ztunnel",
            "extra": {
                POD_NAME: ["ztunnel-1"],
                POD_UID: ["u-1"],
                NODE_NAME: ["node-a"],
            },
        },
    });
    change(&mut status);
    bearer(serde_json::from_value(status).unwrap(), &["other".to_owned(), "istio-ca".to_owned()])
}

fn pod(uid: &str, account: &str, node: &str) -> Arc<Pod> {
    let yaml = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: ztunnel-1, namespace: istio-system, uid: {uid}}}\nspec: {{serviceAccountName: {account}, nodeName: {node:?}}}\n"
    );
    let changes = Files::default().read("f.yaml".into(), Ok(&yaml));
    match changes.into_iter().next().and_then(|change| change.object) {
        Some(Object::Pod(pod)) => pod,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_tokens_of_pods_for_our_audience_count() {
    type Edit = fn(&mut Value);
    let refused: [(&str, Edit); 7] = [
        ("does not accept", |s| s["authenticated"] = false.into()),
        ("expired", |s| {
            s["authenticated"] = Value::Null;
            s["error"] = "the token has expired".into();
        }),
        ("audience", |s| s["audiences"] = json!(["https://kubernetes.default.svc"])),
        ("audience", |s| s["audiences"] = Value::Null),
        ("service account", |s| s["user"]["username"] = "system:node:node-a".into()),
        ("not bound to a pod", |s| s["user"]["extra"] = Value::Null),
        ("not bound to a pod", |s| s["user"]["extra"][POD_UID] = json!([])),
    ];
    for (expected, edit) in refused {
        let reason = review(edit).unwrap_err();
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    let bearer = review(|_| ()).unwrap();
    assert_eq!((&*bearer.namespace, &*bearer.service_account), ("istio-system", "ztunnel"));
    assert_eq!(
        (&*bearer.pod, &*bearer.uid, bearer.node.as_deref()),
        ("ztunnel-1", "u-1", Some("node-a"))
    );
}

#[test]
fn a_token_dies_with_its_pod() {
    let trusted = BTreeSet::from(["istio-system/ztunnel".parse().unwrap()]);
    let new = review(|_| ()).unwrap();
    let old = review(|s| s["user"]["extra"][NODE_NAME] = json!([])).unwrap();
    for bearer in [&new, &old] {
        let good = pod("u-1", "ztunnel", "node-a");
        let caller = caller(bearer, Some(&good), &trusted).unwrap();
        assert_eq!(format!("{caller:?}"), "istio-system/ztunnel on node-a");
        assert!(caller.impersonates);
    }
    let table = [
        (None, "not there"),
        (Some(pod("u-2", "ztunnel", "node-a")), "another one now"),
        (Some(pod("u-1", "default", "node-a")), "does not use ztunnel"),
        (Some(pod("u-1", "ztunnel", "node-b")), "not on the token's node"),
        (Some(pod("u-1", "ztunnel", "")), "not on the token's node"),
    ];
    for (pod, expected) in table {
        let reason = caller(&new, pod.as_deref(), &trusted).unwrap_err();
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

#[test]
fn only_node_proxies_may_ask_for_others() {
    let bearer = review(|_| ()).unwrap();
    let pod = pod("u-1", "ztunnel", "node-a");
    for (trusted, expected) in [("istio-system/ztunnel", true), ("ambit/ztunnel", false)] {
        let trusted = BTreeSet::from([trusted.parse().unwrap()]);
        assert_eq!(caller(&bearer, Some(&pod), &trusted).unwrap().impersonates, expected);
    }
    assert!("ztunnel".parse::<Account>().is_err());
    assert!("/ztunnel".parse::<Account>().is_err());
}
