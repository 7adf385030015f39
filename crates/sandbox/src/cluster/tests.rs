//! What should run, as tables.

use super::*;
use crate::manifest;

fn objects(text: &str) -> Objects {
    let manifest = manifest::read("f", text);
    assert_eq!(manifest.refusals, []);
    Objects(manifest.documents.into_iter().map(|doc| (doc.key, doc.object)).collect())
}

fn nodes() -> Vec<NodeLabels> {
    [("a", "west"), ("b", "east")]
        .map(|(name, zone)| NodeLabels {
            name: name.to_owned(),
            labels: BTreeMap::from([("zone".to_owned(), zone.to_owned())]),
        })
        .to_vec()
}

fn pod(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{containers: [{{name: c, command: [sleep]}}]{more}}}\n"
    )
}

fn deployment(replicas: u8, command: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: shop}}\n\
         spec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    \
         metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: c, command: [{command}]}}]}}\n"
    )
}

/// Everything that is planned, running.
fn running(plan: &Plan, ready: bool) -> BTreeMap<PodKey, Running> {
    let pod = |pod: &PodPlan| Running { owner: pod.owner.clone(), node: pod.node.clone(), ready };
    plan.pods.values().map(|plan| (plan.key.clone(), pod(plan))).collect()
}

fn placed(plan: &Plan) -> Vec<(&str, &str)> {
    plan.pods.values().map(|pod| (&*pod.key.name, &*pod.node)).collect()
}

#[test]
fn pods_spread_and_stay() {
    let text = [pod("p", ""), pod("q", ""), pod("r", "")].concat();
    let first = plan(&objects(&text), &nodes(), &BTreeMap::new());
    assert_eq!(placed(&first), [("p", "a"), ("q", "b"), ("r", "a")]);
    let text = [pod("o", ""), pod("q", ""), pod("r", "")].concat();
    let second = plan(&objects(&text), &nodes(), &running(&first, true));
    assert_eq!(placed(&second), [("o", "a"), ("q", "b"), ("r", "a")]);
}

#[test]
fn pods_go_where_they_say() {
    let text = [
        pod("p", ", nodeName: b"),
        pod("q", ", nodeSelector: {zone: east}"),
        pod("r", ", nodeSelector: {kubernetes.io/hostname: b}"),
        pod("s", ", nodeName: c"),
    ];
    let plan = plan(&objects(&text.concat()), &nodes(), &BTreeMap::new());
    assert_eq!(placed(&plan), [("p", "b"), ("q", "b"), ("r", "b")]);
    let [(object, problem)] = &plan.problems[..] else { panic!("{:?}", plan.problems) };
    assert_eq!(object.to_string(), "Pod shop/s");
    assert!(problem.ends_with("no node fits; there are a, b"), "{problem}");
}

#[test]
fn a_deployment_scales_and_rolls() {
    let start = plan(&objects(&deployment(2, "one")), &nodes(), &BTreeMap::new());
    assert_eq!(start.pods.len(), 2);
    let more = plan(&objects(&deployment(3, "one")), &nodes(), &running(&start, true));
    assert!(start.pods.keys().all(|key| more.pods.contains_key(key)), "scaling keeps pods");
    assert_eq!((more.pods.len(), more.retained.len()), (3, 0));

    let edited = plan(&objects(&deployment(2, "two")), &nodes(), &running(&start, true));
    assert!(start.pods.keys().all(|key| edited.retained.contains(key)), "old pods stay");
    let mut both = running(&start, true);
    both.extend(running(&edited, false));
    assert_eq!(plan(&objects(&deployment(2, "two")), &nodes(), &both).retained.len(), 2);
    both.extend(running(&edited, true));
    assert_eq!(plan(&objects(&deployment(2, "two")), &nodes(), &both).retained.len(), 0);
    assert!(plan(&Objects::default(), &nodes(), &both).retained.is_empty(), "deleted");
    assert!(plan(&objects(&deployment(0, "two")), &nodes(), &both).pods.is_empty());
}

#[test]
fn a_pods_name_is_used_once() {
    let web = plan(&objects(&deployment(1, "one")), &nodes(), &BTreeMap::new());
    let name = web.pods.keys().next().unwrap().name.clone();
    let text = [deployment(1, "one"), pod(&name, "")].concat();
    let plan = plan(&objects(&text), &nodes(), &BTreeMap::new());
    assert_eq!((plan.pods.len(), plan.problems.len()), (1, 1));
}

#[test]
fn enrolment_follows_labels() {
    let objects = objects(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: in, labels: {istio.io/dataplane-mode: ambient}}\n\
         ---\napiVersion: v1\nkind: Namespace\nmetadata: {name: out}",
    );
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mode = |mode| map(&[(DATAPLANE_MODE, mode)]);
    for (namespace, labels, annotations, enrolled) in [
        ("in", map(&[]), map(&[]), true),
        ("in", mode("none"), map(&[]), false),
        ("in", mode("ambient"), map(&[]), true),
        ("in", map(&[]), map(&[(SIDECAR, "{}")]), false),
        ("out", map(&[]), map(&[]), false),
        ("out", mode("ambient"), map(&[]), true),
        ("out", mode("else"), map(&[]), false),
        ("unknown", map(&[]), map(&[]), false),
    ] {
        let found = objects.enrols(namespace, &labels, &annotations);
        assert_eq!(found, enrolled, "{namespace} {labels:?} {annotations:?}");
    }
}
