//! Lists, watches, and what happens when they fail.

use ambit_controller::watch::{Kubernetes, Update};

use super::{NAMESPACES, PODS, source};
use crate::api::{Api, Trouble};
use crate::harness::{Files, pod, service, soon};

/// Changes as `+key` and `-key`.
fn changes(update: &Update) -> Vec<String> {
    let line = |change: &ambit_controller::watch::Change| {
        format!("{}{}", if change.object.is_some() { '+' } else { '-' }, change.key)
    };
    update.changes.iter().map(line).collect()
}

/// The changes until there were so many.
async fn wait(source: &mut Kubernetes, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < count {
        lines.extend(changes(&soon(source.next()).await));
    }
    lines.sort();
    lines
}

/// Waits until what is wrong mentions `text`, or nothing is wrong (`""`).
async fn reports(source: &mut Kubernetes, text: &str) -> Update {
    loop {
        let update = soon(source.next()).await;
        let lines: Vec<String> = update.reports.iter().map(ToString::to_string).collect();
        let found =
            if text.is_empty() { lines.is_empty() } else { lines.join("\n").contains(text) };
        if found {
            return update;
        }
    }
}

async fn mesh() -> (Api, Files, Kubernetes) {
    let (api, files) = (Api::start().await, Files::new());
    api.apply(
        &[NAMESPACES, &pod("a", "10.0.0.1", "node-a"), &pod("b", "10.0.0.2", "node-a")].concat(),
    );
    let mut source = source(&api, &files).await;
    let first = soon(source.next()).await;
    assert_eq!(first.changes.len(), 4, "the whole cluster at once");
    (api, files, source)
}

#[tokio::test]
async fn every_change_is_told_once() {
    let (api, _files, mut source) = mesh().await;
    api.apply(&pod("c", "10.0.0.3", "node-a"));
    assert_eq!(wait(&mut source, 1).await, ["+Pod shop/c"]);
    // Only what is used counts: the second change is the first that is told.
    api.apply(&pod("a", "10.0.0.1", "node-a"));
    api.delete(PODS, "shop", "a");
    assert_eq!(wait(&mut source, 1).await, ["-Pod shop/a"]);
    api.apply(&service("web", "10.1.0.1"));
    assert_eq!(wait(&mut source, 1).await, ["+Service shop/web"]);
}

#[tokio::test]
async fn what_happens_while_nobody_watches_is_found() {
    let (api, _files, mut source) = mesh().await;
    // An outage: nothing is lost but the view.
    api.fail("", Some(Trouble::Down));
    let outage = reports(&mut source, "what was known last stays in force").await;
    assert_eq!(changes(&outage), Vec::<String>::new());
    assert_eq!(
        outage.reports.len(),
        outage.reports.iter().filter(|r| r.subject == "Kubernetes API").count()
    );
    api.delete(PODS, "shop", "a");
    api.apply(&pod("c", "10.0.0.3", "node-a"));
    // The versions that were known are gone when it is back (410).
    api.compact();
    api.fail("", None);
    assert_eq!(wait(&mut source, 2).await, ["+Pod shop/c", "-Pod shop/a"]);
    api.delete(PODS, "shop", "b");
    assert_eq!(wait(&mut source, 1).await, ["-Pod shop/b"]);
}

#[tokio::test]
async fn a_missing_crd_and_a_missing_right_concern_one_kind_each() {
    let (api, files) = (Api::start().await, Files::new());
    let policies =
        ["v1", "v1beta1"].map(|v| format!("apis/security.istio.io/{v}/authorizationpolicies"));
    for path in &policies {
        api.fail(path, Some(Trouble::Missing));
    }
    let entries = ["v1", "v1beta1"].map(|v| format!("apis/networking.istio.io/{v}/serviceentries"));
    for path in &entries {
        api.fail(path, Some(Trouble::Forbidden));
    }
    let entry = "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec: {hosts: [web.example], ports: [{number: 80, name: http}]}
";
    api.apply(&[pod("a", "10.0.0.1", "node-a"), entry.to_owned()].concat());
    let mut source = source(&api, &files).await;

    let first = soon(source.next()).await;
    assert_eq!(changes(&first), ["+Pod shop/a"]);
    let lines: Vec<String> = first.reports.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("authorizationpolicies.security.istio.io"), "{lines:?}");
    assert!(
        lines[1].contains(r#"resources: ["serviceentries"], verbs: ["list", "watch"]"#),
        "{lines:?}"
    );

    // An older CRD, and the right: found without a restart.
    api.apply(
        "apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {}
",
    );
    api.fail(&policies[1], None);
    assert_eq!(wait(&mut source, 1).await, ["+AuthorizationPolicy shop/p"]);
    for path in &entries {
        api.fail(path, None);
    }
    let all = reports(&mut source, "").await;
    assert_eq!(changes(&all), ["+ServiceEntry shop/web"]);

    // A right that is taken away loses nothing.
    api.fail(PODS, Some(Trouble::Forbidden));
    let update = reports(&mut source, r#"resources: ["pods"]"#).await;
    assert_eq!(changes(&update), Vec::<String>::new());
}

#[tokio::test]
async fn thousands_of_objects_come_in_one_state() {
    let (api, files) = (Api::start().await, Files::new());
    let pods = (0..2000_u32)
        .map(|i| pod(&format!("p{i}"), &format!("10.2.{}.{}", i / 250, i % 250 + 1), "node-a"));
    pods.for_each(|pod| api.apply(&pod));
    let mut source = source(&api, &files).await;
    assert_eq!(soon(source.next()).await.changes.len(), 2000);
    (0..2000).for_each(|i| api.delete(PODS, "shop", &format!("p{i}")));
    assert_eq!(wait(&mut source, 2000).await.len(), 2000);
}
