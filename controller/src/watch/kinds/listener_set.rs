//! `ListenerSet`: listeners that others than its owner add to a Gateway.

use ambit_model::Str;
use serde::Deserialize;
use serde_json::Value;

use super::gateway::{self, RawListener};
use super::{Kind, Listener, Meta, Problem, part};
use crate::watch::Key;

/// A ListenerSet.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSet {
    /// Its metadata.
    pub meta: Meta,
    /// The Gateway; absent where its parent is something else.
    pub gateway: Option<Key>,
    /// Its listeners.
    pub listeners: Vec<Listener>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    parent_ref: RawParent,
    #[serde(default)]
    listeners: Vec<RawListener>,
}

#[derive(Deserialize)]
struct RawParent {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<Str>,
    name: Str,
}

pub(super) fn trim(meta: Meta, value: &Value) -> Result<ListenerSet, Problem> {
    let RawSpec { parent_ref: parent, listeners } = part(value, "spec")?;
    let group = parent.group.as_deref().unwrap_or(Kind::Gateway.group());
    let kind = Kind::named(group, parent.kind.as_deref().unwrap_or(Kind::Gateway.as_str()));
    let namespace = parent.namespace.unwrap_or_else(|| meta.namespace.clone());
    let gateway = Key::new(Kind::Gateway, namespace, parent.name);
    let listeners = listeners.into_iter().enumerate().map(|raw| gateway::listener(&meta, raw));
    Ok(ListenerSet {
        gateway: (kind == Some(Kind::Gateway)).then_some(gateway),
        listeners: listeners.collect::<Result<_, _>>()?,
        meta,
    })
}

// === impl ListenerSet ===

impl ListenerSet {
    /// What it is found by.
    pub fn key(&self) -> Key {
        let Meta { namespace, name, .. } = &self.meta;
        Key::new(Kind::ListenerSet, namespace.clone(), name.clone())
    }
}
