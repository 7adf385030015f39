//! A namespace with two pods on each node for as long as the checks take: one with the agent's rights, an ordinary one.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::cluster::{Cluster, MARK};

/// The two DaemonSets.
pub(super) const PRIVILEGED: &str = "node";
pub(super) const ORDINARY: &str = "network";
/// The service in front of each node's ordinary pod.
const SERVICE: &str = "network";
/// The agent's program in its image.
const AGENT: &str = "/usr/local/bin/ambit-agent";
/// The port of the tunnel.
const PORT: u16 = 15008;

/// The namespace, and the objects in it.
pub(super) struct Stage {
    pub(super) namespace: String,
    objects: Vec<Value>,
}

/// One pod of a DaemonSet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Actor {
    pub(super) node: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// Why it does not run, or where it is reached.
    pub(super) address: Result<IpAddr, String>,
}

// === impl Stage ===

impl Stage {
    /// Objects with the image `image`, in a namespace that nobody else has.
    pub(super) fn new(image: &str) -> Self {
        let random = RandomState::new().hash_one(std::process::id());
        let namespace = format!("ambit-check-{:08x}", random >> 32);
        let privileged = json!({
            "hostPID": true,
            "hostNetwork": true,
            "containers": [{
                "name": "check", "image": image, "args": ["check", "wait"],
                "securityContext": {"privileged": true},
            }],
        });
        let ordinary = json!({
            "containers": [{"name": "check", "image": image, "args": ["check", "listen"]}],
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": SERVICE, "namespace": namespace},
            // The only endpoint on a node is then its own pod.
            "spec": {
                "internalTrafficPolicy": "Local",
                "selector": {"app": ORDINARY},
                "ports": [{"port": PORT}],
            },
        });
        let first = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {
                "istio.io/dataplane-mode": "none",
                MARK: "check",
                "pod-security.kubernetes.io/enforce": "privileged",
            }},
        });
        let daemons = [(PRIVILEGED, privileged), (ORDINARY, ordinary)]
            .map(|(name, spec)| daemon(&namespace, name, spec));
        Self { namespace, objects: [first, service].into_iter().chain(daemons).collect() }
    }

    /// Makes everything, and waits until all pods run, or `limit` is over.
    pub(super) async fn set_up(&self, cluster: &Cluster, limit: Duration) -> Result<()> {
        for object in &self.objects {
            cluster.apply(object).await?;
        }
        // Which pods do not run is said of each of them.
        if let Err(error) = cluster.running(&self.objects, limit).await {
            tracing::debug!("{error:#}");
        }
        Ok(())
    }

    /// The pods of one DaemonSet, by their nodes' names.
    pub(super) async fn actors(&self, cluster: &Cluster, name: &str) -> Result<Vec<Actor>> {
        let pods = cluster.pods(&self.namespace, &format!("app={name}")).await?;
        let mut actors: Vec<Actor> = pods.iter().filter_map(Actor::of).collect();
        actors.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(actors)
    }

    /// The address of the service.
    pub(super) async fn service(&self, cluster: &Cluster) -> Result<String> {
        let service = cluster.named("", "Service", &self.namespace).get(SERVICE).await?;
        let address = service.data.pointer("/spec/clusterIP").and_then(Value::as_str);
        Ok(address.context("the Service of the check has no address")?.to_owned())
    }

    /// Runs the agent's checks in a pod.
    pub(super) async fn run(
        &self,
        cluster: &Cluster,
        pod: &str,
        arguments: Vec<String>,
    ) -> Result<String> {
        let command: Vec<String> =
            [AGENT.to_owned(), "check".to_owned()].into_iter().chain(arguments).collect();
        cluster.exec(&self.namespace, pod, &command).await
    }

    /// Removes everything.
    pub(super) async fn remove(&self, cluster: &Cluster) -> Result<()> {
        // With it goes all that is in it.
        let Some(namespace) = self.objects.first() else { return Ok(()) };
        cluster.delete(namespace).await.map(drop).with_context(|| {
            format!("kubectl delete namespace {} removes what is left", self.namespace)
        })
    }
}

fn daemon(namespace: &str, name: &str, mut spec: Value) -> Value {
    spec["terminationGracePeriodSeconds"] = json!(1);
    spec["automountServiceAccountToken"] = json!(false);
    // The agent goes everywhere, too.
    spec["tolerations"] = json!([{"operator": "Exists"}]);
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    })
}

// === impl Actor ===

impl Actor {
    /// Nothing as long as the pod has no node.
    fn of(pod: &Pod) -> Option<Self> {
        let node = pod.spec.as_ref()?.node_name.clone()?;
        let (name, uid) = (pod.metadata.name.clone()?, pod.metadata.uid.clone()?);
        let status = pod.status.clone().unwrap_or_default();
        let container = status.container_statuses.unwrap_or_default().into_iter().next();
        let is_ready = container.as_ref().is_some_and(|container| container.ready);
        let waiting = container.and_then(|c| c.state?.waiting).map(|waiting| {
            let reason = waiting.reason.unwrap_or_default();
            format!("{reason} {}", waiting.message.unwrap_or_default()).trim().to_owned()
        });
        let address = match status.pod_ip.and_then(|ip| ip.parse().ok()) {
            Some(ip) if is_ready => Ok(ip),
            _ => Err(waiting.unwrap_or_else(|| "the node has not started it".to_owned())),
        };
        Some(Self { node, name, uid, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_runs_or_says_why_not() {
        let actor = |status: Value| {
            let pod = json!({
                "metadata": {"name": "p", "uid": "u"},
                "spec": {"nodeName": "n", "containers": []},
                "status": status,
            });
            Actor::of(&serde_json::from_value(pod).unwrap()).unwrap().address
        };
        let container = |ready: bool, state: Value| json!({"name": "c", "image": "", "imageID": "", "restartCount": 0, "ready": ready, "state": state});
        let running = json!({"podIP": "10.0.0.1", "containerStatuses": [container(true, json!({"running": {}}))]});
        assert_eq!(actor(running), Ok("10.0.0.1".parse().unwrap()));
        let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
        let pulling =
            json!({"podIP": "10.0.0.1", "containerStatuses": [container(false, waiting)]});
        assert_eq!(actor(pulling), Err("ErrImagePull no such image".to_owned()));
        assert!(actor(json!({})).unwrap_err().contains("not started"));
    }

    #[test]
    fn two_stages_do_not_meet() {
        let (a, b) = (Stage::new("i"), Stage::new("i"));
        assert_ne!(a.namespace, b.namespace);
        let all = serde_json::to_string(&a.objects).unwrap();
        assert_eq!(all.matches(&a.namespace).count(), a.objects.len());
    }
}
