//! The cluster's tools: kubectl, and what switches its machines off and on.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use ambit_tests::eventually_within;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long the cluster may take for what involves a kubelet, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Runs kubectl with `input`.
pub(super) async fn kubectl(arguments: &[&str], input: &str) -> Output {
    let mut kubectl = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl is on the PATH");
    let mut stdin = kubectl.stdin.take().expect("it was asked for");
    stdin.write_all(input.as_bytes()).await.expect("it reads");
    drop(stdin);
    kubectl.wait_with_output().await.expect("it ends")
}

/// The output of a kubectl that must succeed; `arguments` have no spaces in them.
pub(super) async fn done(arguments: &str) -> String {
    let words: Vec<&str> = arguments.split(' ').collect();
    text(&words, kubectl(&words, "").await)
}

/// What a command in a container prints, `None` where it fails.
pub(super) async fn exec(namespace: &str, pod: &str, command: &[&str]) -> Option<String> {
    let words = [&["exec", "-n", namespace, pod, "--"], command].concat();
    let output = kubectl(&words, "").await;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Makes or changes objects.
pub(super) async fn apply(yaml: &str) {
    let words = ["apply", "-f", "-"];
    text(&words, kubectl(&words, yaml).await);
}

/// Waits until a command of kubectl prints exactly `expected`.
pub(super) async fn prints(arguments: &str, expected: &str) {
    prints_what(arguments, |printed| printed == expected).await;
}

/// Waits until a command of kubectl succeeds and prints something that `is` so. Returns that.
pub(super) async fn prints_what(arguments: &str, is: impl Fn(&str) -> bool) -> String {
    let words: Vec<&str> = arguments.split(' ').collect();
    eventually_within(PATIENCE, || async {
        let output = kubectl(&words, "").await;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && is(&printed) {
            Ok(printed)
        } else {
            Err(format!("kubectl {arguments}: {printed:?} {:?}", output.stderr.escape_ascii()))
        }
    })
    .await
}

/// Waits until every pod that a workload of the mesh's own namespace wants is there and ready.
pub(super) async fn mesh_runs() {
    for workload in ["deployment/ambit-controller", "daemonset/ambit-agent", "daemonset/ztunnel"] {
        done(&format!("rollout status -n istio-system {workload} --timeout=120s")).await;
    }
}

/// Runs `cluster.py` with these arguments.
pub(super) async fn cluster(arguments: &[&str]) -> String {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/cluster.py");
    let output = Command::new(program).args(arguments).output().await.expect("it is there");
    text(arguments, output)
}

/// Kills every process of a name on a node, the hard way.
pub(super) async fn kill(node: &str, program: &str) {
    let command = format!("kill -9 $(pgrep -x {program})");
    cluster(&["enter", node, "sh", "-c", &command]).await;
}

fn text(arguments: &[&str], output: Output) -> String {
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}
