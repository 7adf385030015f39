//! Where objects come from: files, and what was applied directly on top of them. Pure.
//!
//! Nothing disappears by a mistake. A document that cannot be used leaves its object as it was; a file with a document
//! that cannot even be named leaves everything that it no longer shows as it was. So a slip in a policy does not open
//! what the policy closed.

use std::collections::BTreeMap;

use crate::cluster::Objects;
use crate::manifest::{Document, Invalid, Manifest, Object, ObjectRef};

/// All sources of objects.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    files: BTreeMap<String, File>,
    /// Objects applied directly; `None` hides one from a file.
    applied: BTreeMap<ObjectRef, Option<Object>>,
}

/// A file as it counts.
#[derive(Debug, Default)]
struct File {
    objects: BTreeMap<ObjectRef, Object>,
    /// What was last passed on as it stands.
    passing: Manifest,
    invalid: Vec<Invalid>,
}

/// The sum of all layers.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) objects: Objects,
    pub(crate) invalid: Vec<Invalid>,
    /// Text to be passed on, by the name of its file.
    pub(crate) passed_on: BTreeMap<String, String>,
}

// === impl Layers ===

impl Layers {
    /// Takes a file's new content; `None` if it is gone.
    pub(crate) fn file(&mut self, name: &str, content: Option<Manifest>) {
        let Some(manifest) = content else {
            self.files.remove(name);
            return;
        };
        let before = self.files.remove(name).unwrap_or_default();
        let broken = manifest.is_broken();
        let mut file = File::default();
        for Document { key, object } in &manifest.documents {
            if file.objects.insert(key.clone(), object.clone()).is_some() {
                let origin = format!("{name}: {key}");
                let problem = "is in this file twice; the last one counts".to_owned();
                file.invalid.push(Invalid { origin, problem });
            }
        }
        for (key, object) in before.objects {
            let refused =
                manifest.refusals.iter().any(|refusal| refusal.key.as_ref() == Some(&key));
            if broken || refused {
                file.objects.entry(key).or_insert(object);
            }
        }
        file.invalid.extend(manifest.refusals.iter().map(|refusal| refusal.invalid.clone()));
        let first_sight = before.passing == Manifest::default();
        file.passing = if broken && !first_sight { before.passing } else { manifest };
        self.files.insert(name.to_owned(), file);
    }

    /// Puts an object on top of those from files.
    pub(crate) fn apply(&mut self, document: Document) {
        self.applied.insert(document.key, Some(document.object));
    }

    /// Takes an object away, wherever it comes from; `false` if there is none.
    pub(crate) fn delete(&mut self, key: &ObjectRef) -> bool {
        let in_file = self.files.values().any(|file| file.objects.contains_key(key));
        let before = match in_file {
            true => self.applied.insert(key.clone(), None),
            false => self.applied.remove(key),
        };
        match before {
            Some(applied) => applied.is_some(),
            None => in_file,
        }
    }

    /// Everything that is in force.
    pub(crate) fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for (name, file) in &self.files {
            sum.invalid.extend(file.invalid.iter().cloned());
            let hidden = |key: &ObjectRef| self.applied.contains_key(key);
            for (key, object) in &file.objects {
                if self.applied.contains_key(key) {
                    continue;
                }
                if sum.objects.0.contains_key(key) {
                    let origin = format!("{name}: {key}");
                    let problem = "is in an earlier file already; remove one of them".to_owned();
                    sum.invalid.push(Invalid { origin, problem });
                    continue;
                }
                sum.objects.0.insert(key.clone(), object.clone());
                // An item of a list beside others that are not passed on.
                if let Object::Other(text) = object
                    && !file.passing.shows(key, hidden)
                {
                    sum.passed_on.insert(own_file("listed", key), text.clone());
                }
            }
            let text = file.passing.passed_on(hidden);
            sum.passed_on.extend(text.map(|text| (name.clone(), text)));
        }
        for (key, object) in &self.applied {
            let Some(object) = object else { continue };
            if let Object::Other(text) = object {
                sum.passed_on.insert(own_file("applied", key), text.clone());
            }
            sum.objects.0.insert(key.clone(), object.clone());
        }
        sum
    }
}

/// The name of a file for one object alone.
fn own_file(why: &str, key: &ObjectRef) -> String {
    format!("_{why}.{}.{}.{}.yaml", key.kind, key.namespace, key.name)
}

/// What changed between two states.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Difference {
    pub(crate) added: Vec<ObjectRef>,
    pub(crate) changed: Vec<ObjectRef>,
    pub(crate) removed: Vec<ObjectRef>,
}

/// Compares two states.
pub(crate) fn difference(before: &Objects, after: &Objects) -> Difference {
    let mut difference = Difference::default();
    for (key, object) in &after.0 {
        match before.0.get(key) {
            None => difference.added.push(key.clone()),
            Some(old) if old != object => difference.changed.push(key.clone()),
            Some(_) => {}
        }
    }
    let gone = before.0.keys().filter(|key| !after.0.contains_key(*key));
    difference.removed = gone.cloned().collect();
    difference
}

#[cfg(test)]
mod tests;
