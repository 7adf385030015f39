//! A Gateway, as far as deploying it goes.

use std::collections::BTreeMap;

use ambit_model::{GatewayClass, GatewayNames};
use kube::api::DynamicObject;
use serde::Deserialize;

use crate::watch::one_line;

/// A namespace and a name in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A Gateway that is deployed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gateway {
    pub(super) name: Name,
    pub(super) uid: String,
    pub(super) class: &'static GatewayClass,
    pub(super) names: GatewayNames,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) listeners: Vec<Listener>,
    /// The address that it asks for.
    pub(super) address: Option<String>,
    /// What is put on everything that is deployed.
    pub(super) infrastructure: Infrastructure,
}

/// A listener.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) port: u16,
    #[serde(default)]
    pub(super) protocol: String,
}

/// `spec.infrastructure`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Infrastructure {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) parameters_ref: Option<ParametersRef>,
}

/// `spec.infrastructure.parametersRef`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct ParametersRef {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    gateway_class_name: String,
    #[serde(default)]
    listeners: Vec<Listener>,
    #[serde(default)]
    addresses: Vec<RawAddress>,
    #[serde(default)]
    infrastructure: Infrastructure,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSet {
    parent_ref: RawParent,
    #[serde(default)]
    listeners: Vec<Listener>,
}

#[derive(Deserialize)]
struct RawParent {
    namespace: Option<String>,
    name: String,
}

#[derive(Deserialize)]
struct RawAddress {
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<String>,
}

/// The annotation by which a controller says which version of itself has deployed a Gateway, and the version that is
/// compatible with what is done here. (protocol.md 10.1.)
const VERSION: (&str, u32) = ("gateway.istio.io/controller-version", 5);

/// Reads a Gateway; `None` for one that somebody else deploys.
///
/// # Errors
/// What cannot be read of it.
pub(super) fn read(object: &DynamicObject) -> Result<Option<Gateway>, String> {
    let class = object.data["spec"]["gatewayClassName"].as_str();
    let Some(class) = class.and_then(GatewayClass::named) else { return Ok(None) };
    let spec: RawSpec = serde_path_to_error::deserialize(&object.data["spec"])
        .map_err(|error| one_line(&format!("spec.{}: {}", error.path(), error.inner())))?;
    let metadata = &object.metadata;
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let newer = annotations.get(VERSION.0).and_then(|version| version.parse::<u32>().ok());
    let types: Vec<_> = spec.addresses.iter().map(|address| address.kind.as_deref()).collect();
    let ours = spec.gateway_class_name == class.name && GatewayClass::deploys(&types);
    if !ours || newer.is_some_and(|version| version > VERSION.1) {
        return Ok(None);
    }
    let (Some(namespace), Some(name), Some(uid)) =
        (&metadata.namespace, &metadata.name, &metadata.uid)
    else {
        return Err("metadata: has no namespace, name or uid".to_owned());
    };
    let names = class.names(name, |key| annotations.get(key).map(String::as_str));
    Ok(Some(Gateway {
        name: Name { namespace: namespace.clone(), name: name.clone() },
        uid: uid.clone(),
        class,
        names,
        annotations,
        labels: metadata.labels.clone().unwrap_or_default(),
        listeners: spec.listeners,
        address: spec.addresses.into_iter().next().and_then(|address| address.value),
        infrastructure: spec.infrastructure,
    }))
}

/// What a ListenerSet adds to which Gateway: the listeners that its status says are served.
pub(super) fn read_set(object: &DynamicObject) -> Option<(Name, Vec<Listener>)> {
    let spec: RawSet = serde_json::from_value(object.data["spec"].clone()).ok()?;
    let own = object.metadata.namespace.clone().unwrap_or_default();
    let parent = spec.parent_ref;
    let gateway = Name { namespace: parent.namespace.unwrap_or(own), name: parent.name };
    let entries = object.data["status"]["listeners"].as_array();
    let is_served = |listener: &Listener| {
        entries.into_iter().flatten().any(|entry| {
            let conditions = entry["conditions"].as_array();
            let programmed =
                |c: &serde_json::Value| c["type"] == "Programmed" && c["status"] == "True";
            entry["name"] == *listener.name && conditions.into_iter().flatten().any(programmed)
        })
    };
    let mut listeners = spec.listeners;
    listeners.retain(is_served);
    // Its names are those of another namespace.
    for listener in &mut listeners {
        listener.name = format!("port-{}", listener.port);
    }
    Some((gateway, listeners))
}

// === impl Name ===

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
