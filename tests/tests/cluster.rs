//! Ambit on a real Kubernetes cluster: `make test-cluster` starts one, with Ambit in it, and runs these.
//!
//! Each test has a namespace of its own, so that they can share the cluster.

mod manifests;
mod rotation;

use std::process::{Output, Stdio};

use ambit_tests::eventually;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A namespace with two clients on one node and a server on the other.
struct Shop(&'static str);

async fn kubectl(arguments: &[&str], input: &str) -> Output {
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

/// The output of a kubectl that must succeed.
async fn done(arguments: &[&str], input: &str) -> String {
    let output = kubectl(arguments, input).await;
    assert!(output.status.success(), "kubectl {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn apply(yaml: &str) {
    done(&["apply", "-f", "-"], yaml).await;
}

// === impl Shop ===

impl Shop {
    /// The namespace with its pods, all ready.
    async fn open(name: &'static str, labels: &str) -> Self {
        let tools = "image: 'ambit.test/tools:1', imagePullPolicy: IfNotPresent, command: [sleep, infinity]";
        let client = |pod: &str, labels: &str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\n\
                 metadata: {{name: {pod}, namespace: {name}, labels: {{{labels}}}}}\n\
                 spec: {{nodeName: node1, terminationGracePeriodSeconds: 1, containers: [{{name: c, {tools}}}]}}\n"
            )
        };
        apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n{}{}{}",
            client("client", ""),
            client("outsider", "istio.io/dataplane-mode: none"),
            Self::server(name, "web"),
        ))
        .await;
        let shop = Self(name);
        shop.ready().await;
        shop
    }

    /// A server with a probe, and a service in front of it.
    fn server(namespace: &str, name: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Pod\n\
             metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\n\
             spec:\n  nodeName: node2\n  terminationGracePeriodSeconds: 1\n  containers:\n    - name: c\n      \
             image: ambit.test/echo:1\n      imagePullPolicy: IfNotPresent\n      args: [serve, --http, '8080']\n      \
             readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}\n      \
             livenessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1, failureThreshold: 1}}\n\
             ---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}\n"
        )
    }

    async fn ready(&self) {
        let wait = ["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s", "-n", self.0];
        done(&wait, "").await;
    }

    /// What a pod's request to a server is answered, `None` if it is not.
    async fn ask(&self, pod: &str, server: &str) -> Option<String> {
        let url = format!("http://{server}/");
        let curl = ["exec", "-n", self.0, pod, "--", "curl", "-sS", "-m", "5", &url];
        let output = kubectl(&curl, "").await;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// Waits until `pod` gets through to `server`, or does not.
    async fn expect(&self, pod: &str, server: &str, through: bool) {
        eventually(|| async {
            match self.ask(pod, server).await {
                Some(answer) if through && answer.contains("\"protocol\"") => Ok(()),
                None if !through => Ok(()),
                other => Err(format!("{pod} to {server}: {other:?}")),
            }
        })
        .await;
    }

    /// A pod's annotation of whether it is captured; empty without one.
    async fn redirection(&self, pod: &str) -> String {
        let path = r"jsonpath={.metadata.annotations.ambient\.istio\.io/redirection}";
        done(&["get", "pod", "-n", self.0, pod, "-o", path], "").await
    }

    async fn label(&self, label: &str) {
        done(&["label", "--overwrite", "namespace", self.0, label], "").await;
    }

    async fn strict(&self) {
        apply(&format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
             metadata: {{name: strict, namespace: {}}}\nspec: {{mtls: {{mode: STRICT}}}}\n",
            self.0
        ))
        .await;
    }

    async fn close(self) {
        done(&["delete", "namespace", self.0, "--wait=false"], "").await;
    }
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn running_pods_join_and_leave_without_a_restart() {
    let shop = Shop::open("join", "").await;
    shop.strict().await;
    shop.expect("client", "web", true).await;
    shop.label("istio.io/dataplane-mode=ambient").await;
    for (pod, expected) in [("client", "enabled"), ("web", "enabled"), ("outsider", "")] {
        eventually(|| async {
            let found = shop.redirection(pod).await;
            if found == expected { Ok(()) } else { Err(format!("{pod}: {found:?}")) }
        })
        .await;
    }
    // Who has an identity gets through, who stays outside does not; the kubelet's probes are neither.
    shop.expect("outsider", "web", false).await;
    shop.expect("client", "web", true).await;
    shop.ready().await;
    shop.label("istio.io/dataplane-mode-").await;
    shop.expect("outsider", "web", true).await;
    shop.expect("client", "web", true).await;
    eventually(|| async {
        let found = shop.redirection("web").await;
        if found.is_empty() { Ok(()) } else { Err(found) }
    })
    .await;
    let restarts = "jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    assert_eq!(done(&["get", "pods", "-n", "join", "-o", restarts], "").await, "0 0 0");
    shop.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster: make test-cluster"]
async fn new_pods_are_captured_before_they_start() {
    let shop = Shop::open("fresh", "istio.io/dataplane-mode: ambient").await;
    shop.strict().await;
    shop.expect("outsider", "web", false).await;
    // Its probes pass under STRICT, and nobody outside has ever got through to it.
    apply(&Shop::server("fresh", "second")).await;
    shop.ready().await;
    assert_eq!(shop.redirection("second").await, "enabled");
    assert_eq!(shop.ask("outsider", "second").await, None);
    shop.expect("client", "second", true).await;
    shop.close().await;
}
