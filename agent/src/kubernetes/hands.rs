//! What is done to one pod: found, captured, exempted for probes, annotated, and back.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

use super::processes::{Found, Processes};
use super::resolver::Resolvers;
use super::view::{PodView, REDIRECTION};
use crate::control::{Refusal, Requests};
use crate::describe;
use crate::pod::PodSpec;
use crate::probes::Probes;

/// How long ztunnel may take before a pod counts as pending. The agent goes on offering it meanwhile.
const SERVED_SOON: Duration = Duration::from_secs(1);

/// Where pods' network namespaces are, by UID.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<Mutex<HashMap<String, PathBuf>>>);

/// Does what is wanted of pods.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) client: HandsClient,
    pub(crate) requests: Arc<Requests>,
    pub(crate) probes: Arc<Probes>,
    pub(crate) processes: Processes,
    pub(crate) resolvers: Resolvers,
    pub(crate) places: Places,
}

/// A client of the API server; not to be printed.
#[derive(Clone)]
pub(crate) struct HandsClient(pub(crate) Client);

/// How far joining came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It is captured and served.
    Served,
    /// It has neither an address nor a known network namespace, so there is nothing to capture.
    NotSetUpYet,
}

// === impl HandsClient ===

impl std::fmt::Debug for HandsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandsClient")
    }
}

// === impl Places ===

impl Places {
    /// The place of the pod `uid`.
    pub(crate) fn find(&self, uid: &str) -> Option<PathBuf> {
        self.lock().get(uid).cloned()
    }

    /// Whether a place of the pod `uid` is known.
    pub(crate) fn knows(&self, uid: &str) -> bool {
        self.lock().contains_key(uid)
    }

    /// Takes down where a pod is.
    pub(crate) fn set(&self, uid: &str, place: PathBuf) {
        self.lock().insert(uid.to_owned(), place);
    }

    /// Forgets a pod.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// The UIDs of all pods with a place.
    pub(crate) fn uids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Hands ===

impl Hands {
    /// Has a pod served and captures it, then exempts its probes. Doing it again changes nothing.
    ///
    /// A pod that ztunnel does not take yet is annotated `pending`, and that is an error to try again after.
    pub(crate) async fn join(&self, pod: &Arc<PodView>) -> Result<Joined, String> {
        let Some(netns) = self.locate(pod).await? else {
            return match pod.ips.is_empty() {
                true => Ok(Joined::NotSetUpYet),
                false => Err(format!(
                    "no process of pod {}/{} is found: the agent has to run with hostPID: true",
                    pod.namespace, pod.name
                )),
            };
        };
        match self.requests.add(self.spec(pod, netns), SERVED_SOON).await {
            Ok(()) => {}
            Err(Refusal::Pending(problem)) => {
                self.annotate(pod, Some("pending")).await?;
                return Err(problem);
            }
            Err(Refusal::Failed(problem)) => return Err(problem),
        }
        if !pod.ips.is_empty() {
            self.probes.clone().exempt(pod.uid.clone(), pod.ips.clone()).await?;
        }
        Ok(Joined::Served)
    }

    /// Lets a pod go; its rules are taken out if it is `alive`. One that is not known is gone already.
    pub(crate) async fn leave(&self, uid: &str, alive: bool) -> Result<(), String> {
        self.probes.clone().forget(uid.to_owned()).await?;
        self.requests.remove(uid.to_owned(), alive).await.map_err(Refusal::into_text)?;
        self.places.forget(uid);
        Ok(())
    }

    /// Writes the annotation `ambient.istio.io/redirection`, or removes it, unless the pod is seen to have it so.
    pub(crate) async fn annotate(&self, pod: &PodView, value: Option<&str>) -> Result<(), String> {
        if pod.redirection.as_deref() == value {
            return Ok(());
        }
        let patch = serde_json::json!({
            "metadata": { "uid": pod.uid, "annotations": { REDIRECTION: value } },
        });
        let api: Api<Pod> = Api::namespaced(self.client.0.clone(), &pod.namespace);
        match api.patch_status(&pod.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            // Another pod has its name by now, or none.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(format!(
                "cannot annotate pod {}/{}: {}: the agent needs the right to patch pods/status",
                pod.namespace,
                pod.name,
                describe(&error)
            )),
        }
    }

    /// A pod as the control socket would describe it.
    pub(crate) fn spec(&self, pod: &PodView, netns: PathBuf) -> PodSpec {
        PodSpec {
            uid: pod.uid.clone(),
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            service_account: pod.service_account.clone(),
            netns,
            resolv_conf: None,
            resolver: self.resolvers.resolver(&pod.namespace, &pod.dns),
            dns_capture: pod.dns_capture,
            bypass_inbound_capture: pod.bypass_inbound,
            reroute_interfaces: pod.reroute_interfaces.clone(),
        }
    }

    /// Where the pod's network namespace is: as the CNI plugin said, else by its processes. A place that still leads
    /// to the same namespace is kept, so that the pod's description stays the same.
    async fn locate(&self, pod: &Arc<PodView>) -> Result<Option<PathBuf>, String> {
        let known = self.places.find(&pod.uid);
        let (processes, uid) = (self.processes.clone(), pod.cgroup_uid.clone());
        let place = tokio::task::spawn_blocking(move || place(&processes, &uid, known))
            .await
            .map_err(|error| format!("internal error: {error}"))?
            .map_err(|error| format!("cannot list processes: {error}: mount /proc"))?;
        match &place {
            Some(place) => self.places.set(&pod.uid, place.clone()),
            None => self.places.forget(&pod.uid),
        }
        Ok(place)
    }
}

fn place(
    processes: &Processes,
    uid: &str,
    known: Option<PathBuf>,
) -> std::io::Result<Option<PathBuf>> {
    let id_of = |path: &PathBuf| ambit_net::NetNs::open(path).ok().map(|netns| netns.id());
    let known = known.and_then(|path| Some((id_of(&path)?, path)));
    let found = processes.netns(uid)?;
    Ok(match (known, found) {
        (Some((id, known)), Some(Found { path, id: found })) => {
            Some(if (id.dev, id.inode) == found { known } else { path })
        }
        // A pod that is being set up has no process yet. A process's own path may be another process's by now.
        (Some((_, known)), None) => (!known.ends_with("ns/net")).then_some(known),
        (None, found) => found.map(|found| found.path),
    })
}
