//! A pod of one of our DaemonSets or Deployments.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

/// Where it is, and whether it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) node: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The image of its first container.
    pub(crate) image: String,
    /// Why it is not ready, or where it is reached.
    pub(crate) address: Result<IpAddr, String>,
}

// === impl Actor ===

impl Actor {
    /// Nothing as long as the pod has no node.
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let image = spec.containers.first().and_then(|container| container.image.clone());
        let (name, uid) = (pod.metadata.name.clone()?, pod.metadata.uid.clone()?);
        let status = pod.status.clone().unwrap_or_default();
        let container = status.container_statuses.unwrap_or_default().into_iter().next();
        let is_ready = container.as_ref().is_some_and(|container| container.ready);
        let state = container.and_then(|container| container.state).unwrap_or_default();
        let waiting = state.waiting.map(|waiting| {
            let reason = waiting.reason.unwrap_or_default();
            format!("{reason} {}", waiting.message.unwrap_or_default()).trim().to_owned()
        });
        let unready = state.running.map(|_| "it runs, but is not ready".to_owned());
        let address = match status.pod_ip.and_then(|ip| ip.parse().ok()) {
            Some(ip) if is_ready => Ok(ip),
            _ => {
                Err(waiting.or(unready).unwrap_or_else(|| "the node has not started it".to_owned()))
            }
        };
        Some(Self {
            node: spec.node_name.clone()?,
            name,
            uid,
            image: image.unwrap_or_default(),
            address,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_runs_or_says_why_not() {
        let actor = |status: Value| {
            let pod = json!({
                "metadata": {"name": "p", "uid": "u"},
                "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i:1"}]},
                "status": status,
            });
            Actor::of(&serde_json::from_value(pod).unwrap()).unwrap()
        };
        let container = |ready: bool, state: Value| {
            let status = json!({"name": "c", "image": "", "imageID": "", "restartCount": 0, "ready": ready, "state": state});
            json!({"podIP": "10.0.0.1", "containerStatuses": [status]})
        };
        let running = actor(container(true, json!({"running": {}})));
        assert_eq!(
            (running.address, running.image),
            (Ok("10.0.0.1".parse().unwrap()), "i:1".to_owned())
        );
        let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
        assert_eq!(
            actor(container(false, waiting)).address,
            Err("ErrImagePull no such image".to_owned())
        );
        let unready = actor(container(false, json!({"running": {}}))).address.unwrap_err();
        assert!(unready.contains("not ready"), "{unready}");
        assert!(actor(json!({})).address.unwrap_err().contains("not started"));
    }
}
