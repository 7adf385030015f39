//! The objects of a cluster, and what the controller keeps there.

mod bad_input;
mod callers;
mod deployments;
mod objects;
mod route_statuses;
mod same;
mod scale;
mod statuses;
mod writes;

use std::time::Duration;

use ambit_controller::cluster;
use ambit_controller::watch::{Kubernetes, Pace, SourceErrors};
use kube::Client;
use serde_json::{Value, json};

use crate::api::Api;
use crate::harness::{Files, Running, eventually};

pub(crate) const PODS: &str = "api/v1/pods";
const CONFIG_MAPS: &str = "api/v1/configmaps";
const SECRETS: &str = "api/v1/secrets";

/// Quick enough for tests.
const PACE: Pace = Pace {
    absent: Duration::from_millis(50),
    retry: Duration::from_millis(20),
    most: Duration::from_millis(50),
};

const NAMESPACES: &str = "---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
";

/// A pod of `istio-system`, with a token that is called like it.
fn system_pod(api: &Api, name: &str, account: &str, node: &str) {
    api.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: istio-system, uid: uid-of-{name}}}
spec: {{nodeName: {node}, serviceAccountName: {account}}}
status: {{phase: Running}}
"
    ));
    api.token(&format!("token-of-{name}"), review(name, account));
}

fn review(name: &str, account: &str) -> Value {
    json!({
        "authenticated": true,
        "audiences": ["istio-ca"],
        "user": {
            "username": format!("system:serviceaccount:istio-system:{account}"),
            "extra": {
                "authentication.kubernetes.io/pod-name": [name],
                "authentication.kubernetes.io/pod-uid": [format!("uid-of-{name}")],
            },
        },
    })
}

async fn client(api: &Api, files: &Files) -> Client {
    let kubeconfig = api.kubeconfig(files.dir.path());
    cluster::connect(Some(&kubeconfig)).await.expect("a client")
}

async fn source(api: &Api, files: &Files) -> Kubernetes {
    Kubernetes::follow(&client(api, files).await, PACE, &SourceErrors::default())
}

/// A controller of the cluster. Clients know its roots as soon as they are in a ConfigMap.
async fn controller(api: &Api, replica: &str) -> Running {
    let files = Files::new();
    let kubeconfig = api.kubeconfig(files.dir.path()).display().to_string();
    let options = ["controller", "--kubernetes", "--kubeconfig", &kubeconfig]
        .into_iter()
        .chain(["--listen", "127.0.0.1:0", "--admin-port", "0", "--status-port", "0"])
        .chain(["--replica", replica, "--look-again", "1s"]);
    let running = Running::start_with(files, options.map(str::to_owned).collect()).await;
    eventually(|| async { roots(api, "istio-system").is_some() }).await;
    running.files.replace("root-cert.pem", &roots(api, "istio-system").expect("just seen"));
    running
}

/// The copy of the roots in a namespace.
fn roots(api: &Api, namespace: &str) -> Option<String> {
    let map = api.get(CONFIG_MAPS, namespace, "istio-ca-root-cert")?;
    map["data"]["root-cert.pem"].as_str().map(str::to_owned)
}
