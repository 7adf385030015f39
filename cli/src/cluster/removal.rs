//! What uninstalling needs of the Kubernetes API.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Api;
use kube::ResourceExt as _;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Cluster, ROOTS};
use crate::manifests::title;

/// The DaemonSet that changes nodes.
const AGENT: &str = "ambit-agent";
/// The mark of pods that set their node right.
const RELEASING: &str = "ambit.dev/releasing";
/// Who owns the fields of what is deployed for Gateways.
const DEPLOYER: &str = "ambit-gateway";
/// The kinds of what is deployed for Gateways, and the label that it has.
const DEPLOYED: [(&str, &str, &str, &str); 6] = [
    ("gateway.networking.k8s.io", "v1", "GatewayClass", ""),
    ("apps", "v1", "Deployment", "gateway.istio.io/managed"),
    ("", "v1", "Service", "gateway.istio.io/managed"),
    ("", "v1", "ServiceAccount", "gateway.istio.io/managed"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "gateway.istio.io/managed"),
    ("policy", "v1", "PodDisruptionBudget", "gateway.istio.io/managed"),
];
/// How often pods are looked at.
const LOOK: Duration = Duration::from_millis(300);

// === impl Cluster ===

impl Cluster {
    /// How many objects there are of the kind that `definition` defines; `None` if there are none.
    pub(crate) async fn in_use(&self, definition: &Value) -> Result<Option<usize>> {
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str);
        let text = |pointer: &str| text(pointer).unwrap_or_default();
        let kind = GroupVersionKind::gvk(
            text("/spec/group"),
            text("/spec/versions/0/name"),
            text("/spec/names/kind"),
        );
        let resource = ApiResource::from_gvk_with_plural(&kind, text("/spec/names/plural"));
        let all: Api<DynamicObject> = Api::all_with(self.0.clone(), &resource);
        match all.list_metadata(&ListParams::default()).await {
            Ok(list) if !list.items.is_empty() => Ok(Some(list.items.len())),
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| title(definition)),
        }
    }

    /// Has every node's agent take all pods out of the mesh and its traces off the node. Where only the DaemonSet has
    /// been deleted, which leaves nodes as they were, that of `objects` comes back for it. False if nothing of the agent
    /// is there.
    ///
    /// # Errors
    /// Not every node is done within `limit`.
    pub(crate) async fn release_nodes(
        &self,
        namespace: &str,
        objects: &[Value],
        limit: Duration,
    ) -> Result<bool> {
        let agents = self.named("apps", "DaemonSet", namespace);
        if agents.get_opt(AGENT).await?.is_none() {
            let accounts = self.named("", "ServiceAccount", namespace);
            let is_agent = |o: &&Value| o["kind"] == "DaemonSet" && o["metadata"]["name"] == AGENT;
            match (accounts.get_opt(AGENT).await?, objects.iter().find(is_agent)) {
                (Some(_), Some(agent)) => self.apply(agent).await?,
                _ => return Ok(false),
            }
        }
        // Merged by the container's name; what is not named stays.
        let patch = json!({"spec": {
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%", "maxSurge": 0}},
            "template": {
                "metadata": {"annotations": {RELEASING: "true"}},
                "spec": {"containers": [{
                    "name": AGENT,
                    "args": ["uninstall", "--kubernetes"],
                    "readinessProbe": null,
                    "livenessProbe": null,
                }]},
            },
        }});
        agents.patch(AGENT, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
        match timeout(limit, self.released(namespace)).await {
            Ok(done) => done.map(|()| true),
            Err(_) => bail!(
                "not every node is released after {limit:?}: kubectl -n {namespace} logs daemonset/{AGENT} says why"
            ),
        }
    }

    /// Waits until the agent has done its last work on every node.
    async fn released(&self, namespace: &str) -> Result<()> {
        let (agents, pods) =
            (self.named("apps", "DaemonSet", namespace), self.named("", "Pod", namespace));
        let selected = ListParams::default().labels(&format!("app={AGENT}"));
        loop {
            let agent = agents.get(AGENT).await?;
            let number = |pointer: &str| agent.data.pointer(pointer).and_then(Value::as_i64);
            let is_current = number("/status/observedGeneration") == agent.metadata.generation;
            let list = pods.list(&selected).await?;
            let done = list.items.iter().filter(|pod| has_released(pod)).count();
            let wanted = number("/status/desiredNumberScheduled");
            if is_current && wanted == i64::try_from(done).ok() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until an object that was deleted is gone, with what is in it.
    pub(crate) async fn gone(&self, object: &Value, limit: Duration) -> Result<()> {
        let api = self.api(object).await?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let gone = async {
            while api.get_metadata_opt(name).await?.is_some() {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        let late = || format!("{} is still being deleted after {limit:?}", title(object));
        timeout(limit, gone).await.unwrap_or_else(|_| bail!(late()))
    }

    /// Removes the roots that the controller has written into namespaces.
    pub(crate) async fn delete_roots(&self) -> Result<()> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
        let all: Api<DynamicObject> = Api::all_with(self.0.clone(), &resource);
        let selected = ListParams::default().fields(&format!("metadata.name={ROOTS}"));
        for map in all.list_metadata(&selected).await?.items {
            let namespace = map.metadata.namespace.unwrap_or_default();
            let api = self.named("", "ConfigMap", &namespace);
            match api.delete(ROOTS, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => {
                    deleted.with_context(|| format!("ConfigMap {namespace}/{ROOTS}"))?;
                }
            }
        }
        Ok(())
    }

    /// Removes what the controller has deployed for Gateways, and its GatewayClasses; says what. The Gateways stay.
    pub(crate) async fn delete_deployed(&self) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for (group, version, kind, label) in DEPLOYED {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let all: Api<DynamicObject> = Api::all_with(self.0.clone(), &resource);
            let found = match all.list_metadata(&ListParams::default().labels(label)).await {
                Ok(found) => found.items,
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error).context(kind),
            };
            for object in found.iter().filter(|object| is_deployed(object)) {
                let name = object.name_any();
                let (api, what) = match object.namespace() {
                    Some(namespace) => (
                        Api::namespaced_with(self.0.clone(), &namespace, &resource),
                        format!("{kind} {namespace}/{name}"),
                    ),
                    None => (all.clone(), format!("{kind} {name}")),
                };
                match api.delete(&name, &DeleteParams::background()).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    deleted => {
                        deleted.with_context(|| what.clone())?;
                        removed.push(what);
                    }
                }
            }
        }
        Ok(removed)
    }
}

/// Whether the controller has deployed an object for a Gateway, or made it a class.
fn is_deployed(object: &PartialObjectMeta<DynamicObject>) -> bool {
    let mut managers = object.metadata.managed_fields.iter().flatten();
    managers.any(|entry| entry.manager.as_deref() == Some(DEPLOYER))
}

/// Whether a pod was started to set its node right and has done so.
fn has_released(pod: &DynamicObject) -> bool {
    let marked = pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(RELEASING));
    let exit = |state: &str| {
        let pointer = format!("/status/containerStatuses/0/{state}/terminated/exitCode");
        pod.data.pointer(&pointer).and_then(Value::as_i64)
    };
    marked && (exit("state") == Some(0) || exit("lastState") == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn released_is_who_ended_well() {
        let pod = |marked: bool, state: &Value| {
            let annotations = if marked { json!({RELEASING: "true"}) } else { json!({}) };
            object(json!({
                "metadata": {"annotations": annotations},
                "status": {"containerStatuses": [state]},
            }))
        };
        let ended = |code: i64| json!({"terminated": {"exitCode": code}});
        for (marked, state, expected) in [
            (true, json!({"state": ended(0)}), true),
            (true, json!({"state": {"running": {}}, "lastState": ended(0)}), true),
            (true, json!({"state": {"running": {}}}), false),
            (true, json!({"state": ended(1)}), false),
            (false, json!({"state": ended(0)}), false),
        ] {
            assert_eq!(has_released(&pod(marked, &state)), expected, "{marked} {state}");
        }
    }
}
