//! Reading and writing of deployed objects.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::desk::Seen;
use super::objects::{MANAGED, Wanted};
use super::parts::{Part, PartKey};
use super::seen::seen;
use crate::watch::api_error;

/// Who owns the fields that are written here: what the controller writes elsewhere has nothing to do with it.
pub(super) const MANAGER: &str = "ambit-gateway";
/// How long to wait for the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The API server, for what is deployed.
pub(super) struct Hands {
    client: Client,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The controller may not.
    #[error(
        "the right to {verb} {plural} is missing; add to the controller's ClusterRole: apiGroups: [{group:?}], resources: [{plural:?}], verbs: [{verb:?}]; the API server says: {why}"
    )]
    Forbidden { verb: &'static str, group: String, plural: String, why: String },
    /// What is asked for cannot be had; it could not a second time.
    #[error("{0}")]
    Refused(String),
    /// The API server cannot be reached, is busy, or the object has just changed.
    #[error("{0}; this is tried again")]
    Unreachable(String),
}

// === impl Hands ===

impl Hands {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn all(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), resource)
    }

    fn api(&self, key: &PartKey, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &key.namespace, resource)
    }

    pub(super) async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ConfigMap>, Failure> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        within(api.get_opt(name), ("get", "", "configmaps")).await
    }

    /// Writes an object, and tells what it is then. An account that somebody else has made is left as it is: `None`.
    pub(super) async fn write(
        &self,
        wanted: &Wanted,
        owner: &str,
        own: bool,
    ) -> Result<Option<Seen>, Failure> {
        let Wanted { key, body } = wanted;
        let resource = key.part.resource();
        let api = self.api(key, &resource);
        let named = |verb| (verb, resource.group.as_str(), resource.plural.as_str());
        let mut present = None;
        if !own {
            present = within(api.get_opt(&key.name), named("get")).await?;
        }
        if let Some(present) = present {
            let uids = present.metadata.owner_references.iter().flatten().map(|of| of.uid.as_str());
            let managed = present.metadata.labels.as_ref().is_some_and(|l| l.contains_key(MANAGED));
            let belongs = managed || uids.into_iter().any(|uid| uid == owner);
            match key.part {
                Part::ServiceAccount if !belongs => return Ok(None),
                _ if !belongs => {
                    return Err(Failure::Refused(format!(
                        "{key} is there and is not the Gateway's; delete it, or name another with the annotation gateway.istio.io/name-override"
                    )));
                }
                Part::Deployment | Part::Service if seen(&present).owned.is_none() => {
                    // Another controller's, say of a mesh that is replaced: what it had in addition, as a container,
                    // would stay beside ours.
                    let body = take_over(body, present.metadata.resource_version.as_deref());
                    let (parameters, body) = (PostParams::default(), object(body)?);
                    within(api.replace(&key.name, &parameters, &body), named("update")).await?;
                }
                _ => {}
            }
        }
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(body);
        let patched = within(api.patch(&key.name, &parameters, &patch), named("patch")).await?;
        Ok(Some(seen(&patched)))
    }

    pub(super) async fn delete(&self, key: &PartKey) -> Result<(), Failure> {
        let resource = key.part.resource();
        let api = self.api(key, &resource);
        let found = within(api.get_opt(&key.name), ("get", &resource.group, &resource.plural));
        let Some(found) = found.await? else { return Ok(()) };
        let preconditions = Preconditions { uid: found.metadata.uid, resource_version: None };
        let parameters =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let deleted = api.delete(&key.name, &parameters);
        within(deleted, ("delete", &resource.group, &resource.plural)).await.map(drop)
    }
}

/// `body` for an update that wipes out whose the fields were.
fn take_over(body: &Value, version: Option<&str>) -> Value {
    let mut body = body.clone();
    body["metadata"]["resourceVersion"] = version.unwrap_or_default().into();
    body["metadata"]["managedFields"] = json!([{}]);
    body
}

fn object(body: Value) -> Result<DynamicObject, Failure> {
    serde_json::from_value(body).map_err(|error| Failure::Refused(error.to_string()))
}

/// The answer to a request, if it comes in time.
pub(super) async fn within<T>(
    request: impl Future<Output = kube::Result<T>>,
    (verb, group, plural): (&'static str, &str, &str),
) -> Result<T, Failure> {
    let Ok(answer) = tokio::time::timeout(TIMEOUT, request).await else {
        return Err(Failure::Unreachable("the API server does not answer".to_owned()));
    };
    answer.map_err(|error| match &error {
        kube::Error::Api(status) => match status.code {
            403 => Failure::Forbidden {
                verb,
                group: group.to_owned(),
                plural: plural.to_owned(),
                why: status.message.clone(),
            },
            400 | 404 | 405 | 415 | 422 => Failure::Refused(api_error(&error)),
            _ => Failure::Unreachable(api_error(&error)),
        },
        _ => Failure::Unreachable(api_error(&error)),
    })
}
