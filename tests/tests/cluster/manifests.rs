//! One set of objects, whichever way it is installed: the command line, Kustomize and Helm render the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Fields of every kind that a user may change: set, replaced, emptied and added.
const VALUES: &str = "\
overlays:
  Deployment.ambit-controller:
    metadata: {annotations: {team: mesh}}
    spec:
      replicas: 3
      paused: false
      template: {spec: {priorityClassName: '', securityContext: {runAsUser: 0}, nodeSelector: {disk: fast}}}
  DaemonSet.ztunnel:
    spec: {template: {spec: {tolerations: [{key: only}]}}}
  ServiceAccount.ztunnel: {automountServiceAccountToken: true}
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The program's output, which must succeed.
fn output(command: &mut Command) -> String {
    let done = command.current_dir(root()).output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The objects of a text by kind and name.
fn objects(yaml: &str) -> BTreeMap<String, Value> {
    let all: Vec<Option<Value>> = serde_saphyr::from_multiple(yaml).unwrap();
    let key = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    let objects: BTreeMap<_, _> = all.into_iter().flatten().map(|one| (key(&one), one)).collect();
    assert!(objects.len() > 15, "{yaml}");
    objects
}

fn ambit(arguments: &[&str]) -> BTreeMap<String, Value> {
    let program = std::env::current_exe().unwrap().with_file_name("../ambit");
    let yaml = output(Command::new(program).args(["install", "--dry-run"]).args(arguments));
    objects(&yaml)
}

fn helm(namespace: &str, arguments: &[&str]) -> BTreeMap<String, Value> {
    let helm = output(Command::new("tests/cluster/cluster.py").arg("helm"));
    let chart = ["template", "ambit", "manifests/helm", "--namespace", namespace];
    objects(&output(Command::new(helm.trim()).args(chart).args(arguments)))
}

/// Helm makes the namespace by itself, where it is asked to.
fn without_namespace(mut objects: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    objects.retain(|_, object| object["kind"] != "Namespace");
    assert_eq!(objects.len() + 1, count);
    objects
}

#[test]
#[ignore = "needs the cluster's programs: make test-cluster"]
fn every_way_to_install_makes_the_same_objects() {
    let ours = ambit(&[]);
    let kustomized = output(Command::new("kubectl").args(["kustomize", "manifests"]));
    assert_eq!(ours, objects(&kustomized));
    assert_eq!(without_namespace(ours), helm("istio-system", &[]));
}

#[test]
#[ignore = "needs the cluster's programs: make test-cluster"]
fn helm_and_the_command_line_take_the_same_settings() {
    let values = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(values.path(), VALUES).unwrap();
    let values = values.path().to_str().unwrap();
    let images = ["--registry", "registry.example:5000/mesh", "--tag", "7"];
    let images_of_helm = ["--set", "registry=registry.example:5000/mesh,tag=7"];
    let namespace = ["--namespace", "mesh"];
    let ours = ambit(&[&namespace[..], &images].concat());
    assert!(!json!(ours).to_string().contains("istio-system"));
    assert_eq!(without_namespace(ours.clone()), helm("mesh", &images_of_helm));
    let overlaid = ambit(&[&namespace[..], &images, &["--overlay", values]].concat());
    assert_ne!(overlaid, ours);
    let theirs = helm("mesh", &[&images_of_helm[..], &["--values", values]].concat());
    assert_eq!(without_namespace(overlaid), theirs);
}
