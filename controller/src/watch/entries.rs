//! Statuses that have an entry for each parent, listener or ancestor, with conditions of its own.

use ambit_model::Str;
use serde_json::{Map, Value, json};

use super::Kind;

/// Fields of a status that are read and written as a whole.
const FIELDS: [&str; 5] =
    ["parents", "ancestors", "listeners", "addresses", "attachedListenerSets"];

/// The entries that an object's status should have, as far as they are the controller's.
#[derive(Clone, Debug, PartialEq)]
pub struct Entries {
    /// Their field: `parents`, `ancestors` or `listeners`.
    pub field: &'static str,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Fields of the status beside the entries.
    pub beside: Map<String, Value>,
}

/// An entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// What it is about: its fields but for the conditions.
    pub about: Map<String, Value>,
    /// Its conditions.
    pub conditions: Vec<Detail>,
}

/// A condition of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Its type.
    pub kind: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// Why, in a word.
    pub reason: Str,
    /// Why, for people.
    pub message: Str,
}

/// The entries that a status has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    fields: Map<String, Value>,
    /// The version of the object, where a list is shared with other controllers and has to be replaced as a whole.
    version: Option<Str>,
}

/// Names of controllers that are this one.
const CONTROLLERS: [&str; 4] = [
    "ambit.dev/gateway-controller",
    "ambit.dev/mesh-controller",
    "istio.io/gateway-controller",
    "istio.io/mesh-controller",
];

// === impl Held ===

impl Held {
    pub(crate) fn read(kind: Kind, value: &Value) -> Self {
        let field = |name: &&str| {
            let part = value.get("status")?.get(name)?;
            Some(((*name).to_owned(), part.clone()))
        };
        let fields: Map<String, Value> = FIELDS.iter().filter_map(field).collect();
        let text = value.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        Self { fields, version: text.filter(|_| kind.shares_status()).map(Into::into) }
    }

    /// The version that a shared list was read in.
    pub(crate) fn version(&self) -> Option<&Str> {
        self.version.as_ref()
    }

    /// Takes in that these fields were written.
    pub(crate) fn written(&mut self, fields: &Map<String, Value>) {
        self.fields.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    fn list(&self, field: &str) -> impl Iterator<Item = &Value> {
        self.fields.get(field).and_then(Value::as_array).into_iter().flatten()
    }
}

// === impl Entries ===

impl Entries {
    /// Whether the status has just these entries, of the object's present generation.
    pub(crate) fn are_in(&self, held: &Held, generation: Option<i64>) -> bool {
        let own: Vec<&Value> = held.list(self.field).filter(|value| self.is_own(value)).collect();
        own.len() == self.entries.len()
            && self.entries.iter().zip(own).all(|(entry, value)| entry.is_in(value, generation))
            && self.beside.iter().all(|(name, value)| held.fields.get(name) == Some(value))
    }

    /// The fields to write, in which entries of others stay as they are.
    pub(crate) fn to_json(
        &self,
        held: &Held,
        generation: Option<i64>,
        now: &str,
    ) -> Map<String, Value> {
        let others = held.list(self.field).filter(|value| !self.is_own(value)).cloned();
        let own = self.entries.iter().map(|entry| {
            let old = held.list(self.field).find(|value| entry.is_about(value));
            entry.to_json(old, generation, now)
        });
        let list: Vec<Value> = others.chain(own).collect();
        let mut fields = Map::from_iter([(self.field.to_owned(), list.into())]);
        fields.extend(self.beside.iter().map(|(name, value)| (name.clone(), value.clone())));
        fields
    }

    /// Nobody else writes the listeners of a Gateway that is ours.
    fn is_own(&self, value: &Value) -> bool {
        let name = value.get("controllerName").and_then(Value::as_str);
        name.map_or(self.field == "listeners", |name| CONTROLLERS.contains(&name))
    }
}

// === impl Entry ===

impl Entry {
    fn is_about(&self, value: &Value) -> bool {
        let Some(fields) = value.as_object() else { return false };
        match self.about.get("name") {
            // What is counted in it may have changed.
            Some(name) => fields.get("name") == Some(name),
            None => {
                fields.iter().filter(|(name, _)| *name != "conditions").count() == self.about.len()
                    && self.about.iter().all(|(name, value)| fields.get(name) == Some(value))
            }
        }
    }

    fn is_in(&self, value: &Value, generation: Option<i64>) -> bool {
        let same = |(name, part): (&String, &Value)| value.get(name) == Some(part);
        let list = value.get("conditions").and_then(Value::as_array);
        let conditions = list.map(Vec::as_slice).unwrap_or_default();
        self.about.iter().all(same)
            && conditions.len() == self.conditions.len()
            && self.conditions.iter().all(|detail| {
                conditions.iter().any(|held| {
                    let mut held = held.clone();
                    let since = held.get_mut("lastTransitionTime").map(Value::take);
                    held == detail.to_json(generation, None) && since.is_some()
                })
            })
    }

    fn to_json(&self, old: Option<&Value>, generation: Option<i64>, now: &str) -> Value {
        let list = old.and_then(|old| old.get("conditions")).and_then(Value::as_array);
        let conditions = self.conditions.iter().map(|detail| {
            let held = list.into_iter().flatten().find(|held| {
                held.get("type") == Some(&detail.kind.into())
                    && held.get("status") == Some(&detail.status().into())
            });
            let since = held.and_then(|held| held.get("lastTransitionTime")?.as_str());
            detail.to_json(generation, Some(since.unwrap_or(now)))
        });
        let mut fields = self.about.clone();
        fields.insert("conditions".to_owned(), conditions.collect::<Vec<_>>().into());
        Value::Object(fields)
    }
}

// === impl Detail ===

impl Detail {
    /// A condition.
    pub fn new(
        kind: &'static str,
        status: bool,
        reason: impl Into<Str>,
        message: impl Into<Str>,
    ) -> Self {
        Self { kind, status, reason: reason.into(), message: message.into() }
    }

    fn status(&self) -> &'static str {
        if self.status { "True" } else { "False" }
    }

    fn to_json(&self, generation: Option<i64>, since: Option<&str>) -> Value {
        let mut value = json!({
            "type": self.kind,
            "status": self.status(),
            "reason": *self.reason,
            "message": *self.message,
            "lastTransitionTime": since,
        });
        if let Some(generation) = generation {
            value["observedGeneration"] = generation.into();
        }
        value
    }
}
