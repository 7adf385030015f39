//! Kubernetes YAML, document by document: what the sandbox itself acts on, and what it only passes on.

mod check;
mod gateway;
mod object;

use std::fmt;
use std::ops::Range;

use serde_json::Value;

pub(crate) use gateway::Gateway;
pub(crate) use object::{Object, document};

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind, e.g. `Pod`.
    pub kind: String,
    /// Its namespace; empty for kinds that have none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A document that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct Invalid {
    /// The file, document or object that it is about.
    pub origin: String,
    /// What is wrong, and with which field.
    pub problem: String,
}

/// What is wrong with a document, and which object it is, as far as that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) key: Option<ObjectRef>,
    pub(crate) invalid: Invalid,
}

/// One object, as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) key: ObjectRef,
    pub(crate) object: Object,
}

/// A file's objects, and what is wrong with the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) documents: Vec<Document>,
    pub(crate) refusals: Vec<Refusal>,
    segments: Vec<Segment>,
}

/// The text of one document with its separator.
#[derive(Clone, Debug, PartialEq)]
struct Segment {
    text: String,
    /// The objects in it, if all of them are only passed on.
    passes: Option<Vec<ObjectRef>>,
}

/// Files with new contents, and those that are gone.
pub(crate) type Changes = Vec<(String, Option<Manifest>)>;

/// How large a file may be, in bytes.
pub(crate) const FILE_LIMIT: u64 = 8 << 20;

/// For so many documents of a file it is said exactly where they are no YAML, which takes as long as the file is large.
const EXACT: usize = 20;

/// Reads the text of `file`, each document on its own: a bad one does not stop the others.
pub(crate) fn read(file: &str, text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let mut lines = 0;
    for range in split(text) {
        let text = text.get(range).unwrap_or_default();
        let origin = format!("{file}:{}", lines + first_line(text));
        let before = Some(lines).filter(|_| manifest.refusals.len() < EXACT);
        let mut passes = Some(Vec::new());
        for result in objects(text, before, &origin) {
            match result {
                Ok(document) => {
                    match (&document.object, &mut passes) {
                        (Object::Other(_), Some(keys)) => keys.push(document.key.clone()),
                        _ => passes = None,
                    }
                    manifest.documents.push(document);
                }
                Err(refusal) => {
                    passes = None;
                    manifest.refusals.push(refusal);
                }
            }
        }
        lines += text.lines().count();
        let passes = passes.filter(|keys| !keys.is_empty());
        manifest.segments.push(Segment { text: text.to_owned(), passes });
    }
    manifest
}

// === impl Manifest ===

impl Manifest {
    /// The file with all but the documents that are only passed on blanked out, line for line, so that whoever reads
    /// on counts lines and documents as the user does; `None` if nothing remains. Objects that are `hidden` go too.
    pub(crate) fn passed_on(&self, hidden: impl Fn(&ObjectRef) -> bool) -> Option<String> {
        let mut text = String::new();
        let mut anything = false;
        for segment in &self.segments {
            let shown = |keys: &Vec<ObjectRef>| !keys.iter().any(&hidden);
            if segment.passes.as_ref().is_some_and(shown) {
                text.push_str(&segment.text);
                anything = true;
            } else {
                text.extend(segment.text.split_inclusive('\n').map(blank));
            }
        }
        anything.then_some(text)
    }

    /// Whether [`Manifest::passed_on`] shows the object.
    pub(crate) fn shows(&self, object: &ObjectRef, hidden: impl Fn(&ObjectRef) -> bool) -> bool {
        let passes = self.segments.iter().filter_map(|segment| segment.passes.as_ref());
        let mut shown = passes.filter(|keys| !keys.iter().any(&hidden));
        shown.any(|keys| keys.contains(object))
    }

    /// A file that cannot be read at all.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self { refusals: vec![refusal], ..Self::default() }
    }

    /// Whether a document cannot even be named: what it was meant to be is unknown.
    pub(crate) fn is_broken(&self) -> bool {
        self.refusals.iter().any(|refusal| refusal.key.is_none())
    }
}

/// The line on which a document's content begins, from 1.
fn first_line(document: &str) -> usize {
    let before = document.lines().take_while(|line| {
        let trimmed = line.trim();
        trimmed.is_empty() || trimmed.starts_with('#') || is_separator(line)
    });
    before.count() + 1
}

/// A line without its content; separators of documents stay.
fn blank(line: &str) -> &str {
    match line {
        _ if is_separator(line) => "---\n",
        _ if line.ends_with('\n') => "\n",
        _ => "",
    }
}

/// Where the documents of a file are; each but the first begins with its separator.
fn split(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let (mut start, mut offset, mut content) = (0, 0, false);
    for line in text.split_inclusive('\n') {
        if is_separator(line) && content {
            ranges.push(start..offset);
            start = offset;
        }
        let trimmed = line.trim();
        content |= is_separator(line) || !(trimmed.is_empty() || trimmed.starts_with('#'));
        offset += line.len();
    }
    ranges.push(start..text.len());
    ranges
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\n', '\r', '\t']))
}

/// The objects of one document: none, one, or the items of a list. What is no YAML is said by the lines of the file
/// where it is known how many were `before`.
fn objects(text: &str, before: Option<usize>, origin: &str) -> Vec<Result<Document, Refusal>> {
    let options = || serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let parse = |text: &str| serde_saphyr::from_str_with_options::<Value>(text, options());
    let parsed = parse(text).or_else(|error| match before {
        // The parser counts lines.
        Some(lines) => parse(&("\n".repeat(lines) + text)),
        None => Err(error),
    });
    match parsed {
        Err(error) => {
            let problem = one_line(&format!("is no YAML: {error}"));
            let invalid = Invalid { origin: origin.to_owned(), problem };
            vec![Err(Refusal { key: None, invalid })]
        }
        Ok(Value::Null) => Vec::new(),
        Ok(Value::Object(mut list)) if list.get("kind").and_then(Value::as_str) == Some("List") => {
            match list.remove("items") {
                Some(Value::Array(items)) => {
                    items.into_iter().map(|item| object::document(item, origin)).collect()
                }
                _ => Vec::new(),
            }
        }
        Ok(value) => vec![object::document(value, origin)],
    }
}

/// `text` on one line of bounded length: files are hostile.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    if let Some((cut, _)) = line.char_indices().nth(400) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

// === impl ObjectRef ===

impl ObjectRef {
    /// The object of that kind, namespace (empty for kinds without) and name.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        if namespace.is_empty() {
            write!(f, "{kind} {name}")
        } else {
            write!(f, "{kind} {namespace}/{name}")
        }
    }
}

#[cfg(test)]
mod tests;
