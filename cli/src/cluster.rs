//! The Kubernetes API, as far as the commands need it.

mod pods;
mod removal;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use http::Request;
use http::header::{CONTENT_TYPE, DATE};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::client::Body;
use kube::core::{GroupVersionKind, NamespaceResourceScope};
use kube::discovery::{ApiCapabilities, Scope};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::manifests::title;

/// Whose fields they are.
const FIELD_MANAGER: &str = "ambit-install";
/// The ConfigMap that the controller writes into every namespace (protocol facts 4).
pub(crate) const ROOTS: &str = "istio-ca-root-cert";
/// The key in it.
const ROOT_KEY: &str = "root-cert.pem";
/// The label of a namespace that the installation made; another one is not ours to remove.
pub(crate) const MARK: &str = "ambit.dev/made-by";

/// A cluster that can be reached.
pub(crate) struct Cluster(Client);

// === impl Cluster ===

impl Cluster {
    /// The cluster of KUBECONFIG, of ~/.kube/config, or the one that this process runs in.
    ///
    /// # Errors
    /// There is none, or it does not answer.
    pub(crate) async fn connect() -> Result<Self> {
        let client = Client::try_default()
            .await
            .context("no Kubernetes cluster: set KUBECONFIG to the file that kubectl uses")?;
        client
            .apiserver_version()
            .await
            .context("the Kubernetes API does not answer: check KUBECONFIG")?;
        Ok(Self(client))
    }

    /// The API server's version.
    pub(crate) async fn version(&self) -> Result<Info> {
        self.0.apiserver_version().await.context("the version of the API server")
    }

    /// The names of all API groups.
    pub(crate) async fn groups(&self) -> Result<Vec<String>> {
        let groups = self.0.list_api_groups().await.context("API groups")?.groups;
        Ok(groups.into_iter().map(|group| group.name).collect())
    }

    /// The API server's time, as its answers say it.
    pub(crate) async fn date(&self) -> Result<String> {
        let answer = self.0.send(Request::get("/version").body(Body::empty())?).await?;
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        Ok(date.context("the API server does not say what time it is")?.to_owned())
    }

    /// What the API server answers to a POST.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        Ok(self.0.request(request.body(serde_json::to_vec(body)?)?).await?)
    }

    /// The group and the plural of `object`'s kind.
    pub(crate) async fn resource(&self, object: &Value) -> Result<(String, String)> {
        let (resource, _) = self.kind(object).await?;
        Ok((resource.group, resource.plural))
    }

    /// Makes `object`, or makes it as it should be.
    pub(crate) async fn apply(&self, object: &Value) -> Result<()> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let api = self.api(object).await?;
        let applied = api.patch(name(object)?, &params, &Patch::Apply(object)).await;
        applied.with_context(|| title(object))?;
        Ok(())
    }

    /// Whether `object` is a namespace that somebody else made.
    pub(crate) async fn was_there_before(&self, object: &Value) -> Result<bool> {
        if object["kind"] != "Namespace" {
            return Ok(false);
        }
        let found = self.api(object).await?.get_opt(name(object)?).await?;
        let is_marked = |labels: BTreeMap<String, String>| labels.contains_key(MARK);
        Ok(found.is_some_and(|found| !found.metadata.labels.is_some_and(is_marked)))
    }

    /// Removes `object`; false if there is none.
    pub(crate) async fn delete(&self, object: &Value) -> Result<bool> {
        let api = self.api(object).await?;
        match api.delete(name(object)?, &DeleteParams::background()).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error).with_context(|| title(object)),
        }
    }

    /// Waits until the Deployments and DaemonSets among `objects` run as they are described.
    ///
    /// # Errors
    /// They do not within `limit`; the message names them.
    pub(crate) async fn running(&self, objects: &[Value], limit: Duration) -> Result<()> {
        let all = async {
            for object in objects.iter().filter(|object| rolls_out(object)) {
                let api = self.api(object).await?;
                await_condition(api, name(object)?, |object: Option<&DynamicObject>| {
                    object.is_some_and(is_rolled_out)
                })
                .await?;
            }
            anyhow::Ok(())
        };
        match timeout(limit, all).await {
            Ok(done) => done,
            Err(_) => bail!("not everything runs after {limit:?}: {}", self.waiting(objects).await),
        }
    }

    /// What does not run yet, and how to find out why.
    async fn waiting(&self, objects: &[Value]) -> String {
        let mut waiting = Vec::new();
        for object in objects.iter().filter(|object| rolls_out(object)) {
            let (Ok(api), Ok(name)) = (self.api(object).await, name(object)) else { continue };
            if !api.get(name).await.is_ok_and(|object| is_rolled_out(&object)) {
                waiting.push(title(object));
            }
        }
        let namespace = objects.iter().find_map(|object| object["metadata"]["namespace"].as_str());
        let namespace = namespace.unwrap_or_default();
        format!("{} (kubectl -n {namespace} describe pods says why)", waiting.join(", "))
    }

    /// Objects of a kind in a namespace.
    pub(crate) fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.0.clone(), namespace)
    }

    /// All objects of a kind, in all namespaces.
    pub(crate) async fn all<K>(&self) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let list = Api::<K>::all(self.0.clone()).list(&ListParams::default()).await;
        Ok(list.with_context(|| K::plural(&()).into_owned())?.items)
    }

    /// The roots as each namespace has them; none where the copy is missing.
    pub(crate) async fn root_copies(&self) -> Result<BTreeMap<String, Option<String>>> {
        let namespaces: Vec<Namespace> = self.all().await?;
        let is_there = |one: &&Namespace| one.metadata.deletion_timestamp.is_none();
        let mut copies: BTreeMap<String, Option<String>> =
            namespaces.iter().filter(is_there).map(|one| (one.name_any(), None)).collect();
        let selected = ListParams::default().fields(&format!("metadata.name={ROOTS}"));
        let maps = Api::<ConfigMap>::all(self.0.clone()).list(&selected).await.context(ROOTS)?;
        for map in maps.items {
            let text = map.data.as_ref().and_then(|data| data.get(ROOT_KEY)).cloned();
            if let Some(copy) = copies.get_mut(&map.namespace().unwrap_or_default()) {
                *copy = text;
            }
        }
        Ok(copies)
    }

    /// Objects of a kind in version 1, of one namespace or of all.
    pub(crate) fn kind_of(
        &self,
        group: &str,
        kind: &str,
        namespace: Option<&str>,
    ) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        match namespace {
            Some(namespace) => Api::namespaced_with(self.0.clone(), namespace, &resource),
            None => Api::all_with(self.0.clone(), &resource),
        }
    }

    /// Pods of one namespace or of all.
    pub(crate) fn pods_in(&self, namespace: Option<&str>) -> Api<Pod> {
        match namespace {
            Some(namespace) => Api::namespaced(self.0.clone(), namespace),
            None => Api::all(self.0.clone()),
        }
    }

    /// The namespaces.
    pub(crate) fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.0.clone())
    }

    /// Objects of a kind in version 1.
    pub(crate) fn named(&self, group: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        self.kind_of(group, kind, Some(namespace))
    }

    /// Where objects like `object` are.
    async fn api(&self, object: &Value) -> Result<Api<DynamicObject>> {
        let (resource, capabilities) = self.kind(object).await?;
        let namespace = object["metadata"]["namespace"].as_str();
        Ok(match (capabilities.scope, namespace) {
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(self.0.clone(), namespace, &resource)
            }
            _ => Api::all_with(self.0.clone(), &resource),
        })
    }

    async fn kind(&self, object: &Value) -> Result<(ApiResource, ApiCapabilities)> {
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        let (group, version) =
            text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
        let kind = GroupVersionKind::gvk(group, version, text("kind"));
        kube::discovery::pinned_kind(&self.0, &kind)
            .await
            .with_context(|| format!("{}: the cluster does not know the kind", title(object)))
    }
}

fn name(object: &Value) -> Result<&str> {
    object["metadata"]["name"].as_str().ok_or_else(|| anyhow!("{} has no name", title(object)))
}

fn rolls_out(object: &Value) -> bool {
    object["kind"] == "Deployment" || object["kind"] == "DaemonSet"
}

/// Whether every pod of a Deployment or a DaemonSet is one of its latest description, and available.
fn is_rolled_out(object: &DynamicObject) -> bool {
    let number = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_i64);
    if number("/status/observedGeneration") != object.metadata.generation {
        return false;
    }
    let (wanted, updated, available) = match number("/spec/replicas") {
        Some(replicas) => (Some(replicas), "updatedReplicas", "availableReplicas"),
        None => {
            let wanted = number("/status/desiredNumberScheduled");
            (wanted, "updatedNumberScheduled", "numberAvailable")
        }
    };
    let has = |field: &str| Some(number(&format!("/status/{field}")).unwrap_or(0)) == wanted;
    has(updated) && has(available)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn rolled_out_is_all_of_the_latest() {
        let deployment = |generation: i64, updated: i64, available: &Value| {
            object(json!({
                "metadata": {"generation": generation},
                "spec": {"replicas": 2},
                "status": {"observedGeneration": 3, "updatedReplicas": updated, "availableReplicas": available},
            }))
        };
        for (generation, updated, available, expected) in [
            (3, 2, json!(2), true),
            (4, 2, json!(2), false),
            (3, 1, json!(2), false),
            (3, 2, json!(1), false),
            (3, 2, json!(null), false),
        ] {
            let object = deployment(generation, updated, &available);
            assert_eq!(is_rolled_out(&object), expected, "{generation} {updated} {available}");
        }
        let daemons = |wanted: i64, available: i64| {
            object(json!({
                "metadata": {"generation": 1},
                "spec": {},
                "status": {"observedGeneration": 1, "desiredNumberScheduled": wanted,
                    "updatedNumberScheduled": wanted, "numberAvailable": available},
            }))
        };
        assert!(is_rolled_out(&daemons(2, 2)) && is_rolled_out(&daemons(0, 0)));
        assert!(!is_rolled_out(&daemons(2, 1)));
    }
}
