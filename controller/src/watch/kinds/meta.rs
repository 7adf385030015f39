//! `metadata`, the same for every kind.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ambit_model::Str;
use ambit_xds::Interner;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde_json::Value;
use xxhash_rust::xxh64::xxh64;

use super::{Kind, Meta, Problem, Selector, part};

/// The annotations that mean something to the index; others are not kept.
const ANNOTATIONS: [&str; 11] = [
    "ambient.istio.io/redirection",
    "ambient.istio.io/waypoint-inbound-binding",
    "ambit.dev/allow-direct",
    "ambit.dev/encrypt-local",
    "ambit.dev/waypoint-fail-open",
    "gateway.istio.io/name-override",
    "gateway.istio.io/service-account",
    "istio.io/connect-strategy",
    "istio.io/dry-run",
    "istio.io/use-waypoint-canary-weight",
    "networking.istio.io/traffic-distribution",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
}

/// Metadata that cannot be used.
pub(super) struct Unusable {
    /// What there is of it, with a made-up name if there is none; absent if not even the namespace is known.
    pub(super) guess: Option<Box<Meta>>,
    pub(super) problem: Problem,
}

/// The metadata of an object.
pub(super) fn read(kind: Kind, value: &Value) -> Result<Meta, Unusable> {
    let raw: Raw = part(value, "metadata")
        .map_err(|problem| Unusable { guess: guess(kind, value).map(Box::new), problem })?;
    let namespace = match (kind.is_namespaced(), raw.namespace.as_deref()) {
        (false, _) => "",
        (true, None | Some("")) => "default",
        (true, Some(namespace)) => namespace,
    };
    if kind.is_namespaced() && !is_label(namespace) {
        let message = format!("{namespace:?} is not a namespace's name");
        let problem = Problem::new("metadata.namespace", message);
        return Err(Unusable { guess: None, problem });
    }
    let name = raw.name.unwrap_or_default();
    let problem = match name.as_str() {
        "" => Some(Problem::new("metadata.name", "is missing")),
        name if !is_subdomain(name) => {
            let message = format!("{name:?} is not a name: use a-z, 0-9, '-' and '.', at most 253");
            Some(Problem::new("metadata.name", message))
        }
        _ => None,
    };
    let name = if problem.is_some() { made_up(value) } else { name };
    let annotations = raw.annotations.unwrap_or_default().into_iter();
    let meta = Meta {
        namespace: namespace.into(),
        name: name.into(),
        labels: shared(raw.labels.unwrap_or_default()),
        annotations: shared(annotations.filter(|(k, _)| ANNOTATIONS.contains(&k.as_str()))),
        created: raw.creation_timestamp.map(|time| time.0.as_second()),
        deleting: raw.deletion_timestamp.is_some(),
    };
    match problem {
        None => Ok(meta),
        Some(problem) => Err(Unusable { guess: Some(Box::new(meta)), problem }),
    }
}

/// A `matchLabels` selector, of which nothing else exists in the objects that are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSelector {
    #[serde(default)]
    match_labels: Option<BTreeMap<String, String>>,
}

// === impl RawSelector ===

impl From<RawSelector> for Selector {
    fn from(raw: RawSelector) -> Self {
        Self(shared(raw.match_labels.unwrap_or_default()))
    }
}

thread_local! {
    /// What labels say: much of it is the same for thousands of objects.
    static LABELS: RefCell<Interner> = RefCell::default();
}

/// Shared copies of pairs of strings.
pub(super) fn shared(pairs: impl IntoIterator<Item = (String, String)>) -> BTreeMap<Str, Str> {
    LABELS.with_borrow_mut(|labels| {
        pairs.into_iter().map(|(k, v)| (labels.intern(&k), labels.intern(&v))).collect()
    })
}

/// Where a policy with unreadable metadata would apply: its namespace, if that much can be read.
fn guess(kind: Kind, value: &Value) -> Option<Meta> {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str);
    let namespace = match value.pointer("/metadata/namespace") {
        None | Some(Value::Null) if kind.is_namespaced() => "default",
        None | Some(Value::Null) => "",
        Some(namespace) => namespace.as_str().filter(|n| is_label(n))?,
    };
    let name = text("/metadata/name").filter(|name| is_subdomain(name));
    Some(Meta {
        namespace: namespace.into(),
        name: name.map_or_else(|| made_up(value).into(), Into::into),
        ..Meta::default()
    })
}

/// A name for an object without one, the same for the same content.
fn made_up(value: &Value) -> String {
    format!("unnamed-{:016x}", xxh64(value.to_string().as_bytes(), 0))
}

/// RFC 1123: a label, as names of namespaces are.
pub(super) fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// RFC 1123: labels joined by dots, as names of objects and service accounts are.
pub(super) fn is_subdomain(name: &str) -> bool {
    name.len() <= 253
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.len() <= 253 && is_loose_label(label))
}

/// A label without its own limit of length, which object names do not have.
fn is_loose_label(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
