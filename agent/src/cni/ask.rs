//! Asking the agent and the API server about a new pod.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::decide::{AgentSaid, ApiSaid};
use super::protocol::PodName;
use crate::kubernetes::membership::{Exclusions, Membership};
use crate::kubernetes::plugin::{CmdAdd, SOCKET, look_up};

/// How long the agent may take to have a pod captured and served: more than it waits for ztunnel by itself.
const AGENT: Duration = Duration::from_secs(60);
/// How long the API server may take.
const API: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// Asks the agent of this node to capture the pod, and waits until it has.
pub(crate) async fn agent(run_dir: &Path, pod: &CmdAdd) -> AgentSaid {
    let socket = run_dir.join(SOCKET);
    match timeout(AGENT, post(&socket, pod)).await {
        Ok(Ok((StatusCode::OK, _))) => AgentSaid::Ready,
        Ok(Ok((StatusCode::SERVICE_UNAVAILABLE, line))) => AgentSaid::Nothing(line),
        Ok(Ok((_, line))) => AgentSaid::NotReady(line),
        Ok(Err(problem)) => AgentSaid::Nothing(problem),
        Err(_) => AgentSaid::Nothing(format!("no answer within {} s", AGENT.as_secs())),
    }
}

async fn post(socket: &Path, pod: &CmdAdd) -> Result<(StatusCode, String), String> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| format!("cannot reach ambit-agent at {}: {error}", socket.display()))?;
    let broke = |error: &dyn std::error::Error| format!("connection to ambit-agent: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broke(&error))?;
    // Its end is seen by whoever waits for the answer.
    tokio::spawn(connection);
    let body = serde_json::to_vec(pod).map_err(|error| error.to_string())?;
    let request = Request::post("/cmdadd")
        .header(header::HOST, "unix")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| broke(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| format!("connection to ambit-agent: {error}"))?.to_bytes();
    let line = String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ");
    Ok((status, line))
}

/// Asks the API server whether the pod is in the mesh.
pub(crate) async fn api(kubeconfig: &Path, pod: &PodName, exclusions: &Exclusions) -> ApiSaid {
    let asked = timeout(API, async {
        let client = client(kubeconfig).await?;
        look_up(client, &pod.namespace, &pod.name).await.map_err(|error| crate::describe(&error))
    });
    match asked.await {
        Ok(Ok((Some(pod), mode))) => {
            ApiSaid::Pod(Membership::decide(&pod, mode.as_deref(), exclusions))
        }
        Ok(Ok((None, _))) => ApiSaid::NoPod,
        Ok(Err(problem)) => ApiSaid::Nothing(format!("API server: {problem}")),
        Err(_) => {
            ApiSaid::Nothing(format!("no answer of the API server within {} s", API.as_secs()))
        }
    }
}

async fn client(kubeconfig: &Path) -> Result<kube::Client, String> {
    let file = Kubeconfig::read_from(kubeconfig).map_err(|error| crate::describe(&error))?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(|error| crate::describe(&error))?;
    kube::Client::try_from(config).map_err(|error| crate::describe(&error))
}
