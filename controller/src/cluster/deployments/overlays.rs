//! Further fields for what is deployed, from ConfigMaps: one key for each kind of object. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::parts::Part;
use crate::watch::one_line;

/// Further fields, by what they are for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Overlays(BTreeMap<Part, Value>);

// === impl Overlays ===

impl Overlays {
    /// Reads the data of a ConfigMap.
    ///
    /// # Errors
    /// The key that is none, or whose value is no YAML.
    pub(super) fn read(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut overlays = BTreeMap::new();
        for (key, text) in data {
            let known = || Part::ALL.map(Part::overlay_key).join(", ");
            let part = Part::ALL.into_iter().find(|part| part.overlay_key() == key);
            let part = part.ok_or_else(|| format!("data.{key}: is none of {}", known()))?;
            let value: Value = serde_saphyr::from_str(text)
                .map_err(|error| one_line(&format!("data.{key}: is no YAML: {error}")))?;
            match value {
                Value::Object(_) => drop(overlays.insert(part, value)),
                Value::Null => {}
                _ => return Err(format!("data.{key}: is no map of fields")),
            }
        }
        Ok(Self(overlays))
    }

    /// The fields for a part.
    pub(super) fn of(&self, part: Part) -> Option<&Value> {
        self.0.get(&part)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_key_is_for_one_kind() {
        let read = |pairs: &[(&str, &str)]| {
            let owned = |(key, text): &(&str, &str)| ((*key).to_owned(), (*text).to_owned());
            Overlays::read(&pairs.iter().map(owned).collect())
        };
        let overlays = read(&[("deployment", "spec: {replicas: 3}"), ("service", "")]).unwrap();
        assert_eq!(overlays.of(Part::Deployment), Some(&json!({"spec": {"replicas": 3}})));
        assert_eq!(overlays.of(Part::Service), None);
        for (key, text, expected) in [
            ("deploy", "{}", "data.deploy: is none of serviceAccount, deployment, service"),
            ("service", "a: [", "data.service: is no YAML"),
            ("service", "[]", "data.service: is no map"),
        ] {
            let error = read(&[(key, text)]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
