//! Strategic merge patches, as far as pods, services and their like need them. Pure.
//!
//! Maps are merged, `null` takes a field away, and lists whose items have a key are merged item by item; every other
//! list is replaced. In a map `$patch: delete` takes the item away and `$patch: replace` replaces it.

use serde_json::{Map, Value};

/// The directive of a patch.
const DIRECTIVE: &str = "$patch";

/// Puts `patch` into `target`, which is the value of the field called `field`.
pub(super) fn merge(target: &mut Value, patch: Value, field: &str) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => merge_maps(target, patch),
        (Value::Array(target), Value::Array(patch)) => match key_of(field, &patch) {
            Some(key) => merge_items(target, patch, key),
            None => *target = patch,
        },
        (target, patch) => *target = without_directives(patch),
    }
}

fn merge_maps(target: &mut Map<String, Value>, mut patch: Map<String, Value>) {
    if patch.remove(DIRECTIVE).is_some_and(|directive| directive == "replace") {
        target.clear();
    }
    for (name, value) in patch {
        if value.is_null() {
            target.remove(&name);
            continue;
        }
        match target.get_mut(&name) {
            Some(present) => merge(present, value, &name),
            None => {
                target.insert(name, without_directives(value));
            }
        }
    }
}

fn merge_items(target: &mut Vec<Value>, patch: Vec<Value>, key: &str) {
    if patch.iter().any(|item| item[DIRECTIVE] == "replace") {
        let kept = patch.into_iter().filter(|item| item[DIRECTIVE] != "replace");
        *target = kept.map(without_directives).collect();
        return;
    }
    for item in patch {
        let at = target.iter().position(|present| present[key] == item[key]);
        match at {
            Some(at) if item[DIRECTIVE] == "delete" => drop(target.remove(at)),
            Some(at) => {
                if let Some(present) = target.get_mut(at) {
                    merge(present, item, "");
                }
            }
            None if item[DIRECTIVE] == "delete" => {}
            None => target.push(without_directives(item)),
        }
    }
}

/// What tells the items of a list apart, in the lists that are merged (Kubernetes' `patchMergeKey`).
fn key_of(field: &str, items: &[Value]) -> Option<&'static str> {
    let key = match field {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => "name",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        // Those of containers and those of Services.
        "ports" if items.iter().all(|item| item.get("containerPort").is_some()) => "containerPort",
        "ports" => "port",
        _ => return None,
    };
    items.iter().all(|item| item.get(key).is_some() || item.get(DIRECTIVE).is_some()).then_some(key)
}

/// What is new is taken as it is, but for what only makes sense against something present.
fn without_directives(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.remove(DIRECTIVE);
            map.retain(|_, value| !value.is_null());
            for value in map.values_mut() {
                *value = without_directives(value.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = without_directives(item.take());
            }
        }
        _ => {}
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_are_merged_as_kubectl_does() {
        let table = [
            (
                json!({"a": {"b": 1, "c": 2}}),
                json!({"a": {"c": 3}}),
                json!({"a": {"b": 1, "c": 3}}),
            ),
            (json!({"a": 1, "b": 2}), json!({"a": null}), json!({"b": 2})),
            (json!({}), json!({"a": {"b": null, "c": 1}}), json!({"a": {"c": 1}})),
            (json!({"args": ["a", "b"]}), json!({"args": ["c"]}), json!({"args": ["c"]})),
            (
                json!({"containers": [{"name": "w", "image": "i", "env": [{"name": "A", "value": "1"}]}]}),
                json!({"containers": [
                    {"name": "w", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}]},
                    {"name": "s", "image": "j"},
                ]}),
                json!({"containers": [
                    {"name": "w", "image": "i", "env": [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}]},
                    {"name": "s", "image": "j"},
                ]}),
            ),
            (
                json!({"containers": [{"name": "w", "image": "i"}, {"name": "s"}]}),
                json!({"containers": [{"name": "s", "$patch": "delete"}, {"name": "x", "$patch": "delete"}]}),
                json!({"containers": [{"name": "w", "image": "i"}]}),
            ),
            (
                json!({"ports": [{"port": 80, "name": "http"}]}),
                json!({"ports": [{"port": 80, "nodePort": 30080}, {"port": 81}]}),
                json!({"ports": [{"port": 80, "name": "http", "nodePort": 30080}, {"port": 81}]}),
            ),
            (
                json!({"ports": [{"containerPort": 80, "name": "http"}]}),
                json!({"ports": [{"containerPort": 80, "hostPort": 80}]}),
                json!({"ports": [{"containerPort": 80, "name": "http", "hostPort": 80}]}),
            ),
            (
                json!({"volumes": [{"name": "a"}, {"name": "b"}]}),
                json!({"volumes": [{"$patch": "replace"}, {"name": "c"}]}),
                json!({"volumes": [{"name": "c"}]}),
            ),
            (
                json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}),
                json!({"strategy": {"$patch": "replace", "type": "Recreate"}}),
                json!({"strategy": {"type": "Recreate"}}),
            ),
            (
                json!({"tolerations": [{"key": "a"}]}),
                json!({"tolerations": [{"key": "b"}]}),
                json!({"tolerations": [{"key": "b"}]}),
            ),
            (
                json!({"containers": [{"name": "a"}]}),
                json!({"containers": [1]}),
                json!({"containers": [1]}),
            ),
            (json!({"a": [1]}), json!({"a": "text"}), json!({"a": "text"})),
        ];
        for (mut target, patch, expected) in table {
            merge(&mut target, patch.clone(), "");
            assert_eq!(target, expected, "{patch}");
        }
    }
}
