//! The objects that a sandbox starts with.

use super::{Options, Source};
use crate::error::Error;
use crate::manifest::{self, Changes, Object};
use crate::source;

/// The objects there are at first, and the directory they come from.
pub(super) struct First {
    pub(super) files: Changes,
    pub(super) follow: Option<source::Source>,
}

/// Reads the objects for the first time.
pub(super) fn first(source: &Source) -> Result<First, Error> {
    match source {
        Source::Directory(dir) => {
            let (source, files) = source::Source::open(dir)?;
            Ok(First { files, follow: Some(source) })
        }
        Source::Text(text) => {
            let mut manifest = manifest::read("objects", text);
            match manifest.refusals.pop() {
                Some(refusal) => Err(refusal.invalid.into()),
                None => Ok(First {
                    files: vec![("objects.yaml".to_owned(), Some(manifest))],
                    follow: None,
                }),
            }
        }
    }
}

/// The names of the nodes: those of the objects, or else those of the options.
pub(super) fn node_names(options: &Options, first: &First) -> Vec<String> {
    let manifests = first.files.iter().filter_map(|(_, manifest)| manifest.as_ref());
    let documents = manifests.flat_map(|manifest| &manifest.documents);
    let nodes = documents.filter(|document| matches!(document.object, Object::Node(_)));
    let written: Vec<String> = nodes.map(|document| document.key.name.clone()).collect();
    if written.is_empty() { options.nodes.clone() } else { written }
}
