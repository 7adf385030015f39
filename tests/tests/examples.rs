//! The examples are run as a user runs them.

mod rules;

use std::path::Path;
use std::time::Duration;

use ambit_tests::{binary, missing};

#[tokio::test]
async fn the_walk_through_of_hello_holds_and_leaves_nothing() {
    if missing(&["curl", "nft", "tcpdump"]).is_some() {
        return;
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello");
    let demo = tokio::process::Command::new(binary("ambit"))
        .arg("up")
        .arg(&example)
        .arg("--demo")
        .stdin(std::process::Stdio::null())
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), demo)
        .await
        .expect("it ends by itself")
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaints}");
    assert!(said.contains("no namespace, process, rule or file is left"), "{said}");
}
