//! The objects of an installation: those of `manifests/`, with the user's settings in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

/// The namespace that the files are written for.
const NAMESPACE: &str = "istio-system";
/// The registry of the images that the files name.
const REGISTRY: &str = "ambit.dev/";

/// Those of Helm and Kustomize, in the order in which they have to be made.
const FILES: [(&str, &str); 5] = [
    ("00-namespace.yaml", include_str!("../../manifests/helm/files/00-namespace.yaml")),
    ("10-crds.yaml", include_str!("../../manifests/helm/files/10-crds.yaml")),
    ("20-controller.yaml", include_str!("../../manifests/helm/files/20-controller.yaml")),
    ("30-agent.yaml", include_str!("../../manifests/helm/files/30-agent.yaml")),
    ("40-ztunnel.yaml", include_str!("../../manifests/helm/files/40-ztunnel.yaml")),
];

/// What an installation may have otherwise.
#[derive(clap::Args, Debug)]
pub(crate) struct Settings {
    /// The namespace of the mesh's own processes.
    #[arg(long, short, default_value = NAMESPACE)]
    pub(crate) namespace: String,
    /// The registry of the images, in place of ambit.dev.
    #[arg(long, value_name = "HOST[/PATH]")]
    registry: Option<String>,
    /// The version of the images, in place of this program's own.
    #[arg(long, value_name = "VERSION")]
    tag: Option<String>,
    /// Further fields for the objects: a values file of the Helm chart, of which `overlays` is read; may be repeated.
    #[arg(long, value_name = "FILE")]
    overlay: Vec<PathBuf>,
}

/// What is read of a values file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    #[serde(default)]
    overlays: BTreeMap<String, Value>,
    // Helm's alone: here they are options.
    #[serde(default, rename = "registry")]
    _registry: Option<Value>,
    #[serde(default, rename = "tag")]
    _tag: Option<Value>,
}

/// The objects, in the order in which they have to be made.
///
/// # Errors
/// The namespace cannot be one.
pub(crate) fn objects(settings: &Settings) -> Result<Vec<Value>> {
    let namespace = &settings.namespace;
    let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        !namespace.is_empty() && namespace.len() <= 63 && namespace.chars().all(is_label),
        "--namespace {namespace:?}: use lower-case letters, digits and '-', 63 at most"
    );
    let mut overlays = settings.overlays()?;
    let mut objects = Vec::new();
    for (file, text) in FILES {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).with_context(|| format!("reading {file}"))?;
        for object in documents {
            let text =
                |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let key = format!("{}.{}", text("/kind"), text("/metadata/name"));
            let mut object = settings.place(object);
            if let Some(overlay) = overlays.remove(&key) {
                merge(&mut object, overlay);
            }
            objects.push(settings.with_images(object));
        }
    }
    let unknown: Vec<String> = overlays.into_keys().collect();
    ensure!(
        unknown.is_empty(),
        "--overlay: there is no object {}; names are <kind>.<name>, as `ambit install --dry-run` shows them",
        unknown.join(", ")
    );
    Ok(objects)
}

/// Puts `overlay` into `object` as Helm's mergeOverwrite does: maps are merged, everything else is replaced.
fn merge(object: &mut Value, overlay: Value) {
    match (object, overlay) {
        (Value::Object(object), Value::Object(overlay)) => {
            for (key, value) in overlay {
                merge(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, overlay) => *object = overlay,
    }
}

// === impl Settings ===

impl Settings {
    /// The overlays of all files; of two for one object, the later one is merged into the earlier.
    fn overlays(&self) -> Result<BTreeMap<String, Value>> {
        let mut all = BTreeMap::new();
        for path in &self.overlay {
            let text = fs::read_to_string(path)
                .with_context(|| format!("--overlay {}", path.display()))?;
            let values: Values = serde_saphyr::from_str(&text)
                .with_context(|| format!("--overlay {}: it needs `overlays:`", path.display()))?;
            for (key, overlay) in values.overlays {
                merge(all.entry(key).or_insert(Value::Null), overlay);
            }
        }
        Ok(all)
    }

    /// `object` in the namespace of these settings.
    fn place(&self, mut object: Value) -> Value {
        let rename = |value: Option<&mut Value>| {
            if let Some(name) = value.filter(|name| **name == NAMESPACE) {
                *name = json!(self.namespace);
            }
        };
        if object["kind"] == "Namespace" {
            rename(object.pointer_mut("/metadata/name"));
        }
        rename(object.pointer_mut("/metadata/namespace"));
        for subject in
            object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten()
        {
            rename(subject.get_mut("namespace"));
        }
        object
    }

    /// `object` with the images of these settings.
    fn with_images(&self, mut object: Value) -> Value {
        let spec = "/spec/template/spec";
        for list in ["initContainers", "containers"] {
            let containers = object.pointer_mut(&format!("{spec}/{list}"));
            for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(image) = container["image"].as_str() {
                    container["image"] = json!(self.image(image));
                }
            }
        }
        object
    }

    fn image(&self, image: &str) -> String {
        let Some((name, tag)) = image.strip_prefix(REGISTRY).and_then(|i| i.split_once(':')) else {
            return image.to_owned();
        };
        let registry = self.registry.as_deref().unwrap_or(REGISTRY).trim_end_matches('/');
        format!("{registry}/{name}:{}", self.tag.as_deref().unwrap_or(tag))
    }
}

/// What people call an object: kind, namespace and name.
pub(crate) fn title(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or("object");
    let name = text("/metadata/name").unwrap_or_default();
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(namespace: &str, registry: Option<&str>, tag: Option<&str>) -> Settings {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Settings {
            namespace: namespace.to_owned(),
            registry: owned(registry),
            tag: owned(tag),
            overlay: Vec::new(),
        }
    }

    fn images(objects: &[Value]) -> Vec<&str> {
        let containers = |object| Value::pointer(object, "/spec/template/spec/containers");
        let all = objects.iter().filter_map(containers).filter_map(Value::as_array).flatten();
        all.filter_map(|container| container["image"].as_str()).collect()
    }

    #[test]
    fn images_are_of_this_version() {
        let objects = objects(&settings(NAMESPACE, None, None)).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let expected = ["controller", "ambit-agent", "ztunnel"]
            .map(|name| format!("{REGISTRY}{name}:{version}"));
        assert_eq!(images(&objects), expected);
    }

    #[test]
    fn settings_go_everywhere() {
        let objects =
            objects(&settings("mesh", Some("registry.example/ambit/"), Some("1.2"))).unwrap();
        let text = serde_json::to_string(&objects).unwrap();
        assert!(!text.contains(NAMESPACE), "{text}");
        assert!(images(&objects).contains(&"registry.example/ambit/ztunnel:1.2"));
    }

    #[test]
    fn kustomize_and_helm_take_the_same_files() {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let text = fs::read_to_string(manifests.join("kustomization.yaml")).unwrap();
        let kustomization: Value = serde_saphyr::from_str(&text).unwrap();
        let files = FILES.map(|(name, _)| format!("helm/files/{name}"));
        assert_eq!(kustomization["resources"], json!(files));
        let mut present: Vec<String> = fs::read_dir(manifests.join("helm/files"))
            .unwrap()
            .map(|entry| format!("helm/files/{}", entry.unwrap().file_name().display()))
            .collect();
        present.sort();
        assert_eq!(present, files);
    }

    #[test]
    fn overlays_are_merged_and_must_fit() {
        let file = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), text).unwrap();
            file
        };
        let with = |files: &[&tempfile::NamedTempFile]| {
            let overlay = files.iter().map(|file| file.path().to_owned()).collect();
            objects(&Settings { overlay, ..settings("mesh", Some("r.example"), None) })
        };
        let first = file(
            "tag: 1\noverlays: {Deployment.ambit-controller: {spec: {replicas: 0, paused: true}}}",
        );
        let second = file(
            "overlays: {Deployment.ambit-controller: {spec: {replicas: 3}, metadata: {namespace: x}}}",
        );
        let all = with(&[&first, &second]).unwrap();
        let deployment = all.iter().find(|object| object["kind"] == "Deployment").unwrap();
        assert_eq!(deployment["spec"]["replicas"], 3);
        assert_eq!(deployment["spec"]["paused"], true);
        assert_eq!(deployment["metadata"]["namespace"], "x");
        assert!(images(&all)[0].starts_with("r.example/"));
        for (text, words) in [
            ("overlays: {Deployment.istiod: {}}", "Deployment.istiod"),
            ("overlay: {}", "needs `overlays:`"),
            ("[]", "needs `overlays:`"),
        ] {
            let error = format!("{:#}", with(&[&file(text)]).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_namespace_must_be_one() {
        for wrong in ["", "A", "a/b", &"a".repeat(64)] {
            assert!(objects(&settings(wrong, None, None)).is_err(), "{wrong}");
        }
    }
}
