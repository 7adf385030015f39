//! What happens inside of pods: programs that are run there, and ports that only they reach.

use std::time::Duration;

use ambit_telemetry::Chain;
use anyhow::{Context as _, Result, anyhow, ensure};
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, ListParams};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::Cluster;

/// How long one program, or one answer, may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The longest answer, in bytes: the state of a proxy that knows a hundred thousand workloads fits.
const LONGEST: usize = 512 << 20;

// === impl Cluster ===

impl Cluster {
    /// The pods of a namespace that have the labels.
    pub(crate) async fn pods(&self, namespace: &str, labels: &str) -> Result<Vec<Pod>> {
        let list = self.pod_api(namespace).list(&ListParams::default().labels(labels)).await;
        Ok(list.with_context(|| format!("pods of namespace {namespace}"))?.items)
    }

    /// Runs a program in a pod and returns what it printed.
    pub(crate) async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        command: &[String],
    ) -> Result<String> {
        let run = async {
            let api = self.pod_api(namespace);
            let mut process = api.exec(pod, command, &AttachParams::default()).await?;
            let (mut out, mut complaint) = (String::new(), String::new());
            let (stdout, stderr, status) =
                (process.stdout(), process.stderr(), process.take_status());
            let (mut stdout, mut stderr) = stdout.zip(stderr).context("no output")?;
            tokio::try_join!(
                stdout.read_to_string(&mut out),
                stderr.read_to_string(&mut complaint)
            )?;
            let ended = match status {
                Some(status) => status.await,
                None => None,
            };
            let is_good = ended.is_some_and(|status| status.status.as_deref() == Some("Success"));
            ensure!(is_good, "{} failed: {}", command.join(" "), complaint.trim());
            Ok(out)
        };
        let what = || format!("Pod {namespace}/{pod}");
        timeout(LIMIT, run)
            .await
            .map_err(|_| anyhow!("{} does not answer within {LIMIT:?}", what()))?
            .with_context(what)
    }

    /// What a pod answers to a GET on one of its ports, which may be on its loopback.
    pub(crate) async fn get(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        path: &str,
    ) -> Result<Vec<u8>> {
        let ask = async {
            let mut forwarder = self.pod_api(namespace).portforward(pod, &[port]).await?;
            let stream = forwarder.take_stream(port).context("no stream")?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let running = tokio::spawn(connection);
            let request =
                Request::get(path).header(HOST, "localhost").body(Empty::<&[u8]>::new())?;
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST).collect().await;
            running.abort();
            forwarder.abort();
            ensure!(status == StatusCode::OK, "{path} answers {status}");
            let body = body.map_err(|error| anyhow!("{path}: {}", Chain(&*error)))?;
            Ok(body.to_bytes().to_vec())
        };
        let what = || format!("Pod {namespace}/{pod}, port {port}");
        timeout(LIMIT, ask)
            .await
            .map_err(|_| anyhow!("{} does not answer within {LIMIT:?}", what()))?
            .with_context(what)
    }

    fn pod_api(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.0.clone(), namespace)
    }
}
