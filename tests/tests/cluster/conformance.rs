//! The Gateway API's own tests of meshes, against the services of two namespaces behind waypoints.

use std::path::Path;

use tokio::process::Command;

use super::kubectl::done;
use super::together;

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn the_mesh_passes_the_tests_of_the_gateway_api() {
    if Command::new("go").arg("version").output().await.is_err() {
        println!("skipped: Go is not installed, which builds the conformance suite");
        return;
    }
    let _cluster = together().await;
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster");
    let suite = Command::new(kit.join("conformance.py"))
        .args(["mesh", "-cleanup-base-resources=true"])
        .output()
        .await
        .expect("it is there");
    let said = String::from_utf8_lossy(&suite.stdout);
    println!("{said}");
    assert!(suite.status.success(), "{said}{}", String::from_utf8_lossy(&suite.stderr));
    assert!(said.contains("PASS MeshConsumerRoute") && said.contains(" 0 failed"), "{said}");
    let manifest = kit.join("manifests/conformance.yaml");
    done(&format!("delete --ignore-not-found --wait=false -f {}", manifest.display())).await;
}
