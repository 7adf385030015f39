//! CNI configuration lists: our plugin put in and taken out, as text, without IO.

use serde_json::Value;

/// The plugin's type, and so the name of its program.
pub(crate) const PLUGIN: &str = "ambit-cni";

/// Why a list cannot be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidConflist {
    #[error("it is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has no plugins that ours could follow")]
    NoPlugins,
}

/// `list` with `plugin` at its end, in place of earlier ones of ours; `None` if it has exactly that one already, be it
/// at the end or before what others have put there since.
pub(crate) fn with_plugin(list: &str, plugin: &Value) -> Result<Option<String>, InvalidConflist> {
    change(list, |plugins| {
        let ours: Vec<&Value> = plugins.iter().filter(|one| is_ours(one)).collect();
        if ours == [plugin] && plugins.first() != Some(plugin) {
            return Ok(false);
        }
        plugins.retain(|one| !is_ours(one));
        if plugins.is_empty() {
            return Err(InvalidConflist::NoPlugins);
        }
        plugins.push(plugin.clone());
        Ok(true)
    })
}

/// `list` without our plugin; `None` if it has none of ours.
pub(crate) fn without_plugin(list: &str) -> Result<Option<String>, InvalidConflist> {
    change(list, |plugins| {
        let before = plugins.len();
        plugins.retain(|one| !is_ours(one));
        Ok(plugins.len() != before)
    })
}

/// The name of the list that the container runtime takes: the first of those with an extension that it reads. An
/// error names a first one that is no list.
pub(crate) fn first<'a>(
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Option<&'a str>, &'a str> {
    let is_read = |name: &&str| {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        matches!(extension, Some("conf" | "conflist" | "json")) && !name.starts_with('.')
    };
    match names.into_iter().filter(is_read).min() {
        Some(name) if !name.ends_with(".conflist") => Err(name),
        first => Ok(first),
    }
}

/// The types of the list's plugins, in order.
pub(crate) fn plugins(list: &str) -> Result<Vec<String>, InvalidConflist> {
    let list: Value = serde_json::from_str(list)?;
    let plugins = list.get("plugins").and_then(Value::as_array);
    let types = plugins.into_iter().flatten().filter_map(|plugin| plugin.get("type")?.as_str());
    let types: Vec<String> = types.map(str::to_owned).collect();
    if types.is_empty() { Err(InvalidConflist::NoPlugins) } else { Ok(types) }
}

fn change(
    list: &str,
    change: impl FnOnce(&mut Vec<Value>) -> Result<bool, InvalidConflist>,
) -> Result<Option<String>, InvalidConflist> {
    let mut list: Value = serde_json::from_str(list)?;
    let plugins =
        list.get_mut("plugins").and_then(Value::as_array_mut).ok_or(InvalidConflist::NoPlugins)?;
    if !change(plugins)? {
        return Ok(None);
    }
    Ok(Some(serde_json::to_string_pretty(&list)? + "\n"))
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(PLUGIN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(plugins: &[Value]) -> String {
        json!({"cniVersion": "1.0.0", "name": "net", "plugins": plugins}).to_string()
    }

    #[test]
    fn one_plugin_of_ours_after_others() {
        let (ptp, portmap) = (json!({"type": "ptp"}), json!({"type": "portmap", "x": [1]}));
        let ours = json!({"type": PLUGIN, "kubeconfig": "k"});
        let old = json!({"type": PLUGIN, "kubeconfig": "old"});
        for (before, after) in [
            (vec![&ptp], Some(vec![&ptp, &ours])),
            (vec![&ptp, &portmap], Some(vec![&ptp, &portmap, &ours])),
            (vec![&ptp, &ours], None),
            (vec![&ptp, &ours, &portmap], None),
            (vec![&ptp, &old, &portmap], Some(vec![&ptp, &portmap, &ours])),
            (vec![&ptp, &ours, &ours], Some(vec![&ptp, &ours])),
            (vec![&ours, &ptp], Some(vec![&ptp, &ours])),
        ] {
            let values = |plugins: Vec<&Value>| plugins.into_iter().cloned().collect::<Vec<_>>();
            let before = list(&values(before));
            let found = with_plugin(&before, &ours).unwrap();
            let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let expected = after.map(|after| parse(&list(&values(after))));
            assert_eq!(found.as_deref().map(parse), expected, "{before}");
            let installed = found.unwrap_or(before);
            assert!(plugins(&installed).unwrap().contains(&PLUGIN.to_owned()));
            let without = without_plugin(&installed).unwrap().unwrap();
            assert!(!without.contains(PLUGIN));
            assert_eq!(without_plugin(&without).unwrap(), None);
        }
    }

    #[test]
    fn what_is_no_list_is_left_alone() {
        let ours = json!({"type": PLUGIN});
        for text in [
            "",
            "{",
            "{}",
            r#"{"plugins":{}}"#,
            r#"{"plugins":[]}"#,
            r#"{"plugins":[{"type":"ambit-cni"}]}"#,
        ] {
            assert!(with_plugin(text, &ours).is_err(), "{text}");
            assert_eq!(plugins(text).is_err(), !text.contains(PLUGIN), "{text}");
        }
    }

    #[test]
    fn the_runtime_takes_the_first() {
        for (names, expected) in [
            (&["10-a.conflist", "05-b.conflist", "99-c.conflist"][..], Ok(Some("05-b.conflist"))),
            (
                &["10-a.conflist", "00-x.tmp", "ambit-cni.kubeconfig", ".01.conflist"],
                Ok(Some("10-a.conflist")),
            ),
            (&["10-a.conflist", "05-b.conf"], Err("05-b.conf")),
            (&["10-a.conflist", "87-b.json"], Ok(Some("10-a.conflist"))),
            (&[], Ok(None)),
        ] {
            assert_eq!(first(names.iter().copied()), expected);
        }
    }
}
