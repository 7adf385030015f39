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

// === impl Name ===

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
