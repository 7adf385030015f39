//! An object as the API server sends it, of any kind.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope, Resource};
use serde::de::DeserializeSeed as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::keep;
use super::known::Read;
use crate::watch::kinds::{self, Trimmed};
use crate::watch::{Key, Kind, Standing};

/// An object before it is trimmed. Only what the watch itself needs has been looked at, so that a malformed object
/// does not spoil the list that it is in.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    /// Name, namespace and version; nothing else.
    metadata: ObjectMeta,
    value: Value,
}

/// How the API server calls `kind` in `version`.
pub(crate) fn resource(kind: Kind, version: &str) -> ApiResource {
    let group = kind.group();
    let api_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.as_str().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

// === impl Raw ===

impl Raw {
    /// What the object is found by.
    pub(super) fn key(&self, kind: Kind) -> Key {
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        Key { kind, namespace: text(&self.metadata.namespace), name: text(&self.metadata.name) }
    }

    /// The object as it is used.
    pub(super) fn trim(self, kind: Kind) -> Read {
        let key = self.key(kind);
        let standing = kind.has_status().then(|| Standing::read(kind, &self.value));
        let Trimmed { object, problems, .. } = kinds::trim(kind, self.value, Vec::new());
        Read { key, object, problems, standing }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = keep::OBJECT.deserialize(deserializer)?;
        let mut metadata = ObjectMeta::default();
        if let Some(raw) = value.get("metadata") {
            let text = |name: &str| raw.get(name).and_then(Value::as_str).map(str::to_owned);
            metadata.name = text("name");
            metadata.namespace = text("namespace");
            metadata.resource_version = text("resourceVersion");
        }
        Ok(Self { metadata, value })
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
