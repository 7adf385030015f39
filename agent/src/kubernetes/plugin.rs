//! The socket by which CNI plugins announce new pods: `POST /cmdadd`, Istio's own message (protocol.md 5.5), so that
//! either plugin works with this agent.
//!
//! 200: the pod is captured and served, or is none of ours. 503: it cannot be known whether it is; the plugin has to
//! find out by itself. 500: it is ours and not captured, so it must not start. The body says why, on one line.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, ResourceExt};
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Known;
use super::hands::Hands;
use super::membership::{Exclusions, Membership};
use super::view::{MODE_LABEL, PodView};
use crate::control::Refusal;

/// The socket's name in the run directory (Istio's).
pub(crate) const SOCKET: &str = "pluginevent.sock";
/// Plugins served at a time.
const MAX_CONNECTIONS: usize = 64;
/// The longest message, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// How long a plugin may take to ask.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the API server may take before what is known already decides.
const LOOK_UP: Duration = Duration::from_secs(2);
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A new pod, in Istio's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CmdAdd {
    /// The path of its network namespace, as the node sees it.
    pub netns: String,
    /// Its name.
    pub pod_name: String,
    /// Its namespace.
    pub pod_namespace: String,
    /// Its addresses.
    #[serde(rename = "IPs", default)]
    pub ips: Option<Vec<CmdAddIp>>,
}

/// One address of a new pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CmdAddIp {
    /// The index of its interface among the results of the plugins before.
    #[serde(default)]
    pub interface: Option<i64>,
    /// The address and its network.
    pub address: CmdAddNet,
    /// Its gateway; empty if there is none.
    #[serde(default)]
    pub gateway: Option<String>,
}

/// An address with its mask, as Go writes a `net.IPNet`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CmdAddNet {
    /// The address.
    #[serde(rename = "IP")]
    pub ip: IpAddr,
    /// The mask's bytes in base64.
    #[serde(default)]
    pub mask: Option<String>,
}

/// What becomes of a new pod.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Captured,
    Outside,
    Unknown(String),
    Failed(String),
}

/// Serves plugins.
#[derive(Debug)]
pub(crate) struct PluginServer {
    listener: UnixListener,
    desk: Arc<Desk>,
}

/// Answers plugins.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) hands: Arc<Hands>,
    pub(crate) known: Known,
    pub(crate) exclusions: Exclusions,
    /// The node's root directory as this process sees it.
    pub(crate) host_root: PathBuf,
}

// === impl PluginServer ===

impl PluginServer {
    /// Listens in the run directory, which has to be locked, for this user alone.
    pub(crate) fn bind(run_dir: &Path, desk: Desk) -> io::Result<Self> {
        let listener = crate::control::bind_private(&run_dir.join(SOCKET))?;
        Ok(Self { listener, desk: Arc::new(desk) })
    }

    /// Serves plugins, for ever.
    pub(crate) async fn serve(self) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // The semaphore is never closed.
        while let Ok(permit) = permits.clone().acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let desk = self.desk.clone();
                    tokio::spawn(async move {
                        serve_one(stream, desk).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a CNI plugin");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_one(stream: UnixStream, desk: Arc<Desk>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let desk = desk.clone();
        // A task of its own: a plugin that loses patience must not leave a pod half way.
        async move {
            let answer = tokio::spawn(async move { desk.answer(request).await }).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|error| {
                text(StatusCode::INTERNAL_SERVER_ERROR, &format!("internal error: {error}"))
            }))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a CNI plugin went away");
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{line}\n"))));
    *response.status_mut() = status;
    response
}

// === impl Desk ===

impl Desk {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if (request.method(), request.uri().path()) != (&Method::POST, "/cmdadd") {
            return text(StatusCode::NOT_FOUND, "only POST /cmdadd is answered here");
        }
        let body = Limited::new(request.into_body(), MAX_BODY).collect();
        let body = match timeout(HEAD_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return text(StatusCode::BAD_REQUEST, &format!("body: {error}")),
            Err(_) => return text(StatusCode::BAD_REQUEST, "the body takes too long"),
        };
        let added: CmdAdd = match serde_json::from_slice(&body) {
            Ok(added) => added,
            Err(error) => {
                return text(StatusCode::BAD_REQUEST, &format!("not a message of cmdadd: {error}"));
            }
        };
        let answer = self.add(&added).await;
        let (namespace, pod) = (&added.pod_namespace, &added.pod_name);
        match answer {
            Answer::Captured => {
                tracing::info!(namespace, pod, "new pod captured before its start");
                text(StatusCode::OK, "captured")
            }
            Answer::Outside => text(StatusCode::OK, "not in the mesh"),
            Answer::Unknown(problem) => text(StatusCode::SERVICE_UNAVAILABLE, &problem),
            Answer::Failed(problem) => {
                tracing::warn!(namespace, pod, problem, "new pod must not start yet");
                text(StatusCode::INTERNAL_SERVER_ERROR, &problem)
            }
        }
    }

    async fn add(&self, added: &CmdAdd) -> Answer {
        let (pod, membership) = match self.look_up(added).await {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        if !membership.is_member() {
            return Answer::Outside;
        }
        let Some(netns) = node_path(&self.host_root, Path::new(&added.netns)) else {
            return Answer::Failed(format!(
                "network namespace {} is not to be found under {} either: run the agent with hostPID: true",
                added.netns,
                self.host_root.display()
            ));
        };
        self.hands.places.set(&pod.uid, netns.clone());
        let requests = &self.hands.requests;
        match requests.add(self.hands.spec(&pod, netns), requests.patience()).await {
            Ok(()) => {}
            Err(Refusal::Pending(problem) | Refusal::Failed(problem)) => {
                return Answer::Failed(problem);
            }
        }
        let ips = added.ips.iter().flatten().map(|ip| ip.address.ip).collect();
        if let Err(problem) = self.hands.probes.clone().exempt(pod.uid.clone(), ips).await {
            return Answer::Failed(problem);
        }
        let hands = self.hands.clone();
        // The pod need not wait for this; its worker would do it again.
        tokio::spawn(async move {
            if let Err(problem) = hands.annotate(&pod, Some("enabled")).await {
                tracing::debug!(problem, "annotation is left to the pod's worker");
            }
        });
        Answer::Captured
    }

    /// The pod as the API server has it now, or else as it was seen last.
    async fn look_up(&self, added: &CmdAdd) -> Result<(Arc<PodView>, Membership), Answer> {
        let (namespace, name) = (&added.pod_namespace, &added.pod_name);
        let problem = match timeout(LOOK_UP, self.ask_api(namespace, name)).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => {
                return Err(Answer::Failed(format!("pod {namespace}/{name} does not exist")));
            }
            Ok(Err(error)) => crate::describe(&error),
            Err(_) => format!("no answer within {} s", LOOK_UP.as_secs()),
        };
        let known = self
            .known
            .with(|book| book.is_complete().then(|| book.find(namespace, name)).flatten());
        known.ok_or_else(|| {
            Answer::Unknown(format!(
                "the API server cannot be asked for pod {namespace}/{name}, which is not known: {problem}"
            ))
        })
    }

    async fn ask_api(
        &self,
        namespace: &str,
        name: &str,
    ) -> kube::Result<Option<(Arc<PodView>, Membership)>> {
        let client = self.hands.client.0.clone();
        let (pod, mode) = look_up(client, namespace, name).await?;
        Ok(pod.map(|pod| {
            let membership = Membership::decide(&pod, mode.as_deref(), &self.exclusions);
            (Arc::new(pod), membership)
        }))
    }
}

/// Asks the API server for a pod and its namespace's label `istio.io/dataplane-mode`.
///
/// # Errors
/// It cannot be reached or refuses; a pod that does not exist is `None`.
pub(crate) async fn look_up(
    client: kube::Client,
    namespace: &str,
    name: &str,
) -> kube::Result<(Option<PodView>, Option<String>)> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let namespaces: Api<Namespace> = Api::all(client);
    let pod = pods.get_opt(name).await?;
    let namespace = namespaces.get_metadata_opt(namespace).await?;
    let mode = namespace.and_then(|namespace| namespace.labels().get(MODE_LABEL).cloned());
    Ok((pod.as_ref().and_then(PodView::of), mode))
}

/// `path` of the node as this process can open it: under the node's root (where `/var/run` may be a link that leads
/// elsewhere from here), or the same path mounted here.
fn node_path(root: &Path, path: &Path) -> Option<PathBuf> {
    let under = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let linked = path.strip_prefix("/var/run").map(|rest| under(&Path::new("/run").join(rest)));
    let is_process = path.starts_with("/proc");
    let mut candidates = Vec::new();
    if !is_process {
        candidates.push(under(path));
        candidates.extend(linked);
    }
    candidates.push(path.to_owned());
    candidates.into_iter().find(|path| ambit_net::NetNs::open(path).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_istios_plugin() {
        let text = r#"{"Netns":"/var/run/netns/cni-1","PodName":"cart","PodNamespace":"shop",
            "IPs":[{"Interface":null,"Address":{"IP":"10.0.0.5","Mask":"//8AAA=="},"Gateway":"10.0.0.1"},
                   {"Interface":2,"Address":{"IP":"fd00::5","Mask":"/////////////w=="},"Gateway":""}]}"#;
        let added: CmdAdd = serde_json::from_str(text).unwrap();
        assert_eq!(
            (added.netns.as_str(), added.pod_name.as_str()),
            ("/var/run/netns/cni-1", "cart")
        );
        let ips: Vec<_> = added.ips.iter().flatten().map(|ip| ip.address.ip.to_string()).collect();
        assert_eq!(ips, ["10.0.0.5", "fd00::5"]);
        let again = serde_json::from_str(&serde_json::to_string(&added).unwrap()).unwrap();
        assert_eq!(added, again);
        let bare = r#"{"Netns":"n","PodName":"p","PodNamespace":"s","IPs":null}"#;
        assert_eq!(serde_json::from_str::<CmdAdd>(bare).unwrap().ips, None);
    }

    #[test]
    fn paths_of_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let place = |path: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink("/proc/self/ns/net", &path).unwrap();
            path
        };
        let plain = place("run/netns/cni-1");
        for path in ["/run/netns/cni-1", "/var/run/netns/cni-1"] {
            assert_eq!(node_path(dir.path(), Path::new(path)), Some(plain.clone()), "{path}");
        }
        let own = Path::new("/proc/self/ns/net");
        assert_eq!(node_path(dir.path(), own), Some(own.to_owned()));
        assert_eq!(node_path(dir.path(), Path::new("/var/run/netns/cni-2")), None);
    }
}
