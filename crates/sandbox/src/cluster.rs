//! The objects in force, and, purely, what should run because of them.

mod plan;

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Secret};

use crate::manifest::{Object, ObjectRef};

pub(crate) use plan::{NodeLabels, Plan, PodPlan, Running, plan};

/// Names a pod: `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Every object in force, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Objects(pub(crate) BTreeMap<ObjectRef, Object>);

/// The label that enrols a pod, or all pods of a namespace, in the mesh (Istio ambient).
const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
/// The annotation of a pod that has a sidecar instead (Istio).
const SIDECAR: &str = "sidecar.istio.io/status";

// === impl PodKey ===

impl PodKey {
    /// The pod of that namespace and name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

// === impl Objects ===

impl Objects {
    pub(crate) fn namespace(&self, name: &str) -> Option<&Namespace> {
        match self.0.get(&ObjectRef::new("Namespace", "", name)) {
            Some(Object::Namespace(namespace)) => Some(namespace),
            _ => None,
        }
    }

    pub(crate) fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap> {
        match self.0.get(&ObjectRef::new("ConfigMap", namespace, name)) {
            Some(Object::ConfigMap(map)) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn secret(&self, namespace: &str, name: &str) -> Option<&Secret> {
        match self.0.get(&ObjectRef::new("Secret", namespace, name)) {
            Some(Object::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().filter_map(|(key, object)| match object {
            Object::Node(node) => Some((key.name.as_str(), &**node)),
            _ => None,
        })
    }

    /// Whether the mesh captures a pod with these labels and annotations (Istio ambient's default selectors).
    pub(crate) fn enrols(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> bool {
        if annotations.contains_key(SIDECAR) {
            return false;
        }
        match labels.get(DATAPLANE_MODE).map(String::as_str) {
            Some("ambient") => true,
            Some("none") => false,
            _ => {
                let labels = self.namespace(namespace).and_then(|ns| ns.metadata.labels.as_ref());
                let mode = labels.and_then(|labels| labels.get(DATAPLANE_MODE));
                mode.is_some_and(|mode| mode == "ambient")
            }
        }
    }
}

#[cfg(test)]
mod tests;
