//! The control plane's benchmark itself, with a small mesh in files and a real controller.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Whether there is a controller beside the benchmark; fails instead where `CI=true`.
fn able() -> bool {
    if controller().exists() {
        return true;
    }
    let reason = "no controller: cargo build -p ambit-controller";
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
    false
}

fn controller() -> std::path::PathBuf {
    Path::new(env!("CARGO_BIN_EXE_bench")).with_file_name("controller")
}

fn control(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("control").args(arguments).env_remove("ISTIOD");
    command
}

#[test]
fn a_small_mesh_is_measured() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("results.json");
    let size = ["--files", "--pods", "200", "--services", "50", "--subscribers", "20"];
    let speed = ["--repeats", "1", "--settle", "0", "--changes", "1,5,5", "--certificates", "1"];
    let file = ["--json", json.to_str().unwrap()];
    let output = control(&[&size[..], &speed, &file].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // Workloads of 200 pods and of 20 proxies, and 50 services.
    assert!(said.contains("one proxy has 270 resources"), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("200 pods, 50 services, 20 subscribers"), "{table}");

    let results: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let figures = results["figures"].as_array().unwrap();
    let figure =
        |id: &str| figures.iter().find(|f| f["id"] == id).unwrap()["value"].as_f64().unwrap();
    for id in ["all-sync-time", "memory-subscribed", "slow-p99", "burst-p99", "fast-p99-sent"] {
        assert!(figure(id) > 0.0, "{id}: {figures:?}");
    }
    assert!(figure("one-sync-bytes") > 20_000.0 && figure("certificates") > 1.0, "{figures:?}");
}

#[test]
fn what_cannot_be_measured_is_said_at_once() {
    for (arguments, expected) in [
        (["--controller", "/no/such/controller"], "/no/such/controller is no program: build it"),
        (["--json", "/no/such/dir/x.json"], "cannot write /no/such/dir/x.json"),
        (["--istiod", "somewhere"], "ISTIOD \"somewhere\" is not an address and a port"),
        (["--pods", "3"], "there must be as many pods as services, and as changes"),
        (["--kubebox", "/no/such/kubebox"], "/no/such/kubebox is no program: run `make cluster"),
    ] {
        let program = controller();
        let program = ["--controller", program.to_str().unwrap()];
        if arguments[0] == "--kubebox" && !able() {
            continue;
        }
        let given = if arguments[0] == "--controller" { &[][..] } else { &program };
        let output = control(&[&arguments[..], given].concat()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
