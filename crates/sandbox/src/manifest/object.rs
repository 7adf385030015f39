//! One document's value → an object.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Document, Gateway, Invalid, ObjectRef, Refusal, check, gateway, one_line};

/// An object by what the sandbox does with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Object {
    Namespace(Box<Namespace>),
    Node(Box<Node>),
    ServiceAccount(Box<ServiceAccount>),
    Pod(Box<Pod>),
    Deployment(Box<Deployment>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    ConfigMap(Box<ConfigMap>),
    Secret(Box<Secret>),
    Gateway(Box<Gateway>),
    /// Any other, as JSON: the controller's business.
    Other(String),
}

/// Kinds that are in no namespace, as far as anyone here meets them.
const CLUSTER_SCOPED: [&str; 4] = ["Namespace", "Node", "GatewayClass", "CustomResourceDefinition"];

pub(crate) fn document(value: Value, origin: &str) -> Result<Document, Refusal> {
    let key = key(&value).map_err(|problem| Refusal {
        key: None,
        invalid: Invalid { origin: origin.to_owned(), problem },
    })?;
    let refusal = |problem: String| Refusal {
        key: Some(key.clone()),
        invalid: Invalid { origin: format!("{origin}: {key}"), problem },
    };
    let object = object(&key, value).map_err(|problem| refusal(one_line(&problem)))?;
    check::object(&key, &object).map_err(refusal)?;
    Ok(Document { key: key.clone(), object })
}

fn key(value: &Value) -> Result<ObjectRef, String> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    for (field, value) in
        [("kind", kind), ("apiVersion", text("/apiVersion")), ("metadata.name", name)]
    {
        if value.is_empty() {
            return Err(format!("{field}: is missing; every object has one"));
        }
    }
    // Kinds and names become names of files.
    if kind.len() > 63 || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(one_line(&format!(
            "kind: {kind:?} is no kind: letters and digits, at most 63"
        )));
    }
    let namespace = match text("/metadata/namespace") {
        _ if CLUSTER_SCOPED.contains(&kind) => "",
        "" => "default",
        namespace => namespace,
    };
    for (field, value) in [("metadata.name", name), ("metadata.namespace", namespace)] {
        let absent = value.is_empty() && field == "metadata.namespace";
        if !(absent || check::is_dns_name(value)) {
            return Err(one_line(&format!(
                "{field}: {value:?} is no name: lower-case letters, digits, '-' and '.', at most 253"
            )));
        }
    }
    Ok(ObjectRef::new(kind, namespace, name))
}

fn object(key: &ObjectRef, value: Value) -> Result<Object, String> {
    let group = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(match (group.as_str(), key.kind.as_str()) {
        ("v1", "Namespace") => Object::Namespace(typed(value)?),
        ("v1", "Node") => Object::Node(typed(value)?),
        ("v1", "ServiceAccount") => Object::ServiceAccount(typed(value)?),
        ("v1", "Pod") => Object::Pod(typed(value)?),
        ("v1", "Service") => Object::Service(typed(value)?),
        ("v1", "ConfigMap") => Object::ConfigMap(typed(value)?),
        ("v1", "Secret") => Object::Secret(typed(value)?),
        ("apps/v1", "Deployment") => Object::Deployment(typed(value)?),
        ("discovery.k8s.io/v1", "EndpointSlice") => Object::EndpointSlice(typed(value)?),
        (_, "Pod" | "Service" | "Namespace" | "Node" | "Deployment" | "EndpointSlice") => {
            return Err(format!("apiVersion: {group:?} has no {}", key.kind));
        }
        (_, "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "CronJob") => {
            return Err(
                "kind: the sandbox runs Pods and Deployments only; write one of these".to_owned()
            );
        }
        (group, "Gateway") if group.starts_with("gateway.networking.k8s.io/") => {
            match gateway::read(key, &value)? {
                Some(gateway) => Object::Gateway(Box::new(gateway)),
                None => Object::Other(value.to_string()),
            }
        }
        _ => Object::Other(value.to_string()),
    })
}

/// Reads the value as `T`; the error names the field.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<Box<T>, String> {
    serde_path_to_error::deserialize(value).map(Box::new).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if path == "." { inner.to_string() } else { format!("{path}: {inner}") }
    })
}
