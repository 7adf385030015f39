//! Whose certificates a node may ask for.

use super::*;

fn may(mesh: &Mesh, node: &str, name: &str) -> bool {
    mesh.index.snapshot().identities.contains(node, &"shop".into(), &name.into())
}

#[test]
fn a_node_may_ask_for_its_pods_until_they_fail_or_go() {
    let mut mesh = Mesh::new(&pod("web", "10.0.0.1", ""));
    assert!(may(&mesh, "node-a", "web"));
    assert!(!may(&mesh, "node-b", "web"));
    assert!(!may(&mesh, "node-a", "db"));
    assert!(!may(&mesh, "", "web"));

    // Without an address yet: its first connection waits for the certificate.
    mesh.write("mesh.yaml", &pod("web", "10.0.0.1", "").replace("podIP: 10.0.0.1,", ""));
    assert!(may(&mesh, "node-a", "web"));
    mesh.write("mesh.yaml", &pod("web", "10.0.0.1", "").replace("node-a", "node-b"));
    assert!(!may(&mesh, "node-a", "web") && may(&mesh, "node-b", "web"));
    mesh.write("mesh.yaml", &pod("web", "10.0.0.1", "").replace("Running", "Failed"));
    assert!(!may(&mesh, "node-a", "web"));
    mesh.write("mesh.yaml", &pod("web", "10.0.0.1", ""));
    assert!(may(&mesh, "node-a", "web"));
    mesh.write("mesh.yaml", "");
    assert!(!may(&mesh, "node-a", "web"));
}

#[test]
fn two_pods_of_one_account_count_until_both_are_gone() {
    let two = pod("b", "10.0.0.2", "").replace("serviceAccountName: b", "serviceAccountName: a");
    let mut mesh = Mesh::new(&[pod("a", "10.0.0.1", ""), two.clone()].concat());
    mesh.write("mesh.yaml", &two);
    assert!(may(&mesh, "node-a", "a"));
    mesh.write("mesh.yaml", "");
    assert!(!may(&mesh, "node-a", "a"));
}
