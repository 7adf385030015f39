//! What a machine runs out of: room on a disk, descriptors.

use std::fs;
use std::path::PathBuf;

use ambit_tests::{Mesh, MeshBuilder, Traffic, eventually, missing, open};
use serde_json::json;

use super::{PORT, traffic, value};

/// One node, so that one tunnel is to blame.
fn together() -> MeshBuilder {
    Mesh::builder().pod("client", "n1").pod("server", "n1")
}

/// Mounts a tiny file system for the tunnel alone, which goes with it.
const TINY: &str = "mount -t tmpfs -o size=64k ambit-test \"$AMBIT_STATE_DIR\" && exec \"$0\"";

#[tokio::test]
async fn a_full_disk_keeps_what_was_kept_and_stops_nobody() {
    if missing(&["unshare", "mount"]).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let builder = together().env("AMBIT_STATE_DIR", dir.path().to_str().unwrap());
    let mut mesh = builder.wrap("n1", &["unshare", "-m", "sh", "-c", TINY]).start().await;
    mesh.greeter("server", PORT, "server");
    let traffic = traffic(&mesh, "client").await;
    // The file system as the tunnel sees it.
    let seen = PathBuf::from(format!("/proc/{}/root", mesh.pid("n1")));
    let kept = seen.join(dir.path().strip_prefix("/").unwrap());
    let state = || fs::read_to_string(kept.join("state.json")).unwrap_or_default();
    let names = || {
        let entries = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    eventually(|| async {
        let complete = state().contains("server") && kept.join("credentials.json").exists();
        if complete { Ok(()) } else { Err(format!("{:?}", names())) }
    })
    .await;

    fs::write(kept.join("ballast"), vec![0; 64 << 10]).unwrap_err();
    let before = state();
    for name in ["first", "second", "third"] {
        mesh.update(|state| state.policies.push(allow_all(name))).await;
    }
    mesh.logged("n1", "cannot keep the last known state").await;
    assert_eq!(state(), before, "it is whole and as old as it has to be");
    assert_eq!(names(), ["ballast", "credentials.json", "state.json"]);
    traffic.goes_on(10).await;

    fs::remove_file(kept.join("ballast")).unwrap();
    mesh.logged("n1", "the last known state is kept again").await;
    assert!(["first", "second", "third"].iter().all(|name| state().contains(name)));
    assert_eq!(mesh.log("n1").matches("cannot keep the last known state").count(), 1);
    let account = traffic.stop().await;
    assert_eq!(account.failures, [""; 0], "{account:?}");
}

fn allow_all(name: &str) -> ambit_model::Authorization {
    let policy = json!({"name": name, "namespace": "elsewhere", "action": "Deny",
        "scope": "WorkloadSelector", "rules": [], "dryRun": false});
    serde_json::from_value(policy).unwrap()
}

/// Enough for a tunnel of two pods, and for some connections.
const FEW: &str = "--nofile=160:160";
/// More connections than that.
const MANY: usize = 200;

#[tokio::test]
async fn a_pod_that_takes_nearly_all_descriptors_gets_no_more_and_keeps_what_it_has() {
    if missing(&["prlimit"]).is_some() {
        return;
    }
    let mesh = together().wrap("n1", &["prlimit", FEW]).start().await;
    mesh.greeter("server", PORT, "server");
    let traffic = traffic(&mesh, "client").await;
    let (netns, to) = (mesh.pod("client").room().netns(), mesh.at("server", PORT));
    let mut held = Vec::new();
    for _ in 0..MANY {
        // The last ones are reset: their pod has its share of what is left.
        held.extend(mesh.dial("client", to).await.ok());
    }
    mesh.logged("n1", "descriptors are left for all pods of the node").await;
    keeps_on(&traffic).await;
    let account = traffic.stop().await;
    assert!(account.failures.iter().all(|failure| failure.starts_with("fresh")), "{account:?}");

    drop(held);
    eventually(|| async { open(netns, to).await.map(drop).map_err(|e| e.to_string()) }).await;
    let metrics = mesh.metrics("n1").await;
    assert!(
        value(&metrics, "ambit_connections_refused_total", "pod_descriptors") > 0.0,
        "{metrics}"
    );
    assert!(!mesh.log("n1").contains("cannot accept connections"), "it should not come to that");
}

#[tokio::test]
async fn without_descriptors_new_connections_wait_and_open_ones_go_on() {
    if missing(&["prlimit"]).is_some() {
        return;
    }
    let mesh = together().wrap("n1", &["prlimit", "--nofile=1000:1000"]).start().await;
    mesh.greeter("server", PORT, "server");
    let traffic = traffic(&mesh, "client").await;
    let pid = mesh.pid("n1").to_string();
    let limit = async |soft: &str| {
        let nofile = format!("--nofile={soft}:");
        mesh.on_node("n1", &["prlimit", "--pid", &pid, &nofile]).await.ok();
    };
    // Fewer than it has already.
    limit("8").await;
    mesh.logged("n1", "cannot accept connections, which wait meanwhile").await;
    keeps_on(&traffic).await;
    let waiting = tokio::spawn({
        let (netns, to) = (mesh.pod("client").room().netns().clone(), mesh.at("server", PORT));
        async move { open(&netns, to).await.map(drop) }
    });

    limit("1000").await;
    waiting.await.unwrap().expect("it has waited for this");
    mesh.logged("n1", "accepting connections again").await;
    traffic.goes_on(10).await;
    let account = traffic.stop().await;
    // One that was just accepted may lack its second descriptor.
    let (fresh, others): (Vec<_>, Vec<_>) =
        account.failures.iter().partition(|failure| failure.starts_with("fresh"));
    assert!(fresh.len() <= 1 && others.is_empty(), "{account:?}");
    assert_eq!(mesh.log("n1").matches("cannot accept connections").count(), 1, "it is said once");
    let metrics = mesh.metrics("n1").await;
    assert!(value(&metrics, "ambit_accept_pauses_total", "") > 0.0, "{metrics}");
}

/// Waits until a connection that was open before has had more answers.
async fn keeps_on(traffic: &Traffic) {
    let before = traffic.so_far().kept;
    eventually(|| async {
        let kept = traffic.so_far().kept;
        if kept > before + 20 { Ok(()) } else { Err(format!("{before}, then {kept}")) }
    })
    .await;
}
