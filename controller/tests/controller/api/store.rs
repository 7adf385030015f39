//! The objects and their history.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

/// What a resource suffers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Missing,
    Forbidden,
    Down,
}

/// Something that happened to an object.
#[derive(Clone, Debug)]
pub(super) struct Happened {
    pub(super) version: u64,
    pub(super) kind: &'static str,
    pub(super) resource: String,
    pub(super) object: Value,
}

#[derive(Default)]
pub(super) struct Store {
    version: u64,
    /// What happened up to here is forgotten.
    forgotten: u64,
    objects: BTreeMap<(String, String, String), Value>,
    history: Vec<Happened>,
    troubles: HashMap<String, Trouble>,
    tokens: HashMap<String, Value>,
    created: HashMap<String, usize>,
    /// Counts failures that end watches.
    epoch: u64,
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.get(&key).cloned()
    }

    pub(super) fn list(&self, resource: &str) -> Vec<Value> {
        let of = |((r, _, _), object): (&(String, _, _), &Value)| {
            (r == resource).then(|| object.clone())
        };
        self.objects.iter().filter_map(of).collect()
    }

    /// What happened after `version`; `None` if that is no longer known.
    pub(super) fn since(&self, version: u64, resource: &str) -> Option<Vec<Happened>> {
        let new = self.history.iter().filter(|h| h.version > version && h.resource == resource);
        (version >= self.forgotten).then(|| new.cloned().collect())
    }

    pub(super) fn put(&mut self, resource: &str, mut object: Value) -> Value {
        self.version += 1;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (resource.to_owned(), text("namespace"), text("name"));
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        object["metadata"]["managedFields"] = json!([{"manager": "test"}]);
        let old = self.objects.insert(key, object.clone());
        self.happened(if old.is_some() { "MODIFIED" } else { "ADDED" }, resource, object.clone());
        object
    }

    pub(super) fn create(&mut self, resource: &str, object: Value) -> Result<Value, u16> {
        *self.created.entry(resource.to_owned()).or_default() += 1;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        match self.get(resource, text("namespace"), text("name")) {
            Some(_) => Err(409),
            None => Ok(self.put(resource, object)),
        }
    }

    pub(super) fn replace(&mut self, resource: &str, object: Value) -> Result<Value, u16> {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        match self.get(resource, text("namespace"), text("name")) {
            Some(old) if old["metadata"]["resourceVersion"] == metadata["resourceVersion"] => {
                Ok(self.put(resource, object))
            }
            Some(_) => Err(409),
            None => Err(404),
        }
    }

    pub(super) fn delete(&mut self, resource: &str, namespace: &str, name: &str) {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = self.objects.remove(&key).expect("an object");
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.happened("DELETED", resource, object);
    }

    pub(super) fn compact(&mut self) {
        self.version += 1;
        self.forgotten = self.version;
        self.history.clear();
        self.epoch += 1;
    }

    pub(super) fn fail(&mut self, resource: &str, trouble: Option<Trouble>) {
        match trouble {
            Some(trouble) => self.troubles.insert(resource.to_owned(), trouble),
            None => self.troubles.remove(resource),
        };
        self.epoch += 1;
    }

    pub(super) fn trouble(&self, resource: &str) -> Option<Trouble> {
        self.troubles.get(resource).or_else(|| self.troubles.get("")).copied()
    }

    pub(super) fn token(&mut self, token: &str, status: Value) {
        self.tokens.insert(token.to_owned(), status);
    }

    pub(super) fn review(&mut self, mut review: Value) -> Value {
        *self.created.entry("tokenreviews".to_owned()).or_default() += 1;
        let token = review["spec"]["token"].as_str().unwrap_or_default();
        let unknown = json!({"authenticated": false, "error": "unknown token"});
        review["status"] = self.tokens.get(token).cloned().unwrap_or(unknown);
        review
    }

    pub(super) fn created(&self, resource: &str) -> usize {
        self.created.get(resource).copied().unwrap_or(0)
    }

    fn happened(&mut self, kind: &'static str, resource: &str, object: Value) {
        let resource = resource.to_owned();
        self.history.push(Happened { version: self.version, kind, resource, object });
    }
}
