//! Whether the user may install: the API server is asked about each kind of object.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::verdict::Right;
use crate::cluster::Cluster;

/// How many questions are asked at once.
const AT_ONCE: usize = 8;

/// How many rights making `objects` takes, and those of them that the user does not have.
pub(super) async fn missing(cluster: &Cluster, objects: &[Value]) -> Result<(usize, Vec<Right>)> {
    let mut rights = BTreeSet::new();
    for object in objects {
        let (group, resource) = cluster.resource(object).await?;
        let is_role = matches!(resource.as_str(), "roles" | "clusterroles");
        let verbs = ["get", "create", "patch"].into_iter().chain(is_role.then_some("escalate"));
        let namespace = object["metadata"]["namespace"].as_str();
        rights.extend(verbs.map(|verb| Right {
            verb,
            group: group.clone(),
            resource: resource.clone(),
            namespace: namespace.map(str::to_owned),
        }));
    }
    let all = rights.len();
    let asked = stream::iter(rights).map(|right| async {
        let allowed = allowed(cluster, &right).await?;
        anyhow::Ok((!allowed).then_some(right))
    });
    let missing = asked.buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
    Ok((all, missing.into_iter().flatten().collect()))
}

async fn allowed(cluster: &Cluster, right: &Right) -> Result<bool> {
    let Right { verb, group, resource, namespace } = right;
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "namespace": namespace,
        }},
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer: Value = cluster.post(path, &review).await.context("asking about your rights")?;
    Ok(answer["status"]["allowed"] == true)
}
