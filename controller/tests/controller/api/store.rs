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

/// Resource, namespace and name.
type ObjectKey = (String, String, String);

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
    objects: BTreeMap<ObjectKey, Value>,
    history: Vec<Happened>,
    troubles: HashMap<String, Trouble>,
    tokens: HashMap<String, Value>,
    created: HashMap<String, usize>,
    /// Who owns which type of condition of which object, and how often statuses were written.
    owners: HashMap<(ObjectKey, String), String>,
    status_writes: HashMap<String, usize>,
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

    pub(super) fn put(&mut self, resource: &str, object: Value) -> Value {
        self.put_as(resource, object, None)
    }

    /// Puts an object that `manager` owns by server-side apply.
    pub(super) fn put_as(
        &mut self,
        resource: &str,
        mut object: Value,
        manager: Option<&str>,
    ) -> Value {
        let fields = object.clone();
        self.version += 1;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (resource.to_owned(), text("namespace"), text("name"));
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        object["metadata"]["managedFields"] = match manager {
            Some(manager) => json!([
                {"manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields},
            ]),
            None => json!([{"manager": "test"}]),
        };
        let old = self.objects.get(&key);
        if object["spec"].is_object() {
            let last = old.map_or(0, |old| old["metadata"]["generation"].as_i64().unwrap_or(0));
            let same = old.is_some_and(|old| old["spec"] == object["spec"]);
            object["metadata"]["generation"] = (last + i64::from(!same)).into();
        }
        // Whoever writes an object without its status leaves the status as it is.
        if let Some(status) = old.and_then(|old| old.get("status"))
            && object.get("status").is_none()
        {
            object["status"] = status.clone();
        }
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

    /// Server-side apply of conditions: `manager` owns those that it names, and no longer those that it does not.
    pub(super) fn apply_status(
        &mut self,
        resource: &str,
        namespace: &str,
        name: &str,
        manager: &str,
        status: &Value,
    ) -> Option<Value> {
        *self.status_writes.entry(resource.to_owned()).or_default() += 1;
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = self.objects.get(&key)?.clone();
        let text = |condition: &Value| condition["type"].as_str().unwrap_or_default().to_owned();
        let list = |status: &Value| status["conditions"].as_array().cloned().unwrap_or_default();
        let applied = list(status);
        let mut conditions = list(&object["status"]);
        conditions.retain(|c| {
            let owner = self.owners.get(&(key.clone(), text(c))).map(String::as_str);
            owner != Some(manager) && applied.iter().all(|new| text(new) != text(c))
        });
        self.owners.retain(|(of, _), owner| *of != key || owner != manager);
        for condition in &applied {
            self.owners.insert((key.clone(), text(condition)), manager.to_owned());
        }
        conditions.extend(applied);
        let before = object["status"].clone();
        if list(&before) != conditions {
            object["status"]["conditions"] = conditions.into();
        }
        let others =
            status.as_object().into_iter().flatten().filter(|(field, _)| *field != "conditions");
        others.for_each(|(field, value)| object["status"][field] = value.clone());
        if object["status"] != before {
            object = self.put(resource, object);
        }
        Some(object)
    }

    /// Replaces fields of a status, if nobody has changed the object since.
    pub(super) fn merge_status(
        &mut self,
        resource: &str,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, u16> {
        *self.status_writes.entry(resource.to_owned()).or_default() += 1;
        let mut object = self.get(resource, namespace, name).ok_or(404_u16)?;
        if object["metadata"]["resourceVersion"] != patch["metadata"]["resourceVersion"] {
            return Err(409);
        }
        for (field, value) in patch["status"].as_object().into_iter().flatten() {
            object["status"][field] = value.clone();
        }
        Ok(self.put(resource, object))
    }

    pub(super) fn status_writes(&self, resource: &str) -> usize {
        self.status_writes.get(resource).copied().unwrap_or(0)
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
