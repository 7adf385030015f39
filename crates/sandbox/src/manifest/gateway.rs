//! A Gateway that the sandbox deploys: one of the mesh's classes that nobody else has given an address.

use std::collections::BTreeMap;

use ambit_model::{GatewayClass, GatewayNames};
use serde::Deserialize;
use serde_json::Value;

use super::ObjectRef;
use super::object::typed;

/// A Gateway that is deployed here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gateway {
    pub(crate) class: &'static GatewayClass,
    pub(crate) names: GatewayNames,
    pub(crate) listeners: Vec<Listener>,
    /// Labels and annotations for what is deployed.
    pub(crate) infrastructure: Infrastructure,
    /// The whole object.
    pub(crate) value: Value,
}

/// A listener.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
}

/// What is put on everything that is deployed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Infrastructure {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) parameters_ref: Option<Parameters>,
}

/// Where further fields for what is deployed are.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Parameters {
    pub(crate) kind: String,
    pub(crate) name: String,
}

#[derive(Deserialize)]
struct Raw {
    metadata: RawMetadata,
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Deserialize)]
struct RawMetadata {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawSpec {
    #[serde(default)]
    addresses: Vec<RawAddress>,
    #[serde(default)]
    listeners: Vec<Listener>,
    #[serde(default)]
    infrastructure: Infrastructure,
}

#[derive(Default, Deserialize)]
struct RawStatus {
    #[serde(default)]
    addresses: Vec<Value>,
}

#[derive(Deserialize)]
struct RawAddress {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Reads a Gateway of the Gateway API; `None` for one that somebody else deploys.
///
/// # Errors
/// The field that cannot be used.
pub(super) fn read(key: &ObjectRef, value: &Value) -> Result<Option<Gateway>, String> {
    let class = value.pointer("/spec/gatewayClassName").and_then(Value::as_str);
    let Some(class) = class.and_then(GatewayClass::named) else { return Ok(None) };
    let Raw { metadata, spec, status } = *typed::<Raw>(value.clone())?;
    let types: Vec<_> = spec.addresses.iter().map(|address| address.kind.as_deref()).collect();
    if !GatewayClass::deploys(&types) || !status.addresses.is_empty() {
        return Ok(None);
    }
    let annotation = |key: &str| metadata.annotations.get(key).map(String::as_str);
    Ok(Some(Gateway {
        class,
        names: class.names(&key.name, annotation),
        listeners: spec.listeners,
        infrastructure: spec.infrastructure,
        value: value.clone(),
    }))
}
