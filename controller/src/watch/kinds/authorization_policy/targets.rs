//! The `targetRefs` of an AuthorizationPolicy as they are written, and their reading.

use serde::Deserialize;

use super::Target;
use crate::watch::kinds::Problem;

/// The part of a spec that says who enforces it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawTargets {
    pub(super) target_ref: Option<RawTarget>,
    pub(super) target_refs: Option<Vec<RawTarget>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTarget {
    #[serde(default)]
    group: String,
    kind: String,
    #[serde(default)]
    name: String,
    namespace: Option<String>,
}

// === impl RawTargets ===

impl RawTargets {
    pub(super) fn is_empty(&self) -> bool {
        self.target_ref.is_none() && self.target_refs.as_ref().is_none_or(Vec::is_empty)
    }

    /// What is named, by a policy of `namespace`.
    pub(super) fn resolve(self, namespace: &str) -> Result<Vec<Target>, Problem> {
        let list = self.target_refs.unwrap_or_default().into_iter().enumerate();
        let list = list.map(|(i, raw)| (format!("spec.targetRefs[{i}]"), raw));
        let single = self.target_ref.into_iter().map(|raw| ("spec.targetRef".to_owned(), raw));
        single
            .chain(list)
            .map(|(field, raw)| read(namespace, raw).map_err(|problem| problem.within(&field)))
            .collect()
    }
}

/// What is named by a policy of `namespace`.
pub(super) fn read(namespace: &str, raw: RawTarget) -> Result<Target, Problem> {
    if raw.namespace.is_some_and(|other| !other.is_empty() && other != namespace) {
        return Err(Problem::new("namespace", "is not the policy's own; leave it out"));
    }
    if raw.name.is_empty() {
        return Err(Problem::new("name", "is missing"));
    }
    let name = raw.name.as_str().into();
    match (raw.group.as_str(), raw.kind.as_str()) {
        ("" | "core", "Service") => Ok(Target::Service(name)),
        ("networking.istio.io", "ServiceEntry") => Ok(Target::ServiceEntry(name)),
        ("gateway.networking.k8s.io", "Gateway") => Ok(Target::Gateway(name)),
        ("gateway.networking.k8s.io", "GatewayClass") => Ok(Target::GatewayClass(name)),
        (group, kind) => {
            let message = format!(
                "{kind:?} of group {group:?} is none of Service, ServiceEntry (networking.istio.io), Gateway and GatewayClass (gateway.networking.k8s.io)"
            );
            Err(Problem::new("kind", message))
        }
    }
}
