//! The Kubernetes API for waypoints. What it refuses is said in one line with the next step.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::json;

use super::gateway::{GATEWAY_NAME, Plan, USE, Waypoint};
use crate::cluster::Cluster;

/// Whose fields they are.
const MANAGER: &str = "ambit-waypoint";
/// Where the CRDs of the Gateway API come from.
pub(crate) const GATEWAY_API: &str = "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/latest/download/standard-install.yaml";

/// The waypoints of a cluster.
pub(super) struct Waypoints(Cluster);

// === impl Waypoints ===

impl Waypoints {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self(cluster)
    }

    fn gateways(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        self.0.kind_of("gateway.networking.k8s.io", "Gateway", namespace)
    }

    /// Those of a namespace, or of all.
    pub(super) async fn list(&self, namespace: Option<&str>) -> Result<Vec<Waypoint>> {
        let gateways = self.gateways(namespace).list(&ListParams::default()).await;
        let gateways = gateways.map_err(|error| explain(error, "list gateways"))?;
        let selected = ListParams::default().labels(GATEWAY_NAME);
        let pods: Api<Pod> = self.0.pods_in(namespace);
        let pods = pods.list(&selected).await.map_err(|error| explain(error, "list pods"))?;
        let read = |gateway| Waypoint::read(gateway, &pods.items);
        Ok(gateways.items.iter().filter_map(read).collect())
    }

    /// One by its name.
    pub(super) async fn one(&self, namespace: &str, name: &str) -> Result<Waypoint> {
        let all = self.list(Some(namespace)).await?;
        let found = all.into_iter().find(|waypoint| waypoint.name == name);
        found.with_context(|| {
            format!("there is no waypoint {namespace}/{name}: `ambit waypoint list -A` shows all")
        })
    }

    pub(super) async fn apply(&self, plan: &Plan, force: bool) -> Result<()> {
        let parameters = PatchParams { force, ..PatchParams::apply(MANAGER) };
        let api = self.gateways(Some(&plan.namespace));
        let applied = api.patch(&plan.name, &parameters, &Patch::Apply(plan.object())).await;
        applied.map(drop).map_err(|error| explain(error, "patch gateways"))
    }

    pub(super) async fn delete(&self, namespace: &str, name: &str) -> Result<()> {
        let (api, parameters) = (self.gateways(Some(namespace)), DeleteParams::background());
        let deleted = api.delete(name, &parameters).await;
        deleted.map(drop).map_err(|error| explain(error, "delete gateways"))
    }

    pub(super) async fn namespace_labels(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let found = self.0.namespaces().get_opt(name).await;
        let found = found.map_err(|error| explain(error, "get namespaces"))?;
        let namespace: Namespace =
            found.with_context(|| format!("there is no namespace {name}: create it first"))?;
        Ok(namespace.metadata.labels.unwrap_or_default())
    }

    /// Has the namespace use the waypoint.
    pub(super) async fn enroll(&self, namespace: &str, waypoint: &str) -> Result<()> {
        let patch = Patch::Merge(json!({ "metadata": { "labels": { USE: waypoint } } }));
        let patched = self.0.namespaces().patch(namespace, &PatchParams::default(), &patch).await;
        patched.map(drop).map_err(|error| explain(error, "patch namespaces"))
    }
}

/// What the API server refuses, in one line.
fn explain(error: kube::Error, what: &str) -> anyhow::Error {
    let kube::Error::Api(status) = &error else {
        return anyhow!(error).context(format!("cannot {what}"));
    };
    let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    match status.code {
        403 => anyhow!("you may not {what}: {}", status.message),
        404 if !named && what.ends_with("gateways") => {
            anyhow!(
                "the cluster has no Gateways; the Gateway API's CRDs are missing: {GATEWAY_API}"
            )
        }
        409 if what == "patch gateways" => {
            anyhow!(
                "somebody else has set the same fields; --overwrite takes them over: {}",
                status.message
            )
        }
        _ => anyhow!("cannot {what}: {}", status.message),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_is_refused_says_what_to_do() {
        let explained = |code: u16, name: &str, what: &str| {
            let body = json!({ "code": code, "message": "no", "details": { "name": name } });
            let status: Status = serde_json::from_value(body).unwrap();
            explain(kube::Error::Api(Box::new(status)), what).to_string()
        };
        assert_eq!(explained(403, "", "list gateways"), "you may not list gateways: no");
        assert!(explained(404, "", "list gateways").contains("CRDs are missing: kubectl apply"));
        assert_eq!(explained(404, "gw", "delete gateways"), "cannot delete gateways: no");
        assert!(explained(409, "gw", "patch gateways").contains("--overwrite"));
        for code in [403, 404, 409, 500] {
            assert_eq!(explained(code, "", "patch gateways").lines().count(), 1);
        }
    }
}
