//! The text of a file → its documents → trimmed objects, each judged alone.

use serde_json::Value;
use serde_saphyr::Spanned;

use super::kinds::{self, Trimmed};
use super::problem::one_line;
use super::{Key, Kind, Object, Problem};

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Document {
    /// Its position among the objects of the file, from 1.
    pub(super) number: usize,
    /// The line on which it begins, from 1; for an item of a `List`, that of the list.
    pub(super) line: usize,
    /// What it is, as far as that can be read: a key, or else what it calls itself.
    pub(super) subject: Subject,
    /// The object, where it is good; or what has to be enforced in place of a policy that is not.
    pub(super) object: Option<Object>,
    /// What is wrong with it.
    pub(super) problems: Vec<Problem>,
}

/// What a document is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// An object of a kind that is understood.
    Object(Key),
    /// Something else, by the name it gives itself.
    Other(String),
}

/// The documents of a file. `Err` if the file as a whole is no YAML: the line says where.
pub(super) fn documents(text: &str) -> Result<Vec<Document>, String> {
    let values = serde_saphyr::from_multiple_with_options::<Spanned<Value>>(text, options())
        .map_err(|error| one_line(&error.to_string()))?;
    let mut documents = Vec::new();
    for Spanned { value, referenced, .. } in values {
        if value.is_null() {
            continue;
        }
        let line = usize::try_from(referenced.line()).unwrap_or(0);
        let items = list_items(value).unwrap_or_else(|single| vec![single]);
        for item in items {
            let number = documents.len() + 1;
            documents.push(Document { number, line, ..document(item) });
        }
    }
    Ok(documents)
}

/// Bounds for what one file may cost, generous enough for a dump of a large cluster.
fn options() -> serde_saphyr::Options {
    let budget = serde_saphyr::budget! {
        max_events: 20_000_000,
        max_nodes: 10_000_000,
        max_documents: 200_000,
    };
    serde_saphyr::options! { budget: budget, with_snippet: false, strict_booleans: true }
}

/// The items of a `List`, as `kubectl get -o yaml` prints it, or the value itself.
fn list_items(mut value: Value) -> Result<Vec<Value>, Value> {
    let is_list = value.get("kind").and_then(Value::as_str) == Some("List");
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => Ok(items),
        Some(other) => {
            value["items"] = other;
            Err(value)
        }
        None => Err(value),
    }
}

/// The document of an object; the caller knows where it stands.
fn document(value: Value) -> Document {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (subject, object, problems) = match recognise(text("apiVersion"), text("kind")) {
        _ if !value.is_object() => {
            let message = "a Kubernetes object is expected, a mapping with apiVersion and kind";
            (other(&value), None, vec![Problem::new("", message)])
        }
        Recognised::Kind(kind) => trimmed(kind, value, Vec::new()),
        Recognised::Policy(kind, problem) => trimmed(kind, value, vec![problem]),
        Recognised::Unused => (other(&value), None, Vec::new()),
        Recognised::Unknown(problem) => (other(&value), None, vec![problem]),
    };
    Document { number: 0, line: 0, subject, object, problems }
}

fn trimmed(
    kind: Kind,
    value: Value,
    problems: Vec<Problem>,
) -> (Subject, Option<Object>, Vec<Problem>) {
    let Trimmed { key, object, problems } = kinds::trim(kind, value, problems);
    (Subject::Object(key), object, problems)
}

/// What a document says it is.
enum Recognised {
    /// A kind that is read.
    Kind(Kind),
    /// Not quite a policy, which is what was meant: leaving it out could leave open what it should close.
    Policy(Kind, Problem),
    /// A kind that may be there and means nothing.
    Unused,
    /// Anything else.
    Unknown(Problem),
}

fn recognise(api_version: &str, kind: &str) -> Recognised {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let versioned = !api_version.is_empty();
    if let Some(kind) = Kind::named(group, kind).filter(|_| versioned) {
        return Recognised::Kind(kind);
    }
    if kinds::is_known_and_unused(group, kind) && versioned {
        return Recognised::Unused;
    }
    let problem = if kind.is_empty() {
        Problem::new("kind", "is missing")
    } else if !versioned {
        Problem::new("apiVersion", "is missing")
    } else {
        let message = format!("{api_version} {kind} is not a kind that the controller reads");
        Problem::new("kind", message)
    };
    let policies = [Kind::AuthorizationPolicy, Kind::PeerAuthentication];
    let meant = policies.into_iter().find(|policy| policy.as_str().eq_ignore_ascii_case(kind));
    let in_group =
        (group == Kind::AuthorizationPolicy.group()).then_some(Kind::AuthorizationPolicy);
    match meant.or(in_group) {
        Some(policy) => Recognised::Policy(policy, problem),
        None => Recognised::Unknown(problem),
    }
}

fn other(value: &Value) -> Subject {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str);
    let kind = text("/kind").filter(|kind| !kind.is_empty()).unwrap_or("object");
    let name = text("/metadata/name").unwrap_or("without name");
    Subject::Other(one_line(&format!("{kind} {name}")))
}
