//! The house keeps its storeys: a crate depends on its own layer or on lower ones, never on a higher one.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// The layer of each package; see ARCHITECTURE.md.
const LAYERS: [(u8, &[&str]); 4] = [
    (0, &["ambit-model", "ambit-policy", "ambit-proto"]),
    (
        1,
        &[
            "ambit-net",
            "ambit-tls",
            "ambit-hbone",
            "ambit-zds",
            "ambit-redirect",
            "ambit-telemetry",
            "ambit-lifecycle",
        ],
    ),
    (
        2,
        &[
            "ambit-state",
            "ambit-xds",
            "ambit-identity",
            "ambit-bootstrap",
            "ambit-tunnel",
            "ambit-sandbox",
        ],
    ),
    (
        3,
        &[
            "ambit-ztunnel",
            "ambit-waypoint",
            "ambit-controller",
            "ambit-agent",
            "ambit-cli",
            "ambit-echo",
            "ambit-bench",
            "ambit-tests",
            "ambit-fuzz-targets",
        ],
    ),
];

/// Libraries that one crate alone may name.
const FENCED: [(&str, &[&str]); 5] = [
    // The tests misbehave on purpose, as only bare HTTP/2 can.
    ("h2", &["ambit-hbone", "ambit-tests"]),
    ("rustls-pemfile", &["ambit-tls"]),
    ("k8s-openapi", &["ambit-agent", "ambit-cli", "ambit-controller", "ambit-sandbox"]),
    ("kube", &["ambit-agent", "ambit-cli", "ambit-controller"]),
    ("rcgen", &["ambit-identity", "ambit-tls", "ambit-echo"]),
];

#[test]
fn no_crate_depends_on_a_higher_layer_or_on_what_another_fences_in() {
    let layers: BTreeMap<&str, u8> =
        LAYERS.iter().flat_map(|(layer, names)| names.iter().map(|name| (*name, *layer))).collect();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut complaints = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(layer) = layers.get(name) else {
            complaints.push(format!("{name} has no layer; add it to LAYERS"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let on = dependency["name"].as_str().unwrap();
            if layers.get(on).is_some_and(|other| other > layer) {
                complaints.push(format!("{name} (layer {layer}) depends on {on}"));
            }
            for (library, owners) in FENCED {
                if on == library && !owners.contains(&name) {
                    complaints.push(format!("{name} names {library}, which belongs to {owners:?}"));
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}
