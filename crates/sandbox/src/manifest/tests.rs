//! Files as users write them, and as they should not.

use super::*;

const GOOD: &str = "# a comment
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop}
spec:
  containers:
  - {name: main, image: unused, command: [sleep, '1']}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {}
---
";

fn problem(text: &str) -> String {
    let manifest = read("f.yaml", text);
    match &manifest.refusals[..] {
        [refusal] => refusal.invalid.to_string(),
        other => panic!("{text}: {other:?} {:?}", manifest.documents),
    }
}

fn pod(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n{spec}")
}

#[test]
fn what_is_not_ours_is_passed_on_in_its_place() {
    let manifest = read("f.yaml", GOOD);
    assert_eq!(manifest.refusals, []);
    let keys: Vec<String> = manifest.documents.iter().map(|doc| doc.key.to_string()).collect();
    assert_eq!(keys, ["Pod shop/a", "AuthorizationPolicy shop/p"]);
    let passed_on = manifest.passed_on(|_| false).unwrap();
    assert_eq!(passed_on.lines().count(), GOOD.lines().count());
    for (ours, theirs) in passed_on.lines().zip(GOOD.lines()) {
        assert!(ours == theirs || ours.is_empty(), "{ours}");
    }
    assert!(passed_on.contains("AuthorizationPolicy") && !passed_on.contains("Pod"));
    assert_eq!(manifest.passed_on(|key| key.name == "p"), None, "hidden");
}

#[test]
fn a_bad_document_does_not_stop_its_neighbours() {
    let text = format!("{GOOD}apiVersion: v1\nkind: [\n---\n{GOOD}");
    let manifest = read("f.yaml", &text);
    assert_eq!(manifest.documents.len(), 4);
    assert_eq!(manifest.refusals.len(), 1);
    assert!(manifest.refusals[0].invalid.to_string().starts_with("f.yaml:14: is no YAML"));
    assert!(!manifest.passed_on(|_| false).unwrap().contains('['));
}

#[test]
fn lists_are_their_items() {
    let item = "{apiVersion: v1, kind: Namespace, metadata: {name: NAME}}";
    let items = [item.replace("NAME", "a"), item.replace("NAME", "b")].join(", ");
    let manifest = read("f.yaml", &format!("apiVersion: v1\nkind: List\nitems: [{items}]"));
    assert_eq!((manifest.documents.len(), manifest.passed_on(|_| false)), (2, None));
}

#[test]
fn empty_files_are_fine() {
    for text in ["", "\n", "# nothing\n", "---\n---\n", "--- # x\n"] {
        let manifest = read("f.yaml", text);
        assert!(manifest.documents.is_empty() && manifest.refusals.is_empty(), "{text:?}");
        assert_eq!(manifest.passed_on(|_| false), None);
    }
}

#[test]
fn problems_name_file_object_and_field() {
    let container = |fields: &str| pod(&format!("  containers: [{{name: c, {fields}}}]"));
    let service =
        |spec: &str| format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {spec}");
    for (text, expected) in [
        ("kind: Pod", "f.yaml:1: apiVersion: is missing"),
        ("a: b", "kind: is missing"),
        ("[]", "kind: is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}", "metadata.name: is missing"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: ../x}", "metadata.name: \"../x\" is no name"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: A}",
            "metadata.namespace: \"A\"",
        ),
        ("apiVersion: v1\nkind: ../x\nmetadata: {name: a}", "kind: \"../x\" is no kind"),
        (
            &pod("  volumes: [{name: ../v, emptyDir: {}}]\n  containers: [{name: c}]"),
            "spec.volumes[0].name: \"../v\"",
        ),
        ("apiVersion: v2\nkind: Pod\nmetadata: {name: a}", "apiVersion: \"v2\" has no Pod"),
        ("apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}", "write one of these"),
        (&pod("  containers: {}"), "Pod default/a: spec.containers: invalid type"),
        (&pod("  containers: []"), "spec.containers: at least one"),
        (&pod("  hostNetwork: true"), "spec.hostNetwork"),
        (
            &container("ports: [{containerPort: 70000}]"),
            "spec.containers[0].ports[0].containerPort: 70000",
        ),
        (&container("readinessProbe: {}"), "readinessProbe: exactly one"),
        (&container("readinessProbe: {grpc: {port: 1}}"), "readinessProbe.grpc"),
        (&container("readinessProbe: {tcpSocket: {port: 0}}"), "readinessProbe.port: 0 is no port"),
        (&container("volumeMounts: [{name: v, mountPath: /x}]"), "there is no volume \"v\""),
        (
            &container("volumeMounts: [{name: v, mountPath: x}]"),
            "mountPath: must be an absolute path",
        ),
        (
            &pod("  volumes: [{name: v, nfs: {server: a, path: b}}]\n  containers: [{name: c}]"),
            "spec.volumes[0]",
        ),
        (
            &pod("  containers: [{name: c}, {name: c}]"),
            "spec.containers[1].name: \"c\" is used twice",
        ),
        (&service("{}"), "Service default/a: spec.ports: at least one"),
        (&service("{ports: [{port: 0}]}"), "spec.ports[0].port: 0 is no port"),
        (&service("{ports: [{port: 1, protocol: SCTP}]}"), "protocol: must be TCP or UDP"),
        (&service("{ports: [{port: 1}, {port: 2}]}"), "spec.ports[0].name: is needed"),
        (&service("{type: ExternalName}"), "spec.externalName"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(expected), "{text}\n{problem}");
        assert!(problem.starts_with("f.yaml:1: ") && !problem.contains('\n'), "{problem}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_strange(text in "(---|\\n|[a-z]*: |- |[\\[\\]{}]|\\PC|&a|\\*a|!x|'|\")*") {
        let manifest = read("f", &text);
        if let Some(passed_on) = manifest.passed_on(|_| false) {
            proptest::prop_assert_eq!(passed_on.lines().count(), text.lines().count());
        }
    }

    #[test]
    fn documents_cover_the_file(text in "(---\\n|---|\\n|a: b\\n|# c\\n|\\PC)*") {
        let parts = split(&text);
        let joined: String = parts.iter().map(|range| &text[range.clone()]).collect();
        proptest::prop_assert_eq!(joined, text);
    }
}

#[test]
fn a_file_of_many_documents_takes_as_long_as_it_is_large() {
    let began = std::time::Instant::now();
    for document in ["---\nx: [\n", "---\nx: 1\n"] {
        let manifest = read("many.yaml", &document.repeat(30_000));
        assert_eq!(manifest.refusals.len(), 30_000);
        assert!(manifest.refusals[1].invalid.origin.ends_with(":4"), "{:?}", manifest.refusals[1]);
    }
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(30), "{took:?}");
}
