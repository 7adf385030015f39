//! WebSockets: the protocol's cases of the Autobahn test suite through a waypoint, with two servers.
//!
//! The suite itself runs on no Python that is still kept; `cases.py` sends the frames of its published cases.

use std::collections::BTreeMap;

use ambit_tests::missing;

use super::scene::{SERVERS, Scene, Service};

/// The interpreter that has Debian's Python packages.
const PYTHON: &str = "/usr/bin/python3";
const CASES: &str = include_str!("websocket/cases.py");

/// Each server's library, where Debian keeps it, and its script.
const ECHOES: [(&str, &str, &str); 2] = [
    (
        "websockets",
        "/usr/lib/python3/dist-packages/websockets/__init__.py",
        include_str!("websocket/server_websockets.py"),
    ),
    (
        "wsproto",
        "/usr/lib/python3/dist-packages/wsproto/__init__.py",
        include_str!("websocket/server_wsproto.py"),
    ),
];

#[tokio::test]
async fn every_case_passes_with_either_server() {
    if missing(&[PYTHON, ECHOES[0].1, ECHOES[1].1]).is_some() {
        return;
    }
    let scene = Scene::shared().await;
    for (name, _, script) in ECHOES {
        let port = scene.port();
        let _server = scene.serve("far", port, &[PYTHON, "-c", script, &port.to_string()]).await;
        scene.offer(Service::http(name, port).on(&[SERVERS[1]])).await;
        let waypoint = scene.vip(name).ip().to_string();
        let report = scene.run("client", &[PYTHON, "-c", CASES, &waypoint, "80"]).await;
        let ends = ends(&report);
        // A server that has seen an error may be gone before it has been told everything, and its last word with it.
        let silent = ends.values().filter(|end| **end == "gone").count();
        println!("{name}: {} cases, {silent} of them without a last word", ends.len());
        assert!(ends.len() > 250 && silent < 10, "{ends:#?}");
    }
}

/// How each case ended; all have passed.
fn ends(report: &str) -> BTreeMap<&str, &str> {
    let line = |line| {
        let fields: Vec<&str> = str::split_whitespace(line).collect();
        assert_eq!(fields.get(1), Some(&"passed"), "{line}");
        (fields[0], fields[2])
    };
    report.lines().map(line).collect()
}
