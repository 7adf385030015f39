//! What is kept of an object while it is parsed. The rest is the larger part: what the API server notes about fields,
//! and how a pod's containers are run.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::{Map, Value};

/// What is kept of a value. Of a list, it is kept of each element.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep {
    All,
    Nothing,
    /// These fields.
    Only(&'static [&'static str]),
    /// All fields, of these only a part.
    But(&'static [(&'static str, Keep)]),
}

/// Of any object: no kind that is read has fields of these names with another meaning.
pub(super) const OBJECT: Keep = Keep::But(&[
    ("metadata", Keep::But(&[("managedFields", Keep::Nothing)])),
    (
        "spec",
        Keep::But(&[
            ("containers", CONTAINER),
            ("initContainers", CONTAINER),
            ("ephemeralContainers", Keep::Nothing),
            ("volumes", Keep::Nothing),
            ("tolerations", Keep::Nothing),
            ("affinity", Keep::Nothing),
            ("topologySpreadConstraints", Keep::Nothing),
            ("securityContext", Keep::Nothing),
        ]),
    ),
    ("data", MATERIAL),
    ("binaryData", Keep::Nothing),
    (
        "status",
        Keep::But(&[
            ("containerStatuses", Keep::Nothing),
            ("initContainerStatuses", Keep::Nothing),
            ("ephemeralContainerStatuses", Keep::Nothing),
            ("images", Keep::Nothing),
        ]),
    ),
]);

/// Of ConfigMaps and Secrets: certificates, keys and authorities.
const MATERIAL: Keep = Keep::Only(&["ca.crt", "cacert", "cert", "key", "tls.crt", "tls.key"]);
const CONTAINER: Keep = Keep::Only(&["name", "ports", "restartPolicy"]);

// === impl Keep ===

impl Keep {
    /// What is kept of the field `name`.
    fn field(self, name: &str) -> Self {
        match self {
            Self::All => Self::All,
            Self::Nothing => Self::Nothing,
            Self::Only(names) if names.contains(&name) => Self::All,
            Self::Only(_) => Self::Nothing,
            Self::But(parts) => {
                parts.iter().find(|(part, _)| *part == name).map_or(Self::All, |(_, keep)| *keep)
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Keep {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keep {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            list.push(element);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            match self.field(&name) {
                Self::Nothing => {
                    fields.next_value::<IgnoredAny>()?;
                }
                keep => {
                    map.insert(name, fields.next_value_seed(keep)?);
                }
            }
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(value: &Value) -> Value {
        let text = value.to_string();
        OBJECT.deserialize(&mut serde_json::Deserializer::from_str(&text)).unwrap()
    }

    #[test]
    fn only_what_is_never_used_is_passed_over() {
        let pod = json!({
            "metadata": {"name": "a", "labels": {"volumes": "yes"}, "managedFields": [{"manager": "x"}]},
            "spec": {
                "nodeName": "n",
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{}]}],
                "volumes": [{"name": "v"}],
            },
            "status": {"podIP": "10.0.0.1", "containerStatuses": [{"ready": true}]},
        });
        let expected = json!({
            "metadata": {"name": "a", "labels": {"volumes": "yes"}},
            "spec": {
                "nodeName": "n",
                "containers": [{"name": "c", "ports": [{"containerPort": 80}]}],
            },
            "status": {"podIP": "10.0.0.1"},
        });
        assert_eq!(kept(&pod), expected);
        let map = json!({"data": {"ca.crt": "a", "application.yaml": "much"}});
        assert_eq!(kept(&map), json!({"data": {"ca.crt": "a"}}));
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for value in [
            json!({"spec": {"rules": [{"a": [1, -1, 0.5, null, true, "x"]}, "containers"]}}),
            json!({"spec": [], "status": "text", "metadata": null}),
            json!([{"containers": [{"image": "i"}]}]),
            json!({"data": {"ca.crt": "a"}}),
        ] {
            assert_eq!(kept(&value), value);
        }
    }
}
