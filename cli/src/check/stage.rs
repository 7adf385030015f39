//! A namespace with two pods on each node for as long as the checks take: one with the agent's rights, an ordinary one.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::actor::Actor;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_stages_do_not_meet() {
        let (a, b) = (Stage::new("i"), Stage::new("i"));
        assert_ne!(a.namespace, b.namespace);
        let all = serde_json::to_string(&a.objects).unwrap();
        assert_eq!(all.matches(&a.namespace).count(), a.objects.len());
    }
}
