//! The mesh as objects of a real API server: etcd and kube-apiserver without nodes, kept in a directory so that the
//! objects have to be made once only.

mod fill;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::api::Api;
use super::objects::{PROXY_ACCOUNT, SYSTEM, revision};
use super::shape::{Shape, proxy};
use servers::Servers;

/// How long the control plane takes to write the mesh's roots, at most.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// A filled cluster.
pub(crate) struct Cluster {
    shape: Shape,
    servers: Servers,
    api: Api,
}

// === impl Cluster ===

impl Cluster {
    /// Starts the one in `dir` with the program `kubebox`, and fills it where that has not been done yet.
    ///
    /// # Errors
    /// A server does not start; its log is named.
    pub(crate) async fn start(dir: &Path, kubebox: &Path, shape: Shape) -> anyhow::Result<Self> {
        let dir = of_shape(dir, shape);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let (servers, api) = Servers::start(&dir.canonicalize()?, kubebox).await?;
        let filled = dir.join("filled");
        if !filled.exists() {
            fill::fill(&api, shape).await?;
            fs::write(filled, "")?;
        }
        Ok(Self { shape, servers, api })
    }

    /// Connects to the one in `dir` that another run holds.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn attach(dir: &Path, shape: Shape) -> anyhow::Result<Self> {
        let dir = of_shape(dir, shape);
        let attached = Servers::attach(&dir).await.with_context(|| {
            format!(
                "the API server of {} does not run: run `bench control --hold` with the same numbers of objects beside \
                 this, and let istiod follow it",
                dir.display()
            )
        });
        let (servers, api) = attached?;
        Ok(Self { shape, servers, api })
    }

    /// The file that says where the API server is and who to be there.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.servers.kubeconfig
    }

    /// CPU time of the API server and its store, seconds.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.servers.cpu_seconds()
    }

    /// The roots of the mesh, once the control plane has written them.
    pub(crate) async fn roots(&self) -> anyhow::Result<String> {
        let path = format!("/api/v1/namespaces/{SYSTEM}/configmaps/istio-ca-root-cert");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.api.get(&path).await {
                Ok(body) => {
                    let map: Value = serde_json::from_slice(&body)?;
                    let roots = map.pointer("/data/root-cert.pem").and_then(Value::as_str);
                    return Ok(roots.context("the mesh's roots are empty")?.to_owned());
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("the control plane has written no roots");
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// A token of a node's proxy, bound to its pod.
    pub(crate) async fn token(&self, node: u32) -> anyhow::Result<String> {
        let path = format!("/api/v1/namespaces/{SYSTEM}/serviceaccounts/{PROXY_ACCOUNT}/token");
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "name": proxy(node)});
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": ["istio-ca"], "expirationSeconds": 86_400, "boundObjectRef": pod},
        });
        let answer = self.api.post(&path, &request).await?;
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        Ok(token.context("the API server has made no token")?.to_owned())
    }

    /// Gives a pod another revision. Returns when the API server has accepted it.
    pub(crate) async fn change(&self, pod: u32, to: &str) -> anyhow::Result<()> {
        let name = self.shape.pod(pod);
        let path = format!("/api/v1/namespaces/{}/pods/{}", name.namespace, name.name);
        self.api.patch(&path, &revision(to)).await
    }
}

/// Where a cluster of that shape has its data.
fn of_shape(dir: &Path, shape: Shape) -> PathBuf {
    dir.join(format!("{}-{}-{}", shape.pods, shape.services, shape.nodes))
}

/// Where the logs of programs in `dir` go.
fn log(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.log"))
}
